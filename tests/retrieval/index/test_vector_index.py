from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.retrieval.index.vector_index import Searcher, build, cells_for

COUNT, DIM = 4000, 16


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float32]:
    """Unit vectors about eighty centres."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(80, DIM))
    points = centres[rng.integers(0, 80, COUNT)] + 0.4 * rng.normal(size=(COUNT, DIM))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), dtype=np.float32)


def nearest(vectors: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[int]:
    return [int(row) for row in np.argsort(-(vectors @ query), kind="stable")[:k]]


def test_every_vector_is_looked_at(vectors: NDArray[np.float32]) -> None:
    similarity, rows = Searcher(vectors).search(vectors[:5], 10)
    for i in range(5):
        assert [int(row) for row in rows[i]] == nearest(vectors, vectors[i], 10)
        assert np.allclose(similarity[i], vectors[rows[i]] @ vectors[i], atol=1e-5)
    assert similarity[0, 0] == pytest.approx(1)


def test_mapped_vectors_are_found_once_faiss_knows_tensors(
    tmp_path: Path, vectors: NDArray[np.float32]
) -> None:
    """Whoever imports pytorch-metric-learning beside an index has Faiss's functions replaced."""
    pytest.importorskip("faiss.contrib.torch_utils", reason="the extra retrieval is not installed")
    path = tmp_path / "vectors.f32"
    vectors.tofile(path)
    mapped = np.memmap(path, dtype=np.float32, mode="r", shape=vectors.shape)
    _, rows = Searcher(mapped).search(vectors[:3], 5)
    assert [int(row) for row in rows[1]] == nearest(vectors, vectors[1], 5)


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_cells_find_nearly_all(tmp_path: Path, vectors: NDArray[np.float32], kind: str) -> None:
    path = tmp_path / "s.faiss"
    told: list[int] = []
    build(vectors, path, kind, on_rows=told.append)  # type: ignore[arg-type]
    assert sum(told) == COUNT
    queries = vectors[::100] + np.float32(0.02)
    _, rows = Searcher(vectors, path).search(queries, 10)
    exact = Searcher(vectors).search(queries, 10)[1]
    hits = [len(set(a) & set(b)) for a, b in zip(rows.tolist(), exact.tolist(), strict=True)]
    assert np.mean(hits) >= 9.5
    assert np.array_equal(Searcher(vectors, path).search(queries, 10)[1], rows)


def test_rows_added_later_are_found_too(tmp_path: Path, vectors: NDArray[np.float32]) -> None:
    path = tmp_path / "s.faiss"
    build(vectors[:3000], path, "ivf")
    searcher = Searcher(vectors, path, probes=10_000)
    similarity, rows = searcher.search(vectors[[10, 3500]], 5)
    for i, row in enumerate((10, 3500)):
        assert [int(r) for r in rows[i]] == nearest(vectors, vectors[row], 5)
    assert (np.diff(similarity, axis=1) <= 0).all()


def test_few_and_no_vectors() -> None:
    few = np.eye(4, dtype=np.float32)[:2]
    similarity, rows = Searcher(few).search(few[:1], 10)
    assert rows.tolist() == [[0, 1]]
    assert similarity.tolist() == [[1.0, 0.0]]
    none = Searcher(np.zeros((0, 4), np.float32)).search(few, 3)
    assert none[1].shape == (2, 0)


@pytest.mark.parametrize("kind", ["ivf", "ivfpq"])
def test_a_structure_of_few_vectors(tmp_path: Path, kind: str) -> None:
    few = np.eye(8, dtype=np.float32)
    build(few, tmp_path / "s.faiss", kind)  # type: ignore[arg-type]
    rows = Searcher(few, tmp_path / "s.faiss").search(few, 1)[1]
    assert rows[:, 0].tolist() == list(range(8))


def test_a_structure_of_other_vectors_is_refused(
    tmp_path: Path, vectors: NDArray[np.float32]
) -> None:
    path = tmp_path / "s.faiss"
    build(vectors, path, "ivf")
    with pytest.raises(InputError, match="holds 4000 vectors of 16 numbers, the index 10 of 16"):
        Searcher(vectors[:10], path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="cannot be read"):
        Searcher(vectors, path)


def test_the_number_of_cells_grows_with_the_root() -> None:
    assert [cells_for(n) for n in (0, 100, 10_000, 4_000_000)] == [1, 8, 128, 2048]
