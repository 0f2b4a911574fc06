from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.raster import array_source
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.stores import open_store
from imatch.retrieval.search import Index, image_zscore

WriteImage = Callable[..., Path]


def test_what_a_whole_image_has_in_common_does_not_count() -> None:
    rng = np.random.default_rng(0)
    similarity = rng.random((40, 3))
    image = np.repeat([0, 1], 20)
    shifted = similarity + 5 * image[:, None]
    np.testing.assert_allclose(image_zscore(shifted, image), image_zscore(similarity, image))
    by_image = image_zscore(similarity, image).reshape(2, 20, 3)
    np.testing.assert_allclose(by_image.mean(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose(by_image.std(axis=1), 1)


def test_images_of_few_chips_are_taken_together() -> None:
    similarity = np.array([[0.1], [0.5], [0.9]])
    found = image_zscore(similarity, np.arange(3))
    np.testing.assert_allclose(found, image_zscore(similarity, np.zeros(3, int), fewest=1))
    assert found[2, 0] > 1


def test_what_does_not_count_and_what_is_all_alike() -> None:
    similarity = np.array([[np.nan, 0.4], [0.2, 0.4], [0.6, 0.4]])
    found = image_zscore(similarity, np.zeros(3, int), fewest=1)
    assert np.isnan(found[0, 0])
    np.testing.assert_allclose(found[1:, 0], [-1, 1])
    assert (found[:, 1] == 0).all()


@pytest.fixture
def bright_and_dark(write_image: WriteImage) -> tuple[list[Path], NDArray[np.uint8]]:
    """A dark image with one light field, a bright one with one field lighter still, that field."""
    rng = np.random.default_rng(1)
    dark = rng.integers(60, 70, (192, 256)).astype(np.uint8)
    light = rng.integers(190, 200, (192, 256)).astype(np.uint8)
    dark[64:128, 64:128] += 60
    query = light[:64, :64].copy()
    return [write_image("dark.tif", dark), write_image("light.tif", light)], query


def test_a_search_may_rank_by_it(
    bright_and_dark: tuple[list[Path], NDArray[np.uint8]], tmp_path: Path, means: ChipEmbedder
) -> None:
    images, query = bright_and_dark
    manifest = IndexManifest(model=ModelFacts.of(means), stride=1.0)
    add_images(tmp_path / "index", images, means, manifest)
    finder = Index(open_store(tmp_path / "index"), means)
    source = array_source(query)
    plain = finder.search(source, 12)
    out = finder.search(source, 12, stand_out=True)
    assert {hit.row for hit in plain} == {hit.row for hit in out}
    similar = {hit.row: hit.similarity for hit in plain}
    for hit in out:
        assert hit.similarity == pytest.approx(similar[hit.row], abs=1e-5)
    assert [hit.rank for hit in out] == list(range(1, len(out) + 1))
    # Ranked anew: no longer in the order of similarity alone, but by image in that order.
    rows = {
        name: [hit.similarity for hit in out if Path(hit.image.path).stem == name]
        for name in ("dark", "light")
    }
    assert all(values == sorted(values, reverse=True) for values in rows.values())
    values = [hit.similarity for hit in out]
    assert values != sorted(values, reverse=True)
