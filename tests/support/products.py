"""Miniature optical products, laid out as the published descriptions of their formats say."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

Write = Callable[..., Path]
SIDE = 60
PLACE = Affine(30, 0, 300000, 0, -30, 5000000)
LANDSAT = "LC08_L2SP_199030_20200803_20200908_02_T1"
HLS = "HLS.{}.T31TCJ.2020216T105021.v2.0"
PLANET = "20200803_101010_10_1065"


def grounded(value: int, dtype: str = "uint16", side: int = SIDE) -> NDArray[Any]:
    """(H, W) of one value that grows by one from column to column, no data in the first ten."""
    pixels = (value + np.arange(side, dtype=dtype)[None]).repeat(side, axis=0).astype(dtype)
    pixels[:, :10] = -9999 if dtype == "int16" else 0
    return pixels


def quality(marks: Mapping[tuple[int, int], int], clear: int, dtype: str) -> NDArray[Any]:
    """(H, W) of classes: `clear`, but for rows of (first, last) with other values."""
    pixels = np.full((SIDE, SIDE), clear, dtype=dtype)
    for (first, last), value in marks.items():
        pixels[first:last] = value
    return pixels


def landsat(write: Write, root: Path, form: str = "txt", scene: str = LANDSAT) -> Path:
    """A folder of Landsat 8 level 2: bands 2 to 5 and 10, QA_PIXEL and metadata."""
    level2 = "_L2" in scene
    names = {b: f"{scene}_{'SR_' * level2}B{b}.TIF" for b in (2, 3, 4, 5)}
    names |= {10: f"{scene}_{'ST_' * level2}B10.TIF"}
    for band, name in names.items():
        write(f"{scene}/{name}", grounded(7000 + 100 * band), transform=PLACE, nodata=0)
    # Rows: fill, dilated cloud, cirrus, cloud, shadow, snow; 21824 is clear land.
    marks = {(4 * i, 4 * i + 4): 21824 | 1 << i for i in range(6)}
    flags = quality(marks, 21824, "uint16")
    write(f"{scene}/{scene}_QA_PIXEL.TIF", flags, transform=PLACE, nodata=1)
    contents = {f"FILE_NAME_BAND_{'ST_B' * (level2 and b == 10)}{b}": n for b, n in names.items()}
    groups: dict[str, dict[str, Any]] = {
        "PRODUCT_CONTENTS": {**contents, "FILE_NAME_BAND_6": f"{scene}_SR_B6.TIF"},
        # Those of level 1 are in the metadata of level 2, too.
        "LEVEL1_RADIOMETRIC_RESCALING": {
            **{f"REFLECTANCE_MULT_BAND_{b}": 2e-05 for b in (2, 3, 4, 5)},
            **{f"REFLECTANCE_ADD_BAND_{b}": -0.1 for b in (2, 3, 4, 5)},
            "RADIANCE_MULT_BAND_10": 3.342e-04,
            "RADIANCE_ADD_BAND_10": 0.1,
        },
    }
    if level2:
        groups["LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"] = {
            **{f"REFLECTANCE_MULT_BAND_{b}": 2.75e-05 for b in (2, 3, 4, 5)},
            **{f"REFLECTANCE_ADD_BAND_{b}": -0.2 for b in (2, 3, 4, 5)},
        }
        groups["LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"] = {
            "TEMPERATURE_MULT_BAND_ST_B10": 0.00341802,
            "TEMPERATURE_ADD_BAND_ST_B10": 149.0,
        }
    (root / scene / f"{scene}_MTL.{form}").write_text(_mtl(groups, form))
    return root / scene


def _mtl(groups: dict[str, dict[str, Any]], form: str) -> str:
    if form == "json":
        texts = {group: {k: str(v) for k, v in rows.items()} for group, rows in groups.items()}
        return json.dumps({"LANDSAT_METADATA_FILE": texts})
    if form == "xml":
        inner = "".join(
            f"<{g}>{''.join(f'<{k}>{v}</{k}>' for k, v in rows.items())}</{g}>"
            for g, rows in groups.items()
        )
        return f"<LANDSAT_METADATA_FILE>{inner}</LANDSAT_METADATA_FILE>"
    lines = ["GROUP = LANDSAT_METADATA_FILE"]
    for group, rows in groups.items():
        quoted = (
            f'    {k} = "{v}"' if isinstance(v, str) else f"    {k} = {v}" for k, v in rows.items()
        )
        lines += [f"  GROUP = {group}", *quoted, f"  END_GROUP = {group}"]
    return "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END"])


def tar_of(folder: Path) -> Path:
    """The same as an archive, its files at the top, as USGS packs them."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


def hls(write: Write, root: Path, kind: str = "S30") -> Path:
    """A folder of an HLS granule: blue, green, red, the narrow infrared, and Fmask."""
    scene = HLS.format(kind)
    for i, band in enumerate(("B02", "B03", "B04", "B8A" if kind == "S30" else "B05"), start=1):
        name = f"{scene}/{scene}.{band}.tif"
        write(name, grounded(1000 * i, "int16"), transform=PLACE, nodata=-9999)
    # Rows: cirrus, cloud, adjacent, shadow, snow, water, two levels of aerosol; 255 is fill.
    marks = {(4 * i, 4 * i + 4): 1 << i for i in range(8)} | {(32, 36): 255}
    write(f"{scene}/{scene}.Fmask.tif", quality(marks, 64, "uint8"), transform=PLACE, nodata=255)
    return root / scene


def planet(write: Write, root: Path, *, eight: bool = True, older: bool = False) -> Path:
    """A folder of a PlanetScope scene: an image of four or eight bands, and its mask."""
    count = 8 if eight else 4
    pixels = np.stack([grounded(1000 * i) for i in range(1, count + 1)])
    name = f"{PLANET}_3B_AnalyticMS_SR{'_8b' * eight}.tif"
    write(f"scene/{name}", pixels, transform=PLACE, nodata=0)
    if older:
        marks = {(4 * i, 4 * i + 4): 1 << i for i in range(3)}
        name = f"scene/{PLANET}_3B_AnalyticMS_DN_udm.tif"
        write(name, quality(marks, 0, "uint8"), transform=PLACE)
    else:
        # Rows: clear, snow, shadow, light haze, heavy haze, cloud, unsure, blank.
        flags = np.zeros((8, SIDE, SIDE), dtype=np.uint8)
        for i in range(8):
            flags[i, 4 * i : 4 * i + 4] = 1
        flags[6] = 90
        write(f"scene/{PLANET}_3B_udm2.tif", flags, transform=PLACE)
    return root / "scene"
