"""A reduced level that is kept: the same pixels, decoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.windows import Window

from imatch.raster import Source, array_source, open_source
from imatch.raster.grid import Grid
from imatch.raster.read import reduced
from imatch.raster.read.reduced import FACTOR, ReducedSource, keep_reduced

AT = Affine(10, 0, 356_000, 0, -10, 4_835_000)


def _write(path: Path, pixels: NDArray[Any], levels: list[int] | None = None) -> Path:
    bands, height, width = pixels.shape
    shape = {"width": width, "height": height, "count": bands, "dtype": pixels.dtype}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        tiled=True,
        blockxsize=64,
        blockysize=64,
        nodata=0,
        crs=32631,
        transform=AT,
        **shape,
    ) as out:
        out.write(pixels)
        if levels:
            out.build_overviews(levels, Resampling.average)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """317 x 203 pixels of three bands, some without ground."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(500, 4000, (3, 26, 40)).repeat(8, axis=1).repeat(8, axis=2)
    pixels = (coarse[:, :203, :317] + rng.integers(0, 50, (3, 203, 317))).astype(np.uint16)
    pixels[:, 40:60, 90:130] = 0
    return _write(tmp_path / "image.tif", pixels)


class _Counted(Source):
    """A source that counts how often it is read."""

    def __init__(self, source: Source) -> None:
        self._source, self.readings = source, 0
        self.info, self._trim_collar = source.info, source._trim_collar

    def _chunks(self, *asked: Any) -> Any:
        self.readings += 1
        return self._source._chunks(*asked)


quick = settings(derandomize=True, max_examples=40, deadline=None)


@quick
@given(st.integers(0, 60), st.integers(0, 40), st.integers(2, 30), st.integers(2, 18))
def test_whole_blocks_are_the_same_means(left: int, top: int, width: int, height: int) -> None:
    rng = np.random.default_rng(left)
    pixels = rng.random((2, 203, 317)).astype(np.float32)
    valid = rng.random((203, 317)) > 0.3
    whole = array_source(pixels, valid=valid)
    kept = ReducedSource(whole)
    size = min(width, 317 // FACTOR - left), min(height, 203 // FACTOR - top)
    if min(size) < 1:
        return
    window = Window(FACTOR * left, FACTOR * top, FACTOR * size[0], FACTOR * size[1])
    seen, there = kept.read(window, size), whole.read(window, size)
    assert np.array_equal(seen.valid, there.valid)
    np.testing.assert_allclose(seen.pixels, there.pixels, rtol=1e-6)
    assert seen.transform == there.transform


def test_a_file_is_decoded_once_for_all_that_is_coarse(image: Path) -> None:
    whole = open_source(image)
    counted = _Counted(whole)
    kept = ReducedSource(counted)
    for left in range(0, 200, 40):
        window = Window(left, 0, 80, 80)
        seen, there = kept.read(window, (20, 20)), whole.read(window, (20, 20))
        np.testing.assert_allclose(seen.pixels, there.pixels, rtol=1e-5)
        assert np.array_equal(seen.valid, there.valid)
    assert counted.readings == 1
    fine = kept.read(Window(10, 20, 30, 25))
    assert np.array_equal(fine.pixels, whole.read(Window(10, 20, 30, 25)).pixels)
    assert counted.readings == 2


def test_what_was_read_may_be_changed(image: Path) -> None:
    kept = ReducedSource(open_source(image))
    first = kept.read(Window(0, 0, 80, 80), (20, 20))
    before = first.pixels.copy()
    first.pixels[:] = -1
    assert np.array_equal(kept.read(Window(0, 0, 80, 80), (20, 20)).pixels, before)


@pytest.mark.parametrize("size", [(31, 20), (26, 17), (317, 203)])
def test_at_other_sizes_it_is_what_the_source_gives(image: Path, size: tuple[int, int]) -> None:
    whole = open_source(image)
    seen, there = ReducedSource(whole).read(size=size), whole.read(size=size)
    assert np.array_equal(seen.pixels, there.pixels)
    assert np.array_equal(seen.valid, there.valid)


@quick
@given(st.floats(0, 60), st.floats(0, 40), st.floats(8, 12))
def test_on_a_map_grid_nothing_moves(left: float, top: float, step: float) -> None:
    y, x = np.mgrid[:203, :317]
    ramp = (1000 + 10 * x + 3 * y).astype(np.float32)
    kept = ReducedSource(array_source(ramp, transform=AT, crs="EPSG:32631"))
    grid = Grid(AT @ Affine.translation(left, top) @ Affine.scale(step), kept.info.crs, 20, 12)
    seen = kept.read_on(grid)
    columns, rows = left + step * (np.arange(20) + 0.5), top + step * (np.arange(12) + 0.5)
    truth = 1000 + 10 * (columns[None] - 0.5) + 3 * (rows[:, None] - 0.5)
    inner = np.s_[1:-1, 1:-1]
    wrong = (seen.pixels[0] - truth)[inner][seen.valid[inner]]
    # Single pixels by a thirtieth of theirs; all together by nothing.
    assert np.abs(wrong).max() < 10 * step / 30
    assert abs(wrong.mean()) < 10 * step / 400


def test_it_is_kept_where_it_helps(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reduced, "_LARGE", 1000)
    assert isinstance(keep_reduced(open_source(image)), ReducedSource)
    # Reduced levels of its own serve as well.
    with rasterio.open(image) as dataset:
        levelled = _write(tmp_path / "levels.tif", dataset.read(), [2, 4])
    source = open_source(levelled)
    assert keep_reduced(source) is source
    held = array_source(np.zeros((200, 200), np.float32))
    assert keep_reduced(held) is held
    monkeypatch.setattr(reduced, "_MOST", 1000)
    large = open_source(image)
    assert keep_reduced(large) is large


def test_small_files_are_read_as_they_are(image: Path) -> None:
    source = open_source(image)
    assert keep_reduced(source) is source
