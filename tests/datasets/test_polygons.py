from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from shapely.geometry import LineString, Point, Polygon, box

from imatch.core.errors import InputError
from imatch.datasets.polygons import (
    Outline,
    Tally,
    appeared_between,
    keypoints_of,
    rasterized,
    read_polygons,
)

PLACE = Affine(10, 0, 1000, 0, -10, 5000)
UTM = CRS.from_epsg(32631)


def points(shape: Any, size: tuple[int, int] = (50, 40), **options: Any) -> list[Any]:
    return keypoints_of([Outline(shape, "", 0)], PLACE, size, error_px=1.0, **options)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(x=st.floats(2, 46), y=st.floats(2, 36))
def test_a_centroid_is_sub_pixel_and_by_the_pixel_rule(x: float, y: float) -> None:
    # The centre of pixel (x, y) is half a pixel from its corner.
    east, north = PLACE @ (x + 0.5, y + 0.5)
    (found,) = points(box(east - 7, north - 3, east + 7, north + 3))
    assert (found.x, found.y) == pytest.approx((x, y), abs=1e-6)
    assert found.kind == "centroid"


def test_a_bent_polygon_gets_a_point_inside() -> None:
    bend = box(1100, 4700, 1300, 4900).difference(box(1120, 4720, 1300, 4880))
    (found,) = points(bend)
    assert bend.contains(Point(PLACE @ (found.x + 0.5, found.y + 0.5)))


def test_larger_and_cruder_polygons_are_less_certain() -> None:
    small, large = points(box(1100, 4800, 1110, 4810)), points(box(1100, 4700, 1300, 4900))
    assert 0.29 < small[0].sigma < large[0].sigma
    crude = keypoints_of(
        [Outline(box(1100, 4800, 1110, 4810), "", 0)], PLACE, (50, 40), error_px=3.0
    )
    assert crude[0].sigma > small[0].sigma


def test_places_beyond_the_chip_belong_to_its_neighbour() -> None:
    edge = box(1490, 4800, 1510, 4820)
    assert points(edge) == []
    right = keypoints_of(
        [Outline(edge, "", 0)], PLACE @ Affine.translation(50, 0), (50, 40), error_px=1.0
    )
    assert [(p.x, p.y) for p in right] == [pytest.approx((-0.5, 18.5))]


def test_vertices_and_corners() -> None:
    # A square with one vertex in the middle of a side that hardly bends.
    shape = Polygon([(1100, 4800), (1200, 4812), (1300, 4800), (1300, 4600), (1100, 4600)])
    corners = points(shape, (50, 60), corners=True)
    assert [p.kind for p in corners] == ["centroid"] + ["corner"] * 4
    both = points(shape, (50, 60), vertices=True, corners=True)
    assert sorted(p.kind for p in both) == ["centroid"] + ["corner"] * 4 + ["vertex"]
    all_ = points(shape, (50, 60), vertices=True)
    assert sorted(p.kind for p in all_) == ["centroid"] + ["vertex"] * 5
    assert {p.sigma for p in all_ if p.kind == "vertex"} == {float(np.hypot(1 / np.sqrt(12), 1.0))}


def test_what_appeared_between_two_dates() -> None:
    outlines = [Outline(box(0, 0, 1, 1), date, 0) for date in ("20180101", "20180601", "")]
    assert [o.date for o in appeared_between(outlines, "20180701", "20180201")] == ["20180601"]
    # On the very image it was drawn on, it is there.
    assert [o.date for o in appeared_between(outlines, "20180201", "20180601")] == ["20180601"]
    assert appeared_between(outlines, "20180601", "20180701") == []
    assert appeared_between(outlines, "before", "after") == []
    assert [o.date for o in appeared_between(outlines, "201802", "201806")] == ["20180601"]


def test_polygons_are_burned_where_they_lie() -> None:
    mask = rasterized([Outline(box(1100, 4800, 1130, 4820), "", 0)], PLACE, (50, 40))
    assert np.argwhere(mask).min(axis=0).tolist() == [18, 10]
    assert 6 <= mask.sum() <= 12


def test_polygons_come_in_the_images_system(tmp_path: Path) -> None:
    path = tmp_path / "p.geojson"
    shape = box(500_000, 4_800_000, 500_100, 4_800_100)
    frame = geopandas.GeoDataFrame({"date": ["20180607"]}, geometry=[shape], crs="EPSG:32631")
    frame.to_crs("EPSG:3857").to_file(path.with_suffix(".gpkg"), driver="GPKG")
    tally = Tally()
    (outline,) = read_polygons(path.with_suffix(".gpkg"), UTM, tally)
    assert outline.shape.centroid.coords[0] == pytest.approx((500_050, 4_800_050), abs=0.01)
    assert outline.date == "20180607"
    assert (tally.features, tally.polygons, tally.undated) == (1, 1, 0)


@pytest.mark.parametrize(
    ("value", "date"),
    [
        ("2018-06-07T00:00:00", "20180607"),
        (20180607, "20180607"),
        ("not a date", ""),
        (None, ""),
    ],
)
def test_dates_in_many_forms(tmp_path: Path, value: Any, date: str) -> None:
    path = tmp_path / "p.gpkg"
    geopandas.GeoDataFrame({"img_date": [value]}, geometry=[box(0, 0, 9, 9)], crs=32631).to_file(
        path
    )
    assert read_polygons(path, UTM, Tally())[0].date == date


def test_a_file_without_polygons_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lines.geojson"
    lines = geopandas.GeoSeries([LineString([(0, 0), (1, 1)])], crs=4326)
    lines.to_file(path, driver="GeoJSON")
    with pytest.raises(InputError, match="none of its 1 features is a polygon"):
        read_polygons(path, UTM, Tally())
    path.write_text("{}")
    with pytest.raises(InputError, match="cannot be read as polygons"):
        read_polygons(path, UTM, Tally())
    with pytest.raises(InputError, match="no such file"):
        read_polygons(tmp_path / "gone.geojson", UTM, Tally())
