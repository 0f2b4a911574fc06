from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from imatch.core.settings import load_settings
from imatch.models.superpoint.network import SuperPoint
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.teachers import Detections
from tests.support.training_runs import FOUR_STEPS


@pytest.fixture
def network() -> SuperPoint:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperPoint(1, 16, batch_norm=True).eval()


@dataclass(frozen=True, eq=False)
class Saw:
    images: Tensor
    heat: Tensor

    def describe(self, index: int, xy: Tensor) -> Tensor:
        """The 7 x 7 pixels around a point, less their mean: enough to tell textures apart."""
        size = self.images.shape[-1]
        steps = torch.arange(-3, 4)
        x, y = xy.round().long().clamp(3, size - 4).unbind(dim=1)
        patch = self.images[index, 0][
            y[:, None, None] + steps[:, None], x[:, None, None] + steps[None]
        ].flatten(1)
        # Their square, so that a negative looks the same.
        flat = patch - patch.mean(dim=1, keepdim=True)
        return torch.nn.functional.normalize(flat.square() - flat.square().mean(), dim=1)


class Corners:
    """An teacher by a formula: Shi and Tomasi's corners, and patches as descriptors."""

    def detect(self, images: Tensor) -> Detections:
        heats = [
            cv2.cornerMinEigenVal(np.ascontiguousarray(image[0].numpy()), 3) for image in images
        ]
        return Saw(images, torch.from_numpy(np.stack(heats)))


Configure = Callable[..., SuperPointConfig]


@pytest.fixture
def configure() -> Configure:
    """Settings of a run of seconds."""

    def make(*overrides: str) -> SuperPointConfig:
        return load_settings(
            SuperPointConfig,
            None,
            [
                "model.start=scratch",
                "model.descriptor_dim=16",
                "data.size=48",
                *FOUR_STEPS,
                "labels.homographies=1",
                "labels.count=30",
                "loss.points=32",
                "validation.pairs=2",
                "validation.keypoints=64",
                *overrides,
            ],
        )

    return make


@pytest.fixture
def corners() -> Corners:
    return Corners()
