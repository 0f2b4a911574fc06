"""A scene registered and written, beside older commits and ``gdalwarp`` writing the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.pipeline.registration.io import read_registration
from tests.support.process_tree import Watched, watch

Row = dict[str, Any]
# What `imatch register` writes by default.
_CREATION = (
    *("TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "COMPRESS=DEFLATE", "PREDICTOR=2"),
    *("NUM_THREADS=ALL_CPUS", "INTERLEAVE=PIXEL", "BIGTIFF=IF_SAFER"),
)
_TIMEOUT_S = 3600.0
_CENTRE = Affine.translation(0.5, 0.5)


def writing_rows(folder: Path, kind: str, trees: Mapping[str, Path], repeat: int) -> Iterator[Row]:
    """Registers ``ref`` and ``tgt`` of a folder, and yields what each step took.

    ``register`` is the command from its start to the file written; ``apply`` writes the file alone,
    by the result that was found; ``gdalwarp`` writes it from the target placed by the same affine
    transform, with reduced levels by ``gdaladdo``.

    Args:
        folder: Holds the pair of one CRS; gets what is written.
        kind: Suffix of both.
        trees: Folders of source trees by name, the one whose result is applied first.
        repeat: How often all are run, one after the other.

    Raises:
        InputError: There is no ``gdalwarp`` here, or the pair is not registered.
    """
    tools = shutil.which("gdalwarp"), shutil.which("gdaladdo")
    if None in tools:
        raise InputError("is not installed", subject="gdalwarp", hint="apt-get install gdal-bin")
    imatch = [sys.executable, "-m", "imatch"]
    ref, tgt = folder / f"ref.{kind}", folder / f"tgt.{kind}"
    out, result = folder / "registered.tif", folder / "registered.json"
    quiet = ["--overwrite", "--quiet", "--offline"]
    for number in range(repeat):
        # The first tree last: its result is what is applied.
        for name, tree in reversed(list(trees.items())):
            cost = _run([*imatch, "register", ref, tgt, out, "-o", result, *quiet], tree)
            yield {"tree": name} | _row("register", number, cost) | _size(out)
        found = read_registration(result)
        if found.transform is None:
            raise InputError(found.reason, subject=ref, hint="take another pair")
        cost = _run([*imatch, "apply", result, tgt, "-o", folder / "applied", *quiet])
        yield _row("apply", number, cost) | _size(folder / "applied" / f"{tgt.stem}.tif")
        placed, warped = folder / "placed.vrt", folder / "gdalwarp.tif"
        _place(ref, tgt, found.transform.matrix, placed)
        warped.unlink(missing_ok=True)
        yield _row("gdalwarp", number, *_gdalwarp(ref, placed, warped)) | _size(warped)


def _gdalwarp(ref: Path, placed: Path, out: Path) -> tuple[Watched, Watched]:
    with rasterio.open(ref) as dataset:
        ends, size = map(str, dataset.bounds), map(str, (dataset.width, dataset.height))
    options = [part for option in _CREATION for part in ("-co", option)]
    threads = ["-multi", "-wo", "NUM_THREADS=ALL_CPUS", "-wm", "500"]
    frame = ["-r", "cubic", "-te", *ends, "-ts", *size]
    levels = [str(2**power) for power in range(1, 6)]
    config = ["--config", "GDAL_NUM_THREADS", "ALL_CPUS"]
    return (
        _run(["gdalwarp", "-q", *threads, *frame, *options, placed, out]),
        _run(["gdaladdo", "-q", "-r", "average", *config, out, *levels]),
    )


def _place(ref: Path, tgt: Path, matrix: NDArray[np.float64], out: Path) -> None:
    """Writes a VRT of the target that lies where the registration says."""
    with rasterio.open(ref) as dataset:
        frame = dataset.transform
    out.unlink(missing_ok=True)
    rasterio.shutil.copy(tgt, out, driver="VRT")
    with rasterio.open(out, "r+") as dataset:
        dataset.transform = frame @ _CENTRE @ ~Affine(*matrix[0], *matrix[1]) @ ~_CENTRE


def _run(command: list[Any], tree: Path | None = None) -> Watched:
    cost = watch([str(part) for part in command], cwd=tree, timeout=_TIMEOUT_S)
    if cost.code != 0:
        raise InputError(cost.stderr[-300:], subject=str(command[0]), hint="run it alone")
    return cost


def _row(what: str, number: int, *costs: Watched) -> Row:
    return {
        "what": what,
        "run": number,
        "seconds": round(sum(cost.seconds for cost in costs), 2),
        "cpu_seconds": round(sum(cost.cpu_seconds for cost in costs), 2),
        "peak_gb": round(max(cost.peak_gb for cost in costs), 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _size(path: Path) -> Row:
    return {"megabytes": round(path.stat().st_size / 1e6)}
