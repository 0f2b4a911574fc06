"""Another geocoding for the same pixels: exact where it can be, honest where it cannot."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import GCPTransformer

from imatch.core.errors import InputError, OutputError
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.pipeline.apply.geotransform import apply_geotransform, corrected_transform
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary
from imatch.raster import open_source
from imatch.raster.geodesy import apply_affine, reproject_points

UTM31, UTM32 = CRS.from_epsg(32631), CRS.from_epsg(32632)
PLACE = Affine(10, 0, 600000, 0, -10, 5000000)
SHIFT = np.array([[1, 0, 50.0], [0, 1, -30.0], [0, 0, 1]])
SIZE = (700, 600)


def summary(transform: Affine | None = PLACE, crs: CRS = UTM31) -> ImageSummary:
    place = None if transform is None else tuple(transform)[:6]
    return ImageSummary("a.tif", *SIZE, (), crs.to_string() if place else None, place)


def mapping_of(matrix: NDArray[np.float64] = SHIFT, *, local: bool = False) -> GeoCorrection:
    field = None
    if local:
        coefficients = np.random.default_rng(0).normal(0, 20, (10, 10, 2))
        field = DisplacementGrid("spline", (598000.0, 4992000.0), (1500.0, 1500.0), coefficients)
    return GeoCorrection(Transform("homography", matrix, field), summary(), summary(), True)


def image(path: Path, **profile: Any) -> NDArray[np.uint16]:
    pixels = np.random.default_rng(0).integers(1, 9000, (2, *SIZE[::-1]), dtype=np.uint16)
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "count": 2,
        "width": SIZE[0],
        "height": SIZE[1],
        "dtype": "uint16",
        "crs": UTM31,
        "transform": PLACE,
        **profile,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **settings) as dataset:
            dataset.write(pixels)
    return pixels


@pytest.mark.parametrize("how", ["bytes", "written", "cog"])
def test_an_affine_correction_is_exact(tmp_path: Path, how: str) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    pixels = image(path, nodata=7, compress="lzw", tiled=True, blockxsize=128, blockysize=128)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4], Resampling.average)
        dataset.descriptions = ("red", "nir")
        dataset.update_tags(SENSOR="MSI")
    creation = {"COMPRESS": "ZSTD"} if how == "written" else {}
    error = apply_geotransform(mapping_of(), path, out, creation=creation, cog=how == "cog")
    assert error < 1e-6
    with rasterio.open(out) as dataset:
        assert dataset.transform == Affine(10, 0, 599950, 0, -10, 5000030)
        assert dataset.crs == UTM31
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.nodata == 7
        assert dataset.descriptions == ("red", "nir")
        assert dataset.tags()["SENSOR"] == "MSI"
        assert dataset.tags()["IMATCH_SOURCE"] == "a.tif"
        if how == "bytes":
            assert dataset.profile["compress"] == "lzw"
            assert dataset.block_shapes[0] == (128, 128)
            assert dataset.overviews(1) == [2, 4]


def test_siblings_share_the_correction(tmp_path: Path) -> None:
    turn = np.array([[1.001, 0.002, 900.0], [-0.002, 1.001, -4300.0], [0, 0, 1]])
    mapping = mapping_of(turn)
    for factor in (1, 2, 6):
        path, out = tmp_path / f"{factor}.tif", tmp_path / f"out{factor}.tif"
        image(path, transform=PLACE @ Affine.scale(factor))
        assert apply_geotransform(mapping, path, out) < 1e-5
        with rasterio.open(out) as dataset:
            there = apply_affine(dataset.transform, [(0, 0), (30, 20)])
        believed = apply_affine(PLACE @ Affine.scale(factor), [(0, 0), (30, 20)])
        np.testing.assert_allclose(mapping.correction.apply(there), believed, atol=1e-4)


def test_masks_and_outer_overviews_come_along(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    image(path)
    ground = np.zeros(SIZE[::-1], dtype=np.uint8)
    ground[100:] = 255
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False, TIFF_USE_OVR=True):
        with rasterio.open(path, "r+") as dataset:
            dataset.build_overviews([2], Resampling.average)
        with rasterio.open(path, "r+") as dataset:
            dataset.write_mask(ground)
    beside = sorted(file.name for file in tmp_path.iterdir())
    assert "a.tif.msk" in beside
    apply_geotransform(mapping_of(), path, out)
    for name in beside:
        assert (tmp_path / name.replace("a.tif", "out.tif")).exists()
    with rasterio.open(out) as dataset:
        np.testing.assert_array_equal(dataset.read_masks(1), ground)
        assert dataset.overviews(1) == [2]


def test_other_formats_become_geotiff(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jp2", tmp_path / "out.tif"
    pixels = image(path, driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES")
    assert apply_geotransform(mapping_of(), path, out) < 1e-6
    with rasterio.open(out) as dataset:
        np.testing.assert_array_equal(dataset.read(), pixels)
        assert dataset.transform.c == 599950
        assert dataset.nodata is None
        assert [flag.name for flag in dataset.mask_flag_enums[0]] == ["all_valid"]


def test_what_lies_beside_the_geocoding_gives_way(tmp_path: Path) -> None:
    """Ground control points and side-car files would contradict the new transform."""
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    gcps = [
        GroundControlPoint(row, col, 600000 + 10 * col, 5000000 - 10 * row)
        for row in (0, 300, 600)
        for col in (0, 350, 700)
    ]
    image(path, transform=None, gcps=gcps)
    assert apply_geotransform(mapping_of(), path, out) < 1e-3
    with rasterio.open(out) as dataset:
        assert dataset.gcps[0] == []
        assert dataset.transform.c == pytest.approx(599950, abs=1e-3)
    image(path)
    (tmp_path / "a.tif.aux.xml").write_text(
        "<PAMDataset><GeoTransform>600000, 10, 0, 5000000, 0, -10</GeoTransform></PAMDataset>"
    )
    apply_geotransform(mapping_of(), path, out, overwrite=True)
    with rasterio.open(out) as dataset:
        assert dataset.transform == Affine(10, 0, 599950, 0, -10, 5000030)


def test_a_curved_correction_is_refused_accepted_or_pinned(tmp_path: Path) -> None:
    mapping = mapping_of(local=True)
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    pixels = image(path)
    with pytest.raises(InputError, match=r"a.tif: .*wrong by up to \d.*px.*--inexact"):
        apply_geotransform(mapping, path, out)
    assert not out.exists()
    error = apply_geotransform(mapping, path, out, inexact="accept")
    xy = np.random.default_rng(0).uniform(0, 599, (200, 2))
    truth = mapping.to_map(open_source(path).info)(xy)
    with rasterio.open(out) as dataset:
        off = apply_affine(~dataset.transform, truth) - 0.5 - xy
    assert 0.5 < np.hypot(*off.T).max() <= error * 1.05
    apply_geotransform(mapping, path, out, inexact="gcps", overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(out)
    with dataset:
        points, crs = dataset.gcps
        assert crs == UTM31
        assert dataset.transform == Affine.identity()
        np.testing.assert_array_equal(dataset.read(), pixels)
        pinned = np.array([(p.x, p.y) for p in points])
        at = np.array([(p.col - 0.5, p.row - 0.5) for p in points])
        np.testing.assert_allclose(pinned, mapping.to_map(open_source(path).info)(at), atol=1e-6)
        with GCPTransformer(points, tps=True) as transformer:
            x, y = transformer.xy(xy[:, 1], xy[:, 0])
    # What software that warps by control points will make of it.
    assert np.hypot(*(np.column_stack([x, y]) - truth).T).max() < 0.15 * 10


def test_another_zone_is_a_little_curved(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    x, y = reproject_points([PLACE @ (0, 0)], UTM31, UTM32)[0]
    image(path, crs=UTM32, transform=Affine(10, 0, x, 0, -10, y))
    error = apply_geotransform(mapping_of(), path, out)
    assert 0 < error < 0.05
    with rasterio.open(out) as dataset:
        assert dataset.crs == UTM32
        transform = dataset.transform
    info = open_source(path).info
    xy = np.array([[0.0, 0.0], [699, 599], [350, 20]])
    truth = reproject_points(mapping_of().to_map(info)(xy), UTM31, UTM32)
    off = apply_affine(~transform, truth) - 0.5 - xy
    assert np.hypot(*off.T).max() <= error + 1e-9


def test_an_image_without_geocoding_gets_one(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    pixels = image(path, crs=None, transform=None)
    matrix = np.array([[0.9, 0.1, 3], [-0.1, 0.9, 5], [0, 0, 1]])
    mapping = GeoCorrection(Transform("homography", matrix), summary(), summary(None), False)
    assert apply_geotransform(mapping, path, out) < 1e-6
    with rasterio.open(out) as dataset:
        assert dataset.crs == UTM31
        np.testing.assert_array_equal(dataset.read(), pixels)
        reference = apply_affine(~PLACE, apply_affine(dataset.transform, [(10.5, 20.5)])) - 0.5
    np.testing.assert_allclose(mapping.correction.apply(reference), [[10, 20]], atol=1e-5)
    bare = GeoCorrection(Transform("homography", matrix), summary(None), summary(None), False)
    with pytest.raises(InputError, match="no geotransform to give"):
        apply_geotransform(bare, path, out, overwrite=True)


def test_no_turn_where_there_is_none(tmp_path: Path) -> None:
    """Rounding must not make a rotated raster of a plain one."""
    path = tmp_path / "a.tif"
    image(path)
    transform, _, _ = corrected_transform(mapping_of(), open_source(path).info)
    assert (transform.b, transform.d) == (0, 0)
    x, y = reproject_points([PLACE @ (0, 0)], UTM31, CRS.from_epsg(4326))[0]
    image(path, crs=CRS.from_epsg(4326), transform=Affine(1e-4, 0, x, 0, -1e-4, y))
    nothing = mapping_of(np.eye(3))
    transform, _, error = corrected_transform(nothing, open_source(path).info)
    assert error < 1e-4
    assert transform.almost_equals(Affine(1e-4, 0, x, 0, -1e-4, y), 1e-9)


def test_existing_files_are_kept(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    image(path)
    out.write_text("precious")
    with pytest.raises(OutputError, match="already exists"):
        apply_geotransform(mapping_of(), path, out)
    with pytest.raises(OutputError, match="file to be read"):
        apply_geotransform(mapping_of(), path, path, overwrite=True)
    assert out.read_text() == "precious"
