from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.pipeline.scene.tiles import (
    RIM,
    Predict,
    TileLevel,
    finest_factor,
    level_factors,
    plan_level,
    plan_tiles,
)
from imatch.raster import RasterInfo

FloatArray = NDArray[np.float64]


def info(width: int, height: int, block: tuple[int, int] | None = None) -> RasterInfo:
    return RasterInfo(
        None, width, height, 1, ("uint16",), ("1",), Affine.identity(), None, None, "x", "x", block
    )


def moved(scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Predict:
    return lambda xy: np.asarray((xy + 0.5) * scale - 0.5 + shift)


def level(ref: RasterInfo, **settings: object) -> TileLevel:
    given = {
        "last": True,
        "window": 64,
        "tile": 1024,
        "spacing": None,
        "max_points": None,
        "share": 1.0,
        "radius": 8,
    }
    made = plan_level(0, (1, 1), ref, **{**given, **settings})  # type: ignore[arg-type]
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("scale", "factor"), [(1.0, (1, 1)), (2.0, (1, 1)), (1 / 3, (3, 3)), (1 / 1.4, (1, 1))]
)
def test_the_finest_level_has_the_coarser_image_s_pixels(
    scale: float, factor: tuple[int, int]
) -> None:
    assert finest_factor(info(900, 900), moved(scale)) == factor


def test_pixels_that_are_long_one_way_are_reduced_that_way() -> None:
    assert finest_factor(info(900, 900), lambda xy: xy * [0.5, 1.0]) == (2, 1)


@pytest.mark.parametrize(
    ("rough", "factors"),
    [(1.0, [1]), (3.0, [1]), (10.7, [4, 1]), (21.4, [4, 1]), (42.0, [16, 4, 1])],
)
def test_levels_lead_from_the_rough_answer_to_full_resolution(
    rough: float, factors: list[int]
) -> None:
    assert level_factors((1, 1), rough, None) == [(f, f) for f in factors]


def test_levels_can_be_asked_for() -> None:
    assert level_factors((2, 1), 50.0, 2) == [(8, 4), (2, 1)]


class TestSpacing:
    def test_about_three_thousand_windows_whatever_the_size(self) -> None:
        for side in (4000, 10980):
            ref = info(side, side)
            tasks, outside = plan_tiles(level(ref), ref, moved())
            assert outside == 0
            assert sum(len(task.areas) for task in tasks) == pytest.approx(3000, rel=0.12)

    def test_small_images_have_windows_half_a_side_apart(self) -> None:
        assert level(info(600, 600)).cell == 32

    def test_it_can_be_asked_for_and_bounded(self) -> None:
        ref = info(4000, 4000)
        assert level(ref, spacing=100.0).cell == 100
        assert level(ref, spacing=100.0, max_points=400).cell == 200

    def test_a_small_overlap_gets_its_share(self) -> None:
        assert level(info(8000, 8000), share=0.25).cell == pytest.approx(
            level(info(4000, 4000)).cell
        )

    def test_windows_shrink_with_the_image_and_then_there_is_none(self) -> None:
        assert level(info(300, 120)).window == 40
        few = {"last": True, "window": 64, "tile": 1024, "spacing": None, "max_points": None}
        none = plan_level(0, (1, 1), info(400, 40), **few, share=1.0, radius=8)  # type: ignore[arg-type]
        assert none is None


def test_tiles_of_a_large_image_are_whole_blocks() -> None:
    assert level(info(10980, 10980, (512, 512))).tile == 1024
    assert level(info(10980, 10980, (1024, 1024))).tile == 1024
    assert level(info(10980, 10980, (640, 640))).tile == 1280
    # Lines are no blocks to be kept whole.
    assert level(info(10980, 10980, (10980, 1))).tile == 1024


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    width=st.integers(150, 2300),
    height=st.integers(150, 2300),
    spacing=st.floats(20, 300),
    tile=st.integers(128, 1200),
)
def test_every_window_lies_in_the_image_and_in_what_is_read(
    width: int, height: int, spacing: float, tile: int
) -> None:
    ref = info(width, height)
    plan = level(ref, spacing=spacing, tile=tile)
    tasks, _ = plan_tiles(plan, ref, moved())
    assert len({task.key for task in tasks}) == len(tasks)
    corners: list[tuple[int, int]] = []
    for task in tasks:
        (x, y), (w, h) = task.origin, task.size
        assert x >= 0
        assert y >= 0
        assert x + w <= width
        assert y + h <= height
        low, high = task.areas[:, :2], task.areas[:, 2:]
        assert (low <= high).all()
        assert (low - RIM >= (x, y)).all()
        assert (high + plan.window + RIM <= (x + w, y + h)).all()
        corners += [(int(a), int(b)) for a, b in low]
    # Cells do not repeat one another.
    assert len(set(corners)) == len(corners)
    covered = width * height / plan.cell**2
    assert len(corners) > 0.5 * covered - 2 * (width + height) / plan.cell


def test_tiles_beyond_the_target_are_counted_not_read() -> None:
    ref, tgt = info(2000, 2000), info(1000, 1000)
    tasks, outside = plan_tiles(level(ref), tgt, moved())
    assert outside > 0
    assert all(task.origin[0] < 1000 and task.origin[1] < 1000 for task in tasks)
    none, all_of_them = plan_tiles(level(ref), tgt, moved(shift=(9000.0, 0.0)))
    assert none == []
    assert all_of_them == len(tasks) + outside


def test_places_without_an_image_are_outside() -> None:
    ref = info(1000, 1000)
    tasks, outside = plan_tiles(level(ref), ref, lambda xy: np.full_like(xy, np.nan))
    assert tasks == []
    assert outside > 0


def test_level_pixels_and_native_pixels() -> None:
    coarse = plan_level(
        0,
        (4, 2),
        info(4000, 4000),
        last=False,
        window=64,
        tile=1024,
        spacing=None,
        max_points=None,
        share=1.0,
        radius=8,
    )
    assert coarse is not None
    # The first pixel's centre is the middle of four by two native ones.
    np.testing.assert_allclose(coarse.to_native(np.zeros((1, 2))), [[1.5, 0.5]])
    assert coarse.size == (1000, 2000)
