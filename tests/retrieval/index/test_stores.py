"""What every store of an index does: a folder and a LanceDB database."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.raster import array_source, open_source
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images, remove_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.store import IndexedImage, Store
from imatch.retrieval.index.stores import is_lance, manifest_of, open_store, open_to_write
from imatch.retrieval.search import Hit, Index

MANIFEST = IndexManifest(
    model=ModelFacts(name="m", source="m", identity="a" * 64, dim=8, bands=3, chip_px=8)
)


@pytest.fixture(params=["index", "index.lance"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where an index may be made."""
    if request.param.endswith(".lance"):
        pytest.importorskip("lancedb", reason="the extra lance is not installed")
    return tmp_path / str(request.param)


def put(store: Store, name: str, vectors: NDArray[np.float32]) -> None:
    count = len(vectors)
    image = IndexedImage(name, 1, 2, 30, 20, None, None, 2.5, 0, count)
    store.append(image, vectors, [ChipWindow(i, 2 * i, 8, 7, 8.5) for i in range(count)])


def valued(count: int, value: float) -> NDArray[np.float32]:
    return np.full((count, 8), value, np.float32)


def scanned(store: Store) -> dict[int, float]:
    """The first number of each row's vector."""
    return {
        int(row): float(vector[0])
        for rows, vectors in store.scan()
        for row, vector in zip(rows, vectors, strict=True)
    }


def filled(index: Path, manifest: IndexManifest = MANIFEST) -> Path:
    """Three images of two, one and three chips."""
    with open_to_write(index, manifest) as store:
        for value, (name, count) in enumerate((("/a", 2), ("/b", 1), ("/c", 3))):
            put(store, name, valued(count, value))
        store.refresh()
    return index


def test_what_was_added_is_read_back(index: Path) -> None:
    assert manifest_of(index) is None
    store = open_store(filled(index))
    assert store.manifest == manifest_of(index) == MANIFEST
    assert len(store) == 6
    assert scanned(store) == {0: 0, 1: 0, 2: 1, 3: 2, 4: 2, 5: 2}
    rows = np.array([5, 0, 2])
    assert store.windows(rows)[0] == ChipWindow(2, 4, 8, 7, 8.5)
    assert [image.path for image in store.image_of(rows)] == ["/c", "/a", "/b"]
    assert store.images["/a"] == IndexedImage("/a", 1, 2, 30, 20, None, None, 2.5, 0, 2)


def test_removal_keeps_the_others(index: Path) -> None:
    with open_to_write(filled(index)) as store:
        assert store.remove(["/b"]) == 1
        put(store, "/d", valued(2, 7))
        store.refresh()
        assert store.remove(["/a"], refresh=True) == 2
    store = open_store(index)
    assert list(store.images) == ["/c", "/d"]
    found = scanned(store)
    assert sorted(found.values()) == [2, 2, 2, 7, 7]
    for row, value in found.items():
        owner = store.image_of(np.array([row]))[0]
        assert row in owner.rows
        assert owner.path == ("/c" if value == 2 else "/d")
    similarity, rows = store.searcher().search(valued(1, 7), 10)
    assert similarity[0].tolist() == [1, 1, -99, -99, -99]
    assert {found[row] for row in rows[0, :2].tolist()} == {7}
    with open_to_write(index) as store:
        store.remove(["/c", "/d"], refresh=True)
    store = open_store(index)
    assert (len(store), list(store.scan())) == (0, [])
    assert store.searcher().search(valued(1, 7), 3)[1].shape == (1, 0)


def test_one_process_writes_at_a_time(index: Path) -> None:
    with open_to_write(filled(index)):
        with pytest.raises(OutputError, match="another process is writing to this index"):
            open_to_write(index)
        assert len(open_store(index)) == 6
    open_to_write(index).close()


def test_another_folder_is_no_index(index: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make one with imatch index"):
        open_store(index)
    with pytest.raises(InputError, match="does not exist; make one with imatch index"):
        open_to_write(index)
    assert not index.exists()
    index.mkdir()
    (index / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no index"):
        open_store(index)
    with pytest.raises(OutputError, match="exists and is no index"):
        open_to_write(index, MANIFEST)
    assert [path.name for path in index.iterdir()] == ["notes.txt"]


def hits_of(index: Path, archive: list[Path], embedder: ChipEmbedder) -> list[list[Hit]]:
    opened = Index(open_store(index), embedder)
    query = array_source(open_source(archive[1]).read().pixels[:, 30:140, 40:160])
    return [opened.search(query, 8), opened.search(query, 8, stand_out=True)]


def test_the_same_is_found_in_either(
    archive: list[Path],
    tmp_path: Path,
    means: ChipEmbedder,
    index: Path,
) -> None:
    manifest = IndexManifest(model=ModelFacts.of(means))
    for place in (index, tmp_path / "plain"):
        add_images(place, archive[:2], means, manifest)
        grown = add_images(place, archive, means, manifest)
        assert (grown.added, grown.unchanged, grown.rows) == (1, 2, 105)
        assert remove_images(place, [archive[0]]) == (1, 35)
        with pytest.raises(InputError, match="is not in the index"):
            remove_images(place, [archive[0]])
    for found, plain in zip(
        hits_of(index, archive, means), hits_of(tmp_path / "plain", archive, means), strict=True
    ):
        assert [(hit.image.path, hit.cell, hit.footprint) for hit in found] == [
            (hit.image.path, hit.cell, hit.footprint) for hit in plain
        ]
        assert np.allclose([hit.similarity for hit in found], [hit.similarity for hit in plain])


def test_an_interrupted_run_goes_on(
    archive: list[Path],
    index: Path,
    means: ChipEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    embed = type(means).embed
    calls = 0

    def stopped(self: ChipEmbedder, *chips: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return embed(self, *chips)  # type: ignore[arg-type]

    manifest = IndexManifest(model=ModelFacts.of(means))
    monkeypatch.setattr(type(means), "embed", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_images(index, archive, means, manifest)
    monkeypatch.undo()
    # The first image took two batches and is whole; the second was cut off.
    assert len(open_store(index)) == 35
    grown = add_images(index, archive, means, manifest)
    assert (grown.unchanged, grown.added, grown.rows) == (1, 2, 105)


@pytest.mark.parametrize(
    ("name", "lance"),
    [("a.index", False), ("a.lance", True), ("a.lance/", True), ("gs://bucket/a.lance", True)],
)
def test_the_name_chooses_the_store(name: str, lance: bool) -> None:
    assert is_lance(name) is lance


def test_a_url_names_a_database() -> None:
    with pytest.raises(ConfigError, match=r"let the name of an index on object storage end in .l"):
        is_lance("s3://bucket/archive")


def test_without_lancedb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    opened: list[Callable[[Path], object]] = [open_store, manifest_of]
    for function in opened:
        with pytest.raises(ConfigError, match=r"lancedb: is not .*pip install 'imatch\[lance\]'"):
            function(tmp_path / "a.lance")
