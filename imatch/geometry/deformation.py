"""Local deformation: whether a smooth displacement on top of a global transform is worth it.

Relief, jitter of a push-broom sensor and seams of a mosaic bend an image as no global transform
does. The families of `imatch.geometry.local_models` are fitted to what is left at the tie points
and held against each other and against none at all on blocks that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.local_models import (
    FEWEST_PARAMETERS,
    LOCAL_KINDS,
    SMOOTHNESS,
    LocalKind,
    LocalModel,
)
from imatch.geometry.select import blocks, folds

_FOLDS = 5
# Share of the squared error a local model must save: it has many parameters, and windows feel
# relief and shadow, which move with the season.
_GAIN = 0.1


@dataclass(frozen=True)
class Trial:
    """How a model did on tie points it had not seen.

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
    A richer one must beat a simpler one by more than one standard error of the difference between
    blocks (the one-standard-error rule, Breiman et al., 1984) and by a tenth of the squared error.

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
    size = np.bincount(member)
    tried: list[tuple[LocalModel | None, Trial, NDArray[np.float64]]] = []

    def loss_of(squared: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(member, squared) / size)

    if not always:
        squared = np.minimum((moved**2).sum(axis=1), threshold**2)
        tried.append((None, none, loss_of(squared)))
    for kind in kinds:
        best: tuple[LocalModel | None, Trial, NDArray[np.float64]] | None = None
        for smoothness in SMOOTHNESS[kind]:
            model = LocalModel.over(kind, xy, smoothness, margin)
            if len(xy) < 2 * min(model.parameters, FEWEST_PARAMETERS):
                continue
            squared = np.minimum(_held_out(model, xy, moved, fold, threshold), threshold**2)
            loss = loss_of(squared)
            if best is None or loss.mean() < best[2].mean():
                given = smoothness if len(SMOOTHNESS[kind]) > 1 else None
                best = model, Trial(kind, _rmse(squared), given), loss
        if best is not None:
            tried.append(best)
    trials = tuple(trial for _, trial, _ in tried)
    if always:
        trials = (none, *trials)
    if not tried:
        return LocalChoice(None, trials)
    least = min((loss for *_, loss in tried), key=lambda loss: float(loss.mean()))
    for choice, _, loss in tried:
        excess = loss - least
        by_chance = excess.std(ddof=1) / np.sqrt(len(excess))
        if excess.mean() <= max(by_chance, _GAIN * least.mean()):
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


def _rmse(squared: NDArray[np.float64]) -> float:
    return float(np.sqrt(squared.mean())) if len(squared) else float("nan")
