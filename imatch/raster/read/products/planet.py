"""PlanetScope scenes: an image of four or eight bands and its usable-data mask.

Flags of ``udm2`` tell clouds, heavy haze and shadows, bits of the older ``udm`` blank pixels and
clouds (Planet, "PlanetScope Product Specification", and "UDM 2" of its developer documentation).
"""

from __future__ import annotations

import re
from pathlib import Path

from imatch.raster.read.products.product import (
    ClassLayer,
    Layer,
    Product,
    ProductBand,
    matching,
    one_scene,
)

_SCENE = r"^(?P<scene>\d{8}_\d{6}(?:_\d\d)?_\w{4}(?:_\w+?)?)_(?:\d[AB])_"
_IMAGE = re.compile(
    _SCENE + r"AnalyticMS(?P<surface>_SR)?(?P<eight>_8b)?(?:_harmonized)?(?:_clip)?\.tif$", re.I
)
_UDM2 = re.compile(_SCENE + r"udm2(?:_clip)?\.tif$", re.I)
_UDM = re.compile(_SCENE + r"AnalyticMS(?:_8b)?_DN_udm(?:_clip)?\.tif$", re.I)
_FOUR = ("blue", "green", "red", "nir")
_EIGHT = ("coastal", "blue", "green05", "green", "yellow", "red", "rededge", "nir")
_OTHER_NAMES = {"coastal_blue": "coastal", "green_i": "green05", "nir08": "nir"}
# Bands of udm2 with a 1 where there is: shadow, heavy haze, cloud; and the bits of the older mask.
_SHADOW, _HAZE, _CLOUD, _OLDER = 3, 5, 6, 8
# Blank, cloud.
_BLANK, _BLANK_OR_CLOUD = 0b01, 0b11


def find_planet(path: Path) -> Product | None:
    """Finds the bands and the mask of a PlanetScope scene.

    Args:
        path: Its folder, or the image beside which the mask lies.

    Returns:
        The product; None where `path` is none.

    Raises:
        InputError: There are several scenes.
    """
    whole = path.is_dir()
    if not whole and not (_IMAGE.search(path.name) and path.is_file()):
        return None  # Before its folder is listed, which may hold a million other images.
    files = [str(file) for file in sorted((path if whole else path.parent).glob("*.tif"))]
    images = matching(_IMAGE, files if whole else [str(path)])
    if not images:
        return None
    scene = one_scene((match["scene"] for match in images.values()), "PlanetScope scene", path)
    # Surface reflectance before radiance, eight bands before four.
    image = max(images, key=lambda f: (images[f]["surface"] or "", images[f]["eight"] or "", f))
    names = _EIGHT if images[image]["eight"] else _FOUR
    bands = {n: (ProductBand(n, image, i, nodata=0.0),) for i, n in enumerate(names, start=1)}
    layers = _layers(scene, files)
    return Product(
        "PlanetScope scene",
        bands,
        ("red", "green", "blue"),
        {other: name for other, name in _OTHER_NAMES.items() if name in bands},
        layers,
        "blank pixels, clouds" + (", heavy haze, shadows" if len(layers) > 1 else ""),
        "" if layers else f"{scene}_3B_udm2.tif is missing",
    )


def _layers(scene: str, files: list[str]) -> tuple[Layer, ...]:
    newer = [file for file, m in matching(_UDM2, files).items() if m["scene"] == scene]
    older = [file for file, m in matching(_UDM, files).items() if m["scene"] == scene]
    if newer:
        return udm2_layers(newer[0])
    return tuple(ClassLayer("udm", file, bits=_BLANK_OR_CLOUD) for file in older[:1])


def udm2_layers(file: str) -> tuple[ClassLayer, ...]:
    """Returns what a udm2 raster leaves out."""
    flags = [ClassLayer("udm2", file, i, bits=1) for i in (_SHADOW, _HAZE, _CLOUD)]
    return (*flags, ClassLayer("udm2", file, _OLDER, bits=_BLANK))
