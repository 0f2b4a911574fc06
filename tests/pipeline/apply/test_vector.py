"""Vectors move with the raster: attributes, heights, CRSs and formats stay what they were."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from affine import Affine
from shapely.geometry import LineString, MultiPolygon, Point, Polygon, box

from imatch.core.errors import InputError, OutputError
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.pipeline.apply.vector import apply_vector
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary

PLACE = Affine(10, 0, 600000, 0, -10, 5000000)


def summary(transform: Affine | None = PLACE, crs: str | None = "EPSG:32631") -> ImageSummary:
    place = None if transform is None else tuple(transform)[:6]
    return ImageSummary("a.tif", 1000, 1000, (), crs if place else None, place)


def shifted(x: float = 50.0, y: float = -30.0, **images: Any) -> GeoCorrection:
    """Everything lies (x, y) metres too far."""
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    reference, target = images.get("reference", summary()), images.get("target", summary())
    return GeoCorrection(
        Transform("homography", matrix), reference, target, images.get("on_map", True)
    )


def bent() -> GeoCorrection:
    coefficients = np.random.default_rng(0).normal(0, 60, (10, 10, 2))
    field = DisplacementGrid("spline", (598000.0, 4988000.0), (2000.0, 2000.0), coefficients)
    return GeoCorrection(Transform("translation", np.eye(3), field), summary(), summary(), True)


def fields(crs: Any = "EPSG:32631") -> geopandas.GeoDataFrame:
    shapes = [
        box(601000, 4995000, 601500, 4995500),
        MultiPolygon(
            [box(602000, 4994000, 602100, 4994100), box(603000, 4994000, 603100, 4994100)]
        ),
        None,
        Polygon(),
    ]
    columns = {
        "name": ["Forêt", "", None, "d"],
        "crop": pd.array([1, None, 3, 4], dtype="Int64"),
        "area": [1.5, np.nan, -2.0, 0.0],
        "seen": [datetime.datetime(2018, 8, d + 1) for d in range(4)],
    }
    table = geopandas.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32631")
    return table.to_crs(crs) if crs is not None else table.set_crs(None, allow_override=True)


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
@pytest.mark.parametrize("crs", ["EPSG:32631", "EPSG:4326", "EPSG:32632"])
def test_formats(tmp_path: Path, suffix: str, crs: str) -> None:
    path, out = tmp_path / f"a{suffix}", tmp_path / f"out{suffix}"
    table = fields(crs)
    if suffix == ".fgb":
        # FlatGeobuf has no place for shapes that are not there.
        table = table.iloc[:2]
    if suffix == ".shp":
        table = table.drop(columns="seen")  # It has days, no hours.
    table.to_file(path)
    before = geopandas.read_file(path)
    assert apply_vector(shifted(), path, out) == len(table)
    after = geopandas.read_file(out)
    assert after.crs == before.crs
    metres = [part.to_crs(32631).geometry for part in (before, after)]
    for old, new in zip(*metres, strict=True):
        if old is None or old.is_empty:
            assert new is None or new.is_empty
            continue
        expected = shapely.affinity.translate(old, -50, 30)
        assert shapely.hausdorff_distance(new, expected) < 5e-3
    for column in table.columns.drop("geometry"):
        pd.testing.assert_series_equal(before[column], after[column])
    kinds = [pyogrio.read_info(file)["dtypes"] for file in (path, out)]
    assert list(kinds[0]) == list(kinds[1])


def test_heights_stay(tmp_path: Path) -> None:
    shapes = [
        LineString([(600000, 4995000, 100), (600500, 4995500, 120)]),
        Point(600100, 4995100, 7.5),
        LineString([(600000, 4995000), (600500, 4995500)]),
    ]
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    geopandas.GeoDataFrame(geometry=shapes, crs=32631).to_file(path)
    apply_vector(shifted(), path, out)
    found = geopandas.read_file(out).geometry
    assert list(found.has_z) == [True, True, False]
    assert found[0].coords[1] == pytest.approx((600450, 4995530, 120))
    assert found[1].coords[0] == pytest.approx((600050, 4995130, 7.5))


def test_every_layer_and_tables_without_shapes(tmp_path: Path) -> None:
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    fields().to_file(path, layer="fields")
    fields("EPSG:4326").iloc[:1].to_file(path, layer="one", mode="a")
    pyogrio.write_dataframe(
        pd.DataFrame({"code": [1, 2], "text": ["x", "y"]}), path, layer="legend", append=False
    )
    assert apply_vector(shifted(), path, out) == 7
    assert sorted(name for name, _ in pyogrio.list_layers(out)) == ["fields", "legend", "one"]
    legend = pyogrio.read_dataframe(out, layer="legend")
    assert list(legend["text"]) == ["x", "y"]
    assert geopandas.read_file(out, layer="one").crs.to_epsg() == 4326
    with pytest.raises(OutputError, match=r"holds 3 layers.*write a .gpkg"):
        apply_vector(shifted(), path, tmp_path / "out.geojson")


def test_long_segments_bend_where_the_field_does(tmp_path: Path) -> None:
    mapping = bent()
    long = LineString([(600500, 4990500), (609500, 4999500)])
    short = box(604000, 4995000, 604040, 4995040)
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    geopandas.GeoDataFrame(geometry=[long, short], crs=32631).to_file(path)
    apply_vector(mapping, path, out)
    found = geopandas.read_file(out).geometry
    assert len(found[0].coords) > 10
    assert len(found[1].exterior.coords) == 5
    along = shapely.line_interpolate_point(long, np.linspace(0, long.length, 2000))
    believed = np.column_stack([shapely.get_x(along), shapely.get_y(along)])
    true = shapely.points(mapping.correction.inverse(believed))
    # Nowhere further from the true curve than a twentieth of a pixel.
    assert shapely.distance(found[0], true).max() < 0.5
    # A shift bends nothing.
    apply_vector(shifted(), path, out, overwrite=True)
    assert len(geopandas.read_file(out).geometry[0].coords) == 2


def test_polygons_stay_valid(tmp_path: Path) -> None:
    """A field that shears slivers over themselves."""
    coefficients = np.zeros((12, 12, 2))
    coefficients[5:7, 5:7, 0] = 900
    field = DisplacementGrid("spline", (598000.0, 4990000.0), (1000.0, 1000.0), coefficients)
    mapping = GeoCorrection(Transform("translation", np.eye(3), field), summary(), summary(), True)
    rng = np.random.default_rng(0)
    slivers = []
    for _ in range(100):
        x, y, w = *rng.uniform([601000, 4993000], [606000, 4998000]), rng.uniform(0.01, 400)
        slivers.append(
            Polygon([(x, y), (x + w, y + 1500), (x + w + 1e-3, y + 1500), (x + 1e-3, y)])
        )
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    table = geopandas.GeoDataFrame({"id": range(100)}, geometry=slivers, crs=32631)
    table.to_file(path)
    assert table.is_valid.all()
    apply_vector(mapping, path, out)
    found = geopandas.read_file(out)
    assert found.is_valid.all()
    assert set(found.geom_type) <= {"Polygon", "MultiPolygon"}
    assert list(found["id"]) == list(range(100))


@pytest.mark.parametrize("on_map", [True, False])
def test_pixels_of_a_target_without_a_map(tmp_path: Path, on_map: bool) -> None:
    reference = summary() if on_map else summary(None)
    mapping = shifted(3, 2, reference=reference, target=summary(None), on_map=False)
    path, out = tmp_path / "a.geojson", tmp_path / "out.geojson"
    path.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"a": 1},'
        ' "geometry": {"type": "Point", "coordinates": [13, 12]}}]}'
    )
    apply_vector(mapping, path, out)
    found = geopandas.read_file(out)
    point = found.geometry[0]
    if on_map:
        assert found.crs.to_epsg() == 4326
        point = found.to_crs(32631).geometry[0]
        # Pixel (10, 10), whose centre lies half a pixel inside.
        assert (point.x, point.y) == pytest.approx((600105, 4999895), abs=0.01)
        apply_vector(mapping, path, tmp_path / "out.gpkg")
        point = geopandas.read_file(tmp_path / "out.gpkg")
        assert point.crs.to_epsg() == 32631
    else:
        assert (point.x, point.y) == pytest.approx((10, 10))
    other = tmp_path / "b.gpkg"
    fields().to_file(other)
    with pytest.raises(InputError, match=r"b.gpkg \(b\): lies on a map"):
        apply_vector(mapping, other, tmp_path / "no.gpkg")


def test_across_the_antimeridian(tmp_path: Path) -> None:
    place = Affine(1e-4, 0, 179.95, 0, -1e-4, 52.05)
    shift = np.array([[1, 0, 0.002], [0, 1, 0.001], [0, 0, 1.0]])
    image = summary(place, "EPSG:4326")
    mapping = GeoCorrection(Transform("translation", shift), image, image, True)
    path, out = tmp_path / "a.geojson", tmp_path / "out.geojson"
    shapes = [Point(179.99, 52), Point(-179.99, 52), box(179.9, 52, 180, 52.01)]
    geopandas.GeoDataFrame(geometry=shapes, crs=4326).to_file(path)
    apply_vector(mapping, path, out)
    found = geopandas.read_file(out).geometry
    assert (found[0].x, found[0].y) == pytest.approx((179.988, 51.999))
    assert (found[1].x, found[1].y) == pytest.approx((-179.992, 51.999))
    assert found[2].bounds == pytest.approx((179.898, 51.999, 179.998, 52.009))


def test_what_cannot_be_done(tmp_path: Path) -> None:
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    with pytest.warns(UserWarning, match="crs"):
        fields(None).to_file(path)
    with pytest.raises(InputError, match=r"a.gpkg \(a\): has no CRS"):
        apply_vector(shifted(), path, out)
    fields().to_file(path)
    with pytest.raises(OutputError, match=r"no vector format has the suffix '.dwg'"):
        apply_vector(shifted(), path, tmp_path / "out.dwg")
    with pytest.raises(OutputError, match="file to be read"):
        apply_vector(shifted(), path, path, overwrite=True)
    out.write_text("precious")
    with pytest.raises(OutputError, match="already exists"):
        apply_vector(shifted(), path, out)
    assert out.read_text() == "precious"
    text = tmp_path / "text.gpkg"
    text.write_text("no vectors")
    with pytest.raises(InputError, match="cannot be read as vectors"):
        apply_vector(shifted(), text, tmp_path / "new.gpkg")
    with pytest.raises(InputError, match="no such file"):
        apply_vector(shifted(), tmp_path / "none.gpkg", tmp_path / "new.gpkg")
    assert not (tmp_path / "new.gpkg").exists()


def test_an_empty_layer(tmp_path: Path) -> None:
    path, out = tmp_path / "a.gpkg", tmp_path / "out.gpkg"
    fields().iloc[:0].to_file(path)
    assert apply_vector(bent(), path, out) == 0
    assert geopandas.read_file(out).crs.to_epsg() == 32631
