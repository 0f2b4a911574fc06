"""SIFT (Lowe 2004) with RootSIFT descriptors (Arandjelović and Zisserman 2012)."""

from __future__ import annotations

import cv2
import numpy as np

from imatch.core.types import Features, Rendered
from imatch.matchers.base import DEFAULTS, MatcherOptions
from imatch.matchers.images import as_bytes
from imatch.matchers.sparse.base import Extractor, Sparse, best_valid
from imatch.matchers.sparse.nearest import Nearest


class SiftExtractor(Extractor):
    """OpenCV's SIFT on 8-bit luminance.

    Satellite images have little contrast at fine scale, so the contrast threshold is half of
    OpenCV's. ``enable_precise_upscale`` removes the quarter-pixel bias of its default pyramid.
    """

    channels = 1
    contrast_threshold = 0.02

    def extract(self, image: Rendered) -> Features:
        """See `Extractor.extract`; descriptors are (N, 128) of unit length."""
        # No budget here: OpenCV would cut before the mask is applied.
        sift = cv2.SIFT.create(
            nfeatures=0,
            contrastThreshold=self.contrast_threshold,
            enable_precise_upscale=True,
        )
        keypoints, raw = sift.detectAndCompute(as_bytes(image.pixels), None)
        table = np.array(
            [(*k.pt, k.response, k.size, k.angle) for k in keypoints], dtype=np.float32
        ).reshape(-1, 5)
        kept = best_valid(table[:, :2], table[:, 2], image.valid, self.options.max_keypoints)
        table = table[kept]
        counts = np.zeros((0, 128), np.float32) if raw is None else raw[kept]
        # RootSIFT: the Euclidean distance of roots is the Hellinger distance of histograms.
        root = np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12))
        return Features(
            table[:, :2],
            table[:, 2],
            root.astype(np.float32),
            image.size,
            scales=table[:, 3],
            angles=np.deg2rad(table[:, 4]),
        )


class Sift(Sparse):
    """SIFT, paired by ratio test and mutual check."""

    def __init__(self, options: MatcherOptions = DEFAULTS) -> None:
        super().__init__(
            options,
            extractor=SiftExtractor(options),
            pairing=Nearest(options, max_ratio=0.85),
        )
