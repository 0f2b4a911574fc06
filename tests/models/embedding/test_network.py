from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from imatch.core.errors import OutputError, WeightsError
from imatch.models.embedding.network import (
    Architecture,
    EarlyFusion,
    EmbeddingNetwork,
    filled,
    load_network,
    save_network,
)

SMALL = Architecture(dim=16, bands=2, chip_px=64)


def chips(bands: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, bands, 64, 64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalise", [True, False])
def test_embeddings_have_the_length_asked_for(normalise: bool) -> None:
    network = EmbeddingNetwork(replace(SMALL, normalise=normalise)).eval()
    with torch.inference_mode():
        vectors = network(chips())
    assert vectors.shape == (2, 16)
    unit = torch.allclose(vectors.norm(dim=1), torch.ones(2))
    assert unit is normalise


def test_invalid_pixels_do_not_matter() -> None:
    network = EmbeddingNetwork(replace(SMALL, dim=None)).eval()
    image, valid = chips(), torch.ones(2, 64, 64, dtype=torch.bool)
    valid[:, :, 40:] = False
    other = image.clone()
    other[:, :, :, 40:] = 0.25
    with torch.inference_mode():
        assert torch.allclose(network(image, valid), network(other, valid), atol=1e-6)


def test_filled_takes_the_mean_of_what_is_valid() -> None:
    image = torch.tensor([[[[1.0, 3.0], [9.0, 9.0]]]])
    valid = torch.tensor([[[True, True], [False, False]]])
    assert filled(image, valid).flatten().tolist() == [1.0, 3.0, 2.0, 2.0]
    assert not filled(image, torch.zeros_like(valid)).any()


def test_fusion_starts_as_the_image_and_learns_from_the_classes() -> None:
    fusion = EarlyFusion(2, 3)
    image, classes = chips(), torch.zeros(2, 3, 64, 64)
    assert torch.equal(fusion(image, classes), image)
    fusion(image, classes + 1).sum().backward()
    assert fusion.join.weight.grad is not None
    assert fusion.join.weight.grad.abs().sum() > 0


def test_two_streams_see_the_semantic_raster() -> None:
    # In training mode: normalised by the batch, since statistics of no data would hide everything.
    network = EmbeddingNetwork(replace(SMALL, classes=3)).train()
    assert network.fusion is not None
    torch.nn.init.normal_(network.fusion.join.weight)
    image = torch.cat([chips(), torch.zeros(2, 3, 64, 64)], dim=1)
    wood = image.clone()
    wood[:, 3] = 1.0
    wood[1, 4] = 1.0
    with torch.inference_mode():
        assert not torch.allclose(network(image), network(wood), atol=1e-3)


def test_file_gives_the_network_back(tmp_path: Path) -> None:
    network = EmbeddingNetwork(replace(SMALL, pool="attention")).eval()
    path = tmp_path / "model.safetensors"
    save_network(network, path, {"licence": "CC0-1.0"})
    again, about = load_network(path)
    with torch.inference_mode():
        assert torch.equal(network(chips()), again(chips()))
    assert about["licence"] == "CC0-1.0"
    with pytest.raises(OutputError, match="already exists"):
        save_network(network, path)


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="does not say what it is"):
        load_network(path)
    save_file({"x": torch.zeros(1)}, path, {"imatch": '{"kind": "other"}'})
    with pytest.raises(WeightsError, match="is no embedding network"):
        load_network(path)
    told = '{"kind": "imatch.embedder/1", "architecture": {"backbone": "of tomorrow"}}'
    save_file({"x": torch.zeros(1)}, path, {"imatch": told})
    with pytest.raises(WeightsError, match="is of another version; update imatch"):
        load_network(path)
    told = '{"kind": "imatch.embedder/1", "architecture": {"backbone": "efficientnet-lite0"}}'
    save_file({"x": torch.zeros(1)}, path, {"imatch": told})
    with pytest.raises(WeightsError, match="is damaged"):
        load_network(path)
    path.write_bytes(b"not safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_network(path)
