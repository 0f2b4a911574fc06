"""STAC in and out of the verbs: items matched, collections stacked, batched and indexed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import imatch
from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.export import WriteLog
from imatch.pipeline.apply.raster import apply_raster
from imatch.pipeline.batch.folders import find_pairs
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.stack.images import open_stack_images
from imatch.workflows.stac_item import EXTENSIONS, write_stac
from tests.support.service import Service
from tests.support.stac_items import collection, item, save, texture, write_image

pystac = pytest.importorskip("pystac")
pytest.importorskip("jsonschema")
DAYS = {"a": "2018-08-05", "b": "2018-08-15", "c": "2018-11-03"}
#: Where the target's ground lies off, pixels.
SHIFTS = {"a": (0, 0), "b": (3, -2), "c": (-4, 5)}
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
# What the schemas of the extensions ask of the fields that are written (projection 2.0.0, raster
# 2.0.0, processing 1.1.0), which are not at hand without a network.
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_FIELDS: dict[str, dict[str, Any]] = {
    "projection": {
        "proj:code": {"type": ["string", "null"], "pattern": "^[A-Z0-9]+:[A-Z0-9]+$"},
        "proj:wkt2": {"type": ["string", "null"]},
        "proj:shape": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "proj:transform": {**_NUMBERS, "minItems": 6, "maxItems": 9},
        "proj:bbox": {**_NUMBERS, "minItems": 4, "maxItems": 4},
    },
    "raster": {
        "raster:sampling": {"enum": ["area", "point"]},
        "raster:spatial_resolution": {"type": "number"},
    },
    "processing": {
        "processing:software": {"type": "object", "additionalProperties": {"type": "string"}},
        "processing:lineage": {"type": "string"},
    },
}


def schema(uri: str) -> dict[str, Any]:
    """The schema of an extension: its fields and no others of its prefix."""
    kind = uri.split("/")[3]
    prefix = {"projection": "proj"}.get(kind, kind)
    fields = {
        "type": "object",
        "properties": _FIELDS[kind],
        "patternProperties": {f"^(?!{prefix}:)": {}},
        "additionalProperties": False,
    }
    asset = {"allOf": [fields, {"properties": {"bands": {"type": "array", "items": fields}}}]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": uri,
        "type": "object",
        "required": ["stac_extensions"],
        "properties": {
            "stac_extensions": {"type": "array", "contains": {"const": uri}},
            "properties": fields,
            "assets": {"type": "object", "additionalProperties": asset},
        },
    }


@pytest.fixture
def valid() -> Iterator[Any]:
    """Validates an item's file by pystac, without a network."""
    from pystac.validation import JsonSchemaSTACValidator, RegisteredValidator, set_validator

    validator = JsonSchemaSTACValidator()
    validator.schema_cache.update({uri: schema(uri) for uri in EXTENSIONS})
    before = RegisteredValidator._validator
    set_validator(validator)

    def check(path: Path) -> dict[str, Any]:
        found = pystac.Item.from_file(str(path))
        assert set(EXTENSIONS) <= set(found.validate())
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    yield check
    RegisteredValidator._validator = before


@pytest.fixture
def items(tmp_path: Path) -> dict[str, Path]:
    """Items of three days, whose images are the same ground, moved."""
    ground = texture(margin=8)
    found = {}
    for name, (dx, dy) in SHIFTS.items():
        part = ground[8 + dy : 264 + dy, 8 + dx : 264 + dx]
        write_image(tmp_path / f"{name}.tif", np.stack([part, part, part]))
        assets = {"visual": {"href": f"./{name}.tif", "type": COG}}
        document = item(f"S2_{name}", assets, DAYS[name])
        found[name] = save(tmp_path / "items" / f"{name}.json", document)
        assets["visual"]["href"] = f"../{name}.tif"
        save(found[name], document)
    save(tmp_path / "collection.json", collection("c", [f"items/{n}.json" for n in DAYS]))
    return found


def test_items_are_matched_and_the_answer_names_them(items: dict[str, Path]) -> None:
    found = imatch.match(items["a"], f"{items['b']}#visual", matcher="sift")
    assert found.status == "ok"
    assert found.shift_px == pytest.approx((-3, 2), abs=0.3)
    assert found.target.path == f"{items['b']}#visual"
    assert found.provenance["masked_by"]["reference"].startswith("none: the item has no asset")
    found.save(items["a"].with_name("b.vrt"))
    with rasterio.open(items["a"].with_name("b.vrt")) as vrt:
        assert (vrt.count, vrt.width) == (3, 256)
        assert len(vrt.gcps[0]) > 10
    # As stacks and batches write theirs.
    warped = items["a"].with_name("b.tif")
    apply_raster(GeoCorrection.of(found), f"{items['b']}#visual", warped)
    assert imatch.match(items["a"], warped, matcher="sift").shift_px == pytest.approx(
        (0, 0), abs=0.2
    )
    again = imatch.Registration.from_dict(found.to_dict())
    assert again.target.path == found.target.path


