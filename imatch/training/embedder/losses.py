"""Metric losses: those of `pytorch_metric_learning`, and three that it lacks."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.core.errors import ConfigError
from imatch.training.embedder.config import EmbedderLossConfig

#: (anchors, positives, negatives), or (anchors, positives, anchors, negatives), as positions.
Tuples: TypeAlias = tuple[Tensor, ...] | None
Loss: TypeAlias = Callable[[Tensor, Tensor, Tuples], Tensor]
_SMALL = 1e-6


def make_loss(config: EmbedderLossConfig) -> Loss:
    """Makes the loss of (B, D) embeddings, (B,) labels and mined pairs or triplets (None for all).

    Raises:
        ConfigError: pytorch-metric-learning is not installed.
    """
    margin = config.margin
    match config.kind:
        case "quadruplet":
            return lambda e, labels, t: quadruplet(e, labels, t, margin)
        case "magnet":
            return lambda e, labels, _t: magnet(e, labels, margin)
        case "bce" | "focal":
            gamma = config.gamma if config.kind == "focal" else 0.0
            scale = 1 / config.temperature
            return lambda e, labels, t: pair_entropy(e, labels, t, scale, config.threshold, gamma)
    losses, distances = metric_learning("losses"), metric_learning("distances")
    euclidean = distances.LpDistance(normalize_embeddings=False)
    theirs: Any
    match config.kind:
        case "triplet":
            theirs = losses.TripletMarginLoss(margin=margin, distance=euclidean)
        case "triplet-cosine":
            theirs = losses.TripletMarginLoss(margin=margin, distance=distances.CosineSimilarity())
        case "triplet-soft":
            theirs = losses.TripletMarginLoss(margin=0.0, smooth_loss=True, distance=euclidean)
        case "contrastive":
            theirs = losses.ContrastiveLoss(pos_margin=0, neg_margin=margin, distance=euclidean)
        case "multi-similarity":
            theirs = losses.MultiSimilarityLoss()
        case "nt-xent":
            theirs = losses.NTXentLoss(temperature=config.temperature)
        case other:
            raise ConfigError("is no loss", subject=other)
    return lambda e, labels, t: theirs(e, labels, t)


def metric_learning(module: str) -> Any:
    """Imports a module of pytorch-metric-learning, which is an extra.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(f"pytorch_metric_learning.{module}")
    except ImportError as error:
        raise ConfigError(
            "is not installed",
            subject="pytorch-metric-learning",
            hint="run pip install 'imatch[retrieval]'",
        ) from error


def pairs_of(labels: Tensor, tuples: Tuples) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns (anchors, positives, anchors, negatives) of mined tuples, or of all labels."""
    if tuples is None:
        same = labels[:, None] == labels[None]
        alike = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        a1, p = alike.nonzero(as_tuple=True)
        a2, n = (~same).nonzero(as_tuple=True)
        return a1, p, a2, n
    if len(tuples) == 3:
        a, p, n = tuples
        return a, p, a, n
    a1, p, a2, n = tuples
    return a1, p, a2, n


def triplets_of(labels: Tensor, tuples: Tuples) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (anchors, positives, negatives): as given, or all pairs with all negatives."""
    if tuples is not None and len(tuples) == 3:
        a, p, n = tuples
        return a, p, n
    a1, p, a2, n = pairs_of(labels, tuples)
    row, column = (a1[:, None] == a2[None]).nonzero(as_tuple=True)
    return a1[row], p[row], n[column]


def quadruplet(embeddings: Tensor, labels: Tensor, tuples: Tuples, margin: float) -> Tensor:
    """Chen et al., CVPR 2017, arXiv:1704.01719: beside triplets, pairs apart from any other pair.

    ``[d(a,p)^2 - d(a,n)^2 + margin]+`` and, with a second negative m of another label,
    ``[d(a,p)^2 - d(n,m)^2 + margin / 2]+``.

    Args:
        embeddings: (B, D).
        labels: (B,).
        tuples: See `Tuples`.
        margin: Of the first part; the second has half of it.
    """
    a, p, n = triplets_of(labels, tuples)
    if not len(a):
        return 0.0 * embeddings.sum()
    gaps = torch.cdist(embeddings, embeddings).square()
    first = F.relu(gaps[a, p] - gaps[a, n] + margin).mean()
    # The nearest pair of negatives, neither of which shows what the anchor shows.
    other = labels[n][:, None] != labels[None]
    other &= labels[a][:, None] != labels[None]
    if not bool(other.any()):
        return first
    rivals = gaps[n].masked_fill(~other, float("inf")).amin(dim=1)
    known = torch.isfinite(rivals)
    second = F.relu(gaps[a, p][known] - rivals[known] + margin / 2).mean()
    return first + second


def magnet(embeddings: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Rippel et al., ICLR 2016, arXiv:1511.05939: clusters repel each other, not single chips.

    Every label of the batch is one cluster. ``-log(exp(-d(x, own) / 2 s - margin) / sum over other
    clusters of exp(-d / 2 s))`` with squared distances d to the clusters' means and s their mean;
    negative values count as 0.

    Args:
        embeddings: (B, D).
        labels: (B,), at least two different ones.
        margin: How far beyond the others' reach.
    """
    names, own = torch.unique(labels, return_inverse=True)
    member = F.one_hot(own, len(names)).to(embeddings.dtype)
    means = (member.T @ embeddings) / member.sum(dim=0)[:, None]
    gaps = torch.cdist(embeddings, means).square()
    to_own = gaps.gather(1, own[:, None])[:, 0]
    spread = to_own.mean().clamp_min(_SMALL)
    reach = -gaps / (2 * spread)
    others = reach.masked_fill(member > 0, float("-inf")).logsumexp(dim=1)
    return F.relu(to_own / (2 * spread) + margin + others).mean()


def pair_entropy(
    embeddings: Tensor,
    labels: Tensor,
    tuples: Tuples,
    scale: float,
    threshold: float,
    gamma: float = 0.0,
) -> Tensor:
    """Whether two chips are alike, as a probability: binary cross-entropy, or focal with gamma > 0.

    Focal after Lin et al., ICCV 2017, arXiv:1708.02002. Alike and other pairs count equally.

    Args:
        embeddings: (B, D).
        labels: (B,).
        tuples: See `Tuples`.
        scale: The logit is ``scale * (cosine - threshold)``.
        threshold: Cosine at which it is undecided.
        gamma: How much easy pairs are neglected.
    """
    a1, p, a2, n = pairs_of(labels, tuples)
    unit = F.normalize(embeddings, dim=1)
    parts = []
    for i, j, sign in ((a1, p, 1.0), (a2, n, -1.0)):
        if len(i):
            logit = sign * scale * ((unit[i] * unit[j]).sum(dim=1) - threshold)
            parts.append((torch.sigmoid(-logit) ** gamma * F.softplus(-logit)).mean())
    return torch.stack(parts).mean() if parts else 0.0 * embeddings.sum()
