"""A registration on other rasters: every product of the scene comes to lie on the same ground."""

from __future__ import annotations

import contextlib
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.errors import CRSError, NotGeoreferencedWarning

from imatch.core.errors import (
    ConfigError,
    ImatchError,
    InputError,
    NoOverlapError,
    OutputError,
)
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.pipeline.apply.geotransform import apply_geotransform, corrected_transform
from imatch.pipeline.apply.output_grid import output_lattice
from imatch.pipeline.apply.raster import apply_raster, named_as_classes
from imatch.pipeline.apply.vector import apply_vector
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary
from imatch.raster import RasterInfo
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points

UTM31, UTM32, MERCATOR = (CRS.from_epsg(code) for code in (32631, 32632, 3857))
PLACE = Affine(10, 0, 600000, 0, -10, 5000040)
SIZE = (600, 540)
SIGMA_M = 150.0


def summary(transform: Affine | None, crs: CRS | None, size: tuple[int, int] = SIZE) -> Any:
    place = None if transform is None else tuple(transform)[:6]
    return ImageSummary("scene.tif", *size, (), None if crs is None else crs.to_string(), place)


def mapping_of(
    *, local: bool = False, reference: Affine = PLACE, crs: CRS = UTM31, target: Any = None
) -> GeoCorrection:
    """What the target shows lies some 70 m from where its geocoding puts it, turned a little."""
    middle = np.array(PLACE @ (300, 270))
    matrix = np.array([[1.0004, 0.0021, 0], [-0.0021, 1.0004, 0], [0, 0, 1.0]])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + (61.7, -38.3)
    field = None
    if local:
        rng = np.random.default_rng(2)
        origin = middle - 5 * 2000.0
        field = DisplacementGrid(
            "spline", (origin[0], origin[1]), (2000.0, 2000.0), rng.normal(0, 30, (11, 11, 2))
        )
    return GeoCorrection(
        Transform("homography", matrix, field),
        summary(reference, crs),
        target or summary(PLACE, UTM31),
        True,
    )


def places() -> NDArray[np.float64]:
    """(N, 2) true positions of blobs in `UTM31`."""
    x, y = np.meshgrid(np.arange(1000, 5200, 1100.0), np.arange(900, 4700, 1100.0))
    return np.column_stack([600000 + x.ravel(), 5000040 - y.ravel()])


def draw(
    path: Path, mapping: GeoCorrection, gsd: float, crs: CRS = UTM31, **profile: Any
) -> NDArray[np.float64]:
    """The blobs as the target sees them, in pixels of a size; gives the true positions."""
    believed = mapping.correction.apply(places())
    size = round(6000 / gsd), round(5400 / gsd)
    transform = PLACE @ Affine.scale(gsd / 10)
    if crs != UTM31:
        x, y = reproject_points([PLACE @ (300, 270)], UTM31, crs)[0]
        # Mercator's metres are shorter than the ground's.
        unit = gsd * (1.415 if crs == MERCATOR else 1)
        transform = Affine.translation(x, y) @ Affine.scale(unit, -unit)
        transform @= Affine.translation(-size[0] / 2, -size[1] / 2)
    pixels = np.zeros(size[::-1])
    centres = apply_affine(~transform, reproject_points(believed, UTM31, crs)) - 0.5
    v, u = np.mgrid[: size[1], : size[0]]
    for x, y in centres:
        pixels += np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * (SIGMA_M / gsd) ** 2))
    dtype = profile.pop("dtype", "uint16")
    with rasterio.open(
        path, "w", driver=profile.pop("driver", "GTiff"), count=1, width=size[0], height=size[1],
        dtype=dtype, crs=crs, transform=transform, **profile,
    ) as out:  # fmt: skip
        out.write((100 + 20000 * pixels)[None].astype(dtype))
    return places()


def slip_px(path: Path, expected: NDArray[np.float64], crs: CRS = UTM31) -> float:
    """Largest distance of a blob from its true place, in pixels of the file."""
    with rasterio.open(path) as dataset:
        pixels, transform = dataset.read(1).astype(float) - 100, dataset.transform
    there = apply_affine(~transform, reproject_points(expected, UTM31, crs)) - 0.5
    reach = 3 * SIGMA_M / np.sqrt(abs(transform.determinant))
    worst, seen = 0.0, 0
    for x, y in there:
        if min(x, y, pixels.shape[1] - x, pixels.shape[0] - y) < reach + 1:
            continue
        left, top, side = int(x - reach), int(y - reach), int(2 * reach + 2)
        v, u = np.mgrid[top : top + side, left : left + side]
        weight = np.clip(pixels[v, u], 0, None) * (np.hypot(u - x, v - y) <= reach)
        dx, dy = np.average(u, weights=weight) - x, np.average(v, weights=weight) - y
        worst, seen = max(worst, float(np.hypot(dx, dy))), seen + 1
    assert seen >= 6
    return worst


