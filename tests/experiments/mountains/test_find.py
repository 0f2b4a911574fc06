from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine

import imatch
from experiments.mountains.__main__ import main
from experiments.mountains.find import Mention, choose, find_mentions, notes, text_of, written
from experiments.mountains.gazetteer import Gazetteer, Place, load_gazetteer
from experiments.mountains.sentences import read_sentences
from experiments.mountains.tagger import Tagger
from experiments.mountains.trainer import load_tagger
from imatch.core.errors import InputError
from tests.conftest import Web

TEXT = "We saw Mount Fuji from the train to Tokyo. She climbed Mount Olympus in May."


@pytest.fixture(scope="module")
def tagger(run: Path) -> Tagger:
    return load_tagger(run, device="cpu")[0]


@pytest.fixture(scope="module")
def gazetteer() -> Gazetteer:
    return load_gazetteer()


def test_mountains_are_found_with_their_places(tagger: Tagger, gazetteer: Gazetteer) -> None:
    fuji, olympus = find_mentions(TEXT, tagger, gazetteer)
    assert TEXT[fuji.start : fuji.end] == fuji.text == "Mount Fuji"
    assert fuji.place is not None
    assert (fuji.place.lat, fuji.place.lon) == (35.36, 138.73)
    assert (olympus.status, olympus.place) == ("ambiguous", None)
    assert len(olympus.candidates) == 3
    near = find_mentions("In Greece she climbed Mount Olympus in May .", tagger, gazetteer)
    assert near[-1].place is not None
    assert near[-1].place.context[0] == "Greece"


def test_a_name_that_no_gazetteer_has_is_told_as_unknown(
    tagger: Tagger, gazetteer: Gazetteer
) -> None:
    (found,) = find_mentions("She climbed Mount Xyzzy in May.", tagger, gazetteer)
    assert (found.status, found.candidates) == ("unknown", ())
    assert "not in the gazetteer" in written([found], "table", 5)
    with pytest.raises(InputError, match="Mount Xyzzy: is not in the gazetteer"):
        choose([found], None, None)


def test_places_that_are_no_mountains_are_no_candidates(tagger: Tagger) -> None:
    towns = Gazetteer([Place("Mount Fuji", "other", 1, 1)])
    (found,) = find_mentions("She climbed Mount Fuji in May.", tagger, towns)
    assert found.status == "unknown"


def test_all_forms_say_the_same(tagger: Tagger, gazetteer: Gazetteer) -> None:
    mentions = find_mentions(TEXT, tagger, gazetteer)
    records = json.loads(written(mentions, "json", 5))
    collection = json.loads(written(mentions, "geojson", 5))
    assert [one["status"] for one in records] == ["found", "ambiguous"]
    first, second = collection["features"]
    assert first["geometry"] == {"type": "Point", "coordinates": [138.73, 35.36]}
    assert first["bbox"] == records[0]["place"]["bbox"]
    assert second["geometry"] is None
    assert len(second["properties"]["candidates"]) == 3
    table = written(mentions, "table", 5).splitlines()
    assert len(table) == 3
    assert "ambiguous: " in table[2]


def test_the_place_that_is_meant_is_never_guessed(tagger: Tagger, gazetteer: Gazetteer) -> None:
    mentions = find_mentions(TEXT, tagger, gazetteer)
    assert choose(mentions, None, "Mount Fuji").name == "Mount Fuji"
    assert choose(mentions, 3, "Mount Olympus") == mentions[1].candidates[2].place
    for number, name, cause in (
        (None, "Mount Olympus", "may be any of 1: Mount Olympus"),
        (4, "Mount Olympus", "has 3 candidates"),
        (0, "Mount Olympus", "has 3 candidates"),
        (None, "Eiger", "names no mountain 'Eiger'"),
    ):
        with pytest.raises(InputError, match=cause):
            choose(mentions, number, name)
    with pytest.raises(InputError, match="names several mountains: Mount Fuji, Mount Olympus"):
        choose(mentions, None, None)
    twice = find_mentions("She climbed Mount Fuji in May. " * 2, tagger, gazetteer)
    assert len(twice) == 2
    assert choose(twice, None, None).name == "Mount Fuji"
    with pytest.raises(InputError, match="names no mountain"):
        choose([], None, None)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("1234 … !", "holds no word"),
        ("Гора Эльбрус находится на Кавказе.", "other than Latin letters"),
        ("富士山は日本の山です。", "other than Latin letters"),
    ],
)
def test_text_without_english_words_is_one_line(
    text: str, cause: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find", text, "--model", str(run)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert cause in captured.err
    assert captured.err.count("\n") == 1


def test_a_long_text_is_read_whole(tagger: Tagger, gazetteer: Gazetteer) -> None:
    text = "The rain went on and on. " * 20 + "We saw Mount Fuji from the train to Tokyo. " * 2
    # A hundred thousand words without an end take as long, so here are a few thousand.
    endless = "on and on " * 200 + "we saw Mount Hood from the train to Tokyo"
    assert [one.text for one in find_mentions(text, tagger, gazetteer)][-2:] == ["Mount Fuji"] * 2
    assert find_mentions(endless, tagger, gazetteer)[-1].text == "Mount Hood"


def test_a_text_is_read_from_a_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "story.txt", tmp_path / "story.geojson"
    path.write_text(TEXT)
    assert text_of(str(path)) == TEXT
    arguments = ["find", str(path), "--model", str(run), "--format", "geojson", "-o", str(out)]
    assert main(arguments) == 0
    assert len(json.loads(out.read_text())["features"]) == 2
    assert main(arguments) == 1
    assert "already exists" in capsys.readouterr().err
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="no text in UTF-8"):
        text_of(str(path))
    for missing in ("nothing.txt", "../stories/one.MD", "/home/me/story"):
        with pytest.raises(InputError, match="does not exist"):
            text_of(missing)
    for text in ("K2", "Aoraki/Cook", "We saw Mt. Cook.", "What is in story.txt?"):
        assert text_of(text) == text


