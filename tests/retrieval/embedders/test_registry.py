from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from imatch.core.errors import ConfigError, MatcherError, WeightsError
from imatch.models.embedding.network import Architecture, EmbeddingNetwork, save_network
from imatch.models.weights import WEIGHTS, find_weights
from imatch.retrieval.embedders import EMBEDDERS, Embedder, load_embedder


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from imatch.retrieval.embedders import EMBEDDERS; assert list(EMBEDDERS);"
        "heavy = {'torch', 'kornia', 'sklearn', 'cv2', 'rasterio'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rows_name_weights_of_the_catalogue() -> None:
    for row in EMBEDDERS.rows().values():
        assert set(row.weights) <= set(WEIGHTS)
        assert row.summary


@pytest.mark.parametrize("name", list(EMBEDDERS))
def test_every_embedder_keeps_the_contract(name: str) -> None:
    if any(find_weights(weights) is None for weights in EMBEDDERS[name].weights):
        pytest.skip(f"the weights of {name} are not here: imatch weights fetch")
    embedder = load_embedder(name)
    assert isinstance(embedder, Embedder)
    assert len(embedder.identity) == 64
    rng = np.random.default_rng(0)
    coarse = rng.random((3, embedder.bands, 12, 12)).astype(np.float32)
    pixels = coarse.repeat(8, axis=2).repeat(8, axis=3)
    valid = np.ones((3, 96, 96), dtype=bool)
    valid[2] = False
    vectors = embedder.embed(pixels, valid)
    assert vectors.shape == (3, embedder.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 0], atol=1e-4)
    assert np.array_equal(vectors, embedder.embed(pixels, valid))
    # The same ground a little brighter is nearer than other ground.
    brighter = embedder.embed(np.clip(pixels[:1] * 1.05, 0, 1), valid[:1])
    assert float(brighter[0] @ vectors[0]) > float(vectors[1] @ vectors[0])


def test_a_file_of_ours_is_an_embedder(tmp_path: Path) -> None:
    network = EmbeddingNetwork(Architecture(dim=8, chip_px=64)).eval()
    path = tmp_path / "mine.safetensors"
    save_network(network, path, {"step": 7})
    embedder = load_embedder(path)
    assert (embedder.name, embedder.dim, embedder.bands, embedder.chip_px) == ("mine", 8, 3, 64)
    pixels = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    vectors = embedder.embed(pixels, np.ones((1, 64, 64), dtype=bool))
    with torch.inference_mode():
        expected = network(torch.from_numpy(pixels))
    assert np.allclose(vectors, expected.numpy(), atol=1e-6)
    copy = path.with_name("copy.safetensors")
    copy.write_bytes(path.read_bytes())
    assert load_embedder(copy).identity == embedder.identity


def test_wrong_names_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'efficientnet-lite0'"):
        load_embedder("efficientnet-lite")
    with pytest.raises(WeightsError, match=r"absent\.safetensors: does not exist"):
        load_embedder(tmp_path / "absent.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        load_embedder(tmp_path)


def test_a_device_that_is_not_there_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_network(EmbeddingNetwork(Architecture(dim=8)), path)
    with pytest.raises(MatcherError, match="unknown device"):
        load_embedder(path, device="abacus")
