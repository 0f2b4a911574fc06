from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.raster import array_source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.chips import ChipGrid
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.stores import open_store
from imatch.retrieval.search import Index, best_of_images, query_cells

WriteImage = Callable[..., Path]
MakeMeans = Callable[..., ChipEmbedder]


def indexed(path: Path, images: list[Path], embedder: ChipEmbedder, **settings: object) -> Path:
    manifest = IndexManifest(model=ModelFacts.of(embedder), **settings)  # type: ignore[arg-type]
    add_images(path, images, embedder, manifest)
    return path


@pytest.fixture
def index(archive: list[Path], tmp_path: Path, means: ChipEmbedder) -> Path:
    """The archive, cut every 16 px."""
    return indexed(tmp_path / "index", archive, means, stride=0.25)


def test_a_chip_is_found_where_it_was_cut(
    index: Path, archive: list[Path], means: ChipEmbedder
) -> None:
    query = WindowSource(open_source(archive[1]), 96, 48, 64, 64)
    hits = Index(open_store(index), means).search(query, 5)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    best = hits[0]
    assert best.image.path == str(archive[1])
    assert (best.cell.left, best.cell.top) == (96, 48)
    assert best.similarity == pytest.approx(1, abs=1e-4)
    assert hits[1].similarity < 0.8
    assert best.footprint is not None
    assert np.mean(best.footprint, axis=0) == pytest.approx([1.4651, 43.6451], abs=2e-2)
    # One place of an image comes once.
    places = [(h.image.path, h.cell.left // 32, h.cell.top // 32) for h in hits]
    assert len(set(places)) == 5


def test_a_larger_query_is_looked_up_in_parts(
    index: Path, archive: list[Path], means: ChipEmbedder
) -> None:
    query = WindowSource(open_source(archive[2]), 80, 32, 128, 96)
    best = Index(open_store(index), means).search(query, 1)[0]
    assert best.image.path == str(archive[2])
    assert best.similarity == pytest.approx(1, abs=1e-3)
    # The part of the query that found it lies where it should.
    assert best.cell.left == 80 + best.query_cell.left
    assert best.cell.top == 32 + best.query_cell.top


def test_a_query_of_coarser_pixels_is_found_by_its_size_on_the_ground(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, write_image: WriteImage
) -> None:
    index = indexed(tmp_path / "index", archive, means, stride=0.25, gsd_m=10.0)
    part = WindowSource(open_source(archive[0]), 64, 64, 96, 96).read(size=(48, 48))
    at = Affine(20, 0, 500_000, 0, -20, 4_000_000)
    query = write_image("query.tif", part.pixels.astype(np.uint8), transform=at)
    best = Index(open_store(index), means).search(open_source(query), 1)[0]
    assert best.image.path == str(archive[0])
    assert best.similarity > 0.9


def test_a_smaller_query_is_found(
    archive: list[Path], tmp_path: Path, make_means: MakeMeans
) -> None:
    means = make_means()
    index = indexed(tmp_path / "index", archive, means, stride=0.25)
    # 64 px of ground on 40 px.
    small = WindowSource(open_source(archive[1]), 96, 48, 64, 64).read(size=(40, 40))
    best = Index(open_store(index), means).search(array_source(small.pixels), 1)[0]
    assert (best.image.path, best.cell.left, best.cell.top) == (str(archive[1]), 96, 48)


def test_of_each_image_the_best_chip(index: Path, archive: list[Path], means: ChipEmbedder) -> None:
    query = WindowSource(open_source(archive[1]), 96, 48, 64, 64)
    finder = Index(open_store(index), means)
    chips, images = finder.search(query, 12), finder.search(query, 12, chips=False)
    paths = [hit.image.path for hit in images]
    assert paths[0] == str(archive[1])
    assert sorted(paths) == sorted(map(str, archive))
    assert images == best_of_images(finder.search(query, 1000))
    assert len(chips) == 12
    assert [hit.rank for hit in best_of_images(chips[2:])] == [
        *range(1, 1 + len({hit.image.path for hit in chips[2:]}))
    ]


def test_two_copies_in_the_index_are_both_found(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    copy = tmp_path / "copy.tif"
    copy.write_bytes(archive[0].read_bytes())
    index = indexed(tmp_path / "index", [*archive, copy], means)
    query = WindowSource(open_source(archive[0]), 32, 32, 64, 64)
    hits = Index(open_store(index), means).search(query, 2)
    assert {hit.image.path for hit in hits} == {str(archive[0]), str(copy)}
    assert hits[0].similarity == pytest.approx(hits[1].similarity)
    others = Index(open_store(index), means).search(query, 3, exclude=[str(archive[0]), str(copy)])
    assert {hit.image.path for hit in others} <= set(map(str, archive[1:]))


@pytest.mark.parametrize("structure", ["ivf", "ivfpq"])
def test_a_structure_finds_the_same_best(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder, structure: str
) -> None:
    index = indexed(tmp_path / "index", archive, means, stride=0.25, structure=structure)
    query = WindowSource(open_source(archive[1]), 96, 48, 64, 64)
    best = Index(open_store(index), means).search(query, 3)[0]
    assert (best.image.path, best.cell.left, best.cell.top) == (str(archive[1]), 96, 48)


def test_no_more_are_wanted_than_there_are(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    index = indexed(tmp_path / "index", archive[:1], means, stride=1.0)
    assert 1 < len(Index(open_store(index), means).search(open_source(archive[0]), 1000)) <= 12


def test_what_cannot_be_looked_up(
    index: Path, archive: list[Path], means: ChipEmbedder, make_means: MakeMeans
) -> None:
    with pytest.raises(InputError, match="shows too little valid ground to be looked up"):
        Index(open_store(index), means).search(array_source(np.full((80, 80), 3.0)))
    with pytest.raises(InputError, match="was made with means"):
        Index(open_store(index), make_means("other", grid=4))


@pytest.mark.parametrize(
    ("size", "sides"),
    [
        ((64, 64), {64}),
        ((40, 30), {40, 30}),
        ((200, 100), {64, 100}),
        ((5000, 4000), {64, 4000}),
    ],
)
def test_a_query_is_cut_into_few_chips(size: tuple[int, int], sides: set[int]) -> None:
    pixels: NDArray[np.uint8] = np.zeros((size[1], size[0]), np.uint8)
    cells = query_cells(array_source(pixels).info, ChipGrid(64))
    assert {round(cell.side) for cell in cells} == sides
    assert len(cells) <= 70
    for cell in cells:
        assert cell.left + cell.width <= size[0]
        assert cell.top + cell.height <= size[1]
