"""SuperPoint (DeTone, Malisiewicz and Rabinovich, CVPRW 2018, arXiv:1712.07629).

The network is ours to train; the published weights are Magic Leap's and for non-commercial research
only, so they are loaded from a file the user names and never otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from imatch.models.weights import Found, load_parameters, load_state

CELL = 8
"""Pixels along one side of a cell of the coarse maps."""


class SuperPoint(nn.Module):
    """The shared encoder with its detector and descriptor heads, under the published names.

    Args:
        in_channels: Bands of the input; the published network takes 1.
        descriptor_dim: Length of a descriptor.
    """

    def __init__(self, in_channels: int = 1, descriptor_dim: int = 256) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv1a = _conv3(in_channels, 64)
        self.conv1b = _conv3(64, 64)
        self.conv2a = _conv3(64, 64)
        self.conv2b = _conv3(64, 64)
        self.conv3a = _conv3(64, 128)
        self.conv3b = _conv3(128, 128)
        self.conv4a = _conv3(128, 128)
        self.conv4b = _conv3(128, 128)
        self.convPa = _conv3(128, 256)
        self.convPb = nn.Conv2d(256, CELL * CELL + 1, 1)
        self.convDa = _conv3(128, 256)
        self.convDb = nn.Conv2d(256, descriptor_dim, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the coarse maps that losses and decoding work on.

        Args:
            image: (B, in_channels, H, W) in [0, 1], sides multiples of 8.

        Returns:
            Detector logits (B, 65, H/8, W/8), the last channel "no keypoint here", and descriptors
            (B, D, H/8, W/8) of unit length.
        """
        x = image
        for level in (1, 2, 3, 4):
            x = F.relu(getattr(self, f"conv{level}a")(x))
            x = F.relu(getattr(self, f"conv{level}b")(x))
            x = F.max_pool2d(x, 2) if level < 4 else x
        logits = self.convPb(F.relu(self.convPa(x)))
        descriptors = self.convDb(F.relu(self.convDa(x)))
        return logits, F.normalize(descriptors, dim=1)


def _conv3(n_in: int, n_out: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel_size=3, padding=1)


def load_superpoint(found: Found, in_channels: int = 1) -> SuperPoint:
    """SuperPoint filled from a checkpoint, in evaluation mode.

    Args:
        found: A verified file with the published parameter names.
        in_channels: With more bands than the checkpoint has, its first kernel is shared out among
            them, so that equal bands give what the single band gave.

    Raises:
        WeightsError: The file is of another architecture.
    """
    state = load_state(found)
    first = state.get("conv1a.weight")
    if first is not None and first.ndim == 4 and first.shape[1] == 1 < in_channels:
        state["conv1a.weight"] = first.repeat(1, in_channels, 1, 1) / in_channels
    last = state.get("convDb.bias")
    network = SuperPoint(in_channels, 256 if last is None else len(last))
    load_parameters(network, state, found)
    return network


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
        return F.max_pool2d(values[:, None], 2 * radius + 1, stride=1, padding=radius)[:, 0]

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


def sample(descriptors: Tensor, xy: Tensor) -> Tensor:
    """Read coarse descriptors bilinearly at keypoints, in the published convention.

    Cell i covers pixels 8i to 8i + 7 and its descriptor belongs to their centre, 8i + 3.5; the
    published code stretches the span between the outer centres, 3.5 to 8n - 4.5, over its sampling
    interval by ``(x - 3.5) / (8n - 4.5)`` rather than ``/ (8n - 8)``. LightGlue's weights were
    trained on what that gives, so it is kept.

    Args:
        descriptors: (D, h, w).
        xy: (N, 2) pixels.

    Returns:
        (N, D) of unit length.
    """
    height, width = descriptors.shape[1:]
    extent = torch.tensor([width, height], device=xy.device, dtype=xy.dtype) * CELL - 4.5
    grid = (xy - 3.5) / extent * 2 - 1
    read = F.grid_sample(descriptors[None], grid[None, None], align_corners=True)
    return F.normalize(read[0, :, 0].T, dim=1)


@dataclass(frozen=True)
class Decoding:
    """How the coarse maps become keypoints; the defaults are the published ones.

    Attributes:
        threshold: Least probability of a keypoint.
        radius: Of the non-maximum suppression, in pixels.
        border: Width of the frame without keypoints, in pixels.
        subpixel: Refine positions by `refine`.
    """

    threshold: float = 0.0005
    radius: int = 4
    border: int = 4
    subpixel: bool = False


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
        precise = refine(scores, xy) if how.subpixel else xy.to(scores.dtype)
        found.append((precise, peak[y, x]))
    return found
