from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.types import Rendered
from imatch.datasets.synthetic.cartography import landscape_map, with_words
from imatch.datasets.synthetic.landscape import WATER, landscape
from imatch.datasets.synthetic.maps import MapPairs
from imatch.datasets.synthetic.town import Town, photograph, town, town_map
from imatch.geometry.alignment.whole_image import WholeImages
from tests.support.sensor_fields import directions_alone

Draw = Callable[[Town, np.random.Generator], NDArray[np.float32]]


def _town(seed: int = 0) -> Town:
    return town(192, np.random.default_rng(seed))


@pytest.mark.parametrize("draw", [photograph, town_map])
def test_images_have_the_documented_form_and_follow_from_the_seed(draw: Draw) -> None:
    ground = _town()
    first, second = (draw(ground, np.random.default_rng(3)) for _ in range(2))
    assert first.shape == (3, 192, 192)
    assert first.dtype == np.float32
    assert (first.min() >= 0, first.max() <= 1) == (True, True)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - draw(ground, np.random.default_rng(4))).mean() > 0.01


def test_a_town_has_roads_blocks_and_houses() -> None:
    ground = _town()
    share = np.bincount(ground.ground.ravel(), minlength=5) / ground.ground.size
    assert share[0] > 0.1  # Roads.
    assert share[1] > 0.1  # Blocks.
    assert share[4] > 0.15  # Houses.
    assert (ground.height[ground.kind != 4] == 0).all()
    assert (ground.height[ground.kind == 4] > 0).all()


def test_photograph_and_map_show_one_ground() -> None:
    """Their outlines lie in the same place, which those of another town do not."""
    rng = np.random.default_rng(8)
    found = []
    for other in (False, True):
        shown = photograph(_town(1), rng), town_map(_town(2 if other else 1), rng)
        seen = np.ones((192, 192), bool)
        ref, tgt = (Rendered(image, seen) for image in shown)
        found.append(WholeImages(ref, tgt, directions_alone).align([np.eye(3)]))
    same, different = found
    assert same is not None
    assert different is not None
    assert np.abs(same.matrix[:2, 2]).max() < 4
    assert same.peak > different.peak + 2


def test_sides_out_of_bounds_are_refused() -> None:
    with pytest.raises(ConfigError, match="is 10"):
        town(10, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="of 10 px cannot be made"):
        MapPairs(0, 10, 4)


def test_words_are_written_over_a_map_and_none_leaves_it() -> None:
    paper = np.ones((80, 80, 3), np.float32)
    rng = np.random.default_rng(0)
    assert with_words(paper, rng, 0) is paper
    assert 0.01 < (with_words(paper, rng, 6) < 0.9).any(axis=2).mean() < 0.6


def test_a_landscape_map_shows_its_water() -> None:
    ground = landscape((96, 96), 4)
    drawn = landscape_map(ground, np.random.default_rng(1))
    assert drawn.shape == (3, 96, 96)
    water = (ground.labels == WATER).reshape(96, 4, 96, 4).all(axis=(1, 3))
    blue = drawn[2] - drawn[0]
    assert np.median(blue[water]) > 0.2 > np.median(blue[~water])


def test_map_pairs_follow_from_epoch_and_index() -> None:
    pairs = MapPairs(seed=1, size=64, length=40)
    assert len(pairs) == 40
    one, again, other = pairs[0, 3], pairs[0, 3], pairs[1, 3]
    np.testing.assert_array_equal(one.a, again.a)
    assert np.abs(one.a - other.a).mean() > 0.01  # The same town, photographed anew.
    assert one.place == other.place != pairs[0, 9].place
    assert pairs[0, 30].dates == ("photograph", "map")  # Open country.
