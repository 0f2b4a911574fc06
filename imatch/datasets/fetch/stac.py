"""Images from a SpatioTemporal Asset Catalogue: a few dates a season, only the ground wanted.

Any STAC API or static catalogue serves. Assets are cloud-optimised GeoTIFFs read over HTTP by
ranges (GDAL's ``/vsicurl/``), so of each image only the tiles under the box travel.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rasterio
from rasterio.errors import RasterioError

from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.core.extras import require_extra
from imatch.core.io.offline import check_online
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.core.redaction import redacted
from imatch.datasets.fetch.images import (
    FetchedItem,
    frame_of,
    write_card,
    write_table,
    write_window,
)
from imatch.datasets.prepare.pairing import season
from imatch.datasets.prepare.scan import SkippedScene, tile_name
from imatch.raster.gdal import in_words
from imatch.raster.stac.documents import licences, listed_items, read_document, read_item
from imatch.raster.stac.item import PICTURES, asset_href

if TYPE_CHECKING:
    import pystac

_CLASSES = ("scl", "SCL")
_TRIES = 3


@dataclass(frozen=True)
class StacQuery:
    """Query of a catalogue: ground, dates, clouds.

    Attributes:
        url: An API's landing page, or a static catalogue's JSON.
        bbox: (west, south, east, north) of the ground, degrees.
        dates: ``2018-01-01/2019-12-31``, or one year, month or day.
        collection: Name of the collection; all of them when None.
        max_cloud: Largest cloud cover of an image, percent; images that do not say are taken.
        per_season: Images of each quarter of the year, and of each tile, those with least cloud.
        assets: Assets that become one image's bands; the picture in natural colours when empty.
    """

    url: str
    bbox: tuple[float, float, float, float]
    dates: str
    collection: str | None = None
    max_cloud: float = 20.0
    per_season: int = 2
    assets: tuple[str, ...] = ()

    def describe(self) -> str:
        """Describes the box, the dates and the limits."""
        box = ", ".join(f"{value:g}" for value in self.bbox)
        return (
            f"{box} (west, south, east, north), {self.dates}, at most {self.max_cloud:g} % cloud,"
            f" {self.per_season} a season and tile"
        )

    def __post_init__(self) -> None:
        west, south, east, north = self.bbox
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ConfigError("is not west,south,east,north in degrees", subject=f"box {self.bbox}")
        if self.per_season < 1:
            raise ConfigError("must be at least 1", subject=f"per season {self.per_season}")
        span(self.dates)


@dataclass(frozen=True)
class Fetched:
    """Result of a fetch.

    Attributes:
        items: Images that are there now, those of earlier runs included.
        skipped: Images that could not be fetched, and why.
        found: Images that the catalogue has for the query, before the choice by season.
    """

    items: tuple[FetchedItem, ...]
    skipped: tuple[SkippedScene, ...]
    found: int


def fetch_stac(
    query: StacQuery,
    out: Path,
    *,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> Fetched:
    """Fetches the ground of a box at several dates.

    Every image becomes one GeoTIFF in its own CRS and resolution, named after its item; a scene
    classification (``scl``) comes along as ``…_SCL.tif``. Images that are there are kept, so a run
    that broke off goes on. ``items.csv`` and ``README.md`` say what they are and whom to name.

    Args:
        query: What to fetch.
        out: Folder to write; made where it is missing.
        overwrite: Fetch again what is there.
        progress: True shows how many images are fetched on a terminal's stderr; a callback is told.

    Raises:
        InputError: The catalogue cannot be read, has nothing that fits, or no image could be read.
        OutputError: The disk refused.
    """
    with ProgressStages(progress) as stages:
        return _fetch_all(query, out, stages, overwrite=overwrite)


def _fetch_all(query: StacQuery, out: Path, stages: ProgressStages, *, overwrite: bool) -> Fetched:
    """See `fetch_stac`."""
    if "://" in query.url:
        check_online(query.url)
    stages.begin("asking the catalogue")
    found, licence = _search(query)
    if not found:
        raise InputError(
            "has no image of this box and these dates with so little cloud",
            subject=query.url,
            hint="widen --bbox, --dates or --max-cloud",
        )
    chosen = by_season(found, query.per_season)
    out.mkdir(parents=True, exist_ok=True)
    stages.begin("fetching", len(chosen))
    items, skipped = [], []
    for item in chosen:
        try:
            items.append(_fetch(item, query, out, overwrite=overwrite))
        except InputError as error:
            skipped.append(SkippedScene(item.id, error.cause))
        stages.advance(1)
    if not items:
        raise InputError(
            f"none of its {len(chosen)} images can be read ({skipped[0].reason})",
            subject=query.url,
            hint="try again later, or name other --assets",
        )
    write_table(out / "items.csv", items)
    write_card(
        out / "README.md", items, url=redacted(query.url), query=query.describe(), licence=licence
    )
    return Fetched(tuple(items), tuple(skipped), len(found))


def by_season(items: Iterable[pystac.Item], count: int) -> list[pystac.Item]:
    """Chooses the clearest images of every season and tile, on different days.

    Args:
        items: What there is.
        count: Images a season and tile.

    Returns:
        In order of time.
    """
    groups: dict[tuple[str, str], list[pystac.Item]] = {}
    for item in items:
        groups.setdefault((_tile(item), season(f"{_acquired(item):%Y%m%d}")), []).append(item)
    chosen = []
    for group in groups.values():
        days: dict[str, pystac.Item] = {}
        for item in sorted(group, key=lambda item: (_cloud(item, 0.0), _acquired(item))):
            days.setdefault(f"{_acquired(item):%Y%m%d}", item)
        chosen += list(days.values())[:count]
    return sorted(chosen, key=lambda item: (_acquired(item), item.id))


def span(dates: str) -> tuple[datetime, datetime]:
    """Returns the first moment of a range of dates, and the first moment after it.

    Raises:
        ConfigError: The text is no date and no range of dates.

    Examples:
        >>> [f"{moment:%Y-%m-%d}" for moment in span("2018-11/2019")]
        ['2018-11-01', '2020-01-01']
    """
    begin, slash, end = dates.partition("/")
    try:
        first, _ = _parse_date(begin)
        _, last = _parse_date(end if slash else begin)
    except ValueError as error:
        raise ConfigError(
            "is no date", subject=dates, hint="write 2018-01-01/2019-12-31, or a year"
        ) from error
    if first >= last:
        raise ConfigError("ends before it begins", subject=dates)
    return first, last


def _parse_date(text: str) -> tuple[datetime, datetime]:
    parts = [int(part) for part in text.strip().split("-")]
    if not 1 <= len(parts) <= 3:
        raise ValueError(text)
    year, month, day = (*parts, 1, 1)[:3]
    begin = datetime(year, month, day, tzinfo=UTC)
    if len(parts) == 3:
        end = datetime.fromtimestamp(begin.timestamp() + 86400, UTC)
    elif len(parts) == 2:
        end = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    else:
        end = datetime(year + 1, 1, 1, tzinfo=UTC)
    return begin, end


def _search(query: StacQuery) -> tuple[list[pystac.Item], str]:
    """Searches items that fit; returns them and what the collections say of their licence."""
    require_extra("pystac_client", "catalogues are asked by it")
    begin, end = span(query.dates)
    with _one_line_errors(query.url), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = read_document(query.url)
        if any(link.get("rel") == "search" for link in root.get("links", ())):
            items = _search_items(query, begin, end)
        else:
            items = (
                read_item(known or read_document(place), place)
                for place, known in listed_items(root, query.url)
            )
        fitting = [item for item in items if _is_wanted(item, query, begin, end)]
        stated = licences(root, query.url)
    names = sorted({item.collection_id or "" for item in fitting})
    licence = "; ".join(
        f"{name or 'no collection'}: {stated.get(name, 'not stated')}" for name in names
    )
    return fitting, licence


def _search_items(query: StacQuery, begin: datetime, end: datetime) -> Iterator[pystac.Item]:
    from pystac_client import Client

    client = Client.open(query.url)
    found = client.search(
        collections=None if query.collection is None else [query.collection],
        bbox=query.bbox,
        datetime=(begin, datetime.fromtimestamp(end.timestamp() - 1, UTC)),
    )
    return found.items()


def _is_wanted(item: pystac.Item, query: StacQuery, begin: datetime, end: datetime) -> bool:
    if query.collection is not None and item.collection_id != query.collection:
        return False
    if not begin <= _acquired(item) < end or _cloud(item, 0.0) > query.max_cloud:
        return False
    if item.bbox is None:
        return True
    west, south, east, north = query.bbox
    box = item.bbox if len(item.bbox) == 4 else [*item.bbox[:2], *item.bbox[3:5]]
    return box[0] < east and west < box[2] and box[1] < north and south < box[3]


def _acquired(item: pystac.Item) -> datetime:
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        return datetime(1, 1, 1, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _cloud(item: pystac.Item, otherwise: float) -> float:
    value = item.properties.get("eo:cloud_cover")
    return otherwise if value is None else float(value)


def _tile(item: pystac.Item) -> str:
    for name in ("grid:code", "s2:mgrs_tile"):
        if name in item.properties:
            return str(item.properties[name])
    return tile_name(item.id) or ""


@contextmanager
def _one_line_errors(url: str) -> Iterator[None]:
    """Turns whatever a catalogue's client raises into one error."""
    try:
        yield
    except ImatchError:
        raise
    except Exception as error:  # requests, urllib, json, pystac and its API client: each its own.
        detail = in_words(str(error), url)[:200] or type(error).__name__
        raise InputError(
            f"cannot be read as a catalogue ({detail})",
            subject=url,
            hint="name an API's landing page or a catalogue's JSON",
        ) from error


