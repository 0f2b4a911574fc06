"""SuperPoint's objectives: targets and losses of the detector and the descriptors on a pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from imatch.core.types import BoolArray
from imatch.models.superpoint.points import sample
from imatch.training.augment.geometry import Matrix, move_points
from imatch.training.loader import map_points
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.data import Item, SuperPointBatch
from imatch.training.superpoint.distillation import DistillationTarget
from imatch.training.superpoint.labels import PairLabels, Points
from imatch.training.superpoint.losses import (
    DESCRIPTOR_LOSSES,
    detector_loss,
    info_nce,
    soft_targets,
    too_near,
    whole_cells,
)


@dataclass(frozen=True, eq=False)
class Targets:
    """What the detector should find in one view.

    Attributes:
        xy: (N, 2) float32 pixels of the view.
        weight: (N,) in [0, 1].
        sigma: (N,) pixels.
    """

    xy: Tensor
    weight: Tensor
    sigma: Tensor


def detector_targets(
    item: Item, labels: PairLabels, config: SuperPointConfig, device: torch.device
) -> tuple[list[tuple[float, Targets]], list[tuple[float, Targets]]]:
    """Returns weighted targets of both views of an item; the weights sum to 1.

    On changed ground nothing is to be found: it will not be there again.

    Args:
        item: The item.
        labels: Pseudo-labels of its pair.
        config: Weights of the objectives.
        device: Where the tensors go.
    """
    weights, pair = config.objectives, item.seen.pair
    first, second = (labels.b, labels.a) if item.swapped else (labels.a, labels.b)
    still_a = pair.valid_a & ~pair.changed
    still_b = pair.valid_b & ~_changed_in_b(pair.changed, pair.homography)

    def moved(points: Points, matrix: Matrix, ground: BoolArray, share: float = 1.0) -> Targets:
        xy, inside = move_points(points.xy, matrix, ground)
        sigma = torch.full((len(xy),), config.labels.sigma_px)
        weight = torch.from_numpy(points.weight[inside]) * share
        return Targets(torch.from_numpy(xy).float(), weight, sigma)

    if item.kind == "two-dates":
        if weights.season and item.plain.known:
            ours, theirs = labels.season_a, labels.season_b
            first, second = (theirs, ours) if item.swapped else (ours, theirs)
        a = moved(first, item.seen.to_a, still_a)
        b = moved(second, item.seen.to_b, still_b)
        return [(1.0, _on(a, device))], [(1.0, _on(b, device))]

    a, b = moved(first, item.seen.to_a, still_a), moved(first, item.seen.to_b, still_b)
    both: tuple[list[tuple[float, Targets]], list[tuple[float, Targets]]] = ([], [])
    for side, own, matrix, ground in (
        (both[0], a, np.eye(3), still_a),
        (both[1], b, pair.homography, still_b),
    ):
        if weights.self_:
            side.append((weights.self_ / weights.one_date, _on(own, device)))
        if weights.polygon:
            xy, inside = move_points(pair.keypoints_a, matrix, ground)
            drawn = Targets(
                torch.from_numpy(xy).float(),
                torch.ones(len(xy)),
                torch.from_numpy(pair.keypoint_sigma_a[inside]),
            )
            # Without any polygon here the pseudo-labels stand alone.
            mix = config.labels.polygon_mix if len(xy) else 1.0
            pseudo = Targets(own.xy, own.weight * mix, own.sigma)
            side.append((weights.polygon / weights.one_date, _on(_joined(drawn, pseudo), device)))
    return both


def _on(targets: Targets, device: torch.device) -> Targets:
    return Targets(*(t.to(device) for t in (targets.xy, targets.weight, targets.sigma)))


def _joined(one: Targets, other: Targets) -> Targets:
    return Targets(
        torch.cat([one.xy, other.xy]),
        torch.cat([one.weight, other.weight]),
        torch.cat([one.sigma, other.sigma]),
    )


def _changed_in_b(changed: BoolArray, homography: Matrix) -> BoolArray:
    import cv2

    height, width = changed.shape
    seen = cv2.warpPerspective(
        changed.astype(np.uint8), homography, (width, height), flags=cv2.INTER_NEAREST
    )
    return np.asarray(seen > 0, dtype=bool)


def detector_objective(
    logits: Tensor,
    targets: list[list[tuple[float, Targets]]],
    valid: Tensor,
) -> Tensor:
    """Returns the detector's loss on views.

    Args:
        logits: (B, 65, h, w).
        targets: Of each view, weighted.
        valid: (B, H, W) bool.
    """
    size = (valid.shape[2], valid.shape[1])
    wanted = torch.stack(
        [
            torch.stack(
                [share * soft_targets(t.xy, t.weight, t.sigma, size) for share, t in view]
            ).sum(dim=0)
            for view in targets
        ]
    )
    return detector_loss(logits, wanted, whole_cells(valid))


def correspondences(
    batch: SuperPointBatch, index: int, preferred: Tensor, count: int
) -> tuple[Tensor, Tensor]:
    """Draws points of a pair that show the same, unchanged ground.

    Args:
        batch: The batch.
        index: Which pair.
        preferred: (N, 2) points of `a` to take first, up to half of them.
        count: How many.

    Returns:
        (M, 2) float64 pixels of `a` and of `b`.
    """
    seen = batch.seen
    height, width = seen.valid_a.shape[1:]
    size = torch.tensor([width - 1, height - 1], dtype=torch.float64)
    taken = preferred[torch.randperm(len(preferred))][: count // 2].double().cpu()
    # Twice as many as needed, since many leave the frame.
    anywhere = torch.rand(2 * (count - len(taken)), 2, dtype=torch.float64) * size
    xy_a = torch.cat([taken, anywhere])
    xy_b = map_points(seen.homography[index].cpu(), xy_a)
    usable = (seen.valid_a[index] & ~seen.changed[index]).cpu()
    kept = _at(usable, xy_a) & _at(seen.valid_b[index].cpu(), xy_b)
    device = seen.a.device
    return xy_a[kept][:count].to(device), xy_b[kept][:count].to(device)


def distillation_points(
    batch: SuperPointBatch, index: int, target: DistillationTarget
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what the teacher says of the ground that both views of a pair show.

    Args:
        batch: The batch.
        index: Which pair.
        target: The teacher's, of that pair as the data set gives it.

    Returns:
        (M, 2) float64 pixels of `a` and of `b`, and (M, D) descriptors.
    """
    seen, item = batch.seen, batch.items[index]
    both = (target.xy_b, target.xy_a) if item.swapped else (target.xy_a, target.xy_b)
    xy_a, xy_b = (
        map_points(torch.from_numpy(matrix), torch.from_numpy(xy))
        for matrix, xy in zip((item.seen.to_a, item.seen.to_b), both, strict=True)
    )
    usable = (seen.valid_a[index] & ~seen.changed[index]).cpu()
    kept = _at(usable, xy_a) & _at(seen.valid_b[index].cpu(), xy_b)
    device = seen.a.device
    wanted = torch.from_numpy(target.descriptors)[kept].float()
    return xy_a[kept].to(device), xy_b[kept].to(device), wanted.to(device)


