"""STAC items of small images, and collections of them, as catalogues publish them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.warp import transform_bounds

PLACE = Affine(10, 0, 356_000, 0, -10, 4_835_000)


def texture(seed: int = 0, side: int = 256, margin: int = 8) -> NDArray[np.uint8]:
    """(H, W) of ground that can be matched, wider than `side` by a margin on each side."""
    import cv2

    rng = np.random.default_rng(seed)
    size = side + 2 * margin
    coarse = cv2.resize(rng.normal(size=(size // 8, size // 8)), (size, size))
    ground = 128 + 30 * coarse + 12 * cv2.GaussianBlur(rng.normal(size=(size, size)), (0, 0), 1) * 4
    return np.asarray(np.clip(ground, 1, 255), dtype=np.uint8)


def write_image(path: Path, pixels: NDArray[Any], **profile: Any) -> None:
    """A tiled GeoTIFF."""
    pixels = pixels if pixels.ndim == 3 else pixels[None]
    profile = {
        "driver": "GTiff",
        "crs": "EPSG:32631",
        "transform": PLACE,
        "dtype": pixels.dtype,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
        **profile,
    }
    profile |= dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels)


def item(
    name: str,
    assets: Mapping[str, Mapping[str, Any]],
    day: str = "2018-08-15",
    side: int = 256,
    **changes: Any,
) -> dict[str, Any]:
    """An item of images at `PLACE`."""
    west, south, east, north = transform_bounds(
        "EPSG:32631", "EPSG:4326", 356_000, 4_835_000 - 10 * side, 356_000 + 10 * side, 4_835_000
    )
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, east, north],
        "properties": {"datetime": f"{day}T10:50:31Z"},
        "links": [],
        "assets": dict(assets),
        **changes,
    }


def save(path: Path, document: Any) -> Path:
    """Writes a document as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def collection(name: str, hrefs: Sequence[str], **links: str) -> dict[str, Any]:
    """A collection that leads to items by their addresses."""
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "description": "test",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90]]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [
            *({"rel": "item", "href": href} for href in hrefs),
            *({"rel": rel, "href": href} for rel, href in links.items()),
        ],
    }
