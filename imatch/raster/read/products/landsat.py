"""Landsat Collection 2 products, levels 1 and 2: folders, and the tar archives they come in.

The metadata file (MTL, as text, JSON or XML) names the files and has the scales and offsets that
turn numbers into reflectance or kelvin; bits of ``QA_PIXEL`` tell clouds, shadows and fill (USGS,
"Landsat 8-9 Collection 2 Level 2 Science Product Guide", LSDS-1619; "Landsat Collection 2 Level 1
Data Format Control Book", LSDS-1822).
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from imatch.core.errors import InputError
from imatch.core.io.jsontext import parse_json
from imatch.raster.read.products.product import (
    ClassLayer,
    Product,
    ProductBand,
    matching,
    one_scene,
    usual_bands,
)

_SCENE = r"(?P<scene>L[COTEM]0[1-9]_L[12]\w\w_\d{6}_\d{8}_\d{8}_02_(?:RT|T1|T2))"
_IMAGE = re.compile(_SCENE + r"_(?:SR_|ST_)?(?P<band>B\d+|B6_VCID_[12])\.TIF$", re.IGNORECASE)
_QUALITY = re.compile(_SCENE + r"_QA_PIXEL\.TIF$", re.IGNORECASE)
_MTL = re.compile(_SCENE + r"_MTL\.(?P<form>txt|json|xml)$", re.IGNORECASE)
_MOST_TEXT = 1 << 22
# Fill, dilated cloud, cirrus, cloud, cloud shadow.
_LEFT_OUT = 0b11111
# Own names of bands to common ones, by sensor: OLI and TIRS, ETM+, TM, MSS of Landsat 4-5 and 1-3.
_OLI = {
    "B1": "coastal",
    "B2": "blue",
    "B3": "green",
    "B4": "red",
    "B5": "nir",
    "B6": "swir16",
    "B7": "swir22",
    "B8": "pan",
    "B9": "cirrus",
    "B10": "lwir11",
    "B11": "lwir12",
}
_TM = {
    "B1": "blue",
    "B2": "green",
    "B3": "red",
    "B4": "nir",
    "B5": "swir16",
    "B6": "lwir",
    "B6_VCID_1": "lwir",
    "B6_VCID_2": "lwir_high_gain",
    "B7": "swir22",
    "B8": "pan",
}
_MSS = {"B1": "green", "B2": "red", "B3": "rededge", "B4": "nir"}
_MSS_1_TO_3 = {"B4": "green", "B5": "red", "B6": "rededge", "B7": "nir"}
# The groups of metadata that hold a level's scales, and their fields: what they measure.
_SCALES = (
    ("LEVEL2_SURFACE_REFLECTANCE_PARAMETERS", "REFLECTANCE", "{}"),
    ("LEVEL2_SURFACE_TEMPERATURE_PARAMETERS", "TEMPERATURE", "ST_{}"),
    ("LEVEL1_RADIOMETRIC_RESCALING", "REFLECTANCE", "{}"),
    ("LEVEL1_RADIOMETRIC_RESCALING", "RADIANCE", "{}"),
)


def find_landsat(path: Path) -> Product | None:
    """Finds the bands and masks of a Landsat Collection 2 product.

    Args:
        path: Its folder, its tar archive or its MTL file.

    Returns:
        The product; None where `path` is none.

    Raises:
        InputError: The archive is damaged, the metadata are missing or damaged, or there are
            several scenes.
    """
    if _MTL.search(path.name):
        path = path.parent
    files = _files(path)
    images = matching(_IMAGE, files)
    texts = matching(_MTL, files)
    if not images and not texts:
        return None
    scene = one_scene(
        (m["scene"].upper() for m in (images | texts).values()), "Landsat scene", path
    )
    if not texts:
        raise InputError(
            f"holds images of {scene} without their metadata ({scene}_MTL.txt, .json or .xml)",
            subject=path,
            hint="put that file beside them, or name an image file",
        )
    text = min(texts, key=lambda file: ("json", "xml", "txt").index(texts[file]["form"].lower()))
    metadata = _metadata(path, text)
    names = _names(scene)
    own = {m["band"].upper(): file for file, m in images.items()}
    bands = {
        names.get(band, band): (_band(names.get(band, band), file, band, scene, metadata),)
        for band, file in sorted(own.items(), key=lambda item: (len(item[0]), item[0]))
    }
    quality = next(iter(matching(_QUALITY, files)), None)
    return Product(
        "Landsat Collection 2 product",
        bands,
        usual_bands(bands),
        _other_names(names, bands),
        () if quality is None else qa_pixel_layers(quality),
        "fill, clouds, their rims and shadows, cirrus",
        "" if quality is not None else f"{scene}_QA_PIXEL.TIF is missing",
        _missing(names, own, metadata),
    )


def qa_pixel_layers(file: str) -> tuple[ClassLayer, ...]:
    """Returns what a QA_PIXEL raster leaves out."""
    return (ClassLayer("QA_PIXEL", file, bits=_LEFT_OUT),)


def _files(path: Path) -> list[str]:
    """The files of a folder, or of a tar as GDAL names them; none of anything else."""
    if path.is_dir():
        return [str(file) for file in sorted(path.iterdir())]
    if path.suffix.lower() != ".tar" or not path.is_file():
        return []
    try:
        with tarfile.open(path) as archive:
            names = sorted(member.name for member in archive if member.isfile())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(
            f"cannot be read as a tar: it is truncated or damaged ({error})",
            subject=path,
            hint="download it again",
        ) from error
    return [f"/vsitar/{path.resolve()}/{name}" for name in names]


def _names(scene: str) -> Mapping[str, str]:
    """Common names of a scene's bands, by the sensor that its name tells."""
    sensor, number = scene[1].upper(), int(scene[2:4])
    if sensor == "M":
        return _MSS_1_TO_3 if number <= 3 else _MSS
    return _OLI if sensor in "COT" and number >= 8 else _TM


