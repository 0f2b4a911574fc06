"""A pair of scenes whose exact field is known, corrected by AROSICS."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.transform import AffineTransformer

from tests.support.arosics.environment import WORKER
from tests.support.process_tree import Watched, watch
from tests.support.scenes.limits import Limit
from tests.support.scenes.pair import PLACE, Scene
from tests.support.scenes.truth import lattice

PEERS = ("arosics COREG", "arosics COREG_LOCAL", "imatch register")
GRID_PX = 200
RIGHT_PX = 1.0
_MAX_SHIFT_PX = 12
_POINTS = 101
_TIMEOUT_S = 3600.0


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
        return "right" if self.rmse_px <= RIGHT_PX else "wrong"


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


def new_row(case: str, peer: str, cost: Watched) -> Row:
    """A row that has no answer yet."""
    spent = round(cost.seconds, 1), round(cost.cpu_seconds, 1), round(cost.peak_gb, 2)
    return Row(case, peer, "error", None, None, 0, *spent)


def run_scene(
    python: Path, peer: str, case: str, pair: tuple[Path, Path], exact: Exact, cpus: int
) -> Row:
    """Correct a pair with AROSICS."""
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
        cost = watch([python, WORKER, answer], timeout=_TIMEOUT_S, stdin=json.dumps(request))
        told: dict[str, Any] = {"ok": False, "error": cost.stderr.strip()[-200:] or "died"}
        if answer.exists():
            told = json.loads(answer.read_text(encoding="utf-8"))
    row = new_row(case, peer, cost)
    if not told["ok"]:
        return replace(row, message=" ".join(told["error"].split())[:200])
    off = exact.distances(np.array(told["tgt_xy"], dtype=np.float64))
    return replace(row, status="ok", tie_points=told["tie_points"], **figures(off))


def figures(off: NDArray[np.float64]) -> dict[str, Any]:
    """Root mean square and largest of some distances; None of none."""
    finite = off[np.isfinite(off)]
    if not len(finite):
        return {"rmse_px": None, "max_px": None}
    return {
        "rmse_px": round(float(np.sqrt((finite**2).mean())), 4),
        "max_px": round(float(finite.max()), 4),
    }
