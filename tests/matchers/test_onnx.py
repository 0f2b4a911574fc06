from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from imatch.core.errors import ConfigError, OutputError
from imatch.matchers import onnx
from imatch.matchers.base import MatcherOptions
from imatch.matchers.onnx import NETWORKS, TOLERANCE, export_onnx, largest_difference
from imatch.models.weights import find_weights

needs_aliked = pytest.mark.skipif(
    find_weights("aliked-n16") is None, reason="imatch weights fetch aliked-n16"
)


@pytest.mark.parametrize(
    "name", ["superpoint-s2", "loftr-s2", pytest.param("aliked", marks=needs_aliked)]
)
def test_gives_what_torch_gives_at_any_size(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"{name}.onnx"
    assert 0 < export_onnx(name, path) < TOLERANCE
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    row = NETWORKS[name]
    network = row.part(MatcherOptions(device="cpu")).network
    for sizes in (((2, 3), (4, 2)), ((5, 1), (1, 9))):
        inputs = row.inputs(sizes)
        assert largest_difference(path, row.graph(network), inputs) < TOLERANCE


def test_places_are_those_of_the_network() -> None:
    network = NETWORKS["loftr-s2"].part(MatcherOptions(device="cpu")).network
    places = onnx._PairMaps(network)._places(torch.zeros(1, 1, 90, 100))
    torch.testing.assert_close(places, network.pos_encoding.pe[:, :, :90, :100])


def test_a_file_that_differs_does_not_appear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fixed(nn.Module):
        """Its answer is that of tracing, whatever it is shown."""

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return image * float(image.mean()), image

    fixed = onnx.ExportedNetwork(
        NETWORKS["superpoint-s2"].part, 8, ("image",), (), ("one", "other"), lambda _net: Fixed()
    )
    monkeypatch.setitem(NETWORKS, "fixed", fixed)
    with pytest.raises(ConfigError, match="differ from torch's by"):
        export_onnx("fixed", tmp_path / "fixed.onnx")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "there.onnx"
    with pytest.raises(ConfigError, match="superpoint-s2, loftr-s2, aliked"):
        export_onnx("sift", path)
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        export_onnx("superpoint-s2", path)
    monkeypatch.setattr("imatch.core.extras.find_spec", lambda _name: None)
    monkeypatch.delitem(sys.modules, "onnx", raising=False)
    with pytest.raises(ConfigError, match=r"imatch\[onnx\]"):
        export_onnx("superpoint-s2", tmp_path / "new.onnx")
    assert path.read_text() == "mine"
