"""Where training starts from: nothing, or a file the user names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from imatch.core.errors import ConfigError, InputError
from imatch.core.jsontext import parse_json
from imatch.models.loftr import LoFTR, coarse_parts
from imatch.models.loftr_backbone import KeypointBackbone
from imatch.models.loftr_shape import Shape
from imatch.models.loftr_weights import load_loftr
from imatch.models.superpoint import load_superpoint
from imatch.models.weights import WEIGHTS, Found, require_weights, sha256_of
from imatch.training.loftr.config import KEYPOINTS, ModelConfig

_OWN_LICENCE = "Apache-2.0"
_KNOWN = {
    "5446241c5713a91c868e0b1b2795c253b3d216b4011b6942fcc6a697fad3c554": (
        "Coarse_LoFTR_TRT",
        "Apache-2.0",
    ),
    WEIGHTS["loftr-outdoor"].sha256: ("LoFTR, MegaDepth", WEIGHTS["loftr-outdoor"].licence),
}
"""Published files by their checksum: what they are, and their licence."""


@dataclass(frozen=True, eq=False)
class Start:
    """A network to start from.

    Attributes:
        network: It.
        licence: Of its weights; what is trained from them inherits it.
        origin: What they are.
        sha256: Their checksum, empty from scratch.
    """

    network: LoFTR
    licence: str
    origin: str
    sha256: str


def make_start(config: ModelConfig, shape: Shape) -> Start:
    """The network that training starts from.

    Args:
        config: What is wanted.
        shape: Of the network, as `config` and the losses have it.

    Raises:
        InputError: The file does not exist.
        WeightsError: It is no LoFTR.
        ConfigError: It is one of another shape.
    """
    network = LoFTR(shape)
    start = Start(network, _OWN_LICENCE, "scratch", "")
    if config.start == KEYPOINTS:
        start = _on_keypoints(network)
    elif config.start != "scratch":
        start = _filled(network, Path(config.start).expanduser())
    if isinstance(network.backbone, KeypointBackbone):
        for part in network.backbone.superpoint.stages(config.frozen_stages):
            part.requires_grad_(requires_grad=False)
    if config.freeze_coarse:
        for part in coarse_parts(network):
            part.requires_grad_(requires_grad=False)
    return start


def _on_keypoints(network: LoFTR) -> Start:
    """The network with the encoder and the descriptors of the SuperPoint that knows the seasons."""
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
    return Start(network, found.spec.licence, KEYPOINTS, found.sha256)


def _filled(network: LoFTR, path: Path) -> Start:
    if not path.is_file():
        raise InputError(
            "does not exist", subject=path, hint="model.start is scratch or a file of weights"
        )
    sha256 = sha256_of(path)
    own = replace(WEIGHTS["loftr-s2"], name=path.name, note="a LoFTR of your own")
    source = load_loftr(Found(own, path, "named file", sha256))
    # How matches are picked, and what is yet to be learnt, may differ.
    learnt, wanted = (
        replace(shape, refined=True, threshold=0.2, border=1, stretch=1.0)
        for shape in (source.shape, network.shape)
    )
    if learnt != wanted:
        raise ConfigError(
            f"{path.name} is of another shape: {_told(learnt, wanted)}",
            subject="model.start",
            hint="set model.shape, or the widths, to its own",
        )
    state = network.state_dict()
    network.load_state_dict(state | _learnt(source))
    origin, licence = _KNOWN.get(sha256, (path.name, licence_of(path)))
    return Start(network, licence, origin, sha256)


def _learnt(source: LoFTR) -> dict[str, Any]:
    """All parameters but those of a stage that was never learnt."""
    fresh = () if source.shape.refined else ("fine_preprocess.", "loftr_fine.")
    return {
        name: value for name, value in source.state_dict().items() if not name.startswith(fresh)
    }


def _told(learnt: Shape, wanted: Shape) -> str:
    pairs = zip(learnt.to_dict().items(), wanted.to_dict().values(), strict=True)
    return ", ".join(f"{name} {own}, not {asked}" for (name, own), asked in pairs if own != asked)


def licence_of(path: Path) -> str:
    """The licence that a checkpoint of ours tells of itself, or a file beside it."""
    texts: list[str | None] = []
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                texts.append((file.metadata() or {}).get("imatch"))
        except (OSError, SafetensorError):
            pass
    beside = path.parent / "about.json"
    texts.append(beside.read_text() if beside.is_file() else None)
    for text in texts:
        try:
            return str(parse_json(text or "")["licence"])
        except (ValueError, KeyError, TypeError):
            continue
    return "unknown; that of the file you named"
