"""What is a LanceDB database's own; what every store does is in test_stores.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import InputError, OutputError
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.store import IndexedImage, Store
from imatch.retrieval.index.stores import manifest_of, open_store, open_to_write

lancedb = pytest.importorskip("lancedb", reason="the extra lance is not installed")

MANIFEST = IndexManifest(
    model=ModelFacts(name="m", source="m", identity="a" * 64, dim=8, bands=3, chip_px=8)
)


def put(store: Store, name: str, vectors: NDArray[np.float32]) -> None:
    count = len(vectors)
    image = IndexedImage(name, 1, 2, 30, 20, None, None, None, 0, count)
    store.append(image, vectors, [ChipWindow(0, 0, 8, 8, 8.0)] * count)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Two images of two and three chips."""
    path = tmp_path / "a.lance"
    with open_to_write(path, MANIFEST) as store:
        put(store, "/a", np.zeros((2, 8), np.float32))
        put(store, "/b", np.ones((3, 8), np.float32))
    return path


@pytest.mark.parametrize("structure", ["flat", "ivf", "ivfpq"])
def test_the_nearest_are_found(
    tmp_path: Path, structure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.retrieval.index.lance._FEWEST", 1000)
    index = tmp_path / "a.lance"
    rng = np.random.default_rng(0)
    # As embeddings lie, about centres: what compression leaves of them tells neighbours apart.
    centres = rng.normal(size=(150, 64))
    drawn = (centres[rng.integers(0, 150, 1500)] + 0.8 * rng.normal(size=(1500, 64))) / 8
    vectors = drawn.astype(np.float32)
    model = MANIFEST.model.model_copy(update={"dim": 64})
    manifest = MANIFEST.model_copy(update={"structure": structure, "model": model})
    with open_to_write(index, manifest) as store:
        put(store, "/a", vectors[:1400])
        store.refresh()
        # Later than the structure.
        put(store, "/b", vectors[1400:])
    queries = vectors[[17, 1450, 3, 700]]
    queries[2:] += 0.02 * rng.normal(size=(2, 64)).astype(np.float32)
    # All of the cells.
    similarity, rows = open_store(index).searcher(64).search(queries, 5)
    squared = ((queries[:, None] - vectors) ** 2).sum(axis=2)
    nearest = np.argsort(squared, axis=1)[:, :5]
    true = 1 - np.take_along_axis(squared, rows, axis=1) / 2
    assert np.allclose(similarity, true, atol=1e-5)
    if structure == "ivfpq":
        assert rows[:2, 0].tolist() == [17, 1450]
        assert np.mean([np.isin(nearest[i], rows[i]).mean() for i in range(4)]) >= 0.9
    else:
        assert rows.tolist() == nearest.tolist()


def test_the_structure_grows_with_its_chips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.retrieval.index.lance._FEWEST", 1000)
    index, rng = tmp_path / "a.lance", np.random.default_rng(0)
    names = []
    with open_to_write(index, MANIFEST.model_copy(update={"structure": "ivf"})) as store:
        for name, count in (("/a", 900), ("/b", 300), ("/c", 300), ("/d", 4000)):
            put(store, name, rng.normal(size=(count, 8)).astype(np.float32))
            store.refresh()
            table = lancedb.connect(str(index)).open_table("chips")
            names.append([one.name for one in table.list_indices() if "vector" in one.columns])
    # Of some twelve hundred chips 32 cells, of five thousand 64.
    assert names == [[], ["cells_32"], ["cells_32"], ["cells_64"]]


def test_outlines_lie_beside_the_vectors(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    manifest = IndexManifest(model=ModelFacts.of(means))
    for place in ("a.lance", "plain"):
        add_images(tmp_path / place, archive, means, manifest)
    chips = lancedb.connect(str(tmp_path / "a.lance")).open_table("chips").to_pandas()
    outlines = geopandas.GeoSeries.from_wkb(chips.sort_values("row")["geometry"], crs="OGC:CRS84")
    plain = geopandas.read_parquet(tmp_path / "plain" / "footprints.parquet")
    assert outlines.geom_equals_exact(plain.geometry, 1e-12).all()


def test_what_an_interruption_left_does_not_count(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listing = lancedb.connect(str(index)).open_table("images")
    kept = listing.to_arrow()
    with open_to_write(index) as store:
        put(store, "/c", np.full((2, 8), 3, np.float32))
    listing = lancedb.connect(str(index)).open_table("images")
    # As after a kill between the chips and their image, and in a removal.
    listing.delete("path IN ('/a', '/c')")
    store = open_store(index)
    store.warn_of_rest()
    assert "holds chips that no image lists" in caplog.text
    assert len(store) == 3
    assert [rows.tolist() for rows, _ in store.scan()] == [[2, 3, 4]]
    assert store.searcher().search(np.zeros((1, 8), np.float32), 9)[1].tolist() == [[2, 3, 4]]
    with open_to_write(index) as store:
        put(store, "/d", np.full((1, 8), 4, np.float32))
    table = lancedb.connect(str(index)).open_table("chips")
    assert sorted(table.to_arrow()["row"].to_pylist()) == [2, 3, 4, 5]
    # Chips that are listed and gone are another matter.
    table.delete("row = 3")
    with pytest.raises(InputError, match="holds 3 chips, and its list of images names 4"):
        open_store(index)
    assert len(kept) == 2


def test_a_beginning_is_gone_on_with(index: Path) -> None:
    shutil.rmtree(index / "images.lance")
    assert manifest_of(index) is None
    with pytest.raises(InputError, match="is no index"):
        open_store(index)
    with open_to_write(index, MANIFEST) as store:
        assert len(store) == 0
        put(store, "/a", np.zeros((1, 8), np.float32))
    assert len(open_store(index)) == 1


def test_other_tables_are_left_alone(tmp_path: Path) -> None:
    for name in ("chips", "notes"):
        path = tmp_path / f"{name}.lance"
        table = lancedb.connect(str(path)).create_table(name, data=[{"mine": 1}])
        with pytest.raises(InputError, match="is no index"):
            open_store(path)
        with pytest.raises(OutputError, match="exists and is no index"):
            open_to_write(path, MANIFEST)
        assert table.to_arrow()["mine"].to_pylist() == [1]


@pytest.mark.parametrize("kind", ["data", "_versions"])
def test_damage_is_told_in_one_line(index: Path, kind: str) -> None:
    for file in (index / "chips.lance" / kind).iterdir():
        file.write_bytes(b"no table")
    with pytest.raises(InputError, match=r"a\.lance: LanceDB failed: .*; open it again") as caught:
        list(open_store(index).scan())
    assert "\n" not in str(caught.value)


def test_another_version_is_refused(index: Path) -> None:
    database = lancedb.connect(str(index))
    table = database.open_table("images").to_arrow()
    text = table.schema.metadata[b"imatch"].replace(b"imatch.index/1", b"imatch.index/9")
    other = table.replace_schema_metadata({b"imatch": text})
    database.create_table("images", other, mode="overwrite")
    with pytest.raises(InputError, match=r"of format 'imatch.index/9', and this version reads"):
        open_store(index)
    database.create_table("images", table.set_column(0, "path", [["/a", "/a\0"]]), mode="overwrite")
    with pytest.raises(InputError, match=r"a.lance \(images\): is damaged"):
        open_store(index)


def test_an_object_store_that_does_not_answer_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match=r"nosuch://bucket/a\.lance: LanceDB failed"):
        open_store("nosuch://bucket/a.lance")
