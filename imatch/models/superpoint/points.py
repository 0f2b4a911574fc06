"""Extracts keypoints and descriptors from SuperPoint's coarse maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.models.superpoint.network import CELL

Interpolation: TypeAlias = Literal["bilinear", "bicubic"]
Convention: TypeAlias = Literal["published", "centred"]


def heatmap(logits: Tensor) -> Tensor:
    """Detector logits (B, 65, h, w) to keypoint probabilities (B, 8h, 8w)."""
    return F.pixel_shuffle(logits.softmax(dim=1)[:, :-1], CELL)[:, 0]


def suppress(scores: Tensor, radius: int) -> Tensor:
    """Keep local maxima and zero the rest (the non-maximum suppression of SuperGlue and LightGlue).

    Two further rounds bring back maxima that only a suppressed neighbour had outdone.

    Args:
        scores: (B, H, W), not negative.
        radius: No two kept pixels are closer than this along both axes, ties apart.

    Returns:
        (B, H, W), zero where suppressed.
    """

    def largest(values: Tensor) -> Tensor:
        rows = F.max_pool2d(values[:, None], (2 * radius + 1, 1), stride=1, padding=(radius, 0))
        return F.max_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius))[:, 0]

    kept = scores == largest(scores)
    for _ in range(2):
        near_kept = largest(kept.to(scores.dtype)) > 0
        rest = scores.masked_fill(near_kept, 0.0)
        kept = kept | ((rest == largest(rest)) & ~near_kept)
    return scores.masked_fill(~kept, 0.0)


def refine(scores: Tensor, xy: Tensor) -> Tensor:
    """Move whole-pixel maxima to the top of the parabola through their neighbours, per axis.

    Args:
        scores: (H, W) probabilities before suppression.
        xy: (N, 2) integer positions, not on the border.

    Returns:
        (N, 2) float positions, at most half a pixel away.
    """
    logs = scores.clamp_min(1e-12).log()
    x, y = xy.long().T
    centre = logs[y, x]
    moves = []
    for dx, dy in ((1, 0), (0, 1)):
        before, after = logs[y - dy, x - dx], logs[y + dy, x + dx]
        bend = (before - 2 * centre + after).clamp_max(-1e-6)
        moves.append((0.5 * (before - after) / bend).clamp(-0.5, 0.5))
    return xy.to(scores.dtype) + torch.stack(moves, dim=-1)


def soft_argmax(scores: Tensor, xy: Tensor, window: int = 5) -> Tensor:
    """Move whole-pixel maxima to the mean position of the probability in a window around them.

    Args:
        scores: (H, W) probabilities before suppression.
        xy: (N, 2) integer positions; what lies beyond the image counts as 0.
        window: Side of the window, odd.

    Returns:
        (N, 2) float positions, within the window.
    """
    reach = window // 2
    padded = F.pad(scores, (reach, reach, reach, reach))
    steps = torch.arange(window, device=scores.device)
    x, y = xy.long().T
    patch = padded[y[:, None, None] + steps[:, None], x[:, None, None] + steps[None, :]]
    patch = patch / patch.sum(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    offset = (steps - reach).to(scores.dtype)
    moves = [(patch.sum(dim=1) * offset).sum(dim=1), (patch.sum(dim=2) * offset).sum(dim=1)]
    return xy.to(scores.dtype) + torch.stack(moves, dim=-1)


def sample(
    descriptors: Tensor,
    xy: Tensor,
    *,
    mode: Interpolation = "bilinear",
    convention: Convention = "published",
) -> Tensor:
    """Descriptors at keypoints, from the coarse map.

    Args:
        descriptors: (D, h, w).
        xy: (N, 2) pixels.
        mode: See `read_coarse`.
        convention: See `read_coarse`.

    Returns:
        (N, D) of unit length.
    """
    return F.normalize(read_coarse(descriptors, xy, mode=mode, convention=convention), dim=1)


def read_coarse(
    maps: Tensor,
    xy: Tensor,
    *,
    mode: Interpolation = "bilinear",
    convention: Convention = "published",
) -> Tensor:
    """Read a map of cells between their centres.

    Cell i covers pixels 8i to 8i + 7 and its descriptor belongs to their centre, 8i + 3.5; the
    published code stretches the span between the outer centres, 3.5 to 8n - 4.5, over its sampling
    interval by ``(x - 3.5) / (8n - 4.5)`` rather than ``/ (8n - 8)``. LightGlue's weights were
    trained on what that gives, so it is kept. Networks of ours read cells where they are.

    Args:
        maps: (D, h, w).
        xy: (N, 2) pixels.
        mode: How to interpolate; the paper says bicubic, the published code is bilinear.
        convention: ``published``, or ``centred`` for the true centres of the cells.

    Returns:
        (N, D).
    """
    height, width = maps.shape[1:]
    size = torch.tensor([width, height], device=xy.device, dtype=xy.dtype) * CELL
    if convention == "published":
        grid, corners = (xy - 3.5) / (size - 4.5) * 2 - 1, True
    else:
        grid, corners = (xy + 0.5) / size * 2 - 1, False
    read = F.grid_sample(
        maps[None],
        grid[None, None],
        mode=mode,
        padding_mode="zeros" if corners else "border",
        align_corners=corners,
    )
    return read[0, :, 0].T


@dataclass(frozen=True)
class Decoding:
    """Settings of keypoint extraction; the defaults are the published ones.

    Attributes:
        threshold: Least probability of a keypoint.
        radius: Of the non-maximum suppression, in pixels.
        border: Width of the frame without keypoints, in pixels.
        subpixel: Refine positions by `refine`.
        window: Refine by `soft_argmax` in a window of this side instead; None for the parabola.
    """

    threshold: float = 0.0005
    radius: int = 4
    border: int = 4
    subpixel: bool = False
    window: Literal[3, 5] | None = None


def detect(logits: Tensor, how: Decoding, size: tuple[int, int]) -> list[tuple[Tensor, Tensor]]:
    """Keypoints of each image of a batch.

    Args:
        logits: (B, 65, h, w).
        how: The decoding.
        size: (width, height) of the image before it was padded to whole cells.

    Returns:
        For each image (N, 2) float positions and (N,) probabilities, in raster order.
    """
    probabilities = heatmap(logits)[:, : size[1], : size[0]]
    peaks = suppress(probabilities, how.radius)
    inner = torch.zeros_like(peaks, dtype=torch.bool)
    border = max(how.border, 1)
    inner[:, border:-border, border:-border] = True
    found = []
    for scores, peak in zip(probabilities, peaks.masked_fill(~inner, 0.0), strict=True):
        y, x = torch.where(peak > how.threshold)
        xy = torch.stack([x, y], dim=-1)
        if how.subpixel and how.window is not None:
            precise = soft_argmax(scores, xy, how.window)
        else:
            precise = refine(scores, xy) if how.subpixel else xy.to(scores.dtype)
        found.append((precise, peak[y, x]))
    return found
