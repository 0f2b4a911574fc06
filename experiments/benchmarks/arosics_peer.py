"""AROSICS and the matchers side by side, on pure shifts of up to 8 px.

AROSICS (https://git.gfz-potsdam.de/danschef/arosics) needs GDAL's own bindings and an older numpy,
so it gets a virtual environment of its own, made on the first run (minutes; needs Debian's
``libgdal-dev`` and ``g++``, or another GDAL with ``gdal-config``):

    python -m experiments.benchmarks.arosics_peer ../shared/data/bench_cases.csv \
        --venv ~/.cache/imatch-arosics -m auto -m phase -o /tmp/shifts

Writes ``shifts.csv`` (the cases), ``imatch/`` (an ordinary benchmark of the matchers),
``arosics.csv`` (its rows in the same columns), ``peers.json`` and ``peers.md``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from experiments.benchmarks.shift_cases import shifted, translation
from imatch.bench.cases import Case, read_cases, select_cases, write_cases
from imatch.bench.environment import environment
from imatch.bench.metrics import corner_error, recall
from imatch.bench.prepare_case import PreparedCase, prepare_case
from imatch.bench.report import write_report
from imatch.bench.results import Result
from imatch.bench.runner import BenchPlan, run_benchmark
from imatch.core.errors import ImatchError
from imatch.core.io.tables import write_rows
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.pair.config import MatchConfig, make_config

WITHIN_PX = (0.5, 1.0, 3.0)
_GRID = Affine(10, 0, 600_000, 0, -10, 5_000_000)
_LUMA = np.array([0.299, 0.587, 0.114])
#: What AROSICS is shown, since it matches one band: its default, the first, or the luminance.
INPUTS = ("band 1", "luminance")


def install(folder: Path) -> Path:
    """Make AROSICS's environment where there is none; give its interpreter.

    Args:
        folder: Where the virtual environment is, or shall be.

    Raises:
        ImatchError: GDAL's headers are missing, or pip failed.
    """
    python = folder / "bin" / "python"
    if python.exists() and _works(python):
        return python
    config = shutil.which("gdal-config")
    if config is None:
        raise ImatchError(
            "was not found", subject="gdal-config", hint="run apt-get install libgdal-dev g++"
        )
    gdal = subprocess.run([config, "--version"], capture_output=True, text=True, check=True)
    version = f"gdal=={gdal.stdout.strip()}"
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    # In this order: the bindings look for numpy while they are built and go without it, silently,
    # when isolation hides it; the others want isolation, for setuptools newer than GDAL bears.
    steps = (
        ["setuptools<80", "wheel", "numpy<2"],
        ["--no-build-isolation", "--no-cache-dir", version],
        [version, "numpy<2", "arosics"],
    )
    for step in steps:
        done = subprocess.run([*pip, *step], capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["pip failed"])[-1]
            raise ImatchError(last, subject=" ".join(step), hint=f"see {' '.join(pip)}")
    if not _works(python):
        raise ImatchError("was installed and cannot be imported", subject="arosics")
    return python


def _works(python: Path) -> bool:
    check = "import arosics; from osgeo import gdal_array"
    return subprocess.run([python, "-c", check], capture_output=True, check=False).returncode == 0


def run_arosics(cases: Sequence[Case], root: Path, python: Path, shown: str) -> list[Result]:
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
                _write(view, path, shown)
            sizes[case.name] = views[0].size
            pairs.append([case.name, *map(str, paths)])
        answers = Path(folder) / "answers.jsonl"
        worker = Path(__file__).with_name("arosics_worker.py")
        done = subprocess.run(
            [python, str(worker), str(answers)],
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
        _row(case, answer, sizes[case.name], name)
        for case, answer in zip(cases, found, strict=True)
    ]


def _write(view: PreparedCase, path: Path, shown: str) -> None:
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


def _row(case: Case, answer: dict[str, Any], size: tuple[int, int], name: str) -> Result:
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


def compare(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Recall, refusals, wrong answers and time of everyone."""
    peers = []
    for name in dict.fromkeys(row.matcher for row in results):
        rows = [row for row in results if row.matcher == name]
        errors = np.array([row.score_px for row in rows])
        answered = errors[np.isfinite(errors)]
        peers.append(
            {
                "name": name,
                "cases": len(rows),
                **{f"within_{px:g}_px": recall(errors, px) for px in WITHIN_PX},
                "median_error_px": float(np.median(answered)) if len(answered) else None,
                "refused": int((~np.isfinite(errors)).sum()),
                "wrong": int((answered > WITHIN_PX[-1]).sum()),
                "median_seconds": float(np.nanmedian([row.seconds for row in rows])),
            }
        )
    return peers


