"""LightGlue (Lindenberger et al. 2023) on kornia's implementation."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from kornia.feature import LightGlue as KorniaLightGlue

from imatch.core.types import Features
from imatch.matchers.base import HasNetwork, MatcherOptions
from imatch.matchers.sparse.base import NO_PAIRS, Pairing, Pairs
from imatch.models.device import seeded
from imatch.models.weights import WeightsFile, load_parameters, load_state


class LightGlue(HasNetwork, Pairing):
    """A transformer that pairs the keypoints of two images.

    Args:
        features: Kornia's name of the descriptor space: ``"aliked"``, ``"disk"``, ``"superpoint"``
            or ``"xfeat"`` (LighterGlue).
        weights: Name of the checkpoint.
        options: How it runs.
        min_score: Least confidence of a pair.
    """

    def __init__(
        self, features: str, weights: str, options: MatcherOptions, *, min_score: float = 0.1
    ) -> None:
        super().__init__(options)
        self.features = features
        self.weights = (weights,)
        self.min_score = min_score

    def build(self, found: WeightsFile) -> KorniaLightGlue:
        """The network with every learned parameter from the checkpoint."""
        settings: dict[str, Any] = {**KorniaLightGlue.features[self.features]}
        settings |= {"weights": None, "mp": False, "filter_threshold": self.min_score}
        network = KorniaLightGlue(None, **settings)  # type: ignore[arg-type]
        state = {_renamed(name): value for name, value in load_state(found).items()}
        # LighterGlue's file carries the XFeat it was trained with; LightGlue's an unused scalar.
        state = {k: v for k, v in state.items() if not re.fullmatch(r"log_assignment\.\d+\.r", k)}
        load_parameters(
            network, state, found, derived=("confidence_thresholds",), ignore=("extractor.",)
        )
        return network

    def pair(self, f0: Features, f1: Features) -> Pairs:
        """See `Pairing.pair`; the score is LightGlue's assignment probability."""
        if not len(f0) or not len(f1):
            return NO_PAIRS
        with torch.inference_mode(), seeded(self.options.seed):
            out = self.network({"image0": self._side(f0), "image1": self._side(f1)})
        index, scores = out["matches"][0].cpu().numpy(), out["scores"][0].double().cpu().numpy()
        return index[:, 0], index[:, 1], scores

    def _side(self, features: Features) -> dict[str, torch.Tensor]:
        return {
            "keypoints": self.tensor(features.xy),
            "descriptors": self.tensor(features.descriptors),
            "image_size": self.tensor(np.array(features.size, dtype=np.float32)),
        }


def _renamed(name: str) -> str:
    """Older checkpoints put the layers side by side; kornia stacks them in ``transformers``."""
    name = name.removeprefix("matcher.")
    return re.sub(r"^(self_attn|cross_attn)\.(\d+)\.", r"transformers.\2.\1.", name)
