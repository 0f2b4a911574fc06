from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.embedders.hog import hog
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.stores import open_store
from imatch.retrieval.index.workers import EmbeddingWorkers

EDGES = hog("edges", device="cpu", fetch=False)
MANIFEST = IndexManifest(model=ModelFacts.of(EDGES))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a Dask cluster whose workers are threads here."""
    distributed = pytest.importorskip("distributed", reason="the extra dask is not installed")
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp",
        dashboard_address=None,
    ) as cluster:
        yield cluster.scheduler_address


def chips(index: Path) -> dict[str, bytes]:
    """The vectors of each image."""
    store = open_store(index)
    vectors = np.concatenate([part for _, part in store.scan()])
    return {path: vectors[image.rows].tobytes() for path, image in store.images.items()}


@pytest.mark.parametrize("kind", ["dask", "jobs"])
def test_workers_make_the_same_index(
    kind: str, archive: list[Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    dask = request.getfixturevalue("scheduler") if kind == "dask" else None
    broken = tmp_path / "broken.tif"
    broken.write_bytes(archive[0].read_bytes()[:700])
    images = [*archive, broken]
    add_images(tmp_path / "plain", images, EDGES, MANIFEST)
    workers = EmbeddingWorkers("edges", jobs=2, dask=dask)
    add_images(tmp_path / "index", images[:1], EDGES, MANIFEST)
    done: list[float] = []
    grown = add_images(tmp_path / "index", images, EDGES, MANIFEST, workers, on_image=done.append)
    assert (grown.added, grown.unchanged, len(done)) == (2, 1, 3)
    assert [Path(item.path).name for item in grown.skipped] == ["broken.tif"]
    assert chips(tmp_path / "index") == chips(tmp_path / "plain")


def test_a_worker_with_another_embedder_ends_the_run(
    archive: list[Path], tmp_path: Path, scheduler: str, means: ChipEmbedder
) -> None:
    manifest = IndexManifest(model=ModelFacts.of(means))
    workers = EmbeddingWorkers("edges", dask=scheduler)
    with pytest.raises(InputError, match=r"was made with means .* not with edges"):
        add_images(tmp_path / "index", archive, means, manifest, workers)
    assert len(open_store(tmp_path / "index")) == 0


def test_an_image_that_fails_unforeseen_is_skipped(
    archive: list[Path], tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: str, *_: object) -> None:
        raise RuntimeError(f"a bug of {Path(path).name}")

    monkeypatch.setattr("imatch.retrieval.index.workers.embed_image", failing)
    workers = EmbeddingWorkers("edges", dask=scheduler)
    with pytest.raises(
        InputError, match=r"no image could be used; of 3 the first: RuntimeError: a bug of"
    ):
        add_images(tmp_path / "index", archive, EDGES, MANIFEST, workers)


def test_no_scheduler_is_said_before_anything_is_made(archive: list[Path], tmp_path: Path) -> None:
    workers = EmbeddingWorkers("edges", dask="nowhere:1")
    with pytest.raises(ConfigError, match="nowhere:1: is no scheduler's address"):
        add_images(tmp_path / "index", archive, EDGES, MANIFEST, workers)
    assert not (tmp_path / "index").exists()