@pytest.mark.parametrize("local", [False, True])
def test_siblings_and_vectors_lie_on_one_ground(tmp_path: Path, local: bool) -> None:
    mapping = mapping_of(local=local)
    for gsd in (10, 20, 60):
        path, out = tmp_path / f"{gsd}.tif", tmp_path / f"out{gsd}.tif"
        truth = draw(path, mapping, gsd)
        assert slip_px(path, truth) > 60 / gsd
        lattice = apply_raster(mapping, path, out)
        assert slip_px(out, truth) < 0.05
        with rasterio.open(out) as dataset:
            # Pixel edges coincide with the reference's, and the frame is its own.
            assert dataset.transform == PLACE @ Affine.scale(gsd // 10) == lattice.transform
            assert dataset.bounds == (600000, 4994640, 606000, 5000040)
            assert dataset.tags()["IMATCH_SOURCE"] == path.name
            assert dataset.tags()["IMATCH_LOCAL"] == ("spline" if local else "none")
    drawn, moved = tmp_path / "drawn.gpkg", tmp_path / "moved.gpkg"
    believed = mapping.correction.apply(truth)
    geopandas.GeoSeries.from_xy(*believed.T, crs="EPSG:32631").to_crs(32632).to_file(drawn)
    assert apply_vector(mapping, drawn, moved) == len(truth)
    there = geopandas.read_file(moved)
    assert there.crs.to_epsg() == 32632
    back = there.to_crs(32631).geometry
    assert np.abs(np.column_stack([back.x, back.y]) - truth).max() < 0.05 * 10


@pytest.mark.parametrize("crs", [UTM32, MERCATOR])
def test_products_in_another_crs(tmp_path: Path, crs: CRS) -> None:
    mapping = mapping_of(local=True)
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    truth = draw(path, mapping, 20, crs)
    apply_raster(mapping, path, out)
    with rasterio.open(out) as dataset:
        assert dataset.crs == UTM31
        if crs == UTM32:
            assert dataset.transform == PLACE @ Affine.scale(2)
    # Mercator shows a round blob wider to the north than to the south.
    assert slip_px(out, truth) < 0.05
    own = tmp_path / "own.tif"
    apply_raster(mapping, path, own, grid="target")
    with rasterio.open(path) as before, rasterio.open(own) as dataset:
        assert (dataset.transform, dataset.crs) == (before.transform, before.crs)
        assert dataset.shape == before.shape
    assert slip_px(own, truth, crs) < 0.05


def info(transform: Affine, crs: CRS | None, size: tuple[int, int]) -> RasterInfo:
    return RasterInfo(None, *size, 1, ("uint8",), ("1",), transform, crs, None, "array", "a.tif")


def test_the_grid_follows_the_pixels() -> None:
    mapping = mapping_of()
    same = output_lattice(mapping, info(PLACE @ Affine.translation(31, 7), UTM31, (100, 100)))
    assert same == mapping.reference_lattice
    fine = output_lattice(mapping, info(PLACE @ Affine.scale(0.3), UTM31, (2000, 1800)))
    assert fine.transform.almost_equals(PLACE @ Affine.scale(0.3), 1e-9)
    assert fine.size == (2000, 1800)
    odd = output_lattice(mapping, info(PLACE @ Affine.scale(7), UTM31, (86, 78)))
    assert odd.size == (86, 78)  # the last pixels reach over the frame
    x, y = reproject_points([PLACE @ (300, 270)], UTM31, UTM32)[0]
    zone = Affine(20, 0, x, 0, -20, y)
    assert output_lattice(mapping, info(zone, UTM32, (300, 270))).transform == PLACE @ Affine.scale(
        2
    )


_NUMBER = re.compile(r"(?<=,)-?[0-9.]+(?=[],])")
# Without the authorities' codes, by which damaged numbers would be put right.
_WKT = UTM31.to_wkt(version="WKT1_ESRI")


@pytest.mark.parametrize("value", ["0", "-1", "3.4e38", "-1e308", "1e-300"])
@pytest.mark.parametrize("number", range(len(_NUMBER.findall(_WKT))))
def test_a_crs_with_a_damaged_number_is_used_or_refused(number: int, value: str) -> None:
    """Whatever PROJ makes of it, what comes out is finite, or one line says why there is none."""
    at = list(_NUMBER.finditer(_WKT))[number].span()
    try:
        crs = CRS.from_wkt(_WKT[: at[0]] + value + _WKT[at[1] :])
        crs.to_wkt()
    except CRSError:
        return  # No file can be opened with it.
    there = info(PLACE, crs, (300, 270))
    with contextlib.suppress(ImatchError):
        lattice = output_lattice(mapping_of(), there)
        assert np.isfinite(list(lattice.transform)).all()
        assert not lattice.transform.is_degenerate
    with contextlib.suppress(ImatchError):
        transform, _, error_px = corrected_transform(mapping_of(), there)
        assert np.isfinite([*transform, error_px]).all()
        assert not transform.is_degenerate


@pytest.mark.parametrize("meridian", ["-1e308", "3.4e38"])
def test_a_crs_that_puts_everything_in_one_place_is_refused(meridian: str) -> None:
    damaged = UTM31.to_wkt().replace('"central_meridian",3', f'"central_meridian",{meridian}')
    assert meridian in damaged
    there = info(PLACE, CRS.from_wkt(damaged), (300, 270))
    with pytest.raises(InputError, match=r"a\.tif: .*no size on the reference.*check its CRS"):
        output_lattice(mapping_of(), there)


def test_a_geotransform_that_gives_pixels_no_size_is_refused() -> None:
    damaged = _WKT.replace("0.0174532925199433", "3.4e38", 1)
    assert "3.4e38" in damaged
    there = info(PLACE, CRS.from_wkt(damaged), (300, 270))
    with pytest.raises(InputError, match=r"a\.tif: .*no size on the map.*check its CRS"):
        corrected_transform(mapping_of(), there)


def test_degrees() -> None:
    """A reference in degrees: pixels of 20 m get as many degrees as they measure."""
    lon, lat = reproject_points([PLACE @ (300, 270)], UTM31, WGS84)[0]
    degrees = Affine.translation(lon - 0.03, lat + 0.03) @ Affine.scale(1e-4, -1e-4)
    correction = Transform("translation", np.eye(3))
    mapping = GeoCorrection(correction, summary(degrees, WGS84), summary(PLACE, UTM31), True)
    lattice = output_lattice(mapping, info(PLACE @ Affine.scale(2), UTM31, (300, 270)))
    assert lattice.transform.a == -lattice.transform.e
    metres = lattice.transform.a * 111_200 * np.sqrt(np.cos(np.radians(lat)))
    assert metres == pytest.approx(20, rel=0.01)
    assert lattice.transform @ (0, 0) == degrees @ (0, 0)


def test_res_and_bounds(tmp_path: Path) -> None:
    mapping = mapping_of()
    whole = info(PLACE, UTM31, SIZE)
    coarse = output_lattice(mapping, whole, res=30)
    assert (coarse.transform, coarse.size) == (PLACE @ Affine.scale(3), (200, 180))
    part = output_lattice(mapping, whole, bounds=(600991, 4997000, 602000, 4998003))
    assert part.transform == PLACE @ Affine.translation(99, 203)
    assert part.size == (101, 101)
    beyond = output_lattice(mapping, whole, bounds=(599000, 5000000, 599500, 5001000))
    assert (beyond.transform.c, beyond.transform.f) == (599000, 5001000)
    turned = mapping_of(reference=PLACE @ Affine.rotation(30))
    box = output_lattice(turned, whole, bounds=(601000, 4997000, 602000, 4998000))
    corners = apply_affine(
        ~box.transform, [(601000, 4997000), (602000, 4998000), (601000, 4998000), (602000, 4997000)]
    )
    assert corners.min() > -1e-3
    assert (corners < np.array(box.size) + 1e-3).all()
    assert max(box.size) < 145
    with pytest.raises(ConfigError, match="units of metre"):
        output_lattice(mapping, whole, res=1e-3)
    draw(tmp_path / "a.tif", mapping, 20)
    apply_raster(mapping, tmp_path / "a.tif", tmp_path / "o.tif", res=10, grid="target")
    assert slip_px(tmp_path / "o.tif", places()) < 0.05


def test_classes_and_their_names(tmp_path: Path) -> None:
    for name in (
        "T31TCJ_20180823T105019_SCL_20m.jp2",
        "MSK_CLDPRB_20m.jp2",
        "MSK_CLASSI_B00.jp2",
        "LC08_L2SP_QA_PIXEL.TIF",
        "scene.mask.tif",
        "cloud.tif",
    ):
        assert named_as_classes(name)
    for name in (
        "T31TCJ_20180823T105019_B04_10m.jp2",
        "masked-scene.tif",
        "classic.tif",
        "aqua.tif",
    ):
        assert not named_as_classes(f"/data/MSK/{name}")
    rng = np.random.default_rng(0)
    classes = (rng.integers(0, 2, (270, 300)) * 11).astype(np.uint8)
    path, out = tmp_path / "T31TCJ_SCL_20m.tif", tmp_path / "out.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=300, height=270, dtype="uint8",
        crs=UTM31, transform=PLACE @ Affine.scale(2),
    ) as dataset:  # fmt: skip
        dataset.write(classes[None])
    apply_raster(mapping_of(), path, out)
    with rasterio.open(out) as dataset:
        assert set(np.unique(dataset.read(1))) == {0, 11}
    apply_raster(mapping_of(), path, out, resampling="bilinear", overwrite=True)
    with rasterio.open(out) as dataset:
        assert len(np.unique(dataset.read(1))) > 5


