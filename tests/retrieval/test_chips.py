from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st

from imatch.core.errors import InputError
from imatch.raster import RasterInfo, array_source
from imatch.retrieval.chips import (
    ChipGrid,
    ChipWindow,
    chip_factor,
    read_chip,
    render_chip,
    stacked,
)


def info(width: int, height: int, gsd: float | None = None) -> RasterInfo:
    at = Affine.identity() if gsd is None else Affine(gsd, 0, 400_000, 0, -gsd, 5_000_000)
    crs = None if gsd is None else "EPSG:32631"
    return array_source(np.zeros((height, width), np.uint8), transform=at, crs=crs).info


@given(
    width=st.integers(1, 700),
    height=st.integers(1, 700),
    stride=st.sampled_from([0.25, 0.5, 1.0]),
    levels=st.integers(1, 3),
)
def test_cells_cover_an_image_and_stay_within_it(
    width: int, height: int, stride: float, levels: int
) -> None:
    seen = np.zeros((height, width), dtype=bool)
    cells = ChipGrid(64, stride, levels=levels).cells(info(width, height))
    for cell in cells:
        assert 0 <= cell.left <= cell.left + cell.width <= width
        assert 0 <= cell.top <= cell.top + cell.height <= height
        assert max(cell.width, cell.height) <= round(cell.side)
        seen[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width] = True
    assert seen.all()
    assert len(set(cells)) == len(cells)


def test_cells_are_as_large_as_the_resolution_asks() -> None:
    assert [c.side for c in ChipGrid(64, 1.0).cells(info(128, 64, 10.0))] == [64, 64]
    assert [c.side for c in ChipGrid(64, 1.0, gsd_m=20.0).cells(info(128, 128, 10.0))] == [128]
    # Without a size on the ground an image is taken at its own resolution.
    assert len(ChipGrid(64, 1.0, gsd_m=20.0).cells(info(128, 128))) == 4
    assert chip_factor(info(9, 9, 10.05), 10.0) == 1.0


def test_a_small_image_fills_a_chip_unless_resolutions_are_fixed() -> None:
    assert ChipGrid(64).cells(info(40, 30)) == [ChipWindow(0, 0, 40, 30, 40.0)]
    assert ChipGrid(64, gsd_m=10.0).cells(info(40, 30, 10.0)) == [ChipWindow(0, 0, 40, 30, 64.0)]
    assert ChipGrid(64, levels=4).cells(info(100, 100))[-1].side == 64


def test_levels_double_the_ground() -> None:
    sides = {cell.side for cell in ChipGrid(64, 1.0, levels=3).cells(info(256, 256))}
    assert sides == {64, 128, 256}


def test_a_chip_is_what_the_image_shows() -> None:
    pixels = np.random.default_rng(0).random((3, 96, 96)).astype(np.float32)
    chip = read_chip(array_source(pixels), ChipWindow(16, 8, 64, 64, 64.0), 64, 3)
    part = pixels[:, 8:72, 16:80]
    low, high = np.percentile(part, [1, 99], axis=(1, 2))
    expected = np.clip((part - low[:, None, None]) / (high - low)[:, None, None], 0, 1)
    assert np.allclose(chip.pixels, expected, atol=1e-5)
    assert chip.valid.all()


def test_what_a_cell_lacks_is_no_ground() -> None:
    chip = read_chip(
        array_source(np.random.default_rng(1).random((30, 40))),
        ChipWindow(0, 0, 40, 30, 64.0),
        64,
        1,
    )
    assert chip.pixels.shape == (1, 64, 64)
    assert chip.valid.sum() == 40 * 30
    assert chip.valid[17:47, 12:52].all()
    # What is not ground shows the median: no edge stands out of it.
    assert len(np.unique(chip.pixels[:, ~chip.valid])) == 1


@pytest.mark.parametrize(
    ("bands", "seen"), [(1, 1), (1, 3), (3, 1), (3, 3), (4, 3), (4, 4), (2, 2)]
)
def test_bands_are_made_to_fit(bands: int, seen: int) -> None:
    pixels = np.random.default_rng(2).random((bands, 40, 40))
    chip = render_chip(array_source(pixels).read(), seen)
    assert chip.pixels.shape == (seen, 40, 40)
    assert 0 <= chip.pixels.min() < 0.05 < 0.95 < chip.pixels.max() <= 1


def test_other_bands_are_not_invented() -> None:
    with pytest.raises(InputError, match="has 3 bands, and the embedder wants 4"):
        render_chip(array_source(np.ones((3, 20, 20))).read(), 4)


def test_chips_are_stacked() -> None:
    source = array_source(np.random.default_rng(3).random((64, 64)))
    chips = [read_chip(source, cell, 32, 3) for cell in ChipGrid(32, 1.0).cells(source.info)]
    pixels, valid = stacked(chips)
    assert (pixels.shape, valid.shape) == ((4, 3, 32, 32), (4, 32, 32))
