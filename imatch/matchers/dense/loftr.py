"""LoFTR (Sun et al. 2021) on kornia's implementation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from kornia.feature import LoFTR as KorniaLoFTR
from kornia.feature.loftr.loftr import default_cfg

from imatch.core.types import Matches, Rendered
from imatch.matchers.base import HasNetwork, Matcher
from imatch.matchers.tiling import match_reduced
from imatch.models.device import seeded
from imatch.models.weights import WeightsFile, load_parameters, load_state

MAX_SIDE = 840
"""Longest side in pixels that LoFTR works at unless told otherwise.

Its memory grows with the fourth power of the side: at 840 the matrix of all pairs of cells alone is
11,025² floats, 486 MB, and two of them are alive at once.
"""


class LoFTRMatcher(HasNetwork, Matcher):
    """Matches the cells of two images without a detector, then refines each within its cell.

    Larger images are reduced together by one factor until the longest side is ``max_side``
    (default 840), and the points are carried back.
    """

    channels = 1
    guard = 8
    weights = ("loftr-outdoor",)

    def build(self, found: WeightsFile) -> KorniaLoFTR:
        """The network with every learned parameter from the checkpoint."""
        # Kornia's default configuration is one dictionary shared by everyone.
        network = KorniaLoFTR(pretrained=None, config=deepcopy(default_cfg))
        state = {k.removeprefix("matcher."): v for k, v in load_state(found).items()}
        load_parameters(network, state, found, derived=("pos_encoding.pe",))
        return network

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        limit = self.options.max_side or MAX_SIDE
        return match_reduced(ref, tgt, self._pair, limit / max(*ref.size, *tgt.size))

    def _pair(self, ref: Rendered, tgt: Rendered) -> Matches:
        data: dict[str, Any] = {}
        for index, image in enumerate((ref, tgt)):
            data[f"image{index}"] = self.tensor(image.pixels)
            if not image.valid.all():
                data[f"mask{index}"] = self.tensor(image.valid)
        with torch.inference_mode(), seeded(self.options.seed):
            out = self.network(data)
        # LoFTR's frame has its origin at the corner of the first pixel.
        ref_xy, tgt_xy = (out[f"keypoints{index}"].double().cpu().numpy() - 0.5 for index in (0, 1))
        return Matches(ref_xy, tgt_xy, out["confidence"].double().cpu().numpy())
