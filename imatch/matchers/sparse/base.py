"""Sparse matching: keypoints and descriptors of each image, then pairs of them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Features, FloatArray, Matches, Rendered
from imatch.matchers.base import DEFAULTS, HasWeights, Matcher, MatcherOptions
from imatch.matchers.images import valid_at

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
NO_PAIRS: Pairs = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))


class Extractor(HasWeights, ABC):
    """Finds keypoints and describes them.

    Attributes:
        channels: Bands it wants, 1 or 3.
    """

    channels: Literal[1, 3]

    @abstractmethod
    def extract(self, image: Rendered) -> Features:
        """Keypoints on valid ground, at most ``options.max_keypoints``, best first.

        Args:
            image: An image of `channels` bands, finite everywhere. Keypoints on invalid ground are
                to be dropped before the budget is cut, so that they do not eat it.
        """


class Pairing(HasWeights, ABC):
    """Pairs the keypoints of two images."""

    @abstractmethod
    def pair(self, f0: Features, f1: Features) -> Pairs:
        """Pair keypoints, each used at most once.

        Returns:
            (M,) indices into `f0`, (M,) indices into `f1` and (M,) scores in [0, 1].
        """


def best_valid(
    xy: FloatArray, scores: FloatArray, valid: BoolArray, budget: int
) -> NDArray[np.int64]:
    """Which keypoints to keep: those on valid ground, the best first, no more than the budget.

    Args:
        xy: (N, 2) keypoints.
        scores: (N,) higher is better; ties keep their order.
        valid: (H, W) bool.
        budget: Most to keep.
    """
    kept = np.flatnonzero(valid_at(valid, xy))
    return np.asarray(kept[np.argsort(-scores[kept], kind="stable")][:budget], dtype=np.int64)


class Sparse(Matcher):
    """An extractor and a pairing make a matcher.

    Features are remembered for the last few images, by content, so that an image that occurs again
    (one reference against many targets) is extracted once; with ``options.cache`` on disk too, for
    all processes that share it.

    Args:
        options: How it runs.
        extractor: Finds and describes keypoints.
        pairing: Pairs them.
    """

    remembered = 8

    def __init__(
        self, options: MatcherOptions = DEFAULTS, *, extractor: Extractor, pairing: Pairing
    ) -> None:
        super().__init__(options)
        self.extractor = extractor
        self.pairing = pairing
        self.channels = extractor.channels
        self._features: OrderedDict[bytes, Features] = OrderedDict()

    def prepare(self) -> None:
        """Find and verify the checkpoints of both parts."""
        self.extractor.prepare()
        self.pairing.prepare()
        self._found = {**self.extractor._found, **self.pairing._found}

    def features(self, image: Rendered) -> Features:
        """Returns the features of an image, from memory or the cache where they are there."""
        digest = hashlib.blake2b(repr(image.pixels.shape).encode(), digest_size=16)
        digest.update(image.pixels.tobytes())
        digest.update(np.packbits(image.valid).tobytes())
        key = digest.digest()
        if key not in self._features:
            self._features[key] = self._extracted(image, key)
        self._features.move_to_end(key)
        while len(self._features) > self.remembered:
            self._features.popitem(last=False)
        return self._features[key]

    def _extracted(self, image: Rendered, digest: bytes) -> Features:
        if self.options.cache is None:
            return self.extractor.extract(image)
        return self.options.cache.features(
            self.extractor, digest, lambda: self.extractor.extract(image)
        )

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        f0, f1 = self.features(ref), self.features(tgt)
        if not len(f0) or not len(f1):
            return Matches()
        i0, i1, scores = self.pairing.pair(f0, f1)
        return Matches(f0.xy[i0].astype(np.float64), f1.xy[i1].astype(np.float64), scores)
