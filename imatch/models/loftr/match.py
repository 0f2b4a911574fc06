"""Matches from a LoFTR: mutual coarse cells, refined both ways."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.models.loftr.network import CoarseCells, LoFTR
from imatch.models.loftr.shape import Shape

_LEAST_SPREAD = 0.02
"""Standard deviations below this, in units of the reach, are not believed."""

_REFINED_AT_ONCE = 512
# Similarities that are turned into confidence at a time: 4 MB.
_AT_ONCE = 2**20


def dual_softmax(similarity: Tensor) -> Tensor:
    """Log of the probability that two cells choose each other (equation 3 of LoFTR).

    Args:
        similarity: (B, L, S), over the temperature.

    Returns:
        (B, L, S) logarithms.
    """
    return similarity.log_softmax(dim=1) + similarity.log_softmax(dim=2)


def mutual(
    similarity: Tensor, eligible_a: Tensor, eligible_b: Tensor, threshold: float
) -> CoarseCells:
    """Cells that prefer each other to all others.

    Args:
        similarity: (B, L, S), over the temperature. It is overwritten with the confidence, since
            at large sizes two of them are all that memory holds.
        eligible_a: (B, h, w) bool, cells that may be matched.
        eligible_b: (B, h', w') bool.
        threshold: Least confidence of a pair.

    Returns:
        The pairs; their confidence is what `similarity` holds there now.
    """
    count, height, width = similarity.shape
    # Some rows, or columns, at a time: no second matrix, and most of the work in the caches.
    some_rows = max(_AT_ONCE // (count * width), 1)
    some_columns = max(_AT_ONCE // (count * height), 1)
    strips = torch.split(similarity, some_columns, dim=2)
    columns = torch.cat([strip.logsumexp(dim=1, keepdim=True) for strip in strips], dim=2)
    bests, partners = [], []
    best_of_column = similarity.new_zeros((count, width))  # Confidence is never less.
    for strip in torch.split(similarity, some_rows, dim=1):
        rows = strip.logsumexp(dim=2, keepdim=True)
        confidence = strip.mul_(2).sub_(rows).sub_(columns).exp_()
        best, partner = confidence.max(dim=2)
        bests.append(best)
        partners.append(partner)
        best_of_column = torch.maximum(best_of_column, confidence.amax(dim=1))
    best, partner = torch.cat(bests, dim=1), torch.cat(partners, dim=1)
    chosen = (
        (best > threshold)
        & (best_of_column.gather(1, partner) == best)
        & eligible_a.flatten(1)
        & eligible_b.flatten(1).gather(1, partner)
    )
    pair, a = torch.where(chosen)
    return CoarseCells(pair, a, partner[pair, a])


def centres(index: Tensor, columns: int, cell: int) -> Tensor:
    """(M, 2) pixels at which cells lie, in the network's frame."""
    return torch.stack([index % columns, index // columns], dim=1).float() * cell


def off_border(seen: Tensor, border: int) -> Tensor:
    """(B, h, w) bool, cells on valid ground that are not at the edge of the image."""
    inner = torch.zeros_like(seen)
    height, width = seen.shape[1:]
    inner[:, border : height - border, border : width - border] = True
    return seen & inner


def cells_seen(valid: Tensor, shape: Shape) -> Tensor:
    """(B, h, w) bool, coarse cells that lie on a valid pixel of (B, H, W)."""
    first = max(int(shape.offset), 0)
    return valid[:, first :: shape.cell, first :: shape.cell]


def tie_points(
    network: LoFTR,
    a: Tensor,
    b: Tensor,
    valid_a: Tensor,
    valid_b: Tensor,
    most: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Matches two images and returns their tie points.

    Both directions of the refinement, the cell of `a` sought in `b` and the reverse, measure the
    same pair of cells; they are pooled by their variances into one tie point, which lies between
    the two. So no point is counted twice, and none is bound to the grid.

    Args:
        network: The network, in evaluation mode.
        a: (`Shape.channels`, H, W) in [0, 1].
        b: (`Shape.channels`, H', W').
        valid_a: (H, W) bool.
        valid_b: (H', W') bool.
        most: Only so many of the surest cells are refined and returned; None for all.

    Returns:
        (M, 2) pixels of `a` and of `b`, and (M,) confidence in [0, 1].
    """
    shape = network.shape
    with torch.inference_mode():
        images = [_padded(image, shape.cell)[None] for image in (a, b)]
        seen = [cells_seen(_padded(valid[None], shape.cell), shape) for valid in (valid_a, valid_b)]
        # A processor has no use for batches, and small maps are dealt with sooner.
        if images[0].shape == images[1].shape and a.device.type != "cpu":
            coarse, fine = network.features(torch.cat(images), fine=shape.refined)
            maps = [(coarse[k : k + 1], None if fine is None else fine[k : k + 1]) for k in (0, 1)]
        else:
            maps = [network.features(image, fine=shape.refined) for image in images]
        tokens = network.attend(maps[0][0], maps[1][0], seen[0], seen[1])
        confidence = network.similarity(*tokens, seen[0], seen[1])
        inner_a, inner_b = (off_border(mask, shape.border) for mask in seen)
        cells = mutual(confidence, inner_a, inner_b, shape.threshold)
        scores = confidence[cells.pair, cells.a, cells.b]
        del confidence  # The largest of all, and refining needs room.
        if most is not None and len(cells) > most:
            surest = scores.argsort(descending=True, stable=True)[:most].sort().values
            cells, scores = cells.select(surest), scores[surest]
        xy_a = centres(cells.a, seen[0].shape[2], shape.cell)
        xy_b = centres(cells.b, seen[1].shape[2], shape.cell)
        if maps[0][1] is not None and maps[1][1] is not None and len(cells):
            there, back = _refined(network, (maps[0][1], maps[1][1]), tokens, cells)
            there, back = (_stretched(offset, shape.stretch) for offset in (there, back))
            xy_a, xy_b = _pooled(xy_a, xy_b, there, back, shape.reach)
    return xy_a + shape.offset, xy_b + shape.offset, scores


def _refined(
    network: LoFTR, fine: tuple[Tensor, Tensor], tokens: tuple[Tensor, Tensor], cells: CoarseCells
) -> tuple[Tensor, Tensor]:
    """`LoFTR.refine`, some cells at a time: a window of each is more than the maps they are of."""
    index = torch.arange(len(cells), device=cells.a.device)
    parts = [
        network.refine(fine, tokens, cells.select(some))
        for some in torch.split(index, _REFINED_AT_ONCE)
    ]
    return torch.cat([there for there, _ in parts]), torch.cat([back for _, back in parts])


def _stretched(offset: Tensor, factor: float) -> Tensor:
    """(M, 3) offsets made longer, but not beyond the reach; their spread as it is."""
    return torch.cat([(factor * offset[:, :2]).clamp(-1, 1), offset[:, 2:]], dim=1)


def _pooled(
    xy_a: Tensor, xy_b: Tensor, there: Tensor, back: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """The mean of (cell of a, its place in b) and (place in a, cell of b), by their variances."""
    trust = there[:, 2:].clamp_min(_LEAST_SPREAD) ** -2
    trust_back = back[:, 2:].clamp_min(_LEAST_SPREAD) ** -2
    share = trust / (trust + trust_back)
    return xy_a + (1 - share) * reach * back[:, :2], xy_b + share * reach * there[:, :2]


def _padded(maps: Tensor, cell: int) -> Tensor:
    """(C, H, W) continued to whole cells; what is beyond the image is not valid."""
    pads = (0, -maps.shape[2] % cell, 0, -maps.shape[1] % cell)
    if maps.dtype == torch.bool:
        return F.pad(maps, pads)
    return F.pad(maps[None], pads, mode="replicate")[0]
