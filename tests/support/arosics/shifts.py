"""Pure shifts from the pairs of a benchmark, and what AROSICS says of them.

Every `near` pair of a source is presented once more, without rotation and scale: the target moved
by a random shift of at most some pixels, on top of what the two dates differ by anyway.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from imatch.benchmark.cases import Case
from imatch.benchmark.metrics import corner_error
from imatch.benchmark.prepare_case import PreparedCase, prepare_case
from imatch.benchmark.results import Result
from imatch.core.errors import ImatchError
from imatch.pipeline.pair.config import MatchConfig
from tests.support.arosics.environment import WORKER

_GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)
_LUMA = np.array([0.299, 0.587, 0.114])
#: What AROSICS is shown, since it matches one band: its default, the first, or the luminance.
INPUTS = ("band 1", "luminance")


def shifted(cases: Sequence[Case], source: str, reach: float, seed: int) -> list[Case]:
    """Pure shifts of the near pairs of a source.

    Args:
        cases: Cases whose warp and truth are similarities.
        source: The data set to take pairs from.
        reach: Largest shift in x and in y, pixels.
        seed: Of the shifts.

    Returns:
        Cases of the variant ``shift``, with paths as they were.
    """
    rng = np.random.default_rng(seed)
    made = []
    for case in cases:
        if case.source != source or case.variant != "near" or case.truth is None:
            continue
        move = translation(*rng.uniform(-reach, reach, 2))
        # What is left of the truth without its warp: how the two dates lie on each other.
        residual = np.linalg.inv(case.warp) @ case.truth
        name = f"shift-{case.name}"
        made.append(
            Case(name, source, "shift", case.tag, case.ref, case.tgt, move, move @ residual)
        )
    return made


def translation(dx: float, dy: float) -> NDArray[np.float64]:
    """(3, 3) shift by (dx, dy) pixels."""
    return np.array([[1.0, 0, dx], [0, 1, dy], [0, 0, 1]])


def run_shifts(cases: Sequence[Case], root: Path, python: Path, shown: str) -> list[Result]:
    """AROSICS's answers as rows of a benchmark.

    Args:
        cases: Pure shifts.
        root: Folder that their paths start from.
        python: The interpreter of its environment.
        shown: One of `INPUTS`.

    Raises:
        ImatchError: Its process died.
    """
    name = f"arosics, {shown}"
    sizes: dict[str, tuple[int, int]] = {}
    pairs = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            views = prepare_case(case, root, MatchConfig())
            paths = [Path(folder) / f"{case.name}-{side}.tif" for side in ("ref", "tgt")]
            for view, path in zip(views, paths, strict=True):
                write_band(view, path, shown)
            sizes[case.name] = views[0].size
            pairs.append([case.name, *map(str, paths)])
        answers = Path(folder) / "answers.jsonl"
        done = subprocess.run(
            [python, str(WORKER), str(answers)],
            input=json.dumps(pairs),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["died"])[-1]
            raise ImatchError(last, subject="arosics")
        found = [json.loads(line) for line in answers.read_text().splitlines()]
    return [
        as_result(case, answer, sizes[case.name], name)
        for case, answer in zip(cases, found, strict=True)
    ]


def write_band(view: PreparedCase, path: Path, shown: str) -> None:
    """One band as a GeoTIFF in which 0 means no ground and nothing else."""
    pixels = view.pixels.astype(np.float64)
    band = pixels[0]
    if shown == "luminance" and len(pixels) == 3:
        band = np.tensordot(_LUMA, pixels, axes=1)
    # A hundredfold, so that neither rounding nor a value of 0 costs anything.
    band = np.where(view.valid, 100 * band + 1, 0).clip(0, 65535)
    width, height = view.size
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=1,
        dtype="uint16",
        crs="EPSG:32631",
        transform=_GRID,
        nodata=0,
    ) as out:
        out.write(band.astype(np.uint16), 1)


def as_result(case: Case, answer: dict[str, Any], size: tuple[int, int], name: str) -> Result:
    """An answer of AROSICS as a row of a benchmark."""
    assert case.truth is not None
    facts = (case.name, case.source, case.variant, case.tag, name)
    if not answer["ok"]:
        return Result(
            *facts, "failed", seconds=answer["seconds"], reason=answer["error"]
        ).in_one_line()
    matrix = translation(answer["x"], answer["y"])
    return Result(
        *facts,
        "ok",
        answer=_nine(matrix),
        corner_error_px=corner_error(matrix, case.truth, size),
        seconds=answer["seconds"],
        model="translation",
    )


def _nine(matrix: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in matrix.ravel())
