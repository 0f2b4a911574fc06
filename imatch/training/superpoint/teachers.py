"""Frozen networks that detect and describe keypoints: labellers and teachers."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import torch
from kornia.feature import ALIKED
from torch import Tensor

from imatch.matchers.base import MatcherOptions
from imatch.matchers.sparse.aliked import Aliked
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import heatmap, sample


class Detections(Protocol):
    """Response and descriptors of a network on B images."""

    @property
    def heat(self) -> Tensor:
        """(B, H, W) float32, how much of a keypoint each pixel is."""

    def describe(self, index: int, xy: Tensor) -> Tensor:
        """Returns (N, D) unit descriptors of (N, 2) pixels of one image."""


class Teacher(Protocol):
    """A network that is not being trained."""

    def detect(self, images: Tensor) -> Detections:
        """Detects keypoints in (B, C, H, W) images, sides multiples of 8, without gradients."""


@dataclass(frozen=True, eq=False)
class CachedTeacher:
    """A teacher that is not asked twice in a row about the same images.

    Args:
        teacher: The one that is asked.
        room: So many of its last answers are remembered.
    """

    teacher: Teacher
    room: int = 2
    _known: OrderedDict[bytes, Detections] = field(default_factory=OrderedDict)

    def detect(self, images: Tensor) -> Detections:
        """See `Teacher`."""
        key = blake2b(images.detach().cpu().numpy().tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self.teacher.detect(images)
        self._known.move_to_end(key)
        while len(self._known) > self.room:
            self._known.popitem(last=False)
        return self._known[key]


@dataclass(frozen=True, eq=False)
class _SuperPointDetections:
    heat: Tensor
    dense: Tensor

    def describe(self, index: int, xy: Tensor) -> Tensor:
        return sample(self.dense[index], xy.float(), convention="centred")


@dataclass(frozen=True, eq=False)
class SuperPointTeacher:
    """A SuperPoint, such as the one that training starts from.

    Args:
        network: The network; it is not changed.
    """

    network: SuperPoint

    @torch.no_grad()
    def detect(self, images: Tensor) -> Detections:
        """See `Teacher`."""
        self.network.eval()
        logits, dense = self.network(images)
        return _SuperPointDetections(heatmap(logits.float()), dense.float())


@dataclass(frozen=True, eq=False)
class _AlikedDetections:
    network: ALIKED
    dense: Tensor
    heat: Tensor

    @torch.no_grad()
    def describe(self, index: int, xy: Tensor) -> Tensor:
        if not len(xy):
            return self.dense.new_zeros(0, self.dense.shape[1])
        height, width = self.heat.shape[1:]
        # Kornia's positions run from -1 to 1 between the centres of the end pixels.
        size = torch.tensor([width - 1, height - 1], device=xy.device)
        relative = 2 * xy.float() / size - 1
        (described,), _ = self.network.desc_head(self.dense[index : index + 1], [relative])
        return torch.as_tensor(described)


class AlikedTeacher:
    """ALIKED-n16, whose descriptors have a published LightGlue.

    Args:
        device: Where it runs.
        fetch: Download its weights if they are missing.

    Raises:
        WeightsError: They are missing.
    """

    dimension = 128

    def __init__(self, device: torch.device, *, fetch: bool = True) -> None:
        part = Aliked(MatcherOptions(device=str(device), fetch=fetch))
        self.network: ALIKED = part.network
        self.network.requires_grad_(False)

    @torch.no_grad()
    def detect(self, images: Tensor) -> Detections:
        """See `Teacher`; any number of bands, of which it sees three or their mean."""
        rgb = (
            images if images.shape[1] == 3 else images.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1)
        )
        # The parent's: ours returns one image's maps only.
        dense, scores = ALIKED.extract_dense_map(self.network, rgb)
        return _AlikedDetections(self.network, dense, scores[:, 0].float())
