"""Networks by whose maps two sensors' images are compared: the shipped one, and none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.sensor_field import FieldFunction


@cache
def shipped() -> FieldFunction:
    """The network that comes with imatch."""
    return field_of(None)


@cache
def field_of(file: Path | None) -> FieldFunction:
    """The network of a file that ``imatch train field`` exported; None for the shipped one."""
    from imatch.models.fields.weights import field_function, load_field_network
    from imatch.models.weights import require_weights

    return field_function(load_field_network(require_weights("field-cross", file)))


def directions_alone(
    _bands: NDArray[np.float32], directions: NDArray[np.float32], seen: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Doubled directions of the finest scale as they are."""
    return directions[:2] * seen
