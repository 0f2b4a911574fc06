"""Selects a local displacement model by cross-validation, or none.

Relief, jitter of a push-broom sensor and seams of a mosaic bend an image as no global transform
does. The families of `imatch.geometry.nonrigid.local_models` are fitted to what is left at the tie
points and held against each other and against none at all on blocks that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.model_selection import blocks, folds
from imatch.geometry.nonrigid.local_models import (
    FEWEST_PARAMETERS,
    LOCAL_KINDS,
    SMOOTHNESS,
    LocalKind,
    LocalModel,
)

_FOLDS = 5
# Share of the squared error a local model must save: it has many parameters, and windows feel
# relief and shadow, which move with the season.
_GAIN = 0.1


@dataclass(frozen=True)
class Trial:
    """Held-out error of one model.

    Attributes:
        kind: The family, or ``none``.
        rmse: Root mean square of the held-out residuals, those beyond the threshold cut off,
            pixels.
        smoothness: The best weight of the penalty, None for families that have none.
    """

    kind: str
    rmse: float
    smoothness: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {"kind": self.kind, "rmse_px": self.rmse, "smoothness": self.smoothness}


@dataclass(frozen=True, eq=False)
class LocalChoice:
    """Whether a local model is worth its parameters, and which.

    Attributes:
        model: The model, or None where the global transform alone is as good.
        trials: What every candidate reached.
    """

    model: LocalModel | None
    trials: tuple[Trial, ...]


def choose_local(
    xy: NDArray[np.float64],
    moved: NDArray[np.float64],
    *,
    threshold: float,
    block: float,
    seed: int = 0,
    kinds: Sequence[LocalKind] = LOCAL_KINDS,
    margin: float = 0.0,
    always: bool = False,
) -> LocalChoice:
    """The simplest local model that predicts displacements it has not seen, or none.

    Every candidate, none included, is held against the same blocks of tie points left out in turn.
    A richer one must beat a simpler one by more than one standard error of the difference (the
    one-standard-error rule, Breiman et al., 1984), blocks being what is independent, and by a tenth
    of the squared error. Every tie point counts alike: were it every block, a few single points at
    the rim of the overlap would decide.

    Args:
        xy: (N, 2) tie points.
        moved: (N, 2) displacement that the global transform leaves at each, pixels.
        threshold: Residuals beyond this are cut off, pixels.
        block: Side of the blocks, in the units of `xy`.
        seed: Seed of the folds.
        kinds: The candidates.
        margin: How far beyond the tie points the field goes on, in the units of `xy`.
        always: Leave out the candidate without local deformation, for a user who asked for one.

    Returns:
        The choice; None where there are too few tie points or blocks to tell.
    """
    none = Trial("none", _rmse(np.minimum((moved**2).sum(axis=1), threshold**2)))
    names, member = blocks(xy, block) if len(xy) else (np.zeros((0, 2)), np.zeros(0, np.int64))
    if len(names) < 2 * _FOLDS:
        return LocalChoice(None, (none,))
    fold = folds(xy, _FOLDS, seed, block)
    tried: list[tuple[LocalModel | None, Trial, NDArray[np.float64]]] = []
    if not always:
        tried.append((None, none, np.minimum((moved**2).sum(axis=1), threshold**2)))
    for kind in kinds:
        best: tuple[LocalModel | None, Trial, NDArray[np.float64]] | None = None
        for smoothness in SMOOTHNESS[kind]:
            model = LocalModel.over(kind, xy, smoothness, margin)
            if len(xy) < 2 * min(model.parameters, FEWEST_PARAMETERS):
                continue
            try:
                squared = _held_out(model, xy, moved, fold, threshold)
            except np.linalg.LinAlgError:
                # Tie points on one line, say: this family cannot be fitted to them.
                continue
            squared = np.minimum(squared, threshold**2)
            if best is None or squared.mean() < best[2].mean():
                given = smoothness if len(SMOOTHNESS[kind]) > 1 else None
                best = model, Trial(kind, _rmse(squared), given), squared
        if best is not None:
            tried.append(best)
    trials = tuple(trial for _, trial, _ in tried)
    if always:
        trials = (none, *trials)
    if not tried:
        return LocalChoice(None, trials)
    least = min((squared for *_, squared in tried), key=lambda squared: float(squared.mean()))
    for choice, _, squared in tried:
        excess = squared - least
        if excess.mean() <= max(_standard_error(excess, member), _GAIN * least.mean()):
            return LocalChoice(choice, trials)
    raise AssertionError("the best candidate is as good as itself")


def _held_out(
    model: LocalModel,
    xy: NDArray[np.float64],
    moved: NDArray[np.float64],
    fold: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.float64]:
    """(N,) squared residual of every tie point under the field fitted without its fold."""
    squared = np.zeros(len(xy))
    for index in range(_FOLDS):
        out = fold == index
        grid = model.fit(xy[~out], moved[~out], threshold=threshold)
        squared[out] = ((moved[out] - grid.displacement(xy[out])) ** 2).sum(axis=1)
    return squared


def _standard_error(values: NDArray[np.float64], member: NDArray[np.int64]) -> float:
    """Standard error of the mean of (N,) values that go together within blocks.

    The linearised ratio estimator (Cochran, Sampling Techniques, 1977, section 2.11); `member`
    holds each value's block.
    """
    sums = np.bincount(member, values - values.mean())
    count = len(sums)
    return float(np.sqrt((sums**2).sum() * count / (count - 1)) / len(values))


def _rmse(squared: NDArray[np.float64]) -> float:
    return float(np.sqrt(squared.mean())) if len(squared) else float("nan")
