from __future__ import annotations

import math
from pathlib import Path

import geopandas
import pytest
from shapely.geometry import Point, box

from experiments.mountains.gazetteer import (
    Gazetteer,
    Place,
    core,
    is_ambiguous,
    load_gazetteer,
    shipped,
    whole,
)
from imatch.core.errors import InputError


@pytest.fixture(scope="module")
def gazetteer() -> Gazetteer:
    return load_gazetteer()


def test_what_is_shipped_is_sound(gazetteer: Gazetteer) -> None:
    assert len(gazetteer.places) >= 400
    names = [place.name for place in gazetteer.places]
    assert len(set(names)) == len(names)
    for place in gazetteer.places:
        west, south, east, north = place.bbox(5)
        assert -180 <= west < place.lon < east <= 180, place
        assert -90 <= south < place.lat < north <= 90, place
        assert (place.box is not None) == (place.kind == "range"), place
        assert -500 < place.elevation_m < 8850, place
        assert place.context, place


@pytest.mark.parametrize(
    ("mention", "name"),
    [
        ("Mt. Fuji", "Mount Fuji"),
        ("Fuji-san", "Mount Fuji"),
        ("MOUNT EVEREST", "Mount Everest"),
        ("Pik Lenin", "Lenin Peak"),
        ("Popocatepetl", "Popocatépetl"),
        ("Großglockner", "Grossglockner"),
        ("Galdhøpiggen", "Galdhøpiggen"),
        ("the Andes", "Andes"),
        ("Kilimajaro", "Mount Kilimanjaro"),
        ("Pike's Peak", "Pikes Peak"),
        ("Mt St Helens", "Mount St. Helens"),
        ("Everest massif", "Mount Everest"),
    ],
)
def test_names_are_found_as_texts_write_them(mention: str, name: str, gazetteer: Gazetteer) -> None:
    found = gazetteer.candidates(mention)
    assert found[0].place.name == name
    assert not is_ambiguous(found)


@pytest.mark.parametrize("mention", ["Mount Nowhere", "Springfield", "Mount", "Xy", "", "…"])
def test_what_is_not_there_is_not_guessed(mention: str, gazetteer: Gazetteer) -> None:
    assert gazetteer.candidates(mention) == []


def test_ambiguity_is_resolved_by_context_alone(gazetteer: Gazetteer) -> None:
    found = gazetteer.candidates("Mount Olympus")
    assert len(found) == 3
    assert is_ambiguous(found)
    greek = gazetteer.candidates("Mount Olympus", "They flew to Greece to see Mount Olympus.")
    assert greek[0].place.context[0] == "Greece"
    assert not is_ambiguous(greek)
    spanish = gazetteer.candidates("Sierra Nevada", "the Sierra Nevada above Granada")
    assert spanish[0].place.name == "Sierra Nevada (Spain)"


def test_mentions_break_ties() -> None:
    places = [
        Place("Bear Peak", "peak", 40, -105, mentions=2),
        Place("Bear Peak", "peak", 44, -110, mentions=900),
    ]
    found = Gazetteer(places).candidates("Bear Peak")
    assert found[0].place.mentions == 900
    assert not is_ambiguous(found)


def test_a_box_is_as_wide_as_it_is_high_and_stays_on_earth() -> None:
    west, south, east, north = Place("A", "peak", 60, 10).bbox(11.132)
    assert north - south == pytest.approx(0.2)
    assert east - west == pytest.approx(0.4, rel=1e-3)
    assert Place("Pole", "peak", -90, 0).bbox(50)[1] == -90
    assert Place("Fiji", "peak", -17, 179.99).bbox(50)[2] == 180
    assert Place("A", "range", 1, 1, box=(0, 0, 2, 2)).bbox(0) == (0, 0, 2, 2)


def test_names_compare_without_what_differs_between_writers() -> None:
    assert whole("Mt. Gerlachovský-štít") == "mount gerlachovsky stit"
    assert {core(name) for name in ("Mt. Fuji", "Mount Fuji", "Fuji-san", "fuji")} == {"fuji"}
    assert core("The Range") == "the range"


def test_a_dump_of_geonames_is_read(tmp_path: Path) -> None:
    def line(name: str, kind: str, code: str, other: str = "") -> str:
        cells = ["1", name, name, other, "46.58", "8.01", kind, code, "CH", "", "BE"]
        return "\t".join([*cells, "", "", "", "0", "3967", "3900", "Europe/Zurich", "2020-01-01"])

    path = tmp_path / "CH.txt"
    path.write_text(
        f"{line('Eiger', 'T', 'MT', 'Eigerspitze,Айгер')}\n{line('Bern', 'P', 'PPLC')}\n"
    )
    gazetteer = load_gazetteer(path)
    assert [place.kind for place in gazetteer.places] == ["peak", "other"]
    assert gazetteer.candidates("Eigerspitze")[0].place.elevation_m == 3967
    path.write_text("Eiger\t46\t8\n")
    with pytest.raises(InputError, match="3 columns, not GeoNames' 19"):
        load_gazetteer(path)


def test_features_such_as_natural_earths_are_read(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {
            "NAME": ["Eiger", "Alps", None],
            "FEATURECLA": ["mountain", "Range/mtn", "mountain"],
            "elevation": [3967, math.nan, 1],
        },
        geometry=[Point(8, 46.5), box(5, 44, 16, 48), Point(0, 0)],
        crs=4326,
    ).to_crs(3857)
    path = tmp_path / "points.gpkg"
    frame.to_file(path)
    eiger, alps = load_gazetteer(path).places
    assert (eiger.kind, alps.kind) == ("peak", "range")
    assert (eiger.lon, eiger.lat) == pytest.approx((8, 46.5))
    assert alps.bbox(0) == pytest.approx((5, 44, 16, 48))


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.csv", "name,height\nEiger,3967\n", "lacks the columns lat, lon"),
        ("a.csv", "name,lat,lon\nEiger,,\n", "line 2: could not convert"),
        ("a.csv", "name,lat,lon\nEiger,146,8\n", "line 2: 'Eiger' is at latitude 146"),
        ("a.csv", "name,lat,lon\n", "names no place"),
        ("a.csv", "name,lat,lon,kind\nEiger,46,8,hill\n", "the kind 'hill'"),
        ("a.geojson", "{", "is no gazetteer"),
        ("a.gpkg", None, "does not exist"),
    ],
)
def test_a_gazetteer_that_is_none_is_one_line(
    name: str, content: str | None, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=cause) as error:
        load_gazetteer(path)
    assert "\n" not in str(error.value)


def test_a_table_without_geometry_has_no_coordinates(tmp_path: Path) -> None:
    import pandas
    import pyogrio

    path = tmp_path / "names.gpkg"
    pyogrio.write_dataframe(pandas.DataFrame({"name": ["Eiger"]}), path)
    with pytest.raises(InputError, match="no coordinates"):
        load_gazetteer(path)


def test_what_comes_with_it_has_names_that_differ() -> None:
    assert all(place.names and place.names[0] for place in shipped())
