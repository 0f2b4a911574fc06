"""Loads LoFTR checkpoints, ours and published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from imatch.core.errors import WeightsError
from imatch.core.io.jsontext import parse_json
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import PUBLISHED, TEACHER, Shape
from imatch.models.weights import WeightsFile, load_parameters, load_state

_FINE = ("fine_preprocess.", "loftr_fine.")


def load_loftr(found: WeightsFile) -> LoFTR:
    """A LoFTR filled from a checkpoint, in evaluation mode.

    Args:
        found: A verified file: of ours, the published one, or Coarse_LoFTR_TRT's.

    Raises:
        WeightsError: The file cannot be read, or is of another architecture.
    """
    state = {name.removeprefix("matcher."): value for name, value in load_state(found).items()}
    state = {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
    shape = shape_of(found.path, state)
    network = LoFTR(shape)
    absent: tuple[str, ...] = ("pos_encoding.pe",)
    if not shape.refined:
        absent += tuple(name for name in network.state_dict() if name.startswith(_FINE))
        absent += tuple(name for name in network.state_dict() if _makes_fine_maps(name))
    load_parameters(network, state, found, derived=absent, ignore=("pos_encoding.pe",))
    if shape.backbone == "superpoint":
        # Not the published one's: PyTorch 2.13 writes beyond its memory in the backward of strided
        # 1 x 1 convolutions of few channels so laid out, and it may be trained on.
        network.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def shape_of(path: Path, state: dict[str, Tensor]) -> Shape:
    """Returns the architecture of a checkpoint.

    Args:
        path: The file; one of ours tells it in its metadata, or a file ``about.json`` beside it.
        state: Parameter name to tensor.

    Raises:
        WeightsError: It says nothing and is none of the known ones.
    """
    about = _read_metadata(path)
    if about is not None:
        try:
            return Shape.from_dict(about["shape"])
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"tells no LoFTR's shape: {error}", subject=path) from error
    for shape in (PUBLISHED, TEACHER):
        if _has_shape(shape, state):
            return shape
    raise WeightsError(
        "does not say what it is made of",
        subject=path,
        hint="name a file of imatch train loftr -o RUN --export FILE",
    )


def _read_metadata(path: Path) -> dict[str, Any] | None:
    texts = []
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, "pt") as file:
                texts.append((file.metadata() or {}).get("imatch"))
        except (OSError, SafetensorError):
            return None
    beside = path.parent / "about.json"
    texts.append(beside.read_text() if beside.is_file() else None)
    for text in texts:
        if text is None:
            continue
        try:
            architecture = parse_json(text)["architecture"]
        except (ValueError, KeyError, TypeError):
            continue
        if architecture.get("kind") == "loftr":
            return dict(architecture)
    return None


def _has_shape(shape: Shape, state: dict[str, Tensor]) -> bool:
    names = ["conv1", *(f"layer{k}.0.conv1" for k in range(1, len(shape.dims)))]
    weights = [state.get(f"backbone.{name}.weight") for name in names]
    dims = tuple(0 if weight is None else len(weight) for weight in weights)
    deeper = f"backbone.layer{len(shape.dims)}.0.conv1.weight" in state
    last = f"loftr_coarse.layers.{2 * shape.rounds - 1}.merge.weight" in state
    return dims == shape.dims and last and not deeper


def _makes_fine_maps(name: str) -> bool:
    return name.startswith("backbone.") and "_outconv" in name
