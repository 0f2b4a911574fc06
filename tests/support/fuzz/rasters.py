"""Whole rasters and vectors of every format that the command line reads, and what reads them."""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import geopandas
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from shapely.geometry import box

#: Runs a command line in a folder, and fails where it fails.
Run: TypeAlias = Callable[..., None]
Command: TypeAlias = tuple[str, ...]

#: The target's pixel is the reference's less this, in every pair of rasters.
OFFSET = (6, 4)
SIDE = 240
CRS = "EPSG:32631"
PLACE = Affine(10, 0, 356_000, 0, -10, 4_835_000)
QUICK = ("-m", "sift", "--offline")
SCENE = ("--jobs", "1", "--force", "--spacing", "16")


@dataclass(frozen=True)
class Sample:
    """Inputs that are read without complaint.

    Attributes:
        victims: Files that may be damaged, relative to the folder.
        commands: Command lines that read them, run in its folder ``in``; outputs go to ``../out``.
        resumed: Whether ``out`` is an input, too.
        weight: Its share of the inputs, against those of the other kinds.
    """

    victims: tuple[str, ...]
    commands: tuple[Command, ...]
    resumed: bool = False
    weight: float = 1.0


#: Writes a sample into a folder with ``in`` and, where it is resumed, ``out``.
Build: TypeAlias = Callable[[Path, Run], Sample]


