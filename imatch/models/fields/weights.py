"""Loads field networks, and runs them on arrays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from imatch.core.errors import WeightsError
from imatch.core.io.jsontext import parse_json
from imatch.models.fields.network import FieldNetwork, FieldShape
from imatch.models.weights import WeightsFile, load_parameters, load_state

_Array = NDArray[np.float32]


def load_field_network(found: WeightsFile) -> FieldNetwork:
    """A field network filled from a checkpoint, in evaluation mode.

    Args:
        found: A verified file of ``imatch train field``.

    Raises:
        WeightsError: The file cannot be read, or is of another architecture.
    """
    state = {name: value.float() for name, value in load_state(found).items()}
    try:
        with safe_open(found.path, "pt") as file:
            about = parse_json((file.metadata() or {})["imatch"])["architecture"]
        if about["kind"] != "field":
            raise ValueError(f"is a {about['kind']}")
        network = FieldNetwork(FieldShape.from_dict(about["shape"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"tells no field network's shape: {error}",
            subject=found.path,
            hint="name a file of imatch train field -o RUN --export FILE",
        ) from error
    load_parameters(network, state, found)
    return network


def field_function(network: FieldNetwork) -> Callable[[_Array, _Array, _Array], _Array]:
    """Returns a network as a function of arrays: bands, directions, seen to (C, h, w) maps."""

    def describe(bands: _Array, directions: _Array, seen: _Array) -> _Array:
        with torch.inference_mode():
            given = (torch.from_numpy(part)[None] for part in (bands, directions, seen))
            return np.asarray(network(*given)[0].numpy(), dtype=np.float32)

    return describe
