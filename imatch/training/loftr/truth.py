"""Ground truth of cells: which show the same ground, and where, by a pair's homography."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imatch.models.loftr.match import cells_seen, centres
from imatch.models.loftr.network import CoarseCells
from imatch.models.loftr.shape import Shape
from imatch.training.loader import PairBatch, map_points


@dataclass(frozen=True, eq=False)
class Truth:
    """Ground truth of a batch.

    Attributes:
        cells: M pairs of cells, each the other's nearest.
        there: (M, 2) where the centre of the cell of `a` lies in `b`, pixels from the centre of the
            cell of `b`.
        back: (M, 2) the same the other way round.
        sigma: (M,) standard deviation of both, pixels.
        lost_a: (B, h, w) bool, valid cells of `a` whose ground is not to be seen in `b`.
        lost_b: (B, h', w') bool, the same the other way round.
        seen_a: (B, h, w) bool, cells on valid ground.
        seen_b: (B, h', w') bool, likewise.
    """

    cells: CoarseCells
    there: Tensor
    back: Tensor
    sigma: Tensor
    lost_a: Tensor
    lost_b: Tensor
    seen_a: Tensor
    seen_b: Tensor


def truth_of(batch: PairBatch, shape: Shape, max_sigma: float) -> Truth:
    """Returns the ground truth of a batch.

    A pair of cells is true where each is nearest to the other's centre (as in LoFTR's own
    supervision) and both centres lie on valid, unchanged ground. Changed ground is neither true
    nor lost: it is where it was, but nobody can be asked to see it.

    Args:
        batch: The pairs.
        shape: Of the network.
        max_sigma: Pairs known worse than this (pixels) have no truth at all.
    """
    parts: list[tuple[Tensor, ...]] = []
    seen_a, seen_b = (cells_seen(valid, shape) for valid in (batch.valid_a, batch.valid_b))
    lost_a, lost_b = torch.zeros_like(seen_a), torch.zeros_like(seen_b)
    for index in range(len(batch)):
        sigma = float(batch.sigma_px[index])
        if not sigma <= max_sigma:
            continue
        there = batch.homography[index]
        back = torch.linalg.inv(there)
        ground_a, ground_b = seen_a[index], seen_b[index]
        moved, nearest, inside = _map_cells(there, ground_a, ground_b, shape)
        returned, nearest_back, inside_back = _map_cells(back, ground_b, ground_a, shape)
        lost_a[index] = (ground_a.flatten() & ~inside).view_as(ground_a)
        lost_b[index] = (ground_b.flatten() & ~inside_back).view_as(ground_b)
        own = torch.arange(len(nearest), device=nearest.device)
        same = ~cells_seen(batch.changed[index : index + 1], shape)[0].flatten()
        true = ground_a.flatten() & inside & same
        true &= inside_back[nearest] & (nearest_back[nearest] == own)
        a = own[true]
        b = nearest[a]
        there_px = moved[a] - _cell_centres(ground_b, shape)[b]
        back_px = returned[b] - _cell_centres(ground_a, shape)[a]
        known = torch.full((len(a),), sigma, device=a.device)
        parts.append((torch.full_like(a, index), a, b, there_px, back_px, known))
    if not parts:
        none = torch.zeros(0, dtype=torch.long, device=batch.homography.device)
        empty = torch.zeros(0, 2, device=none.device)
        cells = CoarseCells(none, none, none)
        return Truth(cells, empty, empty, empty[:, 0], lost_a, lost_b, seen_a, seen_b)
    pair, a, b, there_px, back_px, known = (torch.cat(part) for part in zip(*parts, strict=True))
    cells = CoarseCells(pair, a, b)
    return Truth(
        cells, there_px.float(), back_px.float(), known.float(), lost_a, lost_b, seen_a, seen_b
    )


def _cell_centres(grid: Tensor, shape: Shape) -> Tensor:
    """Returns (L, 2) float64 pixels at which the cells of a (h, w) grid lie, in our frame."""
    index = torch.arange(grid.numel(), device=grid.device)
    return centres(index, grid.shape[1], shape.cell).double() + shape.offset


def _map_cells(
    matrix: Tensor, ground: Tensor, other: Tensor, shape: Shape
) -> tuple[Tensor, Tensor, Tensor]:
    """Carries the centres of cells into the other image.

    Returns:
        (L, 2) pixels there, (L,) the nearest cell there (0 where there is none), and (L,) bool
        whether that exists and lies on valid ground.
    """
    moved = map_points(matrix, _cell_centres(ground, shape))
    column, row = ((moved - shape.offset) / shape.cell).round().long().unbind(dim=1)
    height, width = other.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    nearest = torch.where(inside, row * width + column, torch.zeros_like(row))
    return moved, nearest, inside & other.flatten()[nearest]
