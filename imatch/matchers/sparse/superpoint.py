"""SuperPoint keypoints: our network for the seasons, or the classic for those who may use it."""

from __future__ import annotations

import torch

from imatch.core.errors import WeightsError
from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, HasNetwork, MatcherOptions
from imatch.matchers.images import pad_to_multiple
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.lightglue import LightGlue
from imatch.matchers.sparse.nearest import Nearest
from imatch.models.device import seeded
from imatch.models.superpoint.network import CELL, SuperPoint, load_superpoint
from imatch.models.superpoint.points import Convention, Decoding, detect, sample
from imatch.models.weights import WeightsFile

ALL_MAXIMA = Decoding(threshold=0.0, subpixel=True)
"""However weak, and refined: the budget decides, as for the other keypoints on satellite images."""


class SuperPointExtractor(HasNetwork, Extractor):
    """Keypoints and descriptors of a SuperPoint.

    Args:
        options: How it runs; ``weights={"superpoint-v1": FILE}`` names the checkpoint.
        decoding: How maps become keypoints.
    """

    channels = 1
    weights = ("superpoint-v1",)
    convention: Convention = "published"

    def __init__(
        self, options: MatcherOptions = DEFAULTS, decoding: Decoding | None = None
    ) -> None:
        super().__init__(options)
        self.decoding = decoding or Decoding()

    def build(self, found: WeightsFile) -> SuperPoint:
        """The network, with as many bands as it is shown."""
        return load_superpoint(found, self.channels)

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`."""
        with torch.inference_mode(), seeded(self.options.seed):
            logits, dense = self.network(self.tensor(pad_to_multiple(image.pixels, CELL)))
            ((positions, probabilities),) = detect(logits, self.decoding, image.size)
            xy = positions.float().cpu().numpy()
            scores = probabilities.float().cpu().numpy()
            kept = best_valid(xy, scores, image.valid, self.options.max_keypoints)
            chosen = positions[torch.from_numpy(kept)]
            descriptors = sample(dense[0], chosen, convention=self.convention)
        return Features(xy[kept], scores[kept], descriptors.float().cpu().numpy(), image.size)


class SeasonsExtractor(SuperPointExtractor):
    """Keypoints and 128-dimensional descriptors of our SuperPoint, which learnt the seasons.

    Args:
        options: How it runs; ``weights={"superpoint-s2": FILE}`` names another checkpoint.
        dimension: Length of a descriptor that whoever pairs them wants; None for any.
    """

    channels = 3
    weights = ("superpoint-s2",)
    convention: Convention = "centred"

    def __init__(self, options: MatcherOptions = DEFAULTS, dimension: int | None = None) -> None:
        super().__init__(options, ALL_MAXIMA)
        self.dimension = dimension

    def build(self, found: WeightsFile) -> SuperPoint:
        """See `SuperPointExtractor.build`.

        Raises:
            WeightsError: The descriptors are not of the length wanted.
        """
        network = super().build(found)
        if self.dimension not in (None, network.descriptor_dim):
            raise WeightsError(
                f"its descriptors have {network.descriptor_dim} numbers, LightGlue for ALIKED wants"
                f" {self.dimension}",
                subject=found.path,
                hint="use it with superpoint-s2, or train with model.descriptor_dim=128",
            )
        return network


class SuperPointNearest(Sparse):
    """The classic's keypoints, paired when each other's nearest; from a file the user names."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options, extractor=SuperPointExtractor(options, ALL_MAXIMA), pairing=Nearest(options)
        )


class SuperPointLightGlue(Sparse):
    """SuperPoint keypoints paired by LightGlue; both checkpoints come from files the user names."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=SuperPointExtractor(options),
            pairing=LightGlue("superpoint", "superpoint-lightglue", options),
        )


class SeasonsNearest(Sparse):
    """Our keypoints, paired when each other's nearest."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(options, extractor=SeasonsExtractor(options), pairing=Nearest(options))


class SeasonsLightGlue(Sparse):
    """Our keypoints, whose descriptors are like ALIKED's, paired by its LightGlue."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=SeasonsExtractor(options, dimension=128),
            pairing=LightGlue("aliked", "aliked-lightglue", options),
        )
