"""DataArrays in, a registration and DataArrays out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401 - it makes the accessor.
import pytest
import rasterio
import xarray as xr
from numpy.typing import NDArray

import imatch
from tests.support.dataarrays import CRS, GSD, LEFT, TOP, fields, odc_view, view

# Odc-geo composes transforms by what affine 3 discourages.
pytestmark = pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")

#: By how many pixels the target's geocoding is off, right and down.
SHIFT = (9, -6)


@pytest.fixture(scope="module")
def ground() -> NDArray[np.uint16]:
    return fields(360, 340)


@pytest.fixture(scope="module")
def pixels(ground: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """Reference and target of 300 x 280 pixels, the target's ground `SHIFT` away."""
    x, y = SHIFT
    return ground[20:300, 20:320], ground[20 + y : 300 + y, 20 + x : 320 + x]


@pytest.fixture(scope="module")
def found(pixels: tuple[NDArray[np.uint16], ...]) -> imatch.Registration:
    registration = imatch.match(view(pixels[0]), view(pixels[1]), matcher="sift")
    assert registration.status == "ok", registration.reason
    return registration


def test_dataarrays_are_matched_as_files_are(
    found: imatch.Registration, pixels: tuple[NDArray[np.uint16], ...], tmp_path: Path
) -> None:
    paths = [tmp_path / "ref.tif", tmp_path / "tgt.tif"]
    for path, image in zip(paths, pixels, strict=True):
        array = view(image)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=300,
            height=280,
            count=1,
            dtype="uint16",
            crs=CRS,
            transform=rasterio.Affine(GSD, 0, LEFT, 0, -GSD, TOP),
        ) as dataset:
            dataset.write(array.to_numpy()[None])
    files = imatch.match(paths[0], paths[1], matcher="sift")
    assert found.matrix is not None
    assert files.matrix is not None
    np.testing.assert_allclose(found.matrix, files.matrix, atol=1e-6)
    assert found.shift_m == pytest.approx(files.shift_m)
    assert found.shift_m == pytest.approx((-GSD * SHIFT[0], GSD * SHIFT[1]), abs=1)
    assert found.reference.crs == CRS
    assert found.reference.path is None


@pytest.mark.parametrize("kind", ["odc-geo", "dask", "ascending rows", "mixed"])
def test_every_kind_gives_the_same_answer(
    found: imatch.Registration, pixels: tuple[NDArray[np.uint16], ...], kind: str
) -> None:
    ref, tgt = pixels
    pairs: dict[str, tuple[Any, ...]] = {
        "odc-geo": (odc_view(ref), odc_view(tgt)),
        "dask": tuple(view(image, chunks={"y": 100, "x": 70}) for image in pixels),
        "ascending rows": (view(ref).sortby("y"), view(tgt)),
        "mixed": (view(ref), odc_view(tgt)),
    }
    first, second = pairs[kind]
    other = imatch.match(first, second, matcher="sift")
    assert other.status == "ok"
    assert other.shift_m == pytest.approx(found.shift_m, abs=0.3)
    assert other.map_matrix is not None
    assert found.map_matrix is not None
    np.testing.assert_allclose(other.map_matrix[:2, 2], found.map_matrix[:2, 2], atol=0.5)


def test_a_whole_scene_is_registered_block_by_block(
    pixels: tuple[NDArray[np.uint16], ...],
) -> None:
    pair = [view(image, chunks={"y": 100, "x": 128}) for image in pixels]
    registered = imatch.register(pair[0], pair[1], matcher="sift", local="none", window=32)
    assert registered.status == "ok"
    assert registered.shift_px == pytest.approx((-SHIFT[0], -SHIFT[1]), abs=0.05)
    with pytest.raises(imatch.ImatchError, match=r"take the pixels of Registration\.warp"):
        imatch.register(pair[0], pair[1], "out.tif")


def test_the_target_comes_back_on_the_reference(
    found: imatch.Registration, pixels: tuple[NDArray[np.uint16], ...]
) -> None:
    reference, target = (view(image) for image in pixels)
    warped = found.warp(target.rename("red"))
    assert isinstance(warped, xr.DataArray)
    assert (warped.dims, warped.name) == (("y", "x"), "red")
    assert warped.dtype == np.uint16
    xr.testing.assert_allclose(warped.x, reference.x)
    xr.testing.assert_allclose(warped.y, reference.y)
    assert warped.rio.crs == CRS
    assert warped.odc.geobox.shape == (280, 300)
    assert warped.rio.nodata == 65535
    ground = warped.to_numpy() != 65535
    assert 0.9 < ground.mean() < 0.97
    away = np.abs(warped.to_numpy().astype(int) - reference.to_numpy())
    assert np.median(away[ground]) < 5


