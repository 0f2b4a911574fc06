"""XFeat and LighterGlue (Potje et al. 2024) on kornia's implementation."""

from __future__ import annotations

import torch
from kornia.feature import XFeat

from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, HasNetwork, MatcherOptions
from imatch.matchers.images import pad_to_multiple
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.lightglue import LightGlue
from imatch.matchers.sparse.nearest import Nearest
from imatch.models.device import seeded
from imatch.models.weights import WeightsFile, load_parameters, load_state


class XFeatExtractor(HasNetwork, Extractor):
    """Keypoints at whole pixels and 64-dimensional descriptors.

    Attributes:
        detection_threshold: Heatmap value a keypoint must exceed.
    """

    # XFeat averages the bands itself, as in training, so it takes RGB.
    channels = 3
    weights = ("xfeat",)
    detection_threshold = 0.01

    def build(self, found: WeightsFile) -> XFeat:
        """The extractor with its backbone filled."""
        network = XFeat(detection_threshold=self.detection_threshold)
        load_parameters(network.net, load_state(found), found)
        return network.eval()

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`."""
        # Kornia resizes to a multiple of 32 and scales the positions back about the wrong centre;
        # a padded image is not resized, so its positions are right.
        pixels = pad_to_multiple(image.pixels, 32)
        with torch.inference_mode(), seeded(self.options.seed):
            (found,) = self.network.detectAndCompute(
                self.tensor(pixels), top_k=pixels.shape[1] * pixels.shape[2]
            )
        xy = found["keypoints"].float().cpu().numpy()
        scores = found["scores"].float().cpu().numpy()
        kept = best_valid(xy, scores, image.valid, self.options.max_keypoints)
        descriptors = found["descriptors"][torch.from_numpy(kept)].float().cpu().numpy()
        return Features(xy[kept], scores[kept], descriptors, image.size)


class XFeatLighterGlue(Sparse):
    """XFeat keypoints paired by LighterGlue."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=XFeatExtractor(options),
            pairing=LightGlue("xfeat", "xfeat-lighterglue", options),
        )


class XFeatNearest(Sparse):
    """XFeat keypoints paired by mutual nearest neighbours, at the authors' least similarity."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=XFeatExtractor(options),
            pairing=Nearest(options, min_cosine=0.82),
        )
