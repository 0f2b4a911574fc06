"""LoFTR (Sun et al. 2021) on kornia's implementation."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import cv2
import numpy as np
import torch
from kornia.feature import LoFTR as KorniaLoFTR
from kornia.feature.loftr.loftr import default_cfg

from imatch.core.types import Matches, Rendered
from imatch.matchers.base import Matcher
from imatch.matchers.sparse import Network
from imatch.models.device import seeded
from imatch.models.weights import Found, load_parameters, load_state

MAX_SIDE = 840
"""Longest side in pixels that LoFTR works at unless told otherwise.

Its memory grows with the fourth power of the side: at 840 the matrix of all pairs of cells alone is
11,025² floats, 486 MB, and two of them are alive at once.
"""


class LoFTR(Network, Matcher):
    """Matches the cells of two images without a detector, then refines each within its cell.

    Larger images are reduced together by one factor until the longest side is ``max_side``
    (default 840), and the points are carried back.
    """

    channels = 1
    guard = 8
    weights = ("loftr-outdoor",)

    def build(self, found: Found) -> KorniaLoFTR:
        """The network with every learned parameter from the checkpoint."""
        # Kornia's default configuration is one dictionary shared by everyone.
        network = KorniaLoFTR(pretrained=None, config=deepcopy(default_cfg))
        state = {k.removeprefix("matcher."): v for k, v in load_state(found).items()}
        load_parameters(network, state, found, derived=("pos_encoding.pe",))
        return network

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        factor = min(1.0, (self.options.max_side or MAX_SIDE) / max(*ref.size, *tgt.size))
        data: dict[str, Any] = {}
        scales = []
        for index, image in enumerate((ref, tgt)):
            width, height = (max(1, round(side * factor)) for side in image.size)
            scales.append(np.array([width, height]) / image.size)
            # Resizing to the same size changes nothing.
            pixels = cv2.resize(image.pixels[0], (width, height), interpolation=cv2.INTER_AREA)
            data[f"image{index}"] = self.tensor(pixels[None])
            if not image.valid.all():
                mask = cv2.resize(
                    image.valid.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
                )
                data[f"mask{index}"] = self.tensor(mask.astype(bool))
        with torch.inference_mode(), seeded(self.options.seed):
            out = self.network(data)
        # LoFTR's frame has its origin at the corner of the first pixel, where reducing an image is
        # a mere factor; half a pixel brings the points back to centres.
        ref_xy, tgt_xy = (
            out[f"keypoints{index}"].double().cpu().numpy() / scale - 0.5
            for index, scale in enumerate(scales)
        )
        return Matches(ref_xy, tgt_xy, out["confidence"].double().cpu().numpy())