def test_a_lazy_target_stays_lazy(
    found: imatch.Registration,
    pixels: tuple[NDArray[np.uint16], ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imatch.raster.dataarrays.warp._SIDE", 96)
    computed: list[int] = []

    def tell(block: NDArray[Any]) -> NDArray[Any]:
        computed.append(block.size)
        return block

    bands = np.stack([pixels[1], pixels[1] // 2, pixels[1] * 2])
    meta = np.empty((0, 0, 0), np.uint16)
    data = da.from_array(bands, chunks=(1, 90, 110)).map_blocks(tell, dtype=np.uint16, meta=meta)
    lazy = found.warp(view(bands, bands=["a", "b", "c"]).copy(data=data))
    assert computed == []
    assert isinstance(lazy.data, da.Array)
    part = lazy.sel(band="b").isel(x=slice(100, 120), y=slice(100, 120)).compute()
    assert 0 < sum(computed) < bands.size / 3
    whole = found.warp(view(bands, bands=["a", "b", "c"]))
    # Positions are exact to 0.005 px, which depends on the blocks.
    xr.testing.assert_allclose(lazy.compute().astype(float), whole.astype(float), atol=8)
    np.testing.assert_allclose(part, whole[1, 100:120, 100:120], atol=8)
    assert lazy.attrs == whole.attrs
    assert lazy.name is None


def test_other_products_of_the_scene_keep_their_pixels(found: imatch.Registration) -> None:
    coarse = view(fields(150, 140, seed=5).astype(np.float32), gsd=2 * GSD)
    coarse = coarse.assign_attrs(units="1").assign_coords(platform="S2A")
    warped = found.warp(coarse)
    assert warped.shape == (140, 150)
    assert float(warped.x[1] - warped.x[0]) == 2 * GSD
    assert warped.attrs["units"] == "1"
    assert warped.coords["platform"] == "S2A"
    assert np.isnan(warped.rio.nodata)
    assert np.isnan(warped.to_numpy()).any()
    finer = found.warp(coarse, res=5, bounds=(LEFT + 500, TOP - 1000, LEFT + 900, TOP - 600))
    assert finer.shape == (80, 80)
    own = found.warp(coarse, grid="target")
    xr.testing.assert_allclose(own.x, coarse.x)


def test_what_marks_missing_ground_goes_on_doing_so(
    found: imatch.Registration, pixels: tuple[NDArray[np.uint16], ...]
) -> None:
    holed = pixels[1].copy()
    holed[100:140, 100:140] = 7
    warped = found.warp(view(holed).rio.write_nodata(7))
    assert warped.rio.nodata == 7
    assert ((warped == 7).sum() > 40 * 40).item()
    assert not (warped == 65535).any()
    classes = found.warp(view((holed > 3000).astype(bool)))
    assert classes.dtype == bool
    from_odc = found.warp(odc_view(holed))
    assert (from_odc.attrs["nodata"], from_odc.rio.nodata) == (0, 0)


def test_bands_that_are_last_stay_last(
    found: imatch.Registration, pixels: tuple[NDArray[np.uint16], ...]
) -> None:
    last = view(np.stack([pixels[1]] * 3)).transpose("y", "x", "band")
    assert found.warp(last).dims == ("y", "x", "band")


def test_pixels_alone_are_compared_where_that_is_asked_for(
    pixels: tuple[NDArray[np.uint16], ...],
) -> None:
    bare = [view(image).drop_vars(["spatial_ref", "x", "y"]) for image in pixels]
    with pytest.raises(imatch.ImatchError, match="has no CRS"):
        imatch.match(bare[0], bare[1], matcher="sift")
    found = imatch.match(bare[0], bare[1], matcher="sift", use_geocoding=False)
    assert found.status == "ok"
    warped = found.warp(bare[1])
    assert warped.shape == (280, 300)
    assert "spatial_ref" not in warped.coords
    with pytest.raises(imatch.ImatchError, match="the target 300x280"):
        found.warp(bare[1][5:])


def test_what_is_no_image_is_refused(pixels: tuple[NDArray[np.uint16], ...]) -> None:
    image = view(pixels[0])
    with pytest.raises(imatch.ImatchError, match="its coordinates x descend"):
        imatch.match(image, image.sortby("x", ascending=False))
    with pytest.raises(imatch.ImatchError, match="Dataset of several variables"):
        imatch.match(image, image.to_dataset(name="a"))
    with pytest.raises(imatch.ImatchError, match="tgt: is a list; pass a path"):
        imatch.match(image, [[1, 2], [3, 4]])  # type: ignore[arg-type]

    def fail(block: NDArray[Any]) -> NDArray[Any]:
        raise RuntimeError("no such tile")

    meta = np.empty((0, 0), np.uint16)
    lost = da.from_array(pixels[0], chunks=100).map_blocks(fail, dtype=np.uint16, meta=meta)
    with pytest.raises(imatch.ImatchError, match=r"cannot be read \(no such tile\)"):
        imatch.match(image, image.copy(data=lost), matcher="sift")
