r"""AROSICS and imatch side by side: on pure shifts, on whole scenes, and on what it cannot correct.

AROSICS (https://git.gfz-potsdam.de/danschef/arosics) needs GDAL's own bindings and an older numpy,
so it gets a virtual environment of its own, made on the first run (minutes; needs Debian's
``libgdal-dev`` and ``g++``, or another GDAL with ``gdal-config``):

    python -m experiments.benchmarks.arosics shifts ../shared/data/bench_cases.csv \
        --venv ~/.cache/imatch-arosics -m auto -m phase -o /tmp/shifts
    python -m experiments.benchmarks.arosics scenes --data ../shared/data \
        --work /tmp/imatch-scenes --venv ~/.cache/imatch-arosics -o out/scene_arosics

``shifts`` writes ``shifts.csv`` (the cases), ``imatch/`` (an ordinary benchmark of the matchers),
``arosics.csv`` (its rows in the same columns), ``peers.json`` and ``peers.md``.

``scenes``: AROSICS's `COREG` (one shift) and `COREG_LOCAL` (a grid of tie points and a spline
through them) and ``imatch register`` correct the same pairs in the same run, each in processes of
its own from start to the written file, with an equal grid of tie points. AROSICS knows shifts of
some pixels between geocoded images only, so these are what is timed; then come pairs that are
otherwise. It writes ``scenes.csv``, ``limits.csv``, their JSON and ``arosics.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.scene import register, write_markdown, write_rows
from imatch.benchmark.cases import read_cases, select_cases, write_cases
from imatch.benchmark.environment import environment
from imatch.benchmark.metrics import recall
from imatch.benchmark.report import write_report
from imatch.benchmark.results import Result
from imatch.benchmark.runner import BenchPlan, run_benchmark
from imatch.core.errors import ImatchError
from imatch.core.io.tables import write_rows as write_table
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.pair.config import make_config
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration
from imatch.raster import open_source
from tests.support.arosics.environment import install, version_of
from tests.support.arosics.scenes import (
    GRID_PX,
    PEERS,
    RIGHT_PX,
    Exact,
    Row,
    figures,
    new_row,
    run_scene,
)
from tests.support.arosics.shifts import INPUTS, run_shifts, shifted
from tests.support.scenes.limits import LIMITS, make_limit
from tests.support.scenes.pair import Scene, read_truth, write_scene

#: What is told of shifts: how many are within so many pixels.
WITHIN_PX = (0.5, 1.0, 3.0)
#: A shift as two products differ by; what AROSICS is made for.
SHIFT = (3.4, -2.7, 0.0, 1.0)


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


def shifts_table(peers: Sequence[dict[str, Any]]) -> HtmlTable:
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


def shifts(options: argparse.Namespace) -> None:
    """Match pure shifts of up to 8 px with everyone.

    Raises:
        ImatchError: The cases, AROSICS or a matcher cannot be used.
    """
    command = " ".join(["python -m experiments.benchmarks.arosics", *sys.argv[1:]])
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
    theirs = [row for shown in INPUTS for row in run_shifts(cases, root, python, shown)]
    write_table(options.out / "arosics.csv", Result, theirs)

    peers = compare([*run.results, *theirs])
    record = {
        **environment(command),
        "arosics": version_of(python),
        "seed": options.seed,
        "reach_px": options.reach,
        "peers": peers,
    }
    (options.out / "peers.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    text = shifts_table(peers).to_markdown()
    (options.out / "peers.md").write_text(text, encoding="utf-8")
    print(text)


def run_imatch(
    case: str, pair: tuple[Path, Path], exact: Exact, options: Sequence[str] = ()
) -> Row:
    """Register a pair with imatch."""
    with tempfile.TemporaryDirectory(dir=pair[0].parent) as folder:
        cost, result = register(*pair, Path(folder), options)
        found = read_registration(result) if result.exists() else None
    row = new_row(case, PEERS[2], cost)
    if found is None:
        return replace(row, message=" ".join(cost.stderr.split())[-200:])
    row = replace(row, status=found.status, tie_points=found.n_inliers)
    if found.transform is None:
        return replace(row, message=found.reason)
    mapping = GeoCorrection.of(found)
    to_pixels = mapping.to_pixels(mapping.reference_lattice, open_source(pair[1]).info)
    message = "" if found.status == "ok" else found.reason
    return replace(row, message=message, **figures(exact.distances(to_pixels(exact.ref_xy))))


def scenes_table(rows: Sequence[Row]) -> HtmlTable:
    """Precision and time of each peer, and how many times longer it takes than imatch."""
    header = (
        "scene",
        "",
        "RMSE, px",
        "max, px",
        "tie points",
        "seconds",
        "times imatch",
        "CPU seconds",
        "peak GB",
    )
    ours = {row.case: row.seconds for row in rows if row.peer == PEERS[2]}
    lines = tuple(
        (
            HtmlCell(row.case),
            HtmlCell(row.peer),
            HtmlCell(_number(row.rmse_px)),
            HtmlCell(_number(row.max_px)),
            HtmlCell(str(row.tie_points)),
            HtmlCell(f"{row.seconds:.0f}"),
            HtmlCell(f"{row.seconds / ours[row.case]:.1f}" if row.case in ours else "–"),
            HtmlCell(f"{row.cpu_seconds:.0f}"),
            HtmlCell(f"{row.peak_gb:.1f}"),
        )
        for row in rows
    )
    note = (
        f"Pure shifts, with and without a local displacement; tie points {GRID_PX} px apart. Errors"
        " of the whole model against the exact field; time from start to the corrected file."
    )
    return HtmlTable("Scenes that both can correct", note, header, lines, words=("",))


def limits_table(rows: Sequence[Row]) -> HtmlTable:
    """What each peer makes of pairs that are no pure shifts of a few pixels."""
    header = ("pair", *PEERS)
    by_case = {row.case: {r.peer: r for r in rows if r.case == row.case} for row in rows}

    def told(row: Row | None) -> str:
        if row is None:
            return "–"
        if row.rmse_px is None or row.status != "ok":
            return f"{row.status}: {row.message[:90]}"
        return f"{row.verdict}, RMSE {_number(row.rmse_px)} px"

    lines = tuple(
        (HtmlCell(case), *(HtmlCell(told(peers.get(peer))) for peer in PEERS))
        for case, peers in by_case.items()
    )
    note = f"Right: within {RIGHT_PX:g} px of the exact field, RMSE over the overlap."
    return HtmlTable("Pairs that are no small shifts", note, header, lines, words=PEERS)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def scenes(options: argparse.Namespace) -> None:
    """Correct scenes, and pairs that are no small shifts, with both.

    Raises:
        ImatchError: The data or AROSICS cannot be used.
    """
    python = install(options.venv.expanduser())
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python -m experiments.benchmarks.arosics", *sys.argv[1:]])
    record = {**environment(command), "arosics": version_of(python), "cpus": options.cpus}
    tables: list[HtmlTable] = []
    for name, table, run in (
        ("scenes", scenes_table, _scenes),
        ("limits", limits_table, _limits),
    ):
        kept = options.out / f"{name}.json"
        if options.only in (None, name):
            rows = run(options, python)
            write_rows(options.out, name, rows, record)
            tables.append(table(rows))
        elif kept.exists():
            # What the other part gave before stays in the document.
            earlier = json.loads(kept.read_text(encoding="utf-8"))["rows"]
            tables.append(table([Row(**row) for row in earlier]))
    print(write_markdown(options.out, "arosics", tables, []))


def _scenes(options: argparse.Namespace, python: Path) -> list[Row]:
    rows = []
    spacing = ["--spacing", str(GRID_PX), "--jobs", str(options.cpus)]
    for label, local in (("shift", 0.0), ("shift and local 3 px", 3.0)):
        scene = Scene(options.size, warp=SHIFT, local_px=local)
        folder = options.work / f"{scene.size}-shift-local{local:g}"
        pair = _pair(scene, folder, options.data)
        exact = Exact.of(None, scene)
        case = f"{scene.size}, {label}"
        for peer in PEERS[:2]:
            rows.append(run_scene(python, peer, case, pair, exact, options.cpus))
            print(rows[-1], flush=True)
        rows.append(run_imatch(case, pair, exact, spacing))
        print(rows[-1], flush=True)
    return rows


def _limits(options: argparse.Namespace, python: Path) -> list[Row]:
    rows = []
    for limit in LIMITS:
        scene = Scene(options.small, seed=1, warp=limit.warp)
        folder = options.work / f"limit-{limit.name.replace(' ', '-')}-{options.small}"
        pair = make_limit(limit, _pair(scene, folder, options.data))
        exact = Exact.of(limit, scene)
        for peer in PEERS[:2]:
            rows.append(run_scene(python, peer, limit.name, pair, exact, options.cpus))
            print(rows[-1], flush=True)
        rows.append(run_imatch(limit.name, pair, exact, ["--jobs", str(options.cpus)]))
        print(rows[-1], flush=True)
    return rows


def _pair(scene: Scene, folder: Path, data: Path) -> tuple[Path, Path]:
    """The pair of a scene, made where it is missing."""
    if not (folder / "truth.json").exists():
        write_scene(scene, data, folder, jobs=2)
    read_truth(folder / "truth.json")
    return folder / "ref.tif", folder / "tgt.tif"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.arosics", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("shifts", help="pure shifts of some pixels")
    part.set_defaults(run=shifts)
    part.add_argument("cases", type=Path, help="table of cases whose near pairs are taken")
    part.add_argument("--root", type=Path, help="folder the paths start from [that of CASES]")
    part.add_argument("--venv", type=Path, required=True, help="AROSICS's environment")
    part.add_argument("-m", "--matcher", action="append", required=True, dest="matchers")
    part.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    part.add_argument("--source", default="ombria")
    part.add_argument("--reach", type=float, default=8.0, metavar="PX")
    part.add_argument("--seed", type=int, default=0)
    part.add_argument("--limit", type=int, help="only so many pairs")
    part.add_argument("--jobs", type=int, default=1)
    part.add_argument("--resume", action="store_true", help="go on with the matchers' run")
    part = parts.add_parser("scenes", help="whole scenes, and pairs that are no small shifts")
    part.set_defaults(run=scenes)
    part.add_argument("--data", type=Path, required=True, help="folder of the real images")
    part.add_argument("--work", type=Path, required=True, help="folder for the scenes")
    part.add_argument("--venv", type=Path, required=True, help="AROSICS's environment")
    part.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    part.add_argument("--size", type=int, default=10980, help="side of the scenes that are timed")
    part.add_argument("--small", type=int, default=1500, help="side of the pairs that are odd")
    part.add_argument("--cpus", type=int, default=2, help="processes each peer may use")
    part.add_argument("--only", choices=["scenes", "limits"])
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    try:
        asked.run(asked)
    except ImatchError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
