from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.warp import transform_bounds

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.fetch.stac import StacQuery, fetch_stac, span
from tests.support.service import Service

pystac = pytest.importorskip("pystac")

SIDE = 1024
PLACE = Affine(10, 0, 356_000, 0, -10, 4_835_000)


def write_cog(path: Path, pixels: np.ndarray, transform: Affine = PLACE) -> None:
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "width": pixels.shape[2],
        "height": pixels.shape[1],
        "dtype": pixels.dtype,
        "crs": "EPSG:32631",
        "transform": transform,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)
        out.build_overviews([2, 4], Resampling.nearest)


def made(root: Path, name: str, date: str, cloud: float | None, assets: dict[str, str]) -> Any:
    west, south, east, north = transform_bounds(
        "EPSG:32631", "EPSG:4326", 356_000, 4_835_000 - 10 * SIDE, 356_000 + 10 * SIDE, 4_835_000
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {} if cloud is None else {"eo:cloud_cover": cloud}
    item = pystac.Item(
        name,
        {"type": "Polygon", "coordinates": [ring]},
        [west, south, east, north],
        datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC),
        properties,
    )
    for key, file in assets.items():
        item.add_asset(key, pystac.Asset(f"../{file}"))
    return item


@pytest.fixture(scope="module")
def ground() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (3, SIDE, SIDE), np.uint8)


