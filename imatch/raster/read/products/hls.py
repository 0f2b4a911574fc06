"""Harmonized Landsat and Sentinel-2 granules (HLS L30 and S30, version 2): folders of GeoTIFFs.

Bands have names of their own in either product; bits of ``Fmask`` tell clouds and shadows ("HLS
Product User Guide", version 2.0, tables 6, 7 and 9).
"""

from __future__ import annotations

import re
from pathlib import Path

from imatch.raster.read.products.product import (
    ClassLayer,
    Product,
    ProductBand,
    matching,
    one_scene,
    usual_bands,
)

_FILE = re.compile(
    r"^(?P<scene>HLS\.(?P<kind>[LS]30)\.T\d{2}[A-Z]{3}\.\d{7}T\d{6}\.v\d\.\d)\.(?P<band>\w+)\.tif$",
    re.IGNORECASE,
)
# Cirrus (of version 1), cloud, beside a cloud or shadow, cloud shadow.
_LEFT_OUT = 0b1111
_FILL = 255
_NODATA = -9999.0
_NAMES = {
    "L30": {
        "B01": "coastal",
        "B02": "blue",
        "B03": "green",
        "B04": "red",
        "B05": "nir",
        "B06": "swir16",
        "B07": "swir22",
        "B09": "cirrus",
        "B10": "lwir11",
        "B11": "lwir12",
    },
    "S30": {
        "B01": "coastal",
        "B02": "blue",
        "B03": "green",
        "B04": "red",
        "B05": "rededge1",
        "B06": "rededge2",
        "B07": "rededge3",
        "B08": "nir_broad",
        "B8A": "nir",
        "B09": "nir09",
        "B10": "cirrus",
        "B11": "swir16",
        "B12": "swir22",
    },
}


def find_hls(path: Path) -> Product | None:
    """Finds the bands and the mask of an HLS granule.

    Args:
        path: Its folder.

    Returns:
        The product; None where `path` is none. ``nir`` is the narrow band that both products
        have.

    Raises:
        InputError: There are several granules.
    """
    if not path.is_dir():
        return None
    found = matching(_FILE, (str(file) for file in sorted(path.iterdir())))
    if not found:
        return None
    scene = one_scene((match["scene"] for match in found.values()), "HLS granule", path)
    names = _NAMES[next(iter(found.values()))["kind"].upper()]
    bands = {
        names[own]: (ProductBand(names[own], file, nodata=_NODATA),)
        for file, match in found.items()
        if (own := match["band"].upper()) in names
    }
    masks = [file for file, match in found.items() if match["band"].lower() == "fmask"]
    layers = fmask_layers(masks[0]) if masks else ()
    other_names = {own.lower(): name for own, name in names.items() if name in bands}
    other_names |= {own.replace("b0", "b"): name for own, name in other_names.items()}
    return Product(
        "HLS granule",
        bands,
        usual_bands(bands),
        other_names | ({"nir08": "nir"} if "nir" in bands else {}),
        layers,
        "fill, clouds, their rims and shadows",
        "" if layers else f"{scene}.Fmask.tif is missing",
        {name: f"{scene}.{own}.tif" for own, name in names.items() if name not in bands},
    )


def fmask_layers(file: str) -> tuple[ClassLayer, ...]:
    """Returns what an Fmask raster leaves out."""
    return (ClassLayer("Fmask", file, values=frozenset({_FILL}), bits=_LEFT_OUT),)