def test_what_a_reader_has_to_know_is_told() -> None:
    german = "Der Watzmann liegt bei Berchtesgaden und ist der höchste Berg dort."
    first, second = notes(german, [])
    assert first == "no mountain found"
    assert "hardly has an English word" in second
    mention = Mention("Watzmann", 4, 12, 0.9, "unknown", ())
    assert notes("Watzmann", [mention]) == []
    english = "The Watzmann is near Berchtesgaden and is the highest mountain of the area."
    assert notes(english, [mention]) == []


@pytest.mark.parametrize("verb", ["find", "fetch", "evaluate"])
def test_no_model_is_one_line(
    verb: str, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {
        "find": ["We saw Mount Fuji."],
        "fetch": ["We saw Mount Fuji.", "--url", "x", "--dates", "2020", "-o", str(tmp_path / "o")],
        "evaluate": ["--sentences", str(data), "-o", str(tmp_path / "o")],
    }
    assert main([verb, *more[verb], "--model", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "holds no run of the mountain tagger" in told
    assert f"train experiments/mountains/mountains.yaml -o {tmp_path}" in told


def test_no_sentences_to_train_on_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["-s", f"train={tmp_path / 'kept.jsonl'}"]
    assert main(["train", "-o", str(tmp_path / "run"), *settings]) == 1
    assert "kept.jsonl: does not exist; make it by" in capsys.readouterr().err


def test_verbs_of_data_work_from_the_command_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", str(data), "-o", str(tmp_path / "checked")]) == 0
    assert "sentences kept" in capsys.readouterr().out
    assert read_sentences(tmp_path / "checked" / "kept.jsonl")
    assert main(["forerunner", "-o", str(tmp_path / "old.jsonl")]) == 0
    assert len(read_sentences(tmp_path / "old.jsonl")) == 1500
    assert main(["validate", str(data), "-o", str(tmp_path / "c"), "-s", "longst=3"]) == 2
    assert main(["validate", str(data), "-o", str(tmp_path / "c"), "--gazetteer", "none.csv"]) == 1
    assert main(["train"]) == 2
    capsys.readouterr()
    assert main(["train", "--template"]) == 0
    assert "encoder: minilm" in capsys.readouterr().out


def write_scene(path: Path, pixels: np.ndarray) -> tuple[float, float, float, float]:
    """An image of 20 m pixels about Mount Fuji; returns its bounds in degrees."""
    side = pixels.shape[1]
    west, north = 293_600 - 10 * side, 3_915_600 + 10 * side
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "width": side,
        "height": side,
        "dtype": "uint8",
        "crs": "EPSG:32654",
        "transform": Affine(20, 0, west, 0, -20, north),
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)
    bounds = (west, north - 20 * side, west + 20 * side, north)
    found = rasterio.warp.transform_bounds("EPSG:32654", "EPSG:4326", *bounds)
    return found[0], found[1], found[2], found[3]


@pytest.fixture
def catalogue(web: Web) -> str:
    """A static catalogue of two dates on loopback, the second moved by three pixels."""
    pystac = pytest.importorskip("pystac", reason="pystac is of the extra `mountains`")
    noise = np.random.default_rng(0).random((3, 620, 620)).astype(np.float32)
    ground = np.stack([cv2.GaussianBlur(plane, (0, 0), 2) for plane in noise])
    ground = np.clip(40 + 900 * (ground - ground.min()), 0, 255).astype(np.uint8)
    collection = pystac.Collection(
        "sentinel-2-l2a",
        "test",
        pystac.Extent(
            pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]])
        ),
        license="proprietary",
    )
    items: list[Any] = []
    for name, shift, month in (("fuji_a", 0, 5), ("fuji_b", 3, 8)):
        bounds = write_scene(web.root / f"{name}.tif", ground[:, 4:604, 4 + shift : 604 + shift])
        west, south, east, north = bounds
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        geometry = {"type": "Polygon", "coordinates": [ring]}
        moment = datetime(2023, month, 1, tzinfo=UTC)
        item = pystac.Item(name, geometry, list(bounds), moment, {"eo:cloud_cover": 1.0})
        item.add_asset("visual", pystac.Asset(web.url(f"{name}.tif")))
        collection.add_item(item)
        items.append(item)
    root = pystac.Catalog("root", "test")
    root.add_child(collection)
    root.normalize_hrefs(str(web.root))
    root.save(pystac.CatalogType.SELF_CONTAINED)
    return web.url("catalog.json")


def test_a_sentence_becomes_images_that_match(
    catalogue: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "fuji"
    arguments = [
        "fetch",
        TEXT,
        "--mention",
        "Mount Fuji",
        "--model",
        str(run),
        "--url",
        catalogue,
        "--dates",
        "2023",
    ]
    arguments += ["--margin-km", "2.5", "-o", str(out)]
    assert main([*arguments, "--mention", "Mount Olympus"]) == 1
    assert "choose by --candidate N" in capsys.readouterr().err
    assert main([*arguments, "--most-degrees", "0.0001"]) == 1
    assert "spans 0.1 by 0.0 degrees" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "Mount Fuji: --bbox 138.7" in capsys.readouterr().out
    first, second = sorted(out.glob("*fuji_*.tif"))
    found = imatch.match(first, second)
    assert found.status == "ok"
    assert found.shift_m is not None
    # The ground of the second lies three pixels further west in its own image.
    assert abs(abs(found.shift_m[0]) - 60) < 2
    assert abs(found.shift_m[1]) < 2
