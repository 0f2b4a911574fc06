"""Arrays as images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import array_source

SCENE = np.random.default_rng(0).integers(1, 200, (40, 60)).astype("uint8")


@pytest.mark.parametrize(
    ("shape", "count"),
    [((40, 60), 1), ((40, 60, 3), 3), ((3, 40, 60), 3), ((13, 40, 60), 13), ((40, 60, 1), 1)],
)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
def test_shapes_and_types(shape: tuple[int, ...], count: int, dtype: str) -> None:
    pixels = np.ones(shape, dtype=dtype)
    source = array_source(pixels)
    assert source.info.size == (60, 40)
    assert source.info.count == count
    image = source.read()
    assert image.pixels.shape == (count, 40, 60)
    assert image.pixels.dtype == np.float32
    assert (image.pixels == 1).all()


@pytest.mark.parametrize("how", ["valid", "masked", "nan", "inf"])
@pytest.mark.parametrize("size", [(60, 40), (30, 20), (17, 11)])
def test_missing_ground(how: str, size: tuple[int, int]) -> None:
    good = np.ones(SCENE.shape, dtype=bool)
    good[:, :21] = False
    pixels: Any = np.where(good, 100.0, 7.0)
    kwargs: dict[str, Any] = {}
    if how == "valid":
        kwargs["valid"] = good
    elif how == "masked":
        pixels = np.ma.masked_array(pixels, mask=~good)
    else:
        pixels = np.where(good, 100.0, float(how))
    before = np.array(pixels, copy=True)
    image = array_source(pixels, **kwargs).read(size=size)
    np.testing.assert_array_equal(before, np.asarray(pixels))
    assert np.unique(image.pixels[0][image.valid]) == pytest.approx([100])
    assert image.valid.mean() == pytest.approx(39 / 60, abs=0.06)


def test_block_means_and_windows() -> None:
    source = array_source(SCENE)
    exact = source.read(Window(10, 4, 40, 32), size=(10, 8))
    np.testing.assert_allclose(
        exact.pixels[0], SCENE[4:36, 10:50].reshape(8, 4, 10, 4).mean((1, 3)), rtol=1e-6
    )


@pytest.mark.parametrize("size", [(10, 10), (9, 23), (40, 5), (80, 60), (3, 3)])
def test_uneven_factors_keep_positions(size: tuple[int, int]) -> None:
    y, x = np.mgrid[:400, :600]
    image = array_source(np.stack([x, y]).astype("float32")).read(Window(100, 40, 240, 300), size)
    along_x = (np.arange(size[0]) + 0.5) * 240 / size[0] - 0.5 + 100
    along_y = (np.arange(size[1]) + 0.5) * 300 / size[1] - 0.5 + 40
    expected = np.stack(np.meshgrid(along_x, along_y))
    np.testing.assert_allclose(image.pixels, expected, atol=0.5)


def test_geocoding() -> None:
    transform = Affine(10, 0, 400000, 0, -10, 5000000)
    info = array_source(SCENE, transform=transform, crs="EPSG:32631").info
    assert info.geocoded
    assert info.gsd_m == pytest.approx((10, 10))
    assert not array_source(SCENE, crs=32631).info.geocoded


@pytest.mark.parametrize(
    ("pixels", "kwargs", "cause"),
    [
        (np.zeros(5), {}, r"has shape \(5,\)"),
        (np.zeros((0, 5)), {}, r"has shape \(0, 5\)"),
        (np.zeros((2, 3, 4, 5)), {}, "has shape"),
        (np.array([["a", "b"]]), {}, "holds <U1"),
        (np.zeros((5, 5), dtype=complex), {}, "complex128"),
        (np.zeros((5, 5)), {"valid": np.ones((4, 5))}, r"valid has shape \(4, 5\)"),
        (np.zeros((5, 5)), {"crs": "nonsense"}, "unknown CRS 'nonsense'"),
    ],
)
def test_refusals(pixels: Any, kwargs: Any, cause: str) -> None:
    with pytest.raises(InputError, match=cause) as caught:
        array_source(pixels, **kwargs)
    assert caught.value.hint