def ground(bands: int = 1) -> NDArray[np.uint8]:
    """(bands, H, W) of texture at several scales, with corners."""
    rng, side = np.random.default_rng(7), SIDE + 16
    layers = [
        rng.random((bands, side // step, side // step)).repeat(step, 1).repeat(step, 2)
        for step in (4, 8, 16)
    ]
    total = np.sum(layers, axis=0)
    return np.asarray(20 + 210 * (total - total.min()) / np.ptp(total), dtype=np.uint8)


def view(target: bool, bands: int = 1) -> NDArray[np.uint8]:
    """(bands, SIDE, SIDE) of the ground, as the reference or the target sees it."""
    x, y = OFFSET if target else (0, 0)
    return ground(bands)[:, y : y + SIDE, x : x + SIDE]


def write(path: Path, pixels: NDArray[Any], **profile: Any) -> Path:
    """Write pixels as any driver does, at `PLACE` unless the profile says otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "driver": "GTiff",
        "count": pixels.shape[0],
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype,
        "crs": CRS,
        "transform": PLACE,
    } | profile
    copied = str(settings["driver"]) in ("netCDF", "Zarr")
    if copied:  # Rasterio lets these only copy.
        options = {key: settings.pop(key) for key in profile if key.isupper()}
        driver, settings["driver"] = settings["driver"], "GTiff"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        whole = {key: value for key, value in settings.items() if value is not None}
        if not copied:
            with rasterio.open(path, "w", **whole) as out:
                out.write(pixels)
            return path
        with MemoryFile() as memory:
            with memory.open(**whole) as out:
                out.write(pixels)
            copy(memory.name, path, driver=driver, **options)
    return path


def match(target: str, *more: str) -> Command:
    """The command that matches the reference with a target."""
    return ("match", "ref.tif", target, *QUICK, "-o", "../out/r.json", *more)


def _readers(target: str) -> tuple[Command, ...]:
    """Commands that read an image; the plainest twice."""
    return (
        match(target),
        match(target),
        match(target, "--no-geocoding"),
        ("match", target, "ref.tif", *QUICK, "-o", "../out/r.json", "-o", "../out/r.gpkg"),
        ("register", "ref.tif", target, "../out/r.tif", *QUICK, *SCENE),
        ("apply", "result.json", target, "-o", "../out/applied"),
        ("apply", "result.json", target, "-o", "../out/applied", "--geotransform-only"),
        ("same", "ref.tif", target, "--no-embedder", "-m", "sift", "--offline"),
        ("index", target, "-o", "../out/index", "-e", "edges"),
        ("match", "ref.tif", "tgt.tif", *QUICK, "--ref-mask", target, "-o", "../out/r.json"),
    )


def base(folder: Path, run: Run) -> None:
    """Write a good pair and its registration."""
    write(folder / "ref.tif", view(target=False))
    write(folder / "tgt.tif", view(target=True))
    run(folder, "match", "ref.tif", "tgt.tif", *QUICK, "-o", "result.json")


def raster(suffix: str, *, bands: int = 1, **profile: Any) -> Build:
    """Pairs whose target is of a format."""

    def build(folder: Path, run: Run) -> Sample:
        inside = folder / "in"
        inside.mkdir()
        base(inside, run)
        before = set(inside.rglob("*"))
        write(inside / f"image{suffix}", view(target=True, bands=bands), **profile)
        made = sorted(p for p in inside.rglob("*") if p.is_file() and p not in before)
        return Sample(tuple(str(p.relative_to(inside)) for p in made), _readers(f"image{suffix}"))

    return build


def copied(suffix: str, make: Callable[[Path], Sequence[str]], name: str = "image") -> Build:
    """As `raster`, from a function that writes the files and names those to damage."""

    def build(folder: Path, run: Run) -> Sample:
        inside = folder / "in"
        inside.mkdir()
        base(inside, run)
        return Sample(tuple(make(inside)), _readers(f"{name}{suffix}"))

    return build


def _vrt(folder: Path) -> list[str]:
    (folder / "image.vrt").write_text(
        f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}"><SRS>{CRS}</SRS>\n'
        "<GeoTransform>356000, 10, 0, 4835000, 0, -10</GeoTransform>\n"
        '<VRTRasterBand dataType="Byte" band="1"><NoDataValue>0</NoDataValue>\n'
        "<ComplexSource>"
        '<SourceFilename relativeToVRT="1">tgt.tif</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{SIDE}" ySize="{SIDE}"/>'
        "<NODATA>0</NODATA></ComplexSource>\n</VRTRasterBand></VRTDataset>\n"
    )
    return ["image.vrt"]


def _world_file(folder: Path) -> list[str]:
    write(folder / "image.png", view(target=True), driver="PNG", crs=None, transform=None)
    (folder / "image.pgw").write_text("10\n0\n0\n-10\n356005\n4834995\n")
    (folder / "image.prj").write_text(rasterio.crs.CRS.from_string(CRS).to_wkt(version="WKT1_ESRI"))
    return ["image.pgw", "image.prj"]


def _auxiliary(folder: Path) -> list[str]:
    wkt = rasterio.crs.CRS.from_string(CRS).to_wkt().replace('"', "&quot;")
    write(folder / "image.png", view(target=True), driver="PNG", crs=None, transform=None)
    (folder / "image.png.aux.xml").write_text(
        f'<PAMDataset>\n<SRS dataAxisToSRSAxisMapping="1,2">{wkt}</SRS>\n'
        "<GeoTransform>356000, 10, 0, 4835000, 0, -10</GeoTransform>\n"
        '<PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand>\n</PAMDataset>\n'
    )
    return ["image.png.aux.xml"]


def _control_points(folder: Path) -> list[str]:
    gcps = [
        GroundControlPoint(row, column, *(PLACE @ (column, row)))
        for row, column in ((0, 0), (0, SIDE), (SIDE, 0), (SIDE, SIDE))
    ]
    write(folder / "image.tif", view(target=True), transform=None, gcps=gcps, compress="DEFLATE")
    return ["image.tif"]


def _hdf5(folder: Path) -> list[str]:
    made = write(folder / "made.nc", view(target=True), driver="netCDF", FORMAT="NC4")
    made.rename(folder / "image.h5")
    return ["image.h5"]


_SAFE = "S2A_MSIL1C_20180815T105021_N0206_R051_T31TCJ_20180815T131540.SAFE"


def _product(folder: Path) -> list[str]:
    name = "GRANULE/L1C_T31TCJ_A016438_20180815T105020/IMG_DATA/T31TCJ_20180815T105021"
    options = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES"}
    for band in ("B02", "B03", "B04"):
        write(folder / _SAFE / f"{name}_{band}.jp2", view(target=True), **options)
    (folder / _SAFE / "MTD_MSIL1C.xml").write_text("<xml/>\n")
    return [f"{_SAFE}/{name}_B04.jp2", f"{_SAFE}/{name}_B02.jp2", f"{_SAFE}/MTD_MSIL1C.xml"]


def _zipped(folder: Path) -> list[str]:
    _product(folder)
    with zipfile.ZipFile(folder / "image.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((folder / _SAFE).rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder / _SAFE)
    return ["image.zip"]


def vector(suffix: str) -> Build:
    """Polygons, as a mask and as something to move along."""

    def build(folder: Path, run: Run) -> Sample:
        inside = folder / "in"
        inside.mkdir()
        base(inside, run)
        before = set(inside.iterdir())
        shapes = [
            box(356_200, 4_834_300, 356_500, 4_834_600),
            box(356_900, 4_834_500, 357e3, 4.8348e6),
        ]
        table = geopandas.GeoDataFrame({"kind": ["cloud", "shadow"]}, geometry=shapes, crs=CRS)
        table.to_file(inside / f"mask{suffix}")
        made = sorted(path.name for path in inside.iterdir() if path not in before)
        name = f"mask{suffix}"
        return Sample(
            tuple(made),
            (
                match("tgt.tif", "--ref-mask", name),
                match("tgt.tif", "--tgt-mask", name, "--no-geocoding"),
                ("apply", "result.json", name, "-o", "../out/applied"),
            ),
            weight=1.5,
        )

    return build


#: Every format, by what it is called.
FORMATS: dict[str, Build] = {
    "geotiff": raster(".tif"),
    "geotiff-tiled": raster(".tif", tiled=True, blockxsize=64, blockysize=64, compress="LZW"),
    "geotiff-deflate": raster(".tif", bands=3, compress="DEFLATE", predictor=2),
    "geotiff-jpeg": raster(".tif", bands=3, compress="JPEG", photometric="YCBCR", tiled=True),
    "geotiff-webp": raster(".tif", bands=3, compress="WEBP", tiled=True),
    "geotiff-zstd": raster(".tif", compress="ZSTD", nodata=0),
    "cog": raster(".tif", driver="COG", BLOCKSIZE=128, COMPRESS="DEFLATE"),
    "control-points": copied(".tif", _control_points),
    "jp2": raster(".jp2", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES"),
    "jp2-tiled": raster(".jp2", driver="JP2OpenJPEG", BLOCKXSIZE=64, BLOCKYSIZE=64),
    "png": raster(".png", driver="PNG", crs=None, transform=None),
    "png-colour": raster(".png", bands=4, driver="PNG"),
    "jpeg": raster(".jpg", driver="JPEG", QUALITY=92, crs=None, transform=None),
    "jpeg-progressive": raster(".jpg", bands=3, driver="JPEG", PROGRESSIVE="YES"),
    "webp": raster(".webp", bands=3, driver="WEBP", LOSSLESS="YES"),
    "vrt": copied(".vrt", _vrt),
    "netcdf": raster(".nc", driver="netCDF"),
    "netcdf4": raster(".nc", driver="netCDF", FORMAT="NC4C"),
    "hdf5": copied(".h5", _hdf5),
    "envi": raster(".img", driver="ENVI"),
    "world-file": copied(".png", _world_file),
    "aux-xml": copied(".png", _auxiliary),
    "safe": copied("", _product, name=_SAFE),
    "safe-zip": copied(".zip", _zipped),
    "mask-geojson": vector(".geojson"),
    "mask-gpkg": vector(".gpkg"),
    "mask-shapefile": vector(".shp"),
    "mask-flatgeobuf": vector(".fgb"),
}


def truth(result: Path) -> float | None:
    """Pixels by which an ``ok`` registration of a sample's pair is off; None without one."""
    try:
        data = json.loads(result.read_text())
        if data["status"] != "ok" or Path(data["target"]["path"]).name == "ref.tif":
            return None
        matrix, middle = np.array(data["matrix"], dtype=float), np.array([SIDE / 2, SIDE / 2, 1])
        there = matrix @ middle
        return float(np.hypot(*(there[:2] / there[2] - middle[:2] + OFFSET)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
