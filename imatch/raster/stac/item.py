"""A STAC item as a product: its assets are bands, its classification a mask."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imatch.core.errors import ConfigError, InputError
from imatch.core.redaction import redacted
from imatch.raster.read.products.hls import fmask_layers
from imatch.raster.read.products.landsat import qa_pixel_layers
from imatch.raster.read.products.planet import udm2_layers
from imatch.raster.read.products.product import Layer, Product, ProductBand
from imatch.raster.read.products.sentinel2 import scl_layers
from imatch.raster.read.samples import log_location
from imatch.raster.stac.documents import open_item, split_name

if TYPE_CHECKING:
    import pystac

#: What catalogues call their picture in natural colours.
PICTURES = ("visual", "true_color", "true-color", "TCI", "image", "data")
_COLOURS = ("red", "green", "blue")
#: Keys of assets that are masks, in lower case.
_MASKS: Mapping[str, tuple[Callable[[str], tuple[Layer, ...]], str]] = {
    "scl": (scl_layers, "no data, defective pixels, cloud shadows, clouds, cirrus"),
    "qa_pixel": (qa_pixel_layers, "fill, clouds, their rims and shadows, cirrus"),
    "fmask": (fmask_layers, "fill, clouds, their rims and shadows"),
    "udm2": (udm2_layers, "blank pixels, clouds, heavy haze, shadows"),
    "ortho_udm2": (udm2_layers, "blank pixels, clouds, heavy haze, shadows"),
}
_RASTER = re.compile(r"image/(?:tiff|jp2|vnd\.stac\.geotiff|png|jpeg)|geotiff", re.IGNORECASE)
_RASTER_FILE = re.compile(r"\.(?:tiff?|jp2|vrt|png|jpe?g)(?:$|[?#])", re.IGNORECASE)
_NO_IMAGE = frozenset({"thumbnail", "overview", "metadata", "preview"})


def find_item(path: str | PathLike[str]) -> Product | None:
    """Finds the bands and the mask of a STAC item.

    Args:
        path: An item's path or URL, with perhaps ``#`` and the keys of assets behind it.

    Returns:
        The product; None where `path` is no STAC document.

    Raises:
        InputError: It cannot be read, is no item, or has not what is asked for.
        ConfigError: pystac is not installed.
    """
    split = split_name(path)
    if split is None:
        return None
    name, keys = split
    item = open_item(name)
    if item.geometry is None:
        log_location(redacted(name), "has no geometry, its images alone tell where it lies")
    assets = {key: asset for key, asset in item.assets.items() if _is_image(key, asset)}
    bands = {key: _bands(key, asset, asset_href(item, key)) for key, asset in assets.items()}
    check_assets(item, keys or tuple(bands)[:1], name)
    others: dict[str, str] = {}
    for key, parts in bands.items():
        if len(parts) == 1 and parts[0].name.lower() not in (key.lower(), *others):
            others[parts[0].name.lower()] = key
    masks = [(key, _MASKS[key.lower()]) for key in item.assets if key.lower() in _MASKS][:1]
    layers = tuple(row for key, (make, _) in masks for row in make(asset_href(item, key)))
    return Product(
        "STAC item",
        bands,
        keys or _usual(bands, others),
        others,
        layers,
        masks[0][1][1] if masks else "",
        "" if masks else "the item has no asset that is a mask",
        taken=item_date(item),
        format_has_mask=False,
    )


def check_assets(item: pystac.Item, keys: Sequence[str], name: str) -> None:
    """Checks that an item has assets of certain keys.

    Raises:
        InputError: It lacks one, or has no image at all.
    """
    there = ", ".join(item.assets) or "none"
    missing = [key for key in keys if key not in item.assets]
    if missing:
        raise InputError(
            f"has no asset {missing[0]!r}", subject=name, hint=f"its assets are {there}"
        )
    if not keys:
        raise InputError("has no asset that is an image", subject=name, hint=f"there are: {there}")


def asset_href(item: pystac.Item, key: str) -> str:
    """Returns where an asset lies, an absolute path or a URL."""
    href = item.assets[key].get_absolute_href() or item.assets[key].href
    return href.removeprefix("file://")


def single_asset(path: str | PathLike[str]) -> str | None:
    """Returns the file that alone holds the bands asked of an item; None where these are several.

    Args:
        path: As for `find_item`.

    Raises:
        InputError: As for `find_item`.
    """
    product = find_item(path)
    if product is None:
        return None
    files = {band.file for band in product.choose(None, subject=str(path))}
    return files.pop() if len(files) == 1 else None


def raster_of(path: str | PathLike[str]) -> str | PathLike[str]:
    """Returns the raster that is written where an image is put onto other pixels.

    Args:
        path: An image; of an item the file of its only asset is meant.

    Raises:
        InputError: As for `find_item`.
        ConfigError: An item takes its bands from several files.
    """
    if split_name(path) is None:
        return path
    asset = single_asset(path)
    if asset is None:
        raise ConfigError(
            "takes its bands from several assets, of which one can be written",
            subject=path,
            hint=f"name one of them, as {fspath(path).partition('#')[0]}#visual",
        )
    return asset


def item_date(item: pystac.Item) -> date | None:
    """Returns the day an item was taken, None where it does not say."""
    moment = item.datetime or item.common_metadata.start_datetime
    return None if moment is None else moment.date()


def _is_image(key: str, asset: pystac.Asset) -> bool:
    roles = set(asset.roles or ())
    if roles & _NO_IMAGE or key.lower() in (*_NO_IMAGE, "rendered_preview"):
        return False
    if asset.media_type:
        return _RASTER.search(asset.media_type) is not None
    return _RASTER_FILE.search(asset.href) is not None


def _bands(key: str, asset: pystac.Asset, href: str) -> tuple[ProductBand, ...]:
    """The bands of an asset, named as the item's ``bands`` or the extensions before them do."""
    fields = asset.extra_fields
    newer = _rows(fields.get("bands"))
    named, stated = _rows(fields.get("eo:bands")) or newer, _rows(fields.get("raster:bands"))
    count = max(len(named), len(stated), 1)
    found = []
    for i in range(count):
        about = {**fields, **(named[i] if i < len(named) else {})}
        common = about.get("eo:common_name") or about.get("common_name")
        if common is None and count > 1:
            common = _COLOURS[i] if key in PICTURES and count == 3 else about.get("name")
        numbers = {**about, **(stated[i] if i < len(stated) else {})}
        scale, offset, nodata = (
            _number(numbers.get(f"raster:{field}", numbers.get(field)))
            for field in ("scale", "offset", "nodata")
        )
        found.append(
            ProductBand(
                str(common or (key if count == 1 else f"{key}{i + 1}")),
                href if "://" in href or href.startswith("/vsi") else str(Path(href)),
                i + 1,
                nodata,
                1.0 if scale is None else scale,
                0.0 if offset is None else offset,
            )
        )
    return tuple(found)


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _usual(
    bands: Mapping[str, Sequence[ProductBand]], others: Mapping[str, str]
) -> tuple[str, ...]:
    """The picture in natural colours, else red, green and blue, else the first image."""
    picture = next((key for key in PICTURES if key in bands), None)
    if picture is not None:
        return (picture,)
    lower = {key.lower(): key for key in bands}
    colours = tuple(lower.get(name) or others.get(name, "") for name in _COLOURS)
    images = [key for key in bands if key.lower() not in _MASKS]
    return colours if all(colours) else tuple(images[:1] or [*bands][:1])
