"""SuperPoint keypoints, for those who may use its weights."""

from __future__ import annotations

import torch

from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, MatcherOptions
from imatch.matchers.images import pad_to_multiple
from imatch.matchers.lightglue import LightGlue
from imatch.matchers.sparse import Extractor, Network, Sparse, best_valid
from imatch.models.device import seeded
from imatch.models.superpoint import CELL, Decoding, SuperPoint, detect, load_superpoint, sample
from imatch.models.weights import Found


class SuperPointExtractor(Network, Extractor):
    """Keypoints and 256-dimensional descriptors of our SuperPoint.

    Args:
        options: How it runs; ``weights={"superpoint-v1": FILE}`` names the checkpoint.
        decoding: How maps become keypoints.
    """

    channels = 1
    weights = ("superpoint-v1",)

    def __init__(
        self, options: MatcherOptions = DEFAULTS, decoding: Decoding | None = None
    ) -> None:
        super().__init__(options)
        self.decoding = decoding or Decoding()

    def build(self, found: Found) -> SuperPoint:
        """The network with one band."""
        return load_superpoint(found)

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`."""
        with torch.inference_mode(), seeded(self.options.seed):
            logits, dense = self.network(self.tensor(pad_to_multiple(image.pixels, CELL)))
            ((positions, probabilities),) = detect(logits, self.decoding, image.size)
            xy = positions.float().cpu().numpy()
            scores = probabilities.float().cpu().numpy()
            kept = best_valid(xy, scores, image.valid, self.options.max_keypoints)
            descriptors = sample(dense[0], positions[torch.from_numpy(kept)])
        return Features(xy[kept], scores[kept], descriptors.float().cpu().numpy(), image.size)


class SuperPointLightGlue(Sparse):
    """SuperPoint keypoints paired by LightGlue; both checkpoints come from files the user names."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=SuperPointExtractor(options),
            pairing=LightGlue("superpoint", "superpoint-lightglue", options),
        )