@pytest.mark.parametrize("cog", [False, True])
@pytest.mark.parametrize("move", [partial(apply_raster, grid="target"), apply_geotransform])
def test_reduced_levels_make_no_new_classes(tmp_path: Path, move: Any, cog: bool) -> None:
    rng = np.random.default_rng(0)
    classes = (3 + 8 * rng.integers(0, 2, (1100, 1100))).astype(np.uint8)
    path, out = tmp_path / "T31TCJ_SCL_20m.png", tmp_path / "out.tif"
    with rasterio.open(
        path, "w", driver="PNG", count=1, width=1100, height=1100, dtype="uint8",
        crs=UTM31, transform=PLACE @ Affine.scale(2),
    ) as dataset:  # fmt: skip
        dataset.write(classes[None])
    move(mapping_of(), path, out, cog=cog)
    with rasterio.open(out, OVERVIEW_LEVEL=0) as dataset:
        assert set(np.unique(dataset.read(1))) <= {0, 3, 11}


def write_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """A picture without geocoding."""
    height, width = pixels.shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path, "w", driver="PNG", count=1, width=width, height=height, dtype="uint8"
        ) as dataset:
            dataset.write(pixels[None])
    return path


def test_pixels_without_a_map(tmp_path: Path) -> None:
    """Neither image is geocoded: the reference's plane, and a sibling twice as coarse."""
    matrix = np.array([[1, 0, 6.0], [0, 1, -4.0], [0, 0, 1]])
    bare = summary(None, None)
    mapping = GeoCorrection(Transform("homography", matrix), bare, bare, False)
    y, x = np.mgrid[:270, :300]
    pixels = (x // 2 + y // 3).astype(np.uint8)
    path, out = write_png(tmp_path / "half.png", pixels), tmp_path / "out.tif"
    lattice = apply_raster(mapping, path, out, resampling="nearest")
    assert lattice.crs is None
    assert lattice.size == (300, 270)
    with pytest.warns(NotGeoreferencedWarning):
        dataset = rasterio.open(out)
    with dataset:
        np.testing.assert_array_equal(dataset.read(1)[2:, :-3], pixels[:-2, 3:])
        assert dataset.crs is None
    with pytest.raises(InputError, match="no place in a pixel plane"):
        apply_raster(mapping, path, out, grid="target", overwrite=True)


def test_an_image_without_geocoding_gets_on_the_map(tmp_path: Path) -> None:
    matrix = np.array([[0.5, 0, 0.0], [0, 0.5, 0.0], [0, 0, 1]])
    mapping = GeoCorrection(
        Transform("homography", matrix),
        summary(PLACE, UTM31),
        summary(None, None, (300, 270)),
        False,
    )
    path, out = tmp_path / "a.png", tmp_path / "out.tif"
    write_png(path, np.full((270, 300), 9, dtype=np.uint8))
    apply_raster(mapping, path, out)
    with rasterio.open(out) as dataset:
        assert (dataset.crs, dataset.transform) == (UTM31, PLACE)
        assert dataset.shape == SIZE[::-1]
        assert (dataset.read(1) == 9).mean() > 0.99
    with pytest.raises(InputError, match="is not geocoded"):
        apply_raster(mapping, path, out, grid="target", overwrite=True)


def test_what_lies_elsewhere_or_nowhere(tmp_path: Path) -> None:
    mapping = mapping_of()
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=30, height=27, dtype="uint8",
        crs=UTM31, transform=Affine.translation(90000, 0) @ PLACE,
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 27, 30), dtype=np.uint8))
    with pytest.raises(NoOverlapError, match=r"a.tif: none of it.*--grid target"):
        apply_raster(mapping, path, out)
    apply_raster(mapping, path, out, grid="target")
    # Smaller than the meshes by which a large grid is searched.
    with rasterio.open(
        path, "w", driver="GTiff", count=1, width=3, height=3, dtype="uint8",
        crs=UTM31, transform=PLACE @ Affine.translation(217, 321),
    ) as dataset:  # fmt: skip
        dataset.write(np.ones((1, 3, 3), dtype=np.uint8))
    apply_raster(mapping, path, out, overwrite=True)
    with rasterio.open(out) as dataset:
        assert 4 <= dataset.read(1).sum() <= 16
    with pytest.raises(OutputError, match="already exists"):
        apply_raster(mapping, path, out)
