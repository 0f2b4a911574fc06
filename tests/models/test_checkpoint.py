from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from imatch.core.errors import WeightsError
from imatch.models.weights import WEIGHTS, WeightsFile, load_parameters, load_state


def found(path: Path) -> WeightsFile:
    return WeightsFile(WEIGHTS["xfeat"], path, "named file", "0" * 64)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("table", torch.arange(3.0))


@pytest.mark.parametrize("nest", [None, "state_dict", "extractor", "model"])
def test_round_trip(tmp_path: Path, nest: str | None) -> None:
    state = Net().state_dict()
    path = tmp_path / "net.pth"
    torch.save(state if nest is None else {nest: state, "epoch": 3}, path)
    read = load_state(found(path))
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


def test_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file({"a": torch.ones(2)}, path)
    assert torch.equal(load_state(found(path))["a"], torch.ones(2))


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_not_a_checkpoint(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"nonsense" * 10)
    with pytest.raises(WeightsError, match="cannot be read"):
        load_state(found(path))


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {"epoch": 3}])
def test_no_parameters(tmp_path: Path, content: object) -> None:
    path = tmp_path / "net.pth"
    torch.save(content, path)
    with pytest.raises(WeightsError, match="holds no parameters"):
        load_state(found(path))


class TestLoadParameters:
    def test_fills_and_evaluates(self) -> None:
        source, net = Net(), Net()
        state = {**source.state_dict(), "extra.a": torch.zeros(1)}
        del state["table"]
        load_parameters(net, state, found(Path("f")), derived=("table",), ignore=("extra.",))
        assert torch.equal(net.layer.weight, source.layer.weight)
        assert not net.training

    @pytest.mark.parametrize("name", ["layer.bias", "norm.running_mean", "table"])
    def test_missing(self, name: str) -> None:
        state = Net().state_dict()
        del state[name]
        with pytest.raises(WeightsError, match=f"another architecture: the file lacks {name}"):
            load_parameters(Net(), state, found(Path("f")))

    def test_superfluous(self) -> None:
        state = {**Net().state_dict(), "head.a": torch.zeros(1), "head.b": torch.zeros(1)}
        with pytest.raises(WeightsError, match=r"has no place for head\.a and 1 more"):
            load_parameters(Net(), state, found(Path("f")))

    def test_another_shape(self) -> None:
        state = {**Net().state_dict(), "layer.bias": torch.zeros(4)}
        with pytest.raises(WeightsError, match=r"another architecture: size mismatch for layer"):
            load_parameters(Net(), state, found(Path("f")))
