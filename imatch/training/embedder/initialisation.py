"""Where an embedder's training starts from: nothing, ImageNet, or a file of ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from imatch.core.errors import ConfigError
from imatch.models.embedding.lite0 import LITE0
from imatch.models.embedding.network import (
    Architecture,
    EmbeddingNetwork,
    load_network,
    pretrained,
)
from imatch.models.weights import sha256_of
from imatch.training.embedder.config import EmbedderModelConfig
from imatch.training.initialisation import (
    SCRATCH,
    UNKNOWN,
    Initialisation,
    named_file,
    parse_start,
)


def make_initialisation(
    config: EmbedderModelConfig, *, classes: int = 0, chip_px: int = 224, fetch: bool = True
) -> Initialisation[EmbeddingNetwork]:
    """Returns the network that training starts from.

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
    if config.start == SCRATCH:
        made = Initialisation(network=EmbeddingNetwork(shape))
    elif config.start == "imagenet":
        network, found = pretrained(shape, fetch=fetch)
        made = Initialisation(
            network=network, licence=found.spec.licence, origin=LITE0, sha256=found.sha256
        )
    else:
        hint = "imagenet, scratch or a file that --export wrote"
        made = _from_file(named_file(config.start, hint), shape)
    _freeze(made.network, config.frozen_stages)
    return made


def _from_file(path: Path, shape: Architecture) -> Initialisation[EmbeddingNetwork]:
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
    return Initialisation(
        network=network,
        licence=str(about.get("licence") or UNKNOWN),
        origin=path.name,
        sha256=sha256_of(path),
        parent=parse_start(about.get("start")),
    )


def _freeze(network: EmbeddingNetwork, stages: int) -> None:
    """Stops the first so many blocks of a backbone, and its stem, from learning."""
    if not stages:
        return
    body = network.backbone
    for part in (body._conv_stem, body._bn0, *body._blocks[:stages]):
        part.requires_grad_(requires_grad=False)