def test_a_registered_item_is_an_item(items: dict[str, Path], tmp_path: Path, valid: Any) -> None:
    out, described = tmp_path / "out" / "b.tif", tmp_path / "stac" / "b.json"
    for path in (out, described):
        path.parent.mkdir()
    found = imatch.register(
        items["a"], items["b"], out, stac=described, matcher="sift", window=32, cog=True
    )
    assert found.accepted
    document = valid(described)
    assert document["stac_version"] == "1.1.0"
    assert document["properties"]["datetime"] == "2018-08-15T00:00:00Z"
    asset = document["assets"]["data"]
    assert asset["href"] == "../out/b.tif"
    assert asset["type"] == COG
    assert [band["data_type"] for band in asset["bands"]] == ["uint8"] * 3
    with rasterio.open(out) as file:
        assert document["properties"]["proj:shape"] == [file.height, file.width]
        assert document["properties"]["proj:transform"] == [*file.transform][:6]
    assert document["properties"]["proj:code"] == "EPSG:32631"
    assert document["properties"]["imatch:status"] == "ok"
    bound = document["properties"]["imatch:certificate"]
    assert bound == json.loads(json.dumps(found.to_dict()["certificate"]))
    assert [link["rel"] for link in document["links"]] == ["derived_from"] * 2
    # It can be matched in its turn: where it lies now is where the reference has it.
    back = imatch.match(items["a"], described, matcher="sift")
    assert back.shift_px == pytest.approx((0, 0), abs=0.2)


def test_what_is_applied_stacked_and_batched_is_items(
    items: dict[str, Path], tmp_path: Path, valid: Any
) -> None:
    found = imatch.match(items["a"], items["b"], matcher="sift")
    files = [tmp_path / "b.tif", tmp_path / "points.gpkg"]
    found.save(files[1])
    applied = imatch.apply(found, files, tmp_path / "applied", stac=True)
    assert [one.remark.rpartition("; ")[2] == "b.json" for one in applied] == [True, False]
    # One of each is of no date: its raster stays, and the others have their items.
    undated = tmp_path / "two.tif"
    undated.write_bytes((tmp_path / "b.tif").read_bytes())
    images, log = (items["a"], items["b"]), WriteLog()
    imatch.stack(
        [*images, undated], tmp_path / "stack", warp=True, stac=True, matcher="sift", log=log
    )
    pairs = [images, (items["a"], undated)]
    run = imatch.batch(pairs, tmp_path / "run", register=True, stac=True, matcher="sift", log=log)
    assert [str(error).partition(";")[0] for error in log.failures] == [
        f"{tmp_path / name}: nothing tells when its image was taken, and a STAC item has to say so"
        for name in ("stack/registered/two.json", f"run/registered/{run.results[1].name}.json")
    ]
    names = {"stack": ["a", "b", "two"], "run": [row.name for row in run.results]}
    for folder, stems in names.items():
        there = sorted(path.name for path in (tmp_path / folder / "registered").iterdir())
        assert there == sorted([*(f"{n}.tif" for n in stems), *(f"{n}.json" for n in stems[:-1])])
    written = {
        "applied/b": found,
        "stack/registered/b": imatch.read_registration(tmp_path / "stack" / "transforms/b.json"),
        f"run/registered/{run.results[0].name}": run.registration(run.results[0].name),
    }
    for name, registration in written.items():
        document = valid(tmp_path / f"{name}.json")
        assert document["properties"]["datetime"] == "2018-08-15T00:00:00Z"
        assert document["assets"]["data"]["href"] == f"{Path(name).name}.tif"
        bound = document["properties"]["imatch:certificate"]
        assert bound == json.loads(json.dumps(registration.to_dict()["certificate"]))
    assert not (tmp_path / "applied" / "points.json").exists()


def test_an_item_that_cannot_be_written_costs_no_raster(
    items: dict[str, Path], tmp_path: Path
) -> None:
    pair = tmp_path / "one.tif", tmp_path / "two.tif"
    for path, name in zip(pair, "ab", strict=True):
        path.write_bytes((tmp_path / f"{name}.tif").read_bytes())
    with pytest.raises(OutputError, match="nothing tells when its image was taken"):
        imatch.apply(imatch.match(*pair, matcher="sift"), pair[1], tmp_path / "out", stac=True)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["two.tif"]
    with pytest.raises(ConfigError, match="describes the rasters, and none are written"):
        imatch.batch([pair], tmp_path / "none", stac=True)
    with pytest.raises(ConfigError, match="describes the rasters, and none are written"):
        imatch.stack(pair, tmp_path / "none", stac=True)
    assert not (tmp_path / "none").exists()


