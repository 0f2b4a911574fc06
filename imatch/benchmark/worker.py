"""Worker process of the benchmark: loads a matcher, warms it up, runs it on case after case."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.benchmark.cases import Case
from imatch.benchmark.detectors import DetectorResult, measure_keypoints
from imatch.benchmark.metrics import corner_error
from imatch.benchmark.prepare_case import PreparedCase, for_prepared, longest_side, prepare_case
from imatch.benchmark.results import Result
from imatch.core.errors import ImatchError
from imatch.geometry.accuracy import overlap_mask
from imatch.geometry.transform import apply_matrix
from imatch.matchers.sparse.base import Sparse
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import MatcherRegistrar, Registrar, load_registrar
from imatch.pipeline.registration.result import Registration

_WARM_UP_SIDE = 256


@dataclass(frozen=True)
class CaseTask:
    """The settings with which a worker runs its cases.

    Attributes:
        config: The settings, `matcher` among them.
        root: Folder that the cases' paths start from.
        fit_size: Raise the working size to the pair's longest side, so that nothing is reduced.
        detectors: Measure keypoints too, where the matcher has some.
    """

    config: MatchConfig
    root: Path
    fit_size: bool = True
    detectors: bool = False


class CaseRunner:
    """A loaded matcher that runs cases.

    Args:
        task: How to run.

    Raises:
        ImatchError: The matcher cannot be loaded.
    """

    def __init__(self, task: CaseTask) -> None:
        self.task = task
        self.registrar = load_registrar(task.config)
        _warm_up(self.registrar.configured(for_prepared(task.config)))

    def run(self, case: Case) -> tuple[Result, DetectorResult | None]:
        """Runs a case; any error becomes a row of its own.

        One bad image, or a bug that one image brings out, should not cost hours of a run.
        """
        facts = (case.name, case.source, case.variant, case.tag, self.task.config.matcher)
        try:
            views = prepare_case(case, self.task.root, self.task.config)
            config = for_prepared(self.task.config)
            config = unreduced(config, views) if self.task.fit_size else config
            ref, tgt = (view.source() for view in views)
            started = time.perf_counter()
            registration = match(ref, tgt, self.registrar.configured(config))
            seconds = time.perf_counter() - started
            measured = self._keypoints(case, views)
        except ImatchError as error:
            return Result(*facts, "error", peak_mb=peak_mb(), error=str(error)).in_one_line(), None
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            return Result(*facts, "error", peak_mb=peak_mb(), error=text).in_one_line(), None
        return to_result(case, registration, seconds).in_one_line(), measured

    def _keypoints(
        self, case: Case, views: tuple[PreparedCase, PreparedCase]
    ) -> DetectorResult | None:
        if not (
            self.task.detectors and case.positive and isinstance(self.registrar, MatcherRegistrar)
        ):
            return None
        matcher = self.registrar.matcher
        if not isinstance(matcher, Sparse):
            return None
        return measure_keypoints(case, views, matcher, self.registrar.name)


def unreduced(config: MatchConfig, views: tuple[PreparedCase, PreparedCase]) -> MatchConfig:
    """Returns the settings with a working size at which the pair is not reduced."""
    return make_config(config, size=max(config.size, longest_side(*views)))


def to_result(case: Case, registration: Registration, seconds: float) -> Result:
    """Compares a registration with the truth and returns the row.

    Args:
        case: What was asked.
        registration: What was answered.
        seconds: How long it took.
    """
    matrix, status = registration.matrix, registration.status
    size = registration.reference.width, registration.reference.height
    answer = guess = None
    error = shift = truth = inside = None
    if matrix is not None:
        answer, guess = (matrix, None) if status == "ok" else (None, matrix)
        at = _centre(registration)
        shift = apply_matrix(matrix, at)[0] - at[0]
        if case.truth is not None:
            error = corner_error(matrix, case.truth, size)
            truth = apply_matrix(case.truth, at)[0] - at[0]
    half = None if registration.ci95_px is None else np.array(registration.ci95_px)
    if half is not None and shift is not None and truth is not None and np.isfinite(half).all():
        # A truth that is known to a tolerance only is too coarse for that.
        inside = None if case.tol_px > 0 else np.abs(shift - truth) <= half
    return Result(
        case.name,
        case.source,
        case.variant,
        case.tag,
        registration.matcher,
        status,
        answer=_flat_matrix(answer),
        corner_error_px=error if error is not None and status == "ok" else float("nan"),
        n_matches=registration.n_matches,
        n_inliers=registration.n_inliers,
        seconds=seconds,
        peak_mb=peak_mb(),
        model=registration.model or "",
        found_by=str(registration.provenance.get("found_by", "")),
        guess=_flat_matrix(guess),
        guess_error_px=error if error is not None and status != "ok" else float("nan"),
        shift_x_px=_item_or_nan(shift, 0),
        shift_y_px=_item_or_nan(shift, 1),
        true_shift_x_px=_item_or_nan(truth, 0),
        true_shift_y_px=_item_or_nan(truth, 1),
        ci95_x_px=_item_or_nan(half, 0),
        ci95_y_px=_item_or_nan(half, 1),
        inside_ci95_x=-1 if inside is None else int(inside[0]),
        inside_ci95_y=-1 if inside is None else int(inside[1]),
        tol_px=case.tol_px,
        reason=registration.reason,
    )


def peak_mb() -> float:
    """Returns the largest resident memory of this process so far, in 10⁶ bytes."""
    try:
        # Not getrusage, where Linux counts the parent's memory from before the exec as well.
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def start(task: CaseTask) -> None:
    """Initialises a worker process with what its cases share."""
    global _task, _runner
    _task, _runner = task, None


def run(case: Case) -> tuple[Result, DetectorResult | None]:
    """Runs a case in this worker process; the first call loads the matcher.

    Raises:
        ImatchError: The matcher cannot be loaded.
    """
    global _runner
    if _runner is None:
        assert _task is not None, "the pool starts with start()"
        _runner = CaseRunner(_task)
    return _runner.run(case)


_task: CaseTask | None = None
_runner: CaseRunner | None = None


def _warm_up(registrar: Registrar) -> None:
    """Matches an easy and a hopeless pair, so that every network is built before the clock runs."""
    rng = np.random.default_rng(0)
    first, second = (_texture(rng) for _ in range(2))
    for target in (np.roll(first, 3, axis=1), second):
        match(first, target, registrar)


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    side = _WARM_UP_SIDE
    layers = [
        cv2.resize(rng.random((side // step, side // step), dtype=np.float32), (side, side))
        for step in (2, 8, 32)
    ]
    return np.asarray(np.sum(layers, axis=0), dtype=np.float32)


def _centre(registration: Registration) -> NDArray[np.float64]:
    """Returns the (1, 2) centre of the overlap on the reference, where the shift is stated."""
    width, height = registration.reference.width, registration.reference.height
    preview = registration.preview
    if preview is not None and preview.matrix is not None:
        overlap = overlap_mask(preview.matrix, preview.ref_valid, preview.tgt_valid)
        rows, columns = np.nonzero(overlap)
        if len(rows):
            scale = np.array([width / overlap.shape[1], height / overlap.shape[0]])
            middle = np.array([[columns.mean(), rows.mean()]])
            return np.asarray((middle + 0.5) * scale - 0.5, dtype=np.float64)
    return np.array([[(width - 1) / 2, (height - 1) / 2]])


def _flat_matrix(matrix: NDArray[np.float64] | None) -> tuple[float, ...]:
    return (float("nan"),) * 9 if matrix is None else tuple(float(v) for v in matrix.ravel())


def _item_or_nan(values: NDArray[np.float64] | None, index: int) -> float:
    return float("nan") if values is None else float(values[index])