def as_table(peers: Sequence[dict[str, Any]]) -> HtmlTable:
    """The comparison, a line a peer."""
    rows = tuple(
        (
            HtmlCell(peer["name"]),
            *(HtmlCell(f"{100 * peer[f'within_{px:g}_px']:.0f}") for px in WITHIN_PX),
            HtmlCell("–" if peer["median_error_px"] is None else f"{peer['median_error_px']:.2f}"),
            HtmlCell(str(peer["refused"])),
            HtmlCell(str(peer["wrong"])),
            HtmlCell(f"{peer['median_seconds']:.2f}"),
        )
        for peer in peers
    )
    header = (
        "",
        *(f"≤ {px:g} px, %" for px in WITHIN_PX),
        "median error, px",
        "refused",
        "wrong",
        "median s",
    )
    note = (
        f"{peers[0]['cases']} pairs. Wrong: an answer over {WITHIN_PX[-1]:g} px off. Seconds "
        "without start-up and without reading files."
    )
    return HtmlTable("Pure shifts", note, header, rows)


def main() -> None:
    """Run everyone and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("cases", type=Path, help="table of cases whose near pairs are taken")
    parser.add_argument("--root", type=Path, help="folder the paths start from [that of CASES]")
    parser.add_argument("--venv", type=Path, required=True, help="AROSICS's environment")
    parser.add_argument("-m", "--matcher", action="append", required=True, dest="matchers")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--source", default="ombria")
    parser.add_argument("--reach", type=float, default=8.0, metavar="PX")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="only so many pairs")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="go on with the matchers' run")
    options = parser.parse_args()
    try:
        compare_peers(options)
    except ImatchError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def compare_peers(options: argparse.Namespace) -> None:
    """What `main` does, once the options are known.

    Raises:
        ImatchError: The cases, AROSICS or a matcher cannot be used.
    """
    command = " ".join(["python -m experiments.benchmarks.arosics_peer", *sys.argv[1:]])
    python = install(options.venv.expanduser())
    root = options.cases.parent if options.root is None else options.root
    all_shifts = shifted(read_cases(options.cases), options.source, options.reach, options.seed)
    cases = select_cases(all_shifts, {}, options.limit)
    options.out.mkdir(parents=True, exist_ok=True)
    write_cases(options.out / "shifts.csv", cases)

    configs = tuple(make_config(matcher=name) for name in options.matchers)
    origin = (("table", str(options.out / "shifts.csv")), ("limit", options.limit))
    plan = BenchPlan(tuple(cases), root, configs, origin=origin)
    folder = options.out / "imatch"
    run = run_benchmark(
        plan,
        folder,
        jobs=options.jobs,
        resume=options.resume,
        overwrite=not options.resume,
        command=command,
    )
    write_report(run, plan, folder)
    theirs = [row for shown in INPUTS for row in run_arosics(cases, root, python, shown)]
    write_rows(options.out / "arosics.csv", Result, theirs)

    peers = compare([*run.results, *theirs])
    version = "import importlib.metadata as m; print(m.version('arosics'))"
    found = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    record = {
        **environment(command),
        "arosics": found.stdout.strip(),
        "seed": options.seed,
        "reach_px": options.reach,
        "peers": peers,
    }
    (options.out / "peers.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    text = as_table(peers).to_markdown()
    (options.out / "peers.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