def _at(mask: Tensor, xy: Tensor) -> Tensor:
    height, width = mask.shape
    column, row = xy.round().long().unbind(dim=1)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return inside & mask[row.clamp(0, height - 1), column.clamp(0, width - 1)]


def descriptor_objective(
    dense_a: Tensor, dense_b: Tensor, xy_a: Tensor, xy_b: Tensor, config: SuperPointConfig
) -> Tensor:
    """Returns the descriptors' loss on the points of one pair.

    Args:
        dense_a: (D, h, w).
        dense_b: (D, h, w).
        xy_a: (N, 2) pixels of `a`.
        xy_b: (N, 2) the same ground in `b`.
        config: Which loss.
    """
    one = sample(dense_a, xy_a.float(), convention="centred")
    other = sample(dense_b, xy_b.float(), convention="centred")
    near, kind = too_near(xy_a, config.loss.apart_px), config.loss.descriptor
    if kind == "info-nce":
        return info_nce(one @ other.T, near, config.loss.temperature)
    return DESCRIPTOR_LOSSES[kind](one @ other.T, near)


def distil_objective(
    dense: tuple[Tensor, Tensor],
    xy: tuple[Tensor, Tensor],
    wanted: Tensor,
    config: SuperPointConfig,
) -> Tensor:
    """Returns the distillation loss: how unlike the teacher's descriptors ours are.

    Args:
        dense: Our (D, h, w) of `a` and of `b`.
        xy: (N, 2) the same ground in `a` and in `b`.
        wanted: (N, D) the teacher's unit descriptors of that ground.
        config: Weight of telling its points apart.
    """
    near = too_near(xy[1], config.loss.apart_px)
    losses = []
    for ours, keypoints in zip(dense, xy, strict=True):
        cosine = sample(ours, keypoints.float(), convention="centred") @ wanted.T
        alike = (1 - cosine.diagonal()).mean() if len(cosine) else cosine.sum()
        contrast = info_nce(cosine, near, config.loss.temperature)
        losses.append(alike + config.loss.contrast * contrast)
    return torch.stack(losses).mean()
