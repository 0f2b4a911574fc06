"""Losses of LoFTR's two stages."""

from __future__ import annotations

import torch
from torch import Tensor

from imatch.models.loftr.match import dual_softmax
from imatch.training.loftr.config import LoFTRLossConfig
from imatch.training.loftr.truth import Truth

_HALF_CELL = 4.0
"""A pair known this well counts half as much in the coarse loss as one known exactly, pixels."""


def coarse_loss(similarity: Tensor, truth: Truth, config: LoFTRLossConfig) -> dict[str, Tensor]:
    """Returns the loss of the coarse stage, over true pairs of cells and lost cells.

    True pairs lose ``-(1 - p)^gamma log p`` (LoFTR, section 3.5, with the focal loss of Lin et al.
    2017), p being the dual softmax; all other pairs are held down by its two sums. A cell whose
    ground is not in the other view loses ``-log(1 - sum p)`` over all that it could be taken for.

    Args:
        similarity: (B, L, S), over the temperature.
        truth: What is known.
        config: Which loss, and the weight of the lost.

    Returns:
        ``coarse``, the total, and ``matched`` and ``lost``, its parts; 0 of no cells.
    """
    logs = dual_softmax(similarity)
    cells = truth.cells
    own = logs[cells.pair, cells.a, cells.b]
    gamma = config.gamma if config.coarse == "focal" else 0.0
    each = -((1 - own.exp()).clamp_min(0) ** gamma) * own
    matched = _weighted(each, half_at(truth.sigma, _HALF_CELL))
    probability = logs.exp()
    taken = [probability.sum(dim=2)[truth.lost_a.flatten(1)]]
    taken.append(probability.sum(dim=1)[truth.lost_b.flatten(1)])
    # Sums reach 1 within rounding.
    lost = -(1 - torch.cat(taken)).clamp_min(1e-4).log()
    parts = {"matched": matched, "lost": _weighted(lost, torch.ones_like(lost))}
    return parts | {"coarse": matched + config.lost_weight * parts["lost"]}


def fine_loss(found: Tensor, wanted: Tensor, sigma: Tensor, reach: float, half: float) -> Tensor:
    """Returns the distance to the truth, less where the network is unsure (equation 7).

    As there, the network's standard deviation only weighs and is not itself taught; so the weights
    are brought to a mean of 1, and it gains nothing by doubt. What is beyond the reach is left out.

    Args:
        found: (M, 3) expectation in units of the reach, and its standard deviation.
        wanted: (M, 2) true offsets, pixels.
        sigma: (M,) how well they are known, pixels.
        reach: Pixels.
        half: A truth known this well (pixels) counts half.

    Returns:
        A scalar, in units of the reach squared; 0 of no matches.
    """
    aim = wanted / reach
    inside = (aim.abs() <= 1).all(dim=1)
    sure = 1 / found[:, 2].detach().clamp_min(1e-2)
    sure = sure / sure[inside].mean() if bool(inside.any()) else sure
    gap = (found[:, :2] - aim).square().sum(dim=1)
    return _weighted((sure * gap)[inside], half_at(sigma[inside], half))


def half_at(sigma: Tensor, half: float) -> Tensor:
    """Weights that fall with the variance, one half at a standard deviation.

    Examples:
        >>> half_at(torch.tensor([0.0, 2.0, 6.0]), 2.0).tolist()
        [1.0, 0.5, 0.10000000149011612]
    """
    return 1 / (1 + (sigma / half) ** 2)


def _weighted(values: Tensor, weights: Tensor) -> Tensor:
    """Returns the weighted sum over the number: what is doubtful adds less, for good."""
    return (values * weights).sum() / max(len(values), 1)