@pytest.fixture
def server(tmp_path: Path, ground: np.ndarray) -> Iterator[Service]:
    """A static catalogue of five COGs, on loopback."""
    root = tmp_path / "catalogue"
    root.mkdir()
    write_cog(root / "visual.tif", ground)
    twenty = PLACE @ Affine.scale(2)
    classes = np.full((1, SIDE // 2, SIDE // 2), 4, np.uint8)
    classes[0, :, : SIDE // 4] = 9
    write_cog(root / "scl.tif", classes, twenty)
    write_cog(root / "nir.tif", ground[:1, ::2, ::2].astype(np.uint16) * 30, twenty)
    assets = {"visual": "visual.tif", "scl": "scl.tif", "nir": "nir.tif"}
    collection = pystac.Collection(
        "sentinel-2-l2a",
        "test",
        pystac.Extent(
            pystac.SpatialExtent([[-180, -90, 180, 90]]), pystac.TemporalExtent([[None, None]])
        ),
        license="proprietary",
    )
    for name, date, cloud in (
        ("S2A_31TCJ_20180805", "20180805", 12.0),
        ("S2A_31TCJ_20180815", "20180815", 3.0),
        ("S2B_31TCJ_20180820", "20180820", 5.0),
        ("S2B_31TCJ_20180115", "20180115", None),
        ("S2B_31TCJ_20180425", "20180425", 90.0),
    ):
        collection.add_item(made(root, name, date, cloud, assets))
    catalogue = pystac.Catalog("root", "test")
    catalogue.add_child(collection)
    service = Service(root)
    catalogue.normalize_hrefs(str(root))
    for item in collection.get_items():
        for asset in item.assets.values():
            asset.href = f"{service.url}/{Path(asset.href).name}"
    catalogue.save(pystac.CatalogType.SELF_CONTAINED)
    service.items = [item.to_dict(transform_hrefs=False) for item in collection.get_items()]
    yield service
    service.close()


@pytest.fixture
def box() -> tuple[float, float, float, float]:
    """A kilometre and a half in the middle of the images."""
    west, south, east, north = transform_bounds(
        "EPSG:32631", "EPSG:4326", 360_005, 4_829_005, 361_495, 4_830_495
    )
    return west, south, east, north


def query(server: Service, box: Any, **values: Any) -> StacQuery:
    given = {"url": f"{server.url}/catalog.json", "bbox": box, "dates": "2018", "max_cloud": 50.0}
    return StacQuery(**(given | values))


def test_the_clearest_of_each_season_and_only_what_is_needed(
    server: Service, box: Any, ground: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = fetch_stac(query(server, box, per_season=1), out)
    assert [item.path for item in done.items] == [
        "S2B_31TCJ_20180115.tif",
        "S2A_31TCJ_20180815.tif",
    ]
    assert [item.season for item in done.items] == ["dec-feb", "jun-aug"]
    assert (done.found, done.skipped) == (4, ())
    with rasterio.open(out / "S2A_31TCJ_20180815.tif") as file:
        column, row = (file.transform.c - 356_000) / 10, (4_835_000 - file.transform.f) / 10
        assert (column, row) == (round(column), round(row))
        assert 149 <= file.width <= 165
        part = np.s_[
            :, round(row) : round(row) + file.height, round(column) : round(column) + file.width
        ]
        np.testing.assert_array_equal(file.read(), ground[part])
        assert file.crs.to_epsg() == 32631
        frame = (file.width, file.height, file.transform)
    with rasterio.open(out / "S2A_31TCJ_20180815_SCL.tif") as file:
        assert (file.width, file.height, file.transform) == frame
        assert set(np.unique(file.read())) <= {4, 9}
    # Less than a third of each file travelled, for two images together.
    whole = (tmp_path / "catalogue" / "visual.tif").stat().st_size
    assert 0 < server.sent()["visual.tif"] < whole / 3
    assert "modified Copernicus Sentinel data (2018)" in (out / "README.md").read_text()
    assert "sentinel-2-l2a: proprietary" in (out / "README.md").read_text()
    assert (out / "items.csv").read_text().count("\n") == 3


def test_what_is_there_is_not_fetched_again(server: Service, box: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = fetch_stac(query(server, box), out)
    server.sent()
    (out / first.items[0].path).unlink()
    again = fetch_stac(query(server, box), out)
    assert [item.path for item in again.items] == [item.path for item in first.items]
    assert (out / first.items[0].path).exists()
    once = server.sent()["visual.tif"]
    server.sent()
    fetch_stac(query(server, box), out, overwrite=True)
    assert server.sent()["visual.tif"] > once


def test_assets_of_several_resolutions_are_stacked(
    server: Service, box: Any, tmp_path: Path
) -> None:
    asked = query(server, box, assets=("visual", "nir"), dates="2018-08-15")
    (item,) = fetch_stac(asked, tmp_path / "out").items
    with rasterio.open(tmp_path / "out" / item.path) as file:
        assert file.dtypes == ("uint16",) * 4
        assert file.descriptions == ("visual1", "visual2", "visual3", "nir")
        assert file.read(4).max() > 255


def test_an_api_is_searched(server: Service, box: Any, tmp_path: Path) -> None:
    root = tmp_path / "catalogue"
    links = [{"rel": "search", "href": f"{server.url}/search", "method": "POST"}]
    links += [{"rel": "self", "href": f"{server.url}/api.json"}]
    landing = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "api",
        "description": "test",
        "conformsTo": [
            "https://api.stacspec.org/v1.0.0/core",
            "https://api.stacspec.org/v1.0.0/item-search",
        ],
        "links": links,
    }
    (root / "api.json").write_text(json.dumps(landing))
    found = {"type": "FeatureCollection", "features": server.items, "links": []}
    (root / "search.json").write_text(json.dumps(found))
    asked = query(server, box, url=f"{server.url}/api.json", collection="sentinel-2-l2a")
    done = fetch_stac(asked, tmp_path / "out")
    assert len(done.items) == 3
    (search,) = server.ask("searches")
    assert search["collections"] == ["sentinel-2-l2a"]
    assert search["datetime"].startswith("2018-01-01T00:00:00Z/2018-12-31")


def test_an_image_that_fails_is_skipped_and_a_hiccup_is_not(
    server: Service, box: Any, tmp_path: Path
) -> None:
    root = tmp_path / "catalogue"
    item = next(iter(root.rglob("S2A_31TCJ_20180815.json")))
    document = json.loads(item.read_text())
    document["assets"]["visual"]["href"] = f"{server.url}/gone.tif"
    item.write_text(json.dumps(document))
    server.ask("fail?visual.tif=1")
    done = fetch_stac(query(server, box), tmp_path / "out")
    assert {i.item for i in done.items} == {"S2B_31TCJ_20180115", "S2B_31TCJ_20180820"}
    (skipped,) = done.skipped
    assert skipped.path == "S2A_31TCJ_20180815"
    assert "cannot be read" in skipped.reason
    assert not list((tmp_path / "out").glob("S2A*"))


def test_mistakes_are_explained(server: Service, box: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="has no image of this box"):
        fetch_stac(query(server, box, dates="2001"), out)
    with pytest.raises(InputError, match="has no image of this box"):
        fetch_stac(query(server, (10.0, 10.0, 11.0, 11.0)), out)
    with pytest.raises(InputError, match="has no asset 'red'"):
        fetch_stac(query(server, box, assets=("red",)), out)
    with pytest.raises(InputError, match=r"nowhere\.json: there is no such file"):
        fetch_stac(query(server, box, url=f"{server.url}/nowhere.json"), out)
    with pytest.raises(ConfigError, match="is not west,south,east,north"):
        query(server, (11.0, 10.0, 10.0, 11.0))


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2018", "2018-01-01", "2019-01-01"),
        ("2018-12", "2018-12-01", "2019-01-01"),
        ("2018-02-28/2018-03-01", "2018-02-28", "2018-03-02"),
    ],
)
def test_ranges_of_dates(text: str, first: str, last: str) -> None:
    assert [f"{moment:%Y-%m-%d}" for moment in span(text)] == [first, last]


@pytest.mark.parametrize("text", ["", "last year", "2018-13", "2019/2018", "2018-01-01-01"])
def test_ranges_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError):
        span(text)
