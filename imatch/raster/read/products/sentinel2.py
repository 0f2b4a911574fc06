"""Sentinel-2 products: `.SAFE` folders, their granules, and zips of them.

The granule's JP2 files are opened directly: GDAL's own SENTINEL2 driver hides them behind a VRT,
whose reduced resolutions come displaced (see `imatch.raster.read.overviews`).
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from imatch.core.errors import InputError
from imatch.raster.read.products.product import (
    ClassLayer,
    Layer,
    PolygonLayer,
    Product,
    ProductBand,
)

_IMAGE = re.compile(
    r"_(?P<band>B\d[\dA]|TCI|SCL|AOT|WVP)(?:_(?P<metres>10|20|60)m)?\.jp2$", re.IGNORECASE
)
_GRANULE_FILE = re.compile(r"(?:^|[_/\\])T\d{2}[A-Z]{3}_.*" + _IMAGE.pattern, re.IGNORECASE)
_NATIVE_M = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "B10": 60}
_TCI_NAMES = ("red", "green", "blue")
_COMMON = {
    "coastal": "B01",
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "nir09": "B09",
    "cirrus": "B10",
    "swir16": "B11",
    "swir22": "B12",
}
# MSK_CLOUDS_B00.gml, in older products S2A_OPER_MSK_CLOUDS_…_B00_MSIL1C.gml.
_QUALITY = re.compile(
    r"MSK_(?P<kind>CLASSI|QUALIT|CLOUDS|DEFECT|NODATA)_(?:.*_)?(?P<band>B\d[\dA])(?:_MSIL1C)?"
    r"\.(?P<form>jp2|gml)$",
    re.IGNORECASE,
)
# No data, saturated or defective, cloud shadow, cloud of medium and high probability, cirrus.
_SCL_LEFT_OUT = frozenset({0, 1, 3, 8, 9, 10})
_SCL_TEXT = "no data, defective pixels, cloud shadows, clouds, cirrus"
# Bands of MSK_CLASSI: opaque clouds and cirrus; of MSK_QUALIT: lost packets, defective, no data,
# saturated.
_CLASSI_CLOUDS, _QUALIT_LOST = (1, 2), (3, 5, 6, 8)
_L1C_TEXT = "clouds, cirrus, lost and defective pixels"


def is_granule_file(path: str) -> bool:
    """Whether a name is that of a Sentinel-2 reflectance JP2, whose zeros are no data by format."""
    match = _GRANULE_FILE.search(path)
    return match is not None and match["band"].upper().startswith("B")


def find_safe(path: Path) -> list[str] | None:
    """All image files of a Sentinel-2 product.

    Args:
        path: A `.SAFE` folder, one of its granules (or a folder in it), its ``MTD_MSIL*.xml``, or
            a zip of a product.

    Returns:
        GDAL paths of the JP2 files of its only granule, or None when `path` is a plain file.

    Raises:
        InputError: A folder or zip without a product, or with several granules.
    """
    files = _listing(path)
    if files is None:
        return None
    images = [file for file in files if _IMAGE.search(file) and _in_granule(file)]
    if not images:
        kind = "zip" if path.suffix.lower() == ".zip" else "folder"
        raise InputError(
            f"is a {kind} without a Sentinel-2 product",
            subject=path,
            hint="name an image file, or the .SAFE folder itself",
        )
    granules = sorted({_granule(file) for file in images})
    if len(granules) > 1:
        raise InputError(
            f"holds {len(granules)} granules",
            subject=path,
            hint=f"name one of them, such as {granules[0]}",
        )
    return images


def _listing(path: Path) -> list[str] | None:
    """The files of a folder or zip as GDAL names them, None for any other file."""
    if path.name.upper().startswith("MTD_") and path.suffix.lower() == ".xml":
        path = path.parent
    if path.is_dir():
        return [str(file) for file in sorted(path.rglob("*.jp2"))]
    if path.suffix.lower() == ".zip":
        try:
            with zipfile.ZipFile(path) as archive:
                names = sorted(archive.namelist())
        except FileNotFoundError as error:
            raise InputError("no such file", subject=path, hint="check the path") from error
        except (zipfile.BadZipFile, OSError) as error:
            raise InputError(
                f"cannot be read as a zip ({error})", subject=path, hint="download it again"
            ) from error
        return [f"/vsizip/{path.resolve()}/{name}" for name in names]
    return None


def find_sentinel2(path: Path) -> Product | None:
    """Finds the bands and masks of a Sentinel-2 product.

    Masks are the scene classification of level 2A; of level 1C the classification of clouds and
    the quality of each band, in either of their forms: polygons, and from processing baseline
    04.00 on rasters ("Sentinel-2 Products Specification Document", S2-PDGS-TAS-DI-PSD).

    Args:
        path: As for `find_safe`.

    Returns:
        The product; None where `path` is a plain file.

    Raises:
        InputError: As `find_safe`.
    """
    found = _listing(path)
    images = None if found is None else find_safe(path)
    if found is None or images is None:
        return None
    finest: dict[str, tuple[int, str]] = {}
    for file in images:
        match = _IMAGE.search(file)
        assert match is not None
        band = match["band"].upper()
        metres = int(match["metres"]) if match["metres"] else _NATIVE_M.get(band, 20)
        if band not in finest or metres < finest[band][0]:
            finest[band] = (metres, file)
    # The format reserves 0 for missing ground (Sentinel-2 Product Specification, "NODATA").
    bands: dict[str, tuple[ProductBand, ...]]
    bands = {name: (ProductBand(name, file, nodata=0.0),) for name, (_, file) in finest.items()}
    if "TCI" in bands:
        file = finest["TCI"][1]
        bands["TCI"] = tuple(ProductBand(n, file, i) for i, n in enumerate(_TCI_NAMES, start=1))
    others = {common: name for common, name in _COMMON.items() if name in bands}
    others |= {f"b{int(name[1:])}": name for name in bands if re.fullmatch(r"B0\d", name)}
    others |= {"b08a": "B8A"} if "B8A" in bands else {}
    layers = _layers(finest, _quality_files(found, _granule(images[0])))
    level2 = any(re.search(r"_\d0m\.jp2$", file, re.IGNORECASE) for file in images)
    return Product(
        "Sentinel-2 product",
        bands,
        ("TCI",) if "TCI" in bands else ("B04", "B03", "B02"),
        others,
        layers,
        _SCL_TEXT if level2 else _L1C_TEXT,
        "" if layers else f"{'SCL' if level2 else 'MSK_CLASSI and MSK_CLOUDS'} missing",
    )


def _quality_files(files: Sequence[str], granule: str) -> list[str]:
    """The masks of a granule, which lie beside its images."""
    if not granule.startswith("/vsizip/"):
        return [str(file) for file in sorted(Path(granule, "QI_DATA").glob("*"))]
    return [file for file in files if file.startswith(f"{granule}/QI_DATA/")]


def _layers(finest: Mapping[str, tuple[int, str]], quality: Sequence[str]) -> tuple[Layer, ...]:
    """What tells ground to leave out: the classification, or clouds and each band's quality."""
    if "SCL" in finest:
        return scl_layers(finest["SCL"][1])
    layers: list[Layer] = []
    for file in quality:
        name = re.split(r"[/\\]", file)[-1]
        if (found := _QUALITY.search(name)) is None:
            continue
        kind, band = found["kind"].upper(), found["band"].upper()
        of: frozenset[str] = frozenset({band, "TCI"} if band in ("B02", "B03", "B04") else {band})
        raster = found["form"].lower() == "jp2"
        bands: tuple[int, ...] = ()
        if kind == "CLASSI" and raster:
            bands, of = _CLASSI_CLOUDS, frozenset()
        elif kind == "QUALIT" and raster:
            bands = _QUALIT_LOST
        elif kind == "CLOUDS" and not raster:
            layers.append(PolygonLayer("MSK_CLOUDS", file))
        elif kind in ("DEFECT", "NODATA") and not raster:
            layers.append(PolygonLayer(f"MSK_{kind}", file, of))
        layers += [ClassLayer(f"MSK_{kind}", file, i, bits=1, of=of, is_flag=True) for i in bands]
    return tuple(layers)


def _in_granule(file: str) -> bool:
    """Returns whether a JP2 is a band: previews and masks lie in other folders."""
    return "IMG_DATA" in PurePosixPath(file.replace("\\", "/")).parts


def _granule(file: str) -> str:
    """Returns the granule's folder, which is above IMG_DATA."""
    return file.replace("\\", "/").rsplit("/IMG_DATA/", 1)[0]


def scl_layers(file: str) -> tuple[ClassLayer, ...]:
    """Returns what a scene classification leaves out."""
    return (ClassLayer("SCL", file, values=_SCL_LEFT_OUT),)
