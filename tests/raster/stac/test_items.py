"""STAC items as images: which assets are bands, which are masks, and what cannot be read."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.raster.stac.documents import item_names
from tests.support.stac_items import PLACE, collection, item, save, texture, write_image

pytest.importorskip("pystac")
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
JP2 = {"type": "image/jp2"}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """An item of a picture, red, green, blue and infrared, a classification and other things."""
    ground = texture(margin=0)
    write_image(tmp_path / "visual.tif", np.stack([ground, ground // 2, ground // 3]))
    for i, band in enumerate(("B04", "B03", "B02", "B08"), start=1):
        write_image(tmp_path / f"{band}.tif", ground.astype(np.uint16) * 10 * i)
    classes = np.full((128, 128), 4, np.uint8)
    classes[:32] = 9
    write_image(tmp_path / "scl.tif", classes, transform=PLACE @ Affine.scale(2))
    named = {"B04": "red", "B03": "green", "B02": "blue", "B08": "nir"}
    assets: dict[str, Any] = {
        key: {"href": f"./{key}.tif", "type": COG, "eo:bands": [{"name": key, "common_name": name}]}
        for key, name in named.items()
    }
    assets["B08"]["raster:bands"] = [{"nodata": 0, "scale": 0.0001, "offset": -0.1}]
    colours = [{"common_name": name} for name in ("red", "green", "blue")]
    assets["visual"] = {"href": "./visual.tif", "type": COG, "eo:bands": colours}
    assets["SCL"] = {"href": "./scl.tif", "type": COG, "roles": ["data"]}
    assets["thumbnail"] = {"href": "./t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]}
    assets["metadata"] = {"href": "./m.xml", "type": "application/xml"}
    return save(tmp_path / "item.json", item("S2A_31TCJ_20180815", assets))


def test_the_picture_is_taken_and_the_classification_a_mask(scene: Path) -> None:
    source = open_source(scene)
    assert source.info.band_names == ("red", "green", "blue")
    assert source.info.path == scene
    assert source.info.taken is not None
    assert source.info.taken.isoformat() == "2018-08-15"
    assert source.info.mask is not None
    assert source.info.mask.startswith("SCL (")
    valid = source.read().valid
    assert not valid[:64].any()
    assert valid[64:].all()
    assert open_source(scene, product_mask="none").read().valid.all()


@pytest.mark.parametrize("ending", ["#B08", "#B08,SCL", ""])
def test_assets_by_key_or_by_common_name(scene: Path, ending: str) -> None:
    source = open_source(f"{scene}{ending}", bands=None if ending else ["nir"])
    assert source.info.band_names[0] == "nir"
    values = source.read().pixels[0, 100:]
    assert values == pytest.approx(texture(margin=0)[100:] * 40.0 * 0.0001 - 0.1, abs=1e-5)


def test_a_colour_of_a_picture_is_a_band(scene: Path, tmp_path: Path) -> None:
    colours = [{"common_name": name} for name in ("red", "green", "blue")]
    assets = {"visual": {"href": "visual.tif", "type": COG, "eo:bands": colours}}
    path = save(tmp_path / "picture.json", item("a", assets))
    found = open_source(path).info.band_names
    again = open_source(path, bands=list(reversed(found)))
    assert again.info.band_names == ("blue", "green", "red")
    np.testing.assert_array_equal(again.read().pixels[::-1], open_source(path).read().pixels)


def test_names_of_the_newer_specification(scene: Path, tmp_path: Path) -> None:
    bands = [{"name": "B04", "eo:common_name": "red", "raster:scale": 0.5}]
    asset = {"href": str(tmp_path / "B04.tif"), "type": COG, "bands": bands}
    path = save(tmp_path / "sub" / "new.json", item("a", {"x": asset}, stac_version="1.1.0"))
    source = open_source(path, bands=["red"])
    assert source.info.band_names == ("red",)
    assert source.read().pixels[0, 0, 0] == texture(margin=0)[0, 0] * 5.0


@pytest.mark.parametrize(
    ("changes", "ending", "message"),
    [
        ({"stac_version": "2.0.0"}, "", "is of STAC version 2.0.0, which is not read"),
        ({"assets": {}}, "", "is an item without assets"),
        ({"id": ""}, "", "is an item without id"),
        ({"properties": {"datetime": "yesterday"}}, "", "is a damaged STAC item"),
        (
            {"assets": {"m": {"href": "m.xml", "type": "text/xml"}}},
            "",
            "has no asset that is an im",
        ),
        ({}, "#B99", "has no asset 'B99'; its assets are visual"),
        ({"assets": {"visual": {"href": "gone.tif", **JP2}}}, "", "gone.tif: .*no such file"),
        ({"type": "Topology"}, "", "lists 0 items|is no STAC"),
    ],
)
def test_items_that_cannot_be_read(
    scene: Path, tmp_path: Path, changes: dict[str, Any], ending: str, message: str
) -> None:
    assets = {"visual": {"href": "visual.tif", "type": COG}}
    path = save(tmp_path / "bad.json", item("a", assets) | changes)
    with pytest.raises(InputError, match=message):
        open_source(f"{path}{ending}")


def test_without_a_geometry_its_image_tells_where_it_lies(
    scene: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assets = {"visual": {"href": "visual.tif", "type": COG}}
    bare = item("a", assets, geometry=None)
    del bare["bbox"]
    with caplog.at_level(logging.WARNING):
        source = open_source(save(tmp_path / "bare.json", bare))
    assert "has no geometry" in caplog.text
    assert source.info.geocoded


def test_a_file_of_that_very_name_comes_first(scene: Path, tmp_path: Path) -> None:
    image = tmp_path / "item.json#B04"
    write_image(image, texture(seed=1, margin=0))
    assert open_source(str(image)).info.path == image


def test_other_json_is_none_of_ours(tmp_path: Path) -> None:
    assert item_names(save(tmp_path / "a.json", {"type": "FeatureCollection"})) is None


@pytest.mark.parametrize("ending", ["", "#B04,B03"])
def test_items_of_collections_and_catalogues(scene: Path, tmp_path: Path, ending: str) -> None:
    inner = save(tmp_path / "inner" / "collection.json", collection("c", ["../item.json"]))
    catalogue = {"type": "Catalog", "stac_version": "1.0.0", "id": "x", "description": "x"}
    links = [{"rel": "child", "href": "inner/collection.json"}, {"rel": "self", "href": "x"}]
    outer = save(tmp_path / "catalog.json", {**catalogue, "links": links})
    for path in (inner, outer):
        assert item_names(f"{path}{ending}") == [f"{scene}{ending}"]
    assert item_names(f"{scene}{ending}") is None
    # Of a single item it does not matter that it stands in a collection.
    assert open_source(inner).info.size == (256, 256)


def test_lists_of_items(scene: Path, tmp_path: Path) -> None:
    one = item("a", {"visual": {"href": "visual.tif", "type": COG}})
    one["links"] = [{"rel": "self", "href": str(scene)}]
    found = {"type": "FeatureCollection", "stac_version": "1.0.0", "features": [one, one]}
    path = save(tmp_path / "search.json", found)
    assert item_names(path) == [str(scene)]
    with pytest.raises(InputError, match=r"lists 2 items; name one of them, .*stack, batch and"):
        open_source(path)
    one["links"] = []
    with pytest.raises(InputError, match="has no address of its own"):
        item_names(save(path, found))
    with pytest.raises(InputError, match="lists no items"):
        item_names(save(path, {**found, "features": []}))
