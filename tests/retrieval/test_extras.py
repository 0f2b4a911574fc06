"""What is not installed is said in one line, with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import ImatchError
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.folder import FolderStore
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.vector_index import Searcher
from imatch.retrieval.pair_metrics import measure

HOW = "is not installed; run pip install 'imatch\\[retrieval\\]'"


def test_without_faiss(
    monkeypatch: pytest.MonkeyPatch, archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ImatchError, match=f"faiss: {HOW}"):
        Searcher(np.eye(3, dtype=np.float32))
    with pytest.raises(ImatchError, match=f"faiss: {HOW}"):
        add_images(tmp_path / "index", archive, means, IndexManifest(model=ModelFacts.of(means)))
    # Known before anything is embedded.
    assert not (tmp_path / "index").exists()


def test_without_pyarrow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, means: ChipEmbedder
) -> None:
    manifest = IndexManifest(model=ModelFacts.of(means))
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)
    with (
        FolderStore.open_to_write(tmp_path / "index", manifest) as store,
        pytest.raises(ImatchError, match=f"pyarrow: {HOW}"),
    ):
        store.refresh()


def test_without_sklearn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImatchError, match=f"scikit-learn: {HOW}"):
        measure([True, False], [0.9, 0.1], 0.5)
