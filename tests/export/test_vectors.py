from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
from pyproj import Transformer

from imatch.core.errors import OutputError
from imatch.export import write
from imatch.export.tables import columns
from imatch.pipeline.registration.result import Registration


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class TestGeoJson:
    def test_positions_are_longitude_and_latitude(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        path = tmp_path / "r.geojson"
        write(registration, path)
        frame = geopandas.read_file(path)
        assert frame.crs == "EPSG:4326"
        expected = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform(
            *registration.tie_points.map_xy.T  # type: ignore[union-attr]
        )
        np.testing.assert_allclose(frame.geometry.x, expected[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(frame.geometry.y, expected[1], rtol=0, atol=1e-9)
        np.testing.assert_array_equal(frame["residual_px"], registration.tie_points.residual_px)
        np.testing.assert_array_equal(frame["inlier"], registration.tie_points.inlier)

    def test_the_figures_ride_along(self, registration: Registration, tmp_path: Path) -> None:
        write(registration, tmp_path / "r.geojson")
        collection = read_json(tmp_path / "r.geojson")
        assert collection["type"] == "FeatureCollection"
        assert "crs" not in collection, "RFC 7946 knows only WGS 84"
        assert collection["imatch"]["coordinates"] == "WGS 84 longitude, latitude"
        assert collection["imatch"]["rmse_px"] == registration.rmse_px
        assert "tie_points" not in collection["imatch"]

    def test_without_geocoding_points_lie_where_qgis_lays_the_pixels(
        self, make: Callable[..., Registration], tmp_path: Path
    ) -> None:
        registration = make(geocoded=False)
        write(registration, tmp_path / "r.geojson")
        collection = read_json(tmp_path / "r.geojson")
        assert collection["imatch"]["coordinates"].startswith("reference pixels: x + 0.5, -(y")
        first = collection["features"][0]
        x, y = registration.tie_points.ref_xy[0]
        assert first["geometry"]["coordinates"] == pytest.approx([x + 0.5, -(y + 0.5)])
        assert first["properties"]["residual_m"] is None

    def test_a_map_without_a_name_keeps_its_coordinates(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        nameless = replace(registration, reference=replace(registration.reference, crs=None))
        write(nameless, tmp_path / "r.geojson")
        collection = read_json(tmp_path / "r.geojson")
        assert "unknown CRS" in collection["imatch"]["coordinates"]
        assert registration.tie_points.map_xy is not None
        assert collection["features"][0]["geometry"]["coordinates"] == pytest.approx(
            registration.tie_points.map_xy[0].tolist()
        )

    def test_another_planet_is_refused_with_advice(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        moon = "+proj=eqc +R=1737400 +units=m +no_defs"
        there = replace(
            registration,
            reference=replace(registration.reference, crs=moon),
            target=replace(registration.target, crs=moon),
        )
        with pytest.raises(OutputError, match=r"no way to longitude.*write a \.gpkg"):
            write(there, tmp_path / "r.geojson")
        write(there, tmp_path / "r.gpkg")
        crs = geopandas.read_file(tmp_path / "r.gpkg", layer="tie_points").crs
        assert crs.ellipsoid.semi_major_metre == 1737400


class TestGeoPackage:
    def test_tie_points_read_back(self, registration: Registration, tmp_path: Path) -> None:
        path = tmp_path / "r.gpkg"
        write(registration, path)
        frame = geopandas.read_file(path, layer="tie_points")
        assert frame.crs == "EPSG:32631"
        map_xy = registration.tie_points.map_xy
        assert map_xy is not None
        np.testing.assert_array_equal(frame.geometry.get_coordinates(), map_xy)
        for name, values in columns(registration).items():
            np.testing.assert_array_equal(frame[name], values, err_msg=name)
        assert list(frame.columns) == [*columns(registration), "geometry"]

    @pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:32630", "EPSG:4326"])
    def test_shift_vectors_run_from_the_claimed_to_the_true_place(
        self, crs: str, make: Callable[..., Registration], tmp_path: Path
    ) -> None:
        registration = make(target_crs=crs)
        write(registration, tmp_path / "r.gpkg")
        frame = geopandas.read_file(tmp_path / "r.gpkg", layer="shift_vectors")
        assert frame.crs == "EPSG:32631"
        assert set(frame.geom_type) == {"LineString"}
        assert len(frame) == len(registration.tie_points)
        start = np.array([line.coords[0] for line in frame.geometry])
        end = np.array([line.coords[-1] for line in frame.geometry])
        map_xy = registration.tie_points.map_xy
        assert map_xy is not None
        np.testing.assert_array_equal(end, map_xy)
        # The claimed place, the other way round: back into the target's pixels.
        coefficients = registration.target.transform
        assert coefficients is not None
        step, left, top = coefficients[0], coefficients[2], coefficients[5]
        x, y = Transformer.from_crs("EPSG:32631", crs, always_xy=True).transform(*start.T)
        pixel = np.column_stack([(x - left) / step - 0.5, (top - y) / step - 0.5])
        np.testing.assert_allclose(pixel, registration.tie_points.tgt_xy, atol=1e-4)
        np.testing.assert_allclose(frame["length"], frame.length)
        np.testing.assert_allclose(frame["dx"], (end - start)[:, 0])

    def test_without_geocoding_there_is_one_layer_and_no_crs(
        self, make: Callable[..., Registration], tmp_path: Path
    ) -> None:
        registration = make(geocoded=False)
        write(registration, tmp_path / "r.gpkg")
        assert [name for name, _ in pyogrio.list_layers(tmp_path / "r.gpkg")] == ["tie_points"]
        frame = geopandas.read_file(tmp_path / "r.gpkg")
        assert frame.crs is None or "ndefined" in frame.crs.name
        x, y = registration.tie_points.ref_xy[3]
        assert frame.geometry[3].coords[0] == pytest.approx((x + 0.5, -(y + 0.5)))

    def test_no_tie_points_are_empty_layers(
        self, make: Callable[..., Registration], tmp_path: Path
    ) -> None:
        write(make(status="failed", n=0, outliers=0), tmp_path / "r.gpkg")
        layers = dict(pyogrio.list_layers(tmp_path / "r.gpkg"))
        assert layers == {"tie_points": "Point", "shift_vectors": "LineString"}
        assert geopandas.read_file(tmp_path / "r.gpkg", layer="tie_points").empty

    def test_a_crs_that_is_none_is_one_clear_line(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        odd = replace(registration, reference=replace(registration.reference, crs="EPSG:0"))
        with pytest.raises(OutputError, match=r"r\.gpkg: the reference's CRS is not understood"):
            write(odd, tmp_path / "r.gpkg")
        assert list(tmp_path.iterdir()) == []


def test_the_geopackage_carries_the_figures(every: Registration, tmp_path: Path) -> None:
    path = tmp_path / "r.gpkg"
    write(every, path)
    metadata = pyogrio.read_info(path, layer="tie_points")["dataset_metadata"]
    document = every.to_dict()
    del document["tie_points"]
    assert json.loads(metadata["imatch"]) == document
