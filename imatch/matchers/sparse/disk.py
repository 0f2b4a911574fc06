"""DISK (Tyszkiewicz et al. 2020) on kornia's implementation."""

from __future__ import annotations

import torch
from kornia.feature import DISK

from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, HasNetwork, MatcherOptions
from imatch.matchers.images import pad_to_multiple
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.lightglue import LightGlue
from imatch.models.device import seeded
from imatch.models.weights import WeightsFile, load_parameters, load_state


class Disk(HasNetwork, Extractor):
    """Keypoints at whole pixels and 128-dimensional descriptors."""

    channels = 3
    weights = ("disk-depth",)

    def build(self, found: WeightsFile) -> DISK:
        """The network trained with depth supervision."""
        network = DISK()
        load_parameters(network, load_state(found), found)
        return network

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`."""
        # Kornia pads with black, which the instance norms see; the continued border is milder.
        pixels = pad_to_multiple(image.pixels, 16, minimum=64)
        with torch.inference_mode(), seeded(self.options.seed):
            (found,) = self.network(self.tensor(pixels))
        xy = found.keypoints.float().cpu().numpy()
        scores = found.detection_scores.float().cpu().numpy()
        kept = best_valid(xy, scores, image.valid, self.options.max_keypoints)
        descriptors = found.descriptors[torch.from_numpy(kept)].float().cpu().numpy()
        return Features(xy[kept], scores[kept], descriptors, image.size)


class DiskLightGlue(Sparse):
    """DISK keypoints paired by LightGlue."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=Disk(options),
            pairing=LightGlue("disk", "disk-lightglue", options),
        )
