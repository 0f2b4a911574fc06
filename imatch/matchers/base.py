"""Base class of matchers: preparation, masking, ordering and limits of matches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import MatcherError
from imatch.core.types import Matches, Rendered
from imatch.matchers import images

if TYPE_CHECKING:
    import torch
    from torch import nn

    from imatch.matchers.feature_cache import FeatureCache
    from imatch.models.weights import WeightsFile


@dataclass(frozen=True)
class MatcherOptions:
    """Options of a matcher.

    Attributes:
        max_keypoints: Most keypoints taken from one image, and so the most matches.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``; only networks use it.
        seed: Seed of whatever is random; on a CPU equal seeds give equal results.
        weights: Checkpoint name to a file the user names, see `imatch.models.weights`.
        fetch: Download checkpoints that are missing.
        max_side: Longest side in pixels that a detector-free matcher works at; larger images are
            reduced to it. None takes the matcher's own limit.
        cache: Where keypoint matchers keep features on disk; None keeps the last few in memory.
    """

    max_keypoints: int = 2048
    device: str = "auto"
    seed: int = 0
    weights: Mapping[str, str] = field(default_factory=dict)
    fetch: bool = False
    max_side: int | None = None
    cache: FeatureCache | None = None

    def __post_init__(self) -> None:
        if self.max_keypoints < 1:
            raise MatcherError("must be at least 1", subject="max_keypoints")
        if self.max_side is not None and self.max_side < images.MIN_SIDE:
            raise MatcherError(f"must be at least {images.MIN_SIDE}", subject="max_side")


DEFAULTS = MatcherOptions()


class HasWeights:
    """Mixin of parts that run on checkpoints, which are located and verified once.

    Attributes:
        weights: Names of the checkpoints.
        options: How it runs.
    """

    weights: tuple[str, ...] = ()

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        self.options = options
        self._found: dict[str, WeightsFile] = {}

    def prepare(self) -> None:
        """Find and verify the checkpoints, and fetch missing ones where the options allow it.

        Raises:
            WeightsError: One is missing or corrupt.
        """
        from imatch.models.weights import require_weights

        for name in self.weights:
            if name not in self._found:
                named = self.options.weights.get(name)
                self._found[name] = require_weights(name, named, fetch=self.options.fetch)

    def found(self, name: str) -> WeightsFile:
        """The verified file of a checkpoint."""
        self.prepare()
        return self._found[name]

    @property
    def weights_used(self) -> dict[str, str]:
        """Checkpoint name to the sha256 of the file in use."""
        self.prepare()
        return {name: found.sha256 for name, found in self._found.items()}


class Matcher(HasWeights, ABC):
    """Finds tie points between two images.

    A subclass writes `_match` and sets `channels`; everything around it happens here.

    Attributes:
        channels: What it wants to see: 1 (luminance) or 3 (RGB). Other images are converted.
        guard: Width in pixels of the band along invalid ground where no point is taken, since the
            border of a mask is an edge that is not on the ground.
    """

    channels: Literal[1, 3]
    guard: ClassVar[int] = 4

    @abstractmethod
    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        """Match two images of `channels` bands that are finite everywhere.

        Invalid ground is filled with the nearest valid pixels, and ``valid`` already excludes the
        guard band. Points may come in any order and may lie off ``valid``: `match` drops those.
        """

    def match(self, ref: Rendered, tgt: Rendered) -> Matches:
        """Find tie points.

        Args:
            ref: The reference.
            tgt: The target; it may have another size.

        Returns:
            At most ``options.max_keypoints`` matches on valid ground of both images, best first.
            Empty where there is nothing to match: a side under 16 pixels, no valid ground, or
            ground of one value.

        Raises:
            MatcherError: The device is not available.
            WeightsError: A checkpoint is missing or corrupt.
        """
        ready = [images.prepare(image, self.channels, self.guard) for image in (ref, tgt)]
        if not all(images.has_content(image) for image in ready):
            return Matches()
        matches = _tidy(self._match(*ready), *ready)
        return matches.select(np.arange(min(len(matches), self.options.max_keypoints)))

    def __call__(
        self, img0: Any, img1: Any, valid0: Any | None = None, valid1: Any | None = None
    ) -> Matches:
        """Match two arrays or tensors.

        Args:
            img0: Reference: (H, W), (C, H, W) or (1, C, H, W) with C 1 or 3; floats in [0, 1] or
                uint8. NaN is invalid ground.
            img1: Target, likewise.
            valid0: (H, W) bool, False where the reference shows no ground; None means everywhere.
            valid1: Likewise for the target.

        Returns:
            Matches, best first; see `match`.

        Raises:
            MatcherError: An image or a mask has another shape, type or range.
        """
        return self.match(images.as_rendered(img0, valid0), images.as_rendered(img1, valid1))


def _tidy(matches: Matches, ref: Rendered, tgt: Rendered) -> Matches:
    """Drop points off the ground and repeated ones; best first, in an order that never varies."""
    scores = np.clip(np.nan_to_num(matches.scores.astype(np.float64)), 0.0, 1.0)
    whole = Matches(matches.ref_xy.astype(np.float64), matches.tgt_xy.astype(np.float64), scores)
    on_ground = images.valid_at(ref.valid, whole.ref_xy) & images.valid_at(tgt.valid, whole.tgt_xy)
    whole = whole.select(on_ground)
    whole = whole.select(np.lexsort((*whole.tgt_xy.T, *whole.ref_xy.T, -whole.scores)))
    # SIFT gives one keypoint per orientation, so the same pair of points can be found twice.
    _, first = np.unique(np.hstack([whole.ref_xy, whole.tgt_xy]), axis=0, return_index=True)
    return whole.select(np.sort(first))


class HasNetwork(HasWeights, ABC):
    """Mixin of parts that run on a network, which is built on first use.

    A part with a network has one checkpoint, the first of `weights`.
    """

    @abstractmethod
    def build(self, found: WeightsFile) -> nn.Module:
        """Make the network and fill it from the checkpoint."""

    @cached_property
    def device(self) -> torch.device:
        """Where the network runs."""
        from imatch.models.device import resolve_device

        return resolve_device(self.options.device)

    @cached_property
    def network(self) -> Any:
        """The network in evaluation mode on its device."""
        return self.build(self.found(self.weights[0])).to(self.device).eval()

    def tensor(self, array: NDArray[Any]) -> torch.Tensor:
        """An array as a batch of one on the device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(array))[None].to(self.device)
