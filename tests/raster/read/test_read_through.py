"""Small renderings through any mapping: what is seen lies where the mapping says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine

from imatch.raster import Grid, array_source, open_source
from imatch.raster.geodesy import apply_affine

SIZE, SIGMA = (803, 701), 10.0


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4, 2.0, 3.3, 5.0])
@pytest.mark.parametrize("turn", [0.0, 31.0])
def test_blobs_lie_where_the_mapping_puts_them(
    blobs: Any, slip: Any, factor: float, turn: float
) -> None:
    image, centres = blobs(SIZE, SIGMA)
    # From the corner-based pixels of a lattice of its own scale and turn to the source's.
    forward = (
        Affine.translation(3.3, -2.1)
        @ Affine.rotation(turn, pivot=(SIZE[0] / 2, SIZE[1] / 2))
        @ Affine.scale(factor)
    )
    to_pixels = Affine.translation(-0.5, -0.5) @ forward @ Affine.translation(0.5, 0.5)
    size = round(SIZE[0] / factor), round(SIZE[1] / factor)
    lattice = Grid(forward, None, *size)
    seen = array_source(image).read_through(lattice, lambda xy: apply_affine(to_pixels, xy))
    assert seen.size == size
    assert seen.transform == forward
    expected = apply_affine(~to_pixels, centres)
    assert slip(np.where(seen.valid, seen.pixels[0], 0), expected, SIGMA / factor) < 0.02


def test_a_curved_mapping_is_followed(blobs: Any, slip: Any) -> None:
    image, centres = blobs(SIZE, SIGMA)

    def bent(xy: Any) -> Any:
        points = np.asarray(xy, dtype=np.float64)
        return points + 5 * np.sin(points[:, ::-1] / 150)

    lattice = Grid(Affine.identity(), None, *SIZE)
    seen = array_source(image).read_through(lattice, bent)
    back = centres.copy()
    for _ in range(60):
        back = centres - 5 * np.sin(back[:, ::-1] / 150)
    # The bend shears blobs a little, which their centroids feel.
    assert slip(seen.pixels[0], back, SIGMA) < 0.15


def test_missing_ground_stays_missing_and_does_not_bleed(write: Any) -> None:
    pixels = np.full((3, 60, 80), 500, dtype=np.uint16)
    pixels[:, :, :30] = 0
    source = open_source(write("a.tif", pixels, nodata=0))
    lattice = Grid(Affine.translation(-10, -5.5), None, 100, 70)
    seen = source.read_through(lattice, lambda xy: np.asarray(xy) - (10.3, 5.5))
    assert seen.bands == source.info.band_names
    assert seen.pixels.shape == (3, 70, 100)
    x = np.arange(100) - 10.3
    np.testing.assert_array_equal(seen.valid[30], (x > 29.5) & (x < 79.5))
    np.testing.assert_allclose(seen.pixels[:, seen.valid], 500, atol=0.01)
    assert not seen.pixels[:, ~seen.valid].any()


def test_elsewhere_nothing_is_seen() -> None:
    source = array_source(np.ones((40, 50)))
    lattice = Grid(Affine.identity(), None, 20, 10)
    for far in (1e5, np.nan):
        seen = source.read_through(lattice, lambda xy, far=far: np.asarray(xy) + far)  # type: ignore[misc]
        assert not seen.valid.any()
        assert not seen.pixels.any()