def test_items_that_cannot_be_written(items: dict[str, Path], tmp_path: Path) -> None:
    bare, plain = tmp_path / "bare.tif", tmp_path / "plain.tif"
    write_image(bare, texture(margin=0), crs=None, transform=Affine.identity() @ Affine.scale(2))
    write_image(plain, texture(margin=0))
    found = imatch.match(plain, tmp_path / "a.tif", matcher="sift")
    out = tmp_path / "x.json"
    with pytest.raises(OutputError, match="is not geocoded, and a STAC item has to say where"):
        write_stac(found, bare, out)
    with pytest.raises(OutputError, match="nothing tells when its image was taken"):
        write_stac(found, plain, out)
    assert not out.exists()
    with pytest.raises(OutputError, match=r"is no \.json"):
        imatch.register(plain, plain, tmp_path / "o.tif", stac=tmp_path / "x.tif")
    with pytest.raises(ConfigError, match="describes the raster, and none is written"):
        imatch.register(plain, plain, stac=out)
    assert not (tmp_path / "o.tif").exists()


def test_an_item_of_several_assets_is_matched_and_not_written(tmp_path: Path) -> None:
    assets = {
        name: {"href": f"{name}.tif", "type": COG, "eo:bands": [{"common_name": name}]}
        for name in ("red", "green", "blue")
    }
    for name in assets:
        write_image(tmp_path / f"{name}.tif", texture(margin=0))
    path = save(tmp_path / "several.json", item("x", assets))
    assert imatch.match(path, path, matcher="sift").reference.bands == ("red", "green", "blue")
    with pytest.raises(ConfigError, match=r"several assets.*several.json#visual"):
        imatch.register(path, path, tmp_path / "o.tif")


def test_collections_stand_for_series_and_folders(items: dict[str, Path], tmp_path: Path) -> None:
    whole = tmp_path / "collection.json"
    images = open_stack_images([whole], imatch.MatchConfig())
    assert [str(image.date) for image in images] == sorted(DAYS.values())
    pairs = find_pairs(f"{whole}#visual", reference=items["a"], max_gap=60)
    ends = [(pair.reference, pair.target) for pair in pairs]
    assert ends == [(f"{items['a']}#visual", f"{items['b']}#visual")]
    assert len(find_pairs(whole, all_pairs=True)) == 3
    by_name = find_pairs(whole, whole, by="name")
    assert {pair.name for pair in by_name} == set(DAYS)
    with pytest.raises(ConfigError, match="--reference FILE or --all-pairs"):
        find_pairs(whole)
    with pytest.raises(InputError, match="does not exist"):
        find_pairs(whole, reference=tmp_path / "gone.tif")


def test_collections_are_indexed(items: dict[str, Path], tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    whole = tmp_path / "collection.json"
    grown = imatch.build_index([whole], tmp_path / "index", embedder="edges")
    assert (grown.images, grown.skipped) == (3, [])
    again = imatch.build_index([whole], tmp_path / "index")
    assert (again.added, again.unchanged) == (0, 3)
    chosen = imatch.build_index([f"{items['a']}#visual"], tmp_path / "index")
    assert (chosen.added, chosen.images) == (1, 4)
    items["a"].write_text(items["a"].read_text() + " ")
    assert imatch.build_index([f"{items['a']}#visual"], tmp_path / "index").replaced == 1


@pytest.fixture
def server(items: dict[str, Path], tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def test_items_and_collections_of_another_host(
    items: dict[str, Path], tmp_path: Path, server: Service
) -> None:
    ref, tgt = (f"{server.url}/items/{name}.json?token=secret#visual" for name in "ab")
    found = imatch.match(ref, tgt, matcher="sift")
    assert found.status == "ok"
    assert found.shift_px == pytest.approx((-3, 2), abs=0.3)
    assert found.target.path == f"{server.url}/items/b.json#visual"
    assert "secret" not in json.dumps(found.to_dict())
    # As an API lists them: page after page, each item with its own address.
    rows = []
    for name in DAYS:
        row = json.loads(items[name].read_text())
        row["links"] = [{"rel": "self", "href": f"{server.url}/items/{name}.json"}]
        rows.append(row)
    first = {"type": "FeatureCollection", "features": rows[:2]}
    save(tmp_path / "page.json", {**first, "links": [{"rel": "next", "href": "page2.json"}]})
    save(tmp_path / "page2.json", {"type": "FeatureCollection", "features": rows[2:]})
    save(tmp_path / "api.json", collection("api", [], items="page.json"))
    images = open_stack_images([f"{server.url}/api.json#visual"], imatch.MatchConfig())
    assert [str(image.date) for image in images] == sorted(DAYS.values())


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gone.json", r"gone.json: there is no such file \(HTTP 404\); check the address"),
        ("403/x.json", r"it refuses access \(HTTP 403\)"),
        ("items/broken.json", "is no JSON"),
        ("items/list.json", "is no STAC"),
        ("items/lost.json", r"lost.tif: there is no such file \(HTTP 404\)"),
    ],
)
def test_what_another_host_cannot_give(
    items: dict[str, Path], tmp_path: Path, server: Service, address: str, message: str
) -> None:
    (tmp_path / "items" / "broken.json").write_text("{")
    save(tmp_path / "items" / "list.json", [1])
    lost = item("x", {"visual": {"href": "../lost.tif", "type": COG}})
    save(tmp_path / "items" / "lost.json", lost)
    with pytest.raises(InputError, match=message) as caught:
        imatch.match(items["a"], f"{server.url}/{address}?token=secret")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
