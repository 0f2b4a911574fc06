"""Whole scenes side by side with AROSICS, and the pairs that it cannot correct.

AROSICS's `COREG` (one shift) and `COREG_LOCAL` (a grid of tie points and a spline through them) and
``imatch register`` correct the same pairs in the same run, each in processes of its own from start
to the written file, with an equal grid of tie points. AROSICS knows shifts of some pixels between
geocoded images only, so these are what is timed; then come pairs that are otherwise:

    python -m experiments.benchmarks.scene_arosics --data ../shared/data --work /tmp/imatch-scenes \
        --venv ~/.cache/imatch-arosics -o experiments/benchmarks/results/scene_arosics

The environment is made as `arosics_peer` makes it. Writes ``scenes.csv``, ``limits.csv``, their
JSON and ``arosics.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import AffineTransformer

from experiments.benchmarks.arosics_peer import install
from experiments.benchmarks.scene import register, write_markdown, write_rows
from imatch.bench.environment import environment
from imatch.core.errors import ImatchError
from imatch.export import read_registration
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.raster import open_source
from tests.support.process_tree import Watched, watch
from tests.support.scenes.limits import LIMITS, Limit, make_limit
from tests.support.scenes.pair import PLACE, Scene, read_truth, write_scene
from tests.support.scenes.truth import lattice

PEERS = ("arosics COREG", "arosics COREG_LOCAL", "imatch register")
#: A shift as two products differ by; what AROSICS is made for.
SHIFT = (3.4, -2.7, 0.0, 1.0)
GRID_PX = 200
_MAX_SHIFT_PX = 12
_POINTS = 101
_TIMEOUT_S = 3600.0
_RIGHT_PX = 1.0


@dataclass(frozen=True)
class Row:
    """One peer on one pair.

    Attributes:
        case: The pair.
        peer: One of `PEERS`.
        status: ``ok``, ``uncertain``, ``failed`` or ``error``.
        rmse_px: Root mean square distance from the exact field, target pixels.
        max_px: The largest.
        tie_points: That it used.
        seconds: From start to exit, file written.
        cpu_seconds: Of all its processes.
        peak_gb: Of all its processes.
        message: Why there is no answer.
    """

    case: str
    peer: str
    status: str
    rmse_px: float | None
    max_px: float | None
    tie_points: int
    seconds: float
    cpu_seconds: float
    peak_gb: float
    message: str = ""

    @property
    def verdict(self) -> str:
        """What a user is left with."""
        if self.status != "ok" or self.rmse_px is None:
            return "no answer"
        return "right" if self.rmse_px <= _RIGHT_PX else "wrong"


def run_arosics(
    python: Path, peer: str, case: str, pair: tuple[Path, Path], exact: Exact, cpus: int
) -> Row:
    """Correct a pair with AROSICS."""
    worker = Path(__file__).with_name("scene_arosics_worker.py")
    with tempfile.TemporaryDirectory(dir=pair[0].parent) as folder:
        answer = Path(folder) / "answer.json"
        request = {
            "ref": str(pair[0]),
            "tgt": str(pair[1]),
            "out": str(Path(folder) / "corrected.tif"),
            "mode": "local" if peer.endswith("LOCAL") else "global",
            "grid_px": GRID_PX,
            "max_shift_px": _MAX_SHIFT_PX,
            "cpus": cpus,
            "map_xy": exact.map_xy.tolist(),
        }
        cost = watch([python, worker, answer], timeout=_TIMEOUT_S, stdin=json.dumps(request))
        told: dict[str, Any] = {"ok": False, "error": cost.stderr.strip()[-200:] or "died"}
        if answer.exists():
            told = json.loads(answer.read_text(encoding="utf-8"))
    row = _row(case, peer, cost)
    if not told["ok"]:
        return replace(row, message=" ".join(told["error"].split())[:200])
    off = exact.distances(np.array(told["tgt_xy"], dtype=np.float64))
    return replace(row, status="ok", tie_points=told["tie_points"], **_figures(off))


def run_imatch(
    case: str, pair: tuple[Path, Path], exact: Exact, options: Sequence[str] = ()
) -> Row:
    """Register a pair with imatch."""
    with tempfile.TemporaryDirectory(dir=pair[0].parent) as folder:
        cost, result = register(*pair, Path(folder), options)
        found = read_registration(result) if result.exists() else None
    row = _row(case, PEERS[2], cost)
    if found is None:
        return replace(row, message=" ".join(cost.stderr.split())[-200:])
    row = replace(row, status=found.status, tie_points=found.n_inliers)
    if found.transform is None:
        return replace(row, message=found.reason)
    mapping = GeoCorrection.of(found)
    to_pixels = mapping.to_pixels(mapping.reference_lattice, open_source(pair[1]).info)
    message = "" if found.status == "ok" else found.reason
    return replace(row, message=message, **_figures(exact.distances(to_pixels(exact.ref_xy))))


def _row(case: str, peer: str, cost: Watched) -> Row:
    """A row that has no answer yet."""
    spent = round(cost.seconds, 1), round(cost.cpu_seconds, 1), round(cost.peak_gb, 2)
    return Row(case, peer, "error", None, None, 0, *spent)


@dataclass(frozen=True, eq=False)
class Exact:
    """Where some places of a pair really are.

    Attributes:
        ref_xy: (N, 2) reference pixels.
        tgt_xy: (N, 2) target pixels.
    """

    ref_xy: NDArray[np.float64]
    tgt_xy: NDArray[np.float64]

    @property
    def map_xy(self) -> NDArray[np.float64]:
        """(N, 2) their coordinates by the reference's geocoding."""
        x, y = AffineTransformer(PLACE).xy(self.ref_xy[:, 1], self.ref_xy[:, 0])
        return np.column_stack([x, y])

    def distances(self, tgt_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) how far target pixels are from the right ones."""
        return np.asarray(np.hypot(*(tgt_xy - self.tgt_xy).T))

    @classmethod
    def of(cls, limit: Limit | None, scene: Scene) -> Exact:
        """A lattice of places of a pair that the target shows."""
        points = lattice(scene.size, _POINTS)
        there = scene.truth.apply(points)
        inside = ((there >= 0) & (there <= scene.size - 1)).all(axis=1)
        there = there[inside]
        return cls(points[inside], there if limit is None else limit.presented(there, scene.size))


def _figures(off: NDArray[np.float64]) -> dict[str, Any]:
    finite = off[np.isfinite(off)]
    if not len(finite):
        return {"rmse_px": None, "max_px": None}
    return {
        "rmse_px": round(float(np.sqrt((finite**2).mean())), 4),
        "max_px": round(float(finite.max()), 4),
    }


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
    note = f"Right: within {_RIGHT_PX:g} px of the exact field, RMSE over the overlap."
    return HtmlTable("Pairs that are no small shifts", note, header, lines, words=PEERS)


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if value < 10 else f"{value:.0f}"


def main() -> None:
    """Run everyone on everything and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--work", type=Path, required=True, help="folder for the scenes")
    parser.add_argument("--venv", type=Path, required=True, help="AROSICS's environment")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--size", type=int, default=10980, help="side of the scenes that are timed")
    parser.add_argument("--small", type=int, default=1500, help="side of the pairs that are odd")
    parser.add_argument("--cpus", type=int, default=2, help="processes each peer may use")
    parser.add_argument("--only", choices=["scenes", "limits"])
    options = parser.parse_args()
    try:
        compare(options)
    except ImatchError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def compare(options: argparse.Namespace) -> None:
    """What `main` does, once the options are known.

    Raises:
        ImatchError: The data or AROSICS cannot be used.
    """
    python = install(options.venv.expanduser())
    options.out.mkdir(parents=True, exist_ok=True)
    version = "import importlib.metadata as m; print(m.version('arosics'))"
    found = subprocess.run([python, "-c", version], capture_output=True, text=True, check=True)
    command = " ".join(["python -m experiments.benchmarks.scene_arosics", *sys.argv[1:]])
    record = {**environment(command), "arosics": found.stdout.strip(), "cpus": options.cpus}
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
            rows.append(run_arosics(python, peer, case, pair, exact, options.cpus))
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
            rows.append(run_arosics(python, peer, limit.name, pair, exact, options.cpus))
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


if __name__ == "__main__":
    main()
