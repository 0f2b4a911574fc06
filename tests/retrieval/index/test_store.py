from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import InputError, OutputError
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.folder import IMAGES, VECTORS, FolderStore
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts, read_manifest, write_manifest
from imatch.retrieval.index.store import IndexedImage, Store
from imatch.retrieval.index.vector_index import Searcher

MANIFEST = IndexManifest(
    model=ModelFacts(name="m", source="m", identity="a" * 64, dim=3, bands=3, chip_px=8)
)


def put(store: Store, name: str, count: int, value: float) -> None:
    image = IndexedImage(name, 1, 2, 30, 20, None, None, None, 0, count)
    cells = [ChipWindow(i, 2 * i, 8, 7, 8.5) for i in range(count)]
    store.append(image, np.full((count, 3), value, np.float32), cells)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Three images of two, one and three chips."""
    path = tmp_path / "index"
    with FolderStore.open_to_write(path, MANIFEST) as store:
        for value, (name, count) in enumerate((("/a", 2), ("/b", 1), ("/c", 3))):
            put(store, name, count, value)
    return path


def test_what_was_added_is_read_back(index: Path) -> None:
    store = FolderStore.open(index)
    assert store.manifest == MANIFEST
    assert len(store) == 6
    assert store.vectors[:, 0].tolist() == [0, 0, 1, 2, 2, 2]
    assert isinstance(store.vectors, np.memmap)
    assert store.windows(np.array([5])) == [ChipWindow(2, 4, 8, 7, 8.5)]
    images = store.image_of(np.array([1, 2, 5, 0]))
    assert [image.path for image in images] == ["/a", "/b", "/c", "/a"]


def test_removal_keeps_the_others(index: Path) -> None:
    with FolderStore.open_to_write(index) as store:
        assert store.remove(["/a", "/c"]) == 5
        assert store.vectors.tolist() == [[1, 1, 1]]
        put(store, "/d", 2, 7)
    store = FolderStore.open(index)
    assert [(image.path, image.first) for image in store.images.values()] == [("/b", 0), ("/d", 1)]
    assert store.vectors[:, 0].tolist() == [1, 7, 7]
    assert sorted(path.name for path in index.glob("g*")) == ["g2"]
    with FolderStore.open_to_write(index) as store:
        store.remove(["/b", "/d"])
    assert len(FolderStore.open(index)) == 0
    assert FolderStore.open(index).vectors.shape == (0, 3)


@pytest.mark.parametrize("torn", [b"", b'{"path": "/d", "by'])
def test_what_an_interruption_left_does_not_count(index: Path, torn: bytes) -> None:
    with (index / "g1" / VECTORS).open("ab") as file:
        file.write(bytes(20))
    with (index / "g1" / IMAGES).open("ab") as file:
        file.write(torn)
    assert len(FolderStore.open(index)) == 6
    with FolderStore.open_to_write(index) as store:
        assert (index / "g1" / VECTORS).stat().st_size == 6 * 12
        put(store, "/d", 1, 9)
    assert FolderStore.open(index).vectors[:, 0].tolist() == [0, 0, 1, 2, 2, 2, 9]


def test_a_removal_cut_off_leaves_the_index_as_it_was(index: Path) -> None:
    (index / "g2").mkdir()
    (index / "g2" / VECTORS).write_bytes(b"half")
    assert len(FolderStore.open(index)) == 6
    with FolderStore.open_to_write(index) as store:
        assert len(store) == 6
    assert not (index / "g2").exists()


def test_one_process_writes_at_a_time(index: Path) -> None:
    with FolderStore.open_to_write(index):
        with pytest.raises(OutputError, match="another process is writing to this index"):
            FolderStore.open_to_write(index)
        assert len(FolderStore.open(index)) == 6
    FolderStore.open_to_write(index).close()


def test_rows_that_are_missing_are_noticed(index: Path) -> None:
    (index / "g1" / VECTORS).write_bytes(bytes(12))
    with pytest.raises(InputError, match="is shorter than its list of images says"):
        FolderStore.open(index)


def test_an_image_has_as_many_vectors_as_windows(index: Path) -> None:
    with FolderStore.open_to_write(index) as store:
        with pytest.raises(ValueError, match="2 rows, 1 vectors, 1 windows"):
            store.append(
                IndexedImage("/x", 0, 0, 1, 1, None, None, None, 0, 2),
                np.zeros((1, 3), np.float32),
                [ChipWindow(0, 0, 1, 1, 1.0)],
            )
        assert len(store) == 6


def test_another_folder_is_no_index(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist; make one with imatch index"):
        FolderStore.open(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no index"):
        FolderStore.open(tmp_path)
    with pytest.raises(OutputError, match="exists and is no index"):
        FolderStore.open_to_write(tmp_path, MANIFEST)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_another_format_is_refused(index: Path) -> None:
    data = json.loads((index / "manifest.json").read_text())
    (index / "manifest.json").write_text(json.dumps(data | {"schema": "imatch.index/0"}))
    with pytest.raises(InputError, match=r"of format 'imatch.index/0', and this version reads"):
        FolderStore.open(index)
    (index / "manifest.json").write_text(json.dumps(data | {"levels": 0}))
    with pytest.raises(InputError, match="holds what makes no sense"):
        FolderStore.open(index)
    (index / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        FolderStore.open(index)


def test_a_damaged_journal_is_said_to_be(index: Path) -> None:
    (index / "g1" / IMAGES).write_text('{"path": 3}\n')
    with pytest.raises(InputError, match="is damaged"):
        FolderStore.open(index)


def test_a_manifest_is_written_whole(tmp_path: Path) -> None:
    kept = MANIFEST.model_copy(update={"band_list": ("B8", 3), "gsd_m": 10.0})
    write_manifest(tmp_path, kept)
    assert read_manifest(tmp_path) == kept
    assert json.loads((tmp_path / "manifest.json").read_text())["schema"] == "imatch.index/1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", "many"),
        ("count", -1),
        ("count", [1]),
        ("count", None),
        ("count", 10**30),
        ("first", 3),
        ("width", 0),
        ("path", 7),
        ("path", "a\0b"),
        ("transform", [1, 2, 3]),
        ("transform", [None] * 6),
        ("gsd_m", "fine"),
    ],
)
def test_a_list_of_images_that_makes_no_sense_is_refused(
    index: Path, name: str, value: object
) -> None:
    path = index / "g1" / IMAGES
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1][name] = value
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=IMAGES):
        FolderStore.open(index)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[]", "7", "NaN", "\0"])
def test_a_line_that_is_no_image_is_refused(index: Path, text: str) -> None:
    with (index / "g1" / IMAGES).open("a") as file:
        file.write(text + "\n")
    with pytest.raises(InputError, match=f"{IMAGES}: is damaged"):
        FolderStore.open(index)


def test_a_geocoding_that_makes_no_sense_is_refused(index: Path) -> None:
    path = index / "g1" / IMAGES
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0] |= {"crs": "EPSG:32631", "transform": [1e12, 0, 0, 0, -1e12, 0]}
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="m wide"):
        FolderStore.open(index)


def test_rows_that_no_image_names_are_told_of(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = index / "g1" / IMAGES
    path.write_bytes(path.read_bytes()[:-20])
    store = FolderStore.open(index)
    assert len(store) == 3
    store.warn_of_rest()
    assert "holds rows that images.jsonl does not name" in caplog.text


@pytest.mark.parametrize("numbers", [[0, 0, 0, 0, 0], [0, 0, np.nan, 1, 1], [0, 0, 1, 1e-300, 1]])
def test_cells_that_make_no_sense_are_refused(index: Path, numbers: list[float]) -> None:
    table = np.fromfile(index / "g1" / "cells.f64").reshape(-1, 5)
    table[1] = numbers
    table.tofile(index / "g1" / "cells.f64")
    with pytest.raises(InputError, match=r"cells.f64: is damaged \(row 1\)"):
        FolderStore.open(index).windows(np.array([1]))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, -1e20])
def test_vectors_that_are_no_numbers_are_refused(index: Path, value: float) -> None:
    pytest.importorskip("faiss")
    vectors = np.fromfile(index / "g1" / VECTORS, np.float32)
    vectors[4] = value
    vectors.tofile(index / "g1" / VECTORS)
    with pytest.raises(InputError, match=f"{VECTORS}: holds vectors that are no numbers"):
        Searcher(FolderStore.open(index).vectors)


@pytest.mark.parametrize("name", [IMAGES, VECTORS, "cells.f64"])
def test_files_that_lie_elsewhere_are_not_added_to(index: Path, name: str) -> None:
    file = index / "g1" / name
    other = file.rename(index.parent / "other")
    file.symlink_to(other)
    before = other.read_bytes()
    match = "leads out|is a link"
    with (
        pytest.raises((InputError, OutputError), match=match),
        FolderStore.open_to_write(index) as store,
    ):
        put(store, "/d", 1, 3)
    assert other.read_bytes() == before
