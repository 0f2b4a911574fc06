"""ALIKED (Zhao et al. 2023) on kornia's implementation."""

from __future__ import annotations

import torch
from kornia.feature import ALIKED
from kornia.feature.aliked.aliked import InputPadder

from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, HasNetwork, MatcherOptions
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.lightglue import LightGlue
from imatch.models.device import seeded
from imatch.models.weights import WeightsFile, load_parameters, load_state


class LeanALIKED(ALIKED):
    """Kornia's network with a third of the memory at full resolution.

    The dense map of 1024 x 1024 pixels takes half a gigabyte; kornia holds it three times over (its
    four parts, their concatenation and the normalised copy).
    """

    def extract_dense_map(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same maps as kornia's, for inference only: the parts go before the copy comes."""
        padder = InputPadder(image.shape[-2], image.shape[-1], 2**5)
        x1 = self.block1(padder.pad(image))
        x2 = self.block2(self.pool2(x1))
        x3 = self.block3(self.pool4(x2))
        x4 = self.block4(self.pool4(x3))
        parts = [
            self.gate(self.conv1(x1)),
            self.upsample2(self.gate(self.conv2(x2))),
            self.upsample8(self.gate(self.conv3(x3))),
            self.upsample32(self.gate(self.conv4(x4))),
        ]
        del x1, x2, x3, x4
        dense = parts[0].new_empty(1, sum(p.shape[1] for p in parts), *parts[0].shape[2:])
        start = 0
        while parts:
            part = parts.pop(0)
            dense[:, start : start + part.shape[1]] = part
            start += part.shape[1]
            del part
        score_map = torch.sigmoid(self.score_head(dense))
        dense /= dense.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return padder.unpad(dense), padder.unpad(score_map)


class Aliked(HasNetwork, Extractor):
    """Sub-pixel keypoints and 128-dimensional descriptors.

    The strongest maxima of the score map are taken up to the budget, however weak: on satellite
    images the published threshold of 0.2 leaves too few.

    Args:
        options: How it runs.
        model: ``"aliked-n16"``, ``"aliked-n16rot"``, ``"aliked-n32"`` or ``"aliked-t16"``.
    """

    channels = 3

    def __init__(self, options: MatcherOptions = DEFAULTS, model: str = "aliked-n16") -> None:
        super().__init__(options)
        self.weights = (model,)

    def build(self, found: WeightsFile) -> LeanALIKED:
        """The network, set to return the strongest maxima."""
        network = LeanALIKED(found.spec.name, max_num_keypoints=1, detection_threshold=0.0)
        load_parameters(network, load_state(found), found, derived=("dkd.hw_grid",))
        return network

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`."""
        width, height = image.size
        budget, network = self.options.max_keypoints, self.network
        # All maxima where some will be masked away; describing is the costly part and comes after.
        network.dkd.top_k = budget if image.valid.all() else width * height
        with torch.inference_mode(), seeded(self.options.seed):
            dense, score_map = network.extract_dense_map(self.tensor(image.pixels))
            (relative,), (scores,), _ = network.dkd(score_map)
            # Kornia's detector gives positions in [-1, 1] between the centres of the end pixels.
            size = torch.tensor([width - 1, height - 1], device=relative.device)
            xy = (size * (relative + 1) / 2).float().cpu().numpy()
            strength = scores.float().cpu().numpy()
            kept = best_valid(xy, strength, image.valid, budget)
            (descriptors,), _ = network.desc_head(dense, [relative[torch.from_numpy(kept)]])
        return Features(xy[kept], strength[kept], descriptors.float().cpu().numpy(), image.size)


class AlikedLightGlue(Sparse):
    """ALIKED-n16 keypoints paired by LightGlue."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=Aliked(options),
            pairing=LightGlue("aliked", "aliked-lightglue", options),
        )
