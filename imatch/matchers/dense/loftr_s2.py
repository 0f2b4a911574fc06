"""LoFTR trained on satellites' seasons."""

from __future__ import annotations

import torch

from imatch.core.errors import WeightsError
from imatch.core.types import Matches, Rendered
from imatch.matchers.base import HasNetwork, Matcher
from imatch.matchers.images import convert_bands
from imatch.matchers.tiling import Tiling, match_reduced, match_tiled
from imatch.models.device import seeded
from imatch.models.loftr.match import tie_points
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.weights import load_loftr
from imatch.models.weights import WeightsFile

TILING = Tiling()
"""Matched at once up to 640 pixels, which takes 1 GB; beyond that in tiles of 512."""


class LoFTRS2(HasNetwork, Matcher):
    """Cells that choose each other, refined both ways and pooled into one point a pair.

    Images of up to 640 pixels are matched at once, larger ones as a whole at that size and then in
    tiles. With ``max_side`` they are reduced to it instead and matched at once.
    """

    channels = 3
    guard = 8
    weights = ("loftr-s2",)

    def build(self, found: WeightsFile) -> LoFTR:
        """The network that the checkpoint says it is.

        Raises:
            WeightsError: It is no LoFTR, or one that has learnt no fine stage: matches on the grid
                of its cells can all be wrong by the same fraction of a cell, and would agree.
        """
        network = load_loftr(found)
        if not network.shape.refined:
            raise WeightsError(
                "has learnt no fine stage yet, so its matches would be whole cells",
                subject=found.path,
                hint="train that with imatch train loftr, this file being model.start",
            )
        return network

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        limit = self.options.max_side
        if limit is not None:
            return match_reduced(ref, tgt, self._pair, limit / max(*ref.size, *tgt.size))
        return match_tiled(ref, tgt, self._pair, TILING)

    def _pair(self, ref: Rendered, tgt: Rendered) -> Matches:
        bands = self.network.shape.channels
        a, b = (
            torch.from_numpy(convert_bands(image.pixels, bands)).to(self.device)
            for image in (ref, tgt)
        )
        seen_a, seen_b = (torch.from_numpy(image.valid).to(self.device) for image in (ref, tgt))
        with seeded(self.options.seed):
            found = tie_points(self.network, a, b, seen_a, seen_b, self.options.max_keypoints)
        xy_a, xy_b, scores = (values.double().cpu().numpy() for values in found)
        return Matches(xy_a, xy_b, scores)
