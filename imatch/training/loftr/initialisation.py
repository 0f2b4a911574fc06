"""Where a LoFTR's training starts from: nothing, SuperPoint's encoder, or a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError
from imatch.models.loftr.backbone import KeypointBackbone
from imatch.models.loftr.network import LoFTR, coarse_parts
from imatch.models.loftr.shape import Shape
from imatch.models.loftr.weights import load_loftr
from imatch.models.superpoint.network import load_superpoint
from imatch.models.weights import WEIGHTS, WeightsFile, require_weights, sha256_of
from imatch.training.initialisation import SCRATCH, Initialisation, lineage_of, named_file
from imatch.training.loftr.config import KEYPOINTS, LoFTRModelConfig

_KNOWN = {
    "5446241c5713a91c868e0b1b2795c253b3d216b4011b6942fcc6a697fad3c554": (
        "Coarse_LoFTR_TRT",
        "Apache-2.0",
    ),
    WEIGHTS["loftr-outdoor"].sha256: ("LoFTR, MegaDepth", WEIGHTS["loftr-outdoor"].licence),
}
"""Published files by their checksum: what they are, and their licence."""


def make_initialisation(config: LoFTRModelConfig, shape: Shape) -> Initialisation[LoFTR]:
    """Returns the network that training starts from.

    Args:
        config: What is wanted.
        shape: Of the network, as `config` and the losses have it.

    Raises:
        InputError: The file does not exist.
        WeightsError: It is no LoFTR.
        ConfigError: It is one of another shape.
    """
    network = LoFTR(shape)
    if config.start == SCRATCH:
        made = Initialisation(network=network)
    elif config.start == KEYPOINTS:
        made = _on_keypoints(network)
    else:
        made = _from_file(network, named_file(config.start, "scratch or a file of weights"))
    if isinstance(network.backbone, KeypointBackbone):
        for part in network.backbone.superpoint.stages(config.frozen_stages):
            part.requires_grad_(requires_grad=False)
    if config.freeze_coarse:
        for part in coarse_parts(network):
            part.requires_grad_(requires_grad=False)
    return made


def _on_keypoints(network: LoFTR) -> Initialisation[LoFTR]:
    """Builds the network on the encoder and descriptors of the SuperPoint that knows seasons."""
    found = require_weights(KEYPOINTS)
    source = load_superpoint(found, network.shape.channels)
    backbone = network.backbone
    assert isinstance(backbone, KeypointBackbone)
    learnt, own = source.state_dict(), backbone.superpoint.state_dict()
    if source.descriptor_dim != network.shape.width:
        raise ConfigError(
            f"{KEYPOINTS} has descriptors of {source.descriptor_dim}, not {network.shape.width}",
            subject="model.dims",
            hint=f"make the last of them {source.descriptor_dim}",
        )
    backbone.superpoint.load_state_dict({name: learnt[name] for name in own})
    return Initialisation(
        network=network,
        licence=found.spec.licence,
        origin=KEYPOINTS,
        sha256=found.sha256,
        parent=lineage_of(found.path)[1],
    )


def _from_file(network: LoFTR, path: Path) -> Initialisation[LoFTR]:
    sha256 = sha256_of(path)
    own = replace(WEIGHTS["loftr-s2"], name=path.name, note="a LoFTR of your own")
    source = load_loftr(WeightsFile(own, path, "named file", sha256))
    # How matches are picked, and what is yet to be learnt, may differ.
    learnt, wanted = (
        replace(shape, refined=True, threshold=0.2, border=1, stretch=1.0)
        for shape in (source.shape, network.shape)
    )
    if learnt != wanted:
        raise ConfigError(
            f"{path.name} is of another shape: {_differences(learnt, wanted)}",
            subject="model.start",
            hint="set model.shape, or the widths, to its own",
        )
    state = network.state_dict()
    network.load_state_dict(state | _learnt_parameters(source))
    licence, parent = lineage_of(path)
    origin, licence = _KNOWN.get(sha256, (path.name, licence))
    return Initialisation(
        network=network, licence=licence, origin=origin, sha256=sha256, parent=parent
    )


def _learnt_parameters(source: LoFTR) -> dict[str, Any]:
    """Returns all parameters but those of a stage that was never learnt."""
    fresh = () if source.shape.refined else ("fine_preprocess.", "loftr_fine.")
    return {
        name: value for name, value in source.state_dict().items() if not name.startswith(fresh)
    }


def _differences(learnt: Shape, wanted: Shape) -> str:
    pairs = zip(learnt.to_dict().items(), wanted.to_dict().values(), strict=True)
    return ", ".join(f"{name} {own}, not {asked}" for (name, own), asked in pairs if own != asked)