def _fetch(item: pystac.Item, query: StacQuery, out: Path, *, overwrite: bool) -> FetchedItem:
    """Writes the window of one item, unless it is there."""
    keys = query.assets or tuple(name for name in PICTURES if name in item.assets)[:1]
    missing = [key for key in keys if key not in item.assets]
    if missing or not keys:
        there = ", ".join(item.assets) or "none"
        what = f"has no asset {missing[0]!r}" if missing else "has no picture in natural colours"
        raise InputError(f"{what} (its assets are {there})", subject=item.id)
    name = "".join(c if c.isalnum() or c in "-_." else "_" for c in item.id)
    path = out / f"{name}.tif"
    taken = _acquired(item)
    # The name is what later tells the date.
    if f"{taken:%Y%m%d}" not in name:
        path = out / f"{name}_{taken:%Y%m%d}.tif"
    if overwrite or not path.exists():
        for attempt in range(_TRIES):
            try:
                _window_of(item, keys, query, path)
                break
            except (RasterioError, OSError) as error:
                if attempt == _TRIES - 1:
                    cause = in_words(str(error), item.id)[:200] or type(error).__name__
                    raise InputError(f"cannot be read ({cause})", subject=item.id) from error
                time.sleep(0.2 * 4**attempt)
    with rasterio.open(path) as file:
        width, height = file.width, file.height
    return FetchedItem(
        item=item.id,
        path=path.name,
        datetime=taken.isoformat(),
        season=season(f"{taken:%Y%m%d}"),
        cloud=_cloud(item, float("nan")),
        collection=item.collection_id or "",
        assets=" ".join(keys),
        width=width,
        height=height,
    )


def _window_of(item: pystac.Item, keys: Sequence[str], query: StacQuery, path: Path) -> None:
    scl = next((key for key in _CLASSES if key in item.assets), None)
    frame = frame_of([asset_href(item, key) for key in keys], query.bbox)
    if scl is not None and scl not in keys:
        # First, so that an image is never there without its classes.
        target = path.with_name(f"{path.stem}_SCL.tif")
        write_window(target, {scl: asset_href(item, scl)}, frame, classes=True)
    write_window(path, {key: asset_href(item, key) for key in keys}, frame)
