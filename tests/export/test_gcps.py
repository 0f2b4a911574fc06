from __future__ import annotations

import csv
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.errors import NotGeoreferencedWarning
from rasterio.vrt import WarpedVRT
from rasterio.warp import reproject

from imatch.core.errors import OutputError
from imatch.export import write
from imatch.pipeline.registration.result import Registration

Make = Callable[..., Registration]


def read_points(path: Path) -> tuple[str, dict[str, NDArray[np.float64]]]:
    """As ``QgsGCPList::loadGcps`` does: the CRS's line, a header, comma-separated rows."""
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    assert first.startswith("#CRS: ")
    rows = list(csv.DictReader(rest))
    assert rest[0] == "mapX,mapY,sourceX,sourceY,enable,dX,dY,residual"
    names = rest[0].split(",")
    table = {name: np.array([float(row[name]) for row in rows]) for name in names}
    return first.removeprefix("#CRS: "), table


class TestPoints:
    @pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:32630"])
    def test_geocoded_sources_are_map_coordinates_of_the_target(
        self, crs: str, make: Make, tmp_path: Path
    ) -> None:
        registration = make(target_crs=crs)
        write(registration, tmp_path / "r.points")
        wkt, table = read_points(tmp_path / "r.points")
        assert CRS.from_wkt(wkt) == CRS.from_epsg(32631)
        # QgsRasterChangeCoords::toColumnLine, where lines are negative downwards.
        a, _, left, _, e, top = registration.target.transform  # type: ignore[misc]
        column, line = (table["sourceX"] - left) / a, (top - table["sourceY"]) / e
        points = registration.tie_points
        np.testing.assert_allclose(column - 0.5, points.tgt_xy[:, 0], atol=1e-6)
        np.testing.assert_allclose(-line - 0.5, points.tgt_xy[:, 1], atol=1e-6)
        assert points.map_xy is not None
        np.testing.assert_array_equal(table["mapX"], points.map_xy[:, 0])
        np.testing.assert_array_equal(table["mapY"], points.map_xy[:, 1])

    def test_pixels_are_corner_based_with_y_upwards(self, make: Make, tmp_path: Path) -> None:
        registration = make(geocoded=False)
        write(registration, tmp_path / "r.points")
        wkt, table = read_points(tmp_path / "r.points")
        assert wkt == "", "QGIS writes an invalid CRS as nothing"
        points = registration.tie_points
        np.testing.assert_array_equal(table["sourceX"], points.tgt_xy[:, 0] + 0.5)
        np.testing.assert_array_equal(table["sourceY"], -(points.tgt_xy[:, 1] + 0.5))
        np.testing.assert_array_equal(table["mapX"], points.ref_xy[:, 0] + 0.5)
        np.testing.assert_array_equal(table["mapY"], -(points.ref_xy[:, 1] + 0.5))

    def test_an_array_onto_a_map_is_the_usual_georeferencing(
        self, make: Make, tmp_path: Path
    ) -> None:
        registration = make()
        plain = replace(registration.target, transform=None, crs=None, path=None)
        write(replace(registration, target=plain), tmp_path / "r.points")
        wkt, table = read_points(tmp_path / "r.points")
        assert wkt.startswith("PROJCRS")
        np.testing.assert_array_equal(
            table["sourceY"], -(registration.tie_points.tgt_xy[:, 1] + 0.5)
        )
        assert table["mapX"].min() > 499_000

    def test_only_points_that_agree_are_enabled(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        write(registration, tmp_path / "r.points")
        _, table = read_points(tmp_path / "r.points")
        np.testing.assert_array_equal(table["enable"] == 1, registration.tie_points.inlier)
        residual = registration.tie_points.residual_xy
        np.testing.assert_array_equal(np.column_stack([table["dX"], table["dY"]]), -residual)
        np.testing.assert_allclose(table["residual"], registration.tie_points.residual_px)

    def test_a_failure_enables_none(self, make: Make, tmp_path: Path) -> None:
        write(make(status="failed"), tmp_path / "r.points")
        _, table = read_points(tmp_path / "r.points")
        assert len(table["enable"]) == 200
        assert not table["enable"].any()
        assert not table["residual"].any()


def save_target(path: Path, image: NDArray[np.uint8], **profile: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = image.shape[:2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=width,
            height=height,
            count=image.shape[2],
            dtype="uint8",
            **profile,
        ) as file:
            file.write(np.moveaxis(image, 2, 0))


def with_file(make: Make, path: Path, **options: Any) -> Registration:
    """A registration whose target is a real file, geocoded 7 pixels wrong."""
    registration = make(target_path=str(path), **options)
    assert registration.preview is not None
    transform = registration.target.transform
    geocoding = {"crs": "EPSG:32631", "transform": Affine(*transform)} if transform else {}
    save_target(path, registration.preview.tgt, nodata=0, **geocoding)
    return registration


class TestVrt:
    def test_gcps_are_corner_based_and_replace_the_geocoding(
        self, make: Make, tmp_path: Path
    ) -> None:
        registration = with_file(make, tmp_path / "b.tif")
        write(registration, tmp_path / "r.vrt")
        with rasterio.open(tmp_path / "r.vrt") as vrt:
            gcps, crs = vrt.gcps
            assert vrt.transform == Affine.identity()
            assert vrt.crs is None
            assert (vrt.width, vrt.height, vrt.count) == (400, 300, 3)
            assert vrt.nodata == 0
            with rasterio.open(tmp_path / "b.tif") as target:
                np.testing.assert_array_equal(vrt.read(), target.read())
        assert crs == "EPSG:32631"
        points = registration.tie_points
        assert points.map_xy is not None
        for gcp in gcps:
            index = int(gcp.id)
            assert points.inlier[index]
            assert (gcp.col, gcp.row) == pytest.approx(tuple(points.tgt_xy[index] + 0.5))
            assert (gcp.x, gcp.y) == pytest.approx(tuple(points.map_xy[index]))

    def test_the_nodata_value_is_the_one_it_was_matched_with(
        self, make: Make, tmp_path: Path
    ) -> None:
        registration = with_file(make, tmp_path / "b.tif")
        config = {**registration.provenance.get("config", {}), "tgt_nodata": 255.0}
        provenance = {**registration.provenance, "config": config}
        write(replace(registration, provenance=provenance), tmp_path / "r.vrt")
        with rasterio.open(tmp_path / "r.vrt") as vrt:
            assert vrt.nodatavals == (255, 255, 255)

    def test_gdal_warps_it_onto_the_reference(self, make: Make, tmp_path: Path) -> None:
        registration = with_file(make, tmp_path / "b.tif", noise=0.0, outliers=20)
        write(registration, tmp_path / "r.vrt")
        reference = registration.reference
        assert reference.transform is not None
        assert registration.preview is not None
        landed = np.zeros((reference.height, reference.width), dtype=np.uint8)
        with rasterio.open(tmp_path / "r.vrt") as vrt:
            gcps, crs = vrt.gcps
            reproject(
                vrt.read(1),
                landed,
                gcps=gcps,
                src_crs=crs,
                dst_crs=crs,
                dst_transform=Affine(*reference.transform),
                resampling=Resampling.bilinear,
            )
            with WarpedVRT(vrt, crs="EPSG:32631") as warped:
                assert warped.transform.a == pytest.approx(10 / 1.001, abs=1e-4)
        # 240 and 320 are sizes whose Fourier transform OpenCV does not pad, which would bias it.
        part = (slice(30, 270), slice(40, 360))
        truth = registration.preview.ref[..., 0][part].astype(np.float64)
        found = landed[part].astype(np.float64)
        shift, response = cv2.phaseCorrelate(truth - truth.mean(), found - found.mean())
        assert response > 0.9
        assert shift == pytest.approx((0, 0), abs=0.05)

    def test_many_points_are_thinned_all_over_the_image(self, make: Make, tmp_path: Path) -> None:
        registration = with_file(make, tmp_path / "b.tif", n=3000, outliers=200)
        write(registration, tmp_path / "r.vrt")
        with rasterio.open(tmp_path / "r.vrt") as vrt:
            gcps = vrt.gcps[0]
        assert 100 <= len(gcps) <= 150
        chosen = np.array([int(gcp.id) for gcp in gcps])
        points = registration.tie_points
        assert points.residual_px[chosen].mean() < 0.5 * points.residual_px[points.inlier].mean()
        xy = points.tgt_xy[chosen]
        quarters = {(x > 200, y > 150) for x, y in xy}
        assert len(quarters) == 4

    def test_a_target_beside_it_is_named_relatively(self, make: Make, tmp_path: Path) -> None:
        registration = with_file(make, tmp_path / "job" / "in" / "b.tif")
        write(registration, tmp_path / "job" / "r.vrt")
        (tmp_path / "job").rename(tmp_path / "moved")
        with rasterio.open(tmp_path / "moved" / "r.vrt") as vrt:
            assert vrt.read(1).any()
        source = ET.parse(tmp_path / "moved" / "r.vrt").find(".//SourceFilename")  # noqa: S314
        assert source is not None
        assert (source.text, source.get("relativeToVRT")) == ("in/b.tif", "1")

    def test_a_target_elsewhere_is_named_absolutely(
        self, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with_file(make, tmp_path / "in" / "b.tif")
        (tmp_path / "out").mkdir()
        monkeypatch.chdir(tmp_path)
        write(make(target_path="in/b.tif"), Path("out/r.vrt"))
        monkeypatch.chdir("/")
        with rasterio.open(tmp_path / "out" / "r.vrt") as vrt:
            assert vrt.read(1).any()

    def test_a_target_that_is_a_vrt_itself_works(self, make: Make, tmp_path: Path) -> None:
        with_file(make, tmp_path / "b.tif")
        write(make(target_path=str(tmp_path / "b.tif")), tmp_path / "first.vrt")
        write(make(target_path=str(tmp_path / "first.vrt"), seed=0), tmp_path / "second.vrt")
        with rasterio.open(tmp_path / "second.vrt") as vrt:
            assert vrt.read(1).any()
            assert len(vrt.gcps[0]) > 90

    def test_a_target_without_geocoding_is_georeferenced(self, make: Make, tmp_path: Path) -> None:
        registration = make(target_path=str(tmp_path / "b.tif"))
        assert registration.preview is not None
        save_target(tmp_path / "b.tif", registration.preview.tgt)
        plain = replace(registration.target, crs=None, transform=None)
        write(replace(registration, target=plain), tmp_path / "r.vrt")
        with rasterio.open(tmp_path / "r.vrt") as vrt:
            assert vrt.gcps[1] == "EPSG:32631"

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"geocoded": False}, "the reference is not geocoded.*write .points"),
            ({"target_path": None}, "the target is an array"),
            ({"target_path": "gone.tif"}, "the target cannot be opened again"),
            ({"status": "failed"}, r"only 0 tie points agree and 3 are needed \(status failed"),
            ({"n": 2, "outliers": 0}, "only 2 tie points agree"),
        ],
    )
    def test_what_it_cannot_do_it_says(
        self, options: dict[str, Any], message: str, make: Make, tmp_path: Path
    ) -> None:
        with pytest.raises(OutputError, match=message):
            write(make(**options), tmp_path / "r.vrt")
        assert list(tmp_path.iterdir()) == []

    def test_another_file_under_the_same_name_is_refused(self, make: Make, tmp_path: Path) -> None:
        registration = with_file(make, tmp_path / "b.tif")
        larger = replace(registration.target, width=800)
        with pytest.raises(OutputError, match="3 bands of 400x300 pixels, and 800x300"):
            write(replace(registration, target=larger), tmp_path / "r.vrt")
