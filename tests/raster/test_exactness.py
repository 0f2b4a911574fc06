"""The half-pixel tests: what is read lies where the pixel maps say it does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window

from imatch.raster import Grid, PixelMap, Source, array_source, open_source, read_pair
from imatch.raster.geodesy import WGS84, reproject_points

SIZE = (1003, 901)
SIGMA = 12.0
STORED: dict[str, dict[str, Any]] = {
    "tiled.tif": {"tiled": True, "blockxsize": 128, "blockysize": 128},
    "averaged.tif": {"overviews": (2, 4, 8)},
    "nearest.tif": {"overviews": (2, 4, 8), "overview_resampling": Resampling.nearest},
    "lossless.jp2": {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"},
    "tiles.jp2": {
        "driver": "JP2OpenJPEG",
        "QUALITY": 90,
        "BLOCKXSIZE": 256,
        "BLOCKYSIZE": 256,
    },
}


@pytest.fixture(params=[*STORED, "array"])
def stored(request: pytest.FixtureRequest, write: Any, blobs: Any) -> tuple[Source, Any]:
    image, centres = blobs(SIZE, SIGMA)
    if request.param == "array":
        return array_source(image), centres
    path = write(request.param, image.astype("uint16"), **STORED[request.param])
    return open_source(path), centres


@pytest.mark.parametrize("width", [1003, 611, 501, 313, 250, 101])
def test_decimated_reading_does_not_shift(stored: Any, slip: Any, width: int) -> None:
    source, centres = stored
    size = (width, round(SIZE[1] * width / SIZE[0]))
    image = source.read(size=size)
    assert image.size == size
    expected = PixelMap.resize(SIZE, size).to_work(centres)
    assert slip(image.pixels[0], expected, SIGMA * width / SIZE[0]) < 0.01


def test_fractional_window(stored: Any, slip: Any) -> None:
    source, centres = stored
    window = Window(31.3, 17.8, 900.5, 800.25)
    image = source.read(window, size=(400, 360))
    scale = np.array([400 / 900.5, 360 / 800.25])
    expected = (centres + 0.5 - (31.3, 17.8)) * scale - 0.5
    assert slip(image.pixels[0], expected, SIGMA * float(scale.mean())) < 0.01


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0, 2.13, 5.0])
@pytest.mark.parametrize("phase", [0.0, 0.37])
def test_same_crs_grid(
    write: Any, blobs: Any, slip: Any, utm31: Affine, factor: float, phase: float
) -> None:
    image, centres = blobs(SIZE, SIGMA)
    source = open_source(write("a.tif", image))
    n = int(900 / factor)
    lattice = utm31 @ Affine.translation(phase * factor, phase) @ Affine.scale(factor)
    grid = Grid(lattice, CRS.from_epsg(32631), n, n)
    rendered = source.read_on(grid)
    expected = PixelMap.on_grid(grid, source.info).to_work(centres)
    assert slip(rendered.pixels[0], expected, SIGMA / factor) < 0.01


def _target(epsg: int, gsd: float, turn: float | str) -> dict[str, Any]:
    """A target of 900 pixels whose middle is the middle of the reference."""
    crs = CRS.from_epsg(epsg)
    middle = reproject_points([(405000, 4995000)], CRS.from_epsg(32631), crs)[0]
    if turn == "south-up":
        flip = Affine.scale(1, 1)
    else:
        flip = Affine.rotation(float(turn)) @ Affine.scale(1, -1)
    transform = Affine.translation(*middle) @ flip @ Affine.scale(gsd)
    return {"crs": crs, "transform": transform @ Affine.translation(-450, -450)}


@pytest.mark.parametrize("turn", [0, 25, "south-up"])
@pytest.mark.parametrize(
    ("epsg", "gsd"), [(32631, 10), (32631, 7.3), (32632, 20), (4326, 2e-4), (3857, 14)]
)
def test_pairs_across_crs_gsd_and_orientation(
    write: Any, blobs: Any, slip: Any, epsg: int, gsd: float, turn: float | str
) -> None:
    image, centres = blobs((900, 900), SIGMA)
    utm = open_source(write("utm.tif", image.astype("uint16")))
    other = open_source(write("other.tif", image, **_target(epsg, gsd, turn)))
    for ref, tgt, size in ((utm, other, 1024), (other, utm, 1024), (utm, other, 500)):
        pair = read_pair(ref, tgt, size=size)
        assert pair.grid is not None
        assert max(pair.grid.width, pair.grid.height) <= size
        assert pair.ref.crs == pair.tgt.crs == ref.info.crs
        assert pair.ref.transform == pair.tgt.transform == pair.grid.transform
        for side, pixel_map in ((pair.ref, pair.ref_map), (pair.tgt, pair.tgt_map)):
            steps = pixel_map.to_work([(450, 450), (451, 450), (450, 451)])
            sigma = SIGMA * np.linalg.norm(steps[1:] - steps[0], axis=1).mean()
            assert slip(side.pixels[0], pixel_map.to_work(centres), sigma) < 0.02


def test_reference_at_its_own_gsd_is_copied(write: Any, blobs: Any) -> None:
    image, _ = blobs((300, 280), 6.0)
    source = open_source(write("a.tif", image.astype("uint16")))
    pair = read_pair(source, source)
    np.testing.assert_array_equal(pair.ref.pixels[0], image.astype("uint16"))
    np.testing.assert_array_equal(pair.tgt.pixels, pair.ref.pixels)
    assert pair.grid is not None
    assert pair.grid.transform == source.info.transform


@pytest.mark.parametrize("lon", [179.99, -179.99])
def test_across_the_antimeridian(write: Any, blobs: Any, slip: Any, lon: float) -> None:
    image, centres = blobs((900, 900), SIGMA)
    there = Affine.translation(lon, -17.0) @ Affine.scale(1e-4, -1e-4)
    beyond = Affine.translation(lon - np.sign(lon) * 360.0, -17.0) @ Affine.scale(1e-4, -1e-4)
    middle = CRS.from_epsg(32601)
    x, y = reproject_points([(lon + 0.045, -17.045)], WGS84, middle)[0]
    utm = Affine(10, 0, x - 4500, 0, -10, y + 4500)
    made = [
        open_source(write(f"{i}.tif", image, transform=transform, crs=crs))
        for i, (transform, crs) in enumerate(
            [(there, "EPSG:4326"), (beyond, "EPSG:4326"), (utm, middle)]
        )
    ]
    for ref in made:
        for tgt in made:
            pair = read_pair(ref, tgt)
            assert pair.grid is not None
            assert pair.tgt.valid.mean() > 0.8
            for side, pixel_map in ((pair.ref, pair.ref_map), (pair.tgt, pair.tgt_map)):
                work = pixel_map.to_work(centres)
                assert slip(side.pixels[0], work, SIGMA) < 0.05
                np.testing.assert_allclose(pixel_map.to_native(work), centres, atol=1e-3)


SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "bench" / "ua_jp2_60m"


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data")
def test_real_jp2_levels_agree_with_full_resolution() -> None:
    source = open_source(SHARED / "T36UYA_20190825T083601_B01.jp2")
    reduced = source.read(size=(305, 305)).pixels[0]
    full = source.read().pixels[0].reshape(305, 6, 305, 6).mean(axis=(1, 3))
    # First-order shift (Lucas-Kanade): reduced(x) = full(x - d) ~ full - d . gradient
    dy, dx = np.gradient(full)
    inner = np.s_[8:-8, 8:-8]
    slopes = np.column_stack([dx[inner].ravel(), dy[inner].ravel()])
    shift, *_ = np.linalg.lstsq(slopes, (full - reduced)[inner].ravel(), rcond=None)
    assert np.abs(shift).max() < 0.02
