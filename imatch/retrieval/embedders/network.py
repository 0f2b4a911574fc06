"""Embedders that are one network: ImageNet's as they come, and those trained by us."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.models.device import resolve_device
from imatch.models.embedding.network import (
    Architecture,
    EmbeddingNetwork,
    load_network,
    pretrained,
)
from imatch.models.weights import sha256_of
from imatch.retrieval.embedders.base import ChipEmbedder


class NetworkEmbedder(ChipEmbedder):
    """Runs an `EmbeddingNetwork`.

    Args:
        name: What to call it.
        network: The network, in evaluation mode.
        sha256: Of its weights.
        device: Where it runs.
        about: What is known of it.
    """

    def __init__(
        self,
        name: str,
        network: EmbeddingNetwork,
        sha256: str,
        *,
        device: str = "cpu",
        about: Mapping[str, Any] | None = None,
    ) -> None:
        shape = network.shape
        super().__init__(
            name,
            dim=network.dim,
            bands=shape.bands + shape.classes,
            chip_px=shape.chip_px,
            settings={"architecture": asdict(shape), "weights": sha256},
        )
        self.about = dict(about or {})
        self.device = resolve_device(device)
        self.network = network.to(self.device)

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        with torch.inference_mode():
            image = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
            ground = torch.from_numpy(np.ascontiguousarray(valid)).to(self.device)
            vectors = self.network(image, ground)
        return np.asarray(vectors.cpu().numpy(), dtype=np.float32)


def imagenet(name: str, *, device: str = "cpu", fetch: bool = False) -> NetworkEmbedder:
    """EfficientNet-Lite0 with ImageNet's weights and GeM pooling.

    Args:
        name: What to call it.
        device: Where it runs.
        fetch: Download weights that are missing.

    Raises:
        WeightsError: The weights are missing or corrupt.
    """
    network, found = pretrained(Architecture(), fetch=fetch)
    return NetworkEmbedder(name, network, found.sha256, device=device)


def trained(path: Path, *, device: str = "cpu") -> NetworkEmbedder:
    """A network of ours from its file.

    Raises:
        WeightsError: The file is none of ours, or damaged.
    """
    network, about = load_network(path)
    return NetworkEmbedder(path.stem, network, sha256_of(path), device=device, about=about)
