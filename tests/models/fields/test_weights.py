from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imatch.core.errors import WeightsError
from imatch.core.types import Rendered
from imatch.geometry.sensor_field import field_input
from imatch.models.fields.network import FieldNetwork, FieldShape
from imatch.models.fields.weights import field_function, load_field_network
from imatch.models.weights import WeightsFile, require_weights


def _found(path: Path) -> WeightsFile:
    return replace(require_weights("field-cross"), path=path)


def test_what_ships_is_what_its_file_says() -> None:
    network = load_field_network(require_weights("field-cross"))
    assert network.shape == FieldShape()
    assert not network.training
    image = Rendered(
        np.random.default_rng(0).random((3, 41, 60), dtype=np.float32), np.ones((41, 60), bool)
    )
    told = field_input(image)
    maps = field_function(network)(*told)
    assert maps.shape == (8, 21, 30)
    assert maps.dtype == np.float32
    with torch.no_grad():
        expected = network(*(torch.from_numpy(part)[None] for part in told))[0]
    np.testing.assert_array_equal(maps, expected.numpy())


@pytest.mark.parametrize(
    ("metadata", "cause"),
    [
        ({}, "tells no field network's shape"),
        ({"imatch": '{"architecture": {"kind": "loftr"}}'}, "is a loftr"),
        ({"imatch": '{"architecture": {"kind": "field", "shape": {"width": 5}}}'}, "tells no"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, metadata: dict[str, str], cause: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"stem.weight": torch.zeros(2)}, path, metadata)
    with pytest.raises(WeightsError, match=cause):
        load_field_network(_found(path))


def test_a_shape_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="no such shape"):
        FieldShape(width=10)


def test_without_maps_of_its_own() -> None:
    network = FieldNetwork(FieldShape(maps=0))
    seen = torch.ones(1, 1, 8, 8)
    assert network(torch.rand(1, 4, 16, 16), torch.rand(1, 4, 8, 8), seen).shape == (1, 2, 8, 8)