def _other_names(names: Mapping[str, str], bands: Mapping[str, Any]) -> dict[str, str]:
    """B4, SR_B4 and ST_B10 of a band that is called by its common name; nir08 for nir."""
    others = {own.lower(): name for own, name in names.items() if name in bands}
    others |= {f"{kind}_{own}": name for own, name in [*others.items()] for kind in ("sr", "st")}
    return others | ({"nir08": "nir"} if "nir" in bands else {})


def _missing(
    names: Mapping[str, str], there: Mapping[str, str], metadata: Mapping[tuple[str, str], str]
) -> dict[str, str]:
    found = {}
    for (group, key), value in metadata.items():
        named = re.fullmatch(r"FILE_NAME_BAND_(?:ST_)?(?:B)?(\w+)", key)
        band = "" if named is None else f"B{named[1]}"
        if group == "PRODUCT_CONTENTS" and named is not None and band not in there:
            found[names.get(band, band)] = value
    return found


def _band(
    name: str, file: str, band: str, scene: str, metadata: Mapping[tuple[str, str], str]
) -> ProductBand:
    """A band with the first scale that the metadata of its level have for it."""
    level2 = scene.split("_")[1].upper().startswith("L2")
    for group, what, key in _SCALES:
        if group.startswith("LEVEL2") != level2:
            continue
        ending = f"BAND_{key.format(band[1:] if key == '{}' else band)}"
        try:
            scale = float(metadata[group, f"{what}_MULT_{ending}"])
            offset = float(metadata[group, f"{what}_ADD_{ending}"])
        except KeyError:
            continue
        except ValueError as error:
            cause = f"its metadata hold no number for {what}_MULT_{ending}"
            raise InputError(cause, subject=file, hint="download them again") from error
        return ProductBand(name, file, nodata=0.0, scale=scale, offset=offset)
    return ProductBand(name, file, nodata=0.0)


def _metadata(path: Path, file: str) -> dict[tuple[str, str], str]:
    """The fields of an MTL file by group and name."""
    try:
        text = _content(path, file)
        if file.lower().endswith(".json"):
            pairs = _flat(parse_json(text))
        elif file.lower().endswith(".xml"):
            # Expat itself refuses entities that grow without bounds.
            root = ElementTree.fromstring(text)  # noqa: S314
            pairs = ((g.tag, f.tag, (f.text or "").strip()) for g in root for f in g)
        else:
            pairs = _odl(text.decode("utf-8", "replace"))
        found = {(group, key): value for group, key, value in pairs}
    except (OSError, ValueError, KeyError, tarfile.TarError, ElementTree.ParseError) as error:
        raise InputError(
            f"its metadata cannot be read ({error})", subject=file, hint="download them again"
        ) from error
    if not any(group == "PRODUCT_CONTENTS" for group, _ in found):
        raise InputError(
            "holds no metadata of Landsat Collection 2",
            subject=file,
            hint="download the product again",
        )
    return found


def _content(path: Path, file: str) -> bytes:
    if not file.startswith("/vsitar/"):
        with Path(file).open("rb") as opened:
            return opened.read(_MOST_TEXT)
    with tarfile.open(path) as archive:
        member = archive.extractfile(file.removeprefix(f"/vsitar/{path.resolve()}/"))
        return b"" if member is None else member.read(_MOST_TEXT)


def _flat(document: Any) -> Iterator[tuple[str, str, str]]:
    for groups in document.values() if isinstance(document, dict) else ():
        for group, fields in groups.items() if isinstance(groups, dict) else ():
            for key, value in fields.items() if isinstance(fields, dict) else ():
                yield group, key, str(value)


def _odl(text: str) -> Iterator[tuple[str, str, str]]:
    """Fields of the label language: ``GROUP = X``, ``KEY = "VALUE"``, ``END_GROUP = X``."""
    group = ""
    for line in text.splitlines():
        key, _, value = (part.strip() for part in line.partition("="))
        if key == "GROUP":
            group = value
        elif key not in ("END_GROUP", "END") and value:
            yield group, key, value.strip('"')
