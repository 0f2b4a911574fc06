"""Where an embedder's training starts from: nothing, ImageNet, or a file of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, InputError
from imatch.models.embedding.lite0 import EfficientNetLite0
from imatch.models.embedding.network import (
    Architecture,
    EmbeddingNetwork,
    load_network,
    pretrained,
)
from imatch.models.weights import sha256_of
from imatch.training.embedder.config import EmbedderModelConfig
from imatch.training.lineage import UNKNOWN, known_start

_OWN_LICENCE = "Apache-2.0"


@dataclass(frozen=True, eq=False)
class EmbedderInitialisation:
    """A network to start from.

    Attributes:
        network: It.
        licence: Of its weights; what is trained from them inherits it.
        origin: What they are.
        sha256: Their checksum, empty from scratch.
        parent: See `imatch.training.lineage.Begun`.
    """

    network: EmbeddingNetwork
    licence: str
    origin: str
    sha256: str
    parent: Mapping[str, Any] | None = None

    @property
    def architecture(self) -> dict[str, Any]:
        """What the network is made of, JSON-ready."""
        return asdict(self.network.shape)


def make_start(
    config: EmbedderModelConfig, *, classes: int = 0, chip_px: int = 224, fetch: bool = True
) -> EmbedderInitialisation:
    """The network that training starts from.

    Args:
        config: What is wanted.
        classes: Planes of the label map that it sees.
        chip_px: Side of what it sees, pixels.
        fetch: Download free weights that are not on this machine.

    Raises:
        InputError: The file does not exist.
        ConfigError: The file holds another network than is asked for.
        WeightsError: The weights are missing, or the file is none of ours.
    """
    shape = Architecture(
        config.backbone,
        config.bands,
        classes,
        config.pool,
        config.dim,
        config.normalise,
        chip_px,
    )
    if config.start == "scratch":
        start = EmbedderInitialisation(EmbeddingNetwork(shape), _OWN_LICENCE, "scratch", "")
    elif config.start == "imagenet":
        network, started = pretrained(shape, fetch=fetch)
        start = EmbedderInitialisation(network, started.licence, started.origin, started.sha256)
    else:
        start = _from_file(Path(config.start).expanduser(), shape)
    _freeze(start.network, config.frozen_stages)
    return start


def _from_file(path: Path, shape: Architecture) -> EmbedderInitialisation:
    if not path.is_file():
        raise InputError(
            "does not exist",
            subject=path,
            hint="model.start is imagenet, scratch or a file that --export wrote",
        )
    network, about = load_network(path)
    there = network.shape
    for name, value in asdict(shape).items():
        # Fully convolutional: another size of chips is no other network.
        if name != "chip_px" and getattr(there, name) != value:
            raise ConfigError(
                f"has {name}={getattr(there, name)}, the configuration {value}",
                subject=path,
                hint="change the configuration, or start from another file",
            )
    network.shape = shape
    licence = str(about.get("licence") or UNKNOWN)
    return EmbedderInitialisation(
        network, licence, path.name, sha256_of(path), known_start(about.get("start"))
    )


def _freeze(network: EmbeddingNetwork, stages: int) -> None:
    """Stop the first so many blocks of a backbone, and its stem, from learning.

    Raises:
        ConfigError: The backbone has no blocks we know.
    """
    if not stages:
        return
    body = network.backbone
    if not isinstance(body, EfficientNetLite0):
        raise ConfigError(
            "only efficientnet-lite0 can be frozen in part",
            subject="model.frozen_stages",
            hint="set it to 0",
        )
    for part in (body._conv_stem, body._bn0, *body._blocks[:stages]):
        part.requires_grad_(requires_grad=False)
