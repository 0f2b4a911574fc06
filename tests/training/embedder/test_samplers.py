from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.training.embedder.chips import Layout, PlaceChips
from imatch.training.embedder.config import EmbedderConfig
from imatch.training.embedder.samplers import (
    Cluster,
    LabelledChips,
    Proportions,
    Random,
    Recipe,
    TileDistance,
    make_sampler,
)

Configure = Callable[..., EmbedderConfig]


@pytest.fixture(scope="module")
def layout(data: Path) -> Layout:
    return PlaceChips(data, "train").layout


def halves(layout: Layout) -> NDArray[np.float32]:
    """Woods in the west, water in the east, mixed between."""
    x = layout.xy[:, 0] - layout.xy[:, 0].min()
    water = np.clip((x - 1) / 3, 0, 1)
    return np.stack([1 - water, water], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    "kind", ["recipe", "random", "cluster", "tile-distance", "labels", "proportions"]
)
def test_plans_follow_from_seed_and_step(kind: str, layout: Layout, configure: Configure) -> None:
    labels = ["labels.path=map.tif"] if kind in ("labels", "proportions") else []
    loss = ["loss.kind=triplet"]
    config = configure(f"sampler.kind={kind}", "sampler.negative=[2,9]", *loss, *labels)
    one, two = (make_sampler(config, layout, halves(layout)) for _ in range(2))
    for step in (3, 0):
        a, b = one.plan(step), two.plan(step)
        assert np.array_equal(a.chips, b.chips)
        assert np.array_equal(a.crops, b.crops)
        assert len(a.labels) == len(a.crops) == len(a.chips)
        assert set(a.crops) <= {0, 1, 2, 3}
    assert not np.array_equal(one.plan(0).chips, one.plan(1).chips)


def test_recipe_keeps_season_and_block(layout: Layout) -> None:
    sampler = Recipe(layout, 16, block=3)
    for step in range(5):
        plan = sampler.plan(step)
        assert plan.triplets is not None
        for a, p, n in plan.chips[plan.triplets]:
            assert layout.place[a] == layout.place[p] != layout.place[n]
            assert layout.when[a] == layout.when[n] != layout.when[p]
            cells = np.floor(layout.xy[[a, n]] / 3)
            assert np.array_equal(cells[0], cells[1])


def test_recipe_needs_neighbours(layout: Layout) -> None:
    lonely = Layout(layout.place, layout.when, layout.place, layout.xy)
    with pytest.raises(ConfigError, match="no block has two places of one season"):
        Recipe(lonely, 4)


def test_random_takes_different_seasons_of_different_places(layout: Layout) -> None:
    plan = Random(layout, 6, 3, shifts=1).plan(0)
    assert len(np.unique(plan.labels)) == 6
    for label in np.unique(plan.labels):
        own = plan.chips[plan.labels == label]
        assert len(np.unique(layout.place[own])) == 1
        assert len(np.unique(layout.when[own])) == 3
    assert set(plan.crops) == {-1}


def test_more_is_asked_for_than_there_is(layout: Layout) -> None:
    plan = Random(layout, 100, 5).plan(0)
    assert len(np.unique(plan.labels)) == 24
    assert len(plan.chips) == 24 * 5


def test_one_occasion_is_not_enough(layout: Layout) -> None:
    once = Layout(layout.place, np.zeros_like(layout.when), layout.grid, layout.xy)
    with pytest.raises(ConfigError, match=r"0 place\(s\) with chips of two seasons"):
        Random(once, 4, 2)


def test_clusters_are_neighbours(layout: Layout) -> None:
    plan = Cluster(layout, 4, 2, cluster=4).plan(1)
    far = [layout.far(int(plan.chips[0]), plan.chips).max()]
    assert max(far) <= 3
    spread = Random(layout, 4, 2).plan(1)
    assert layout.far(int(spread.chips[0]), spread.chips).max() > 1


def test_confused_places_come_together(layout: Layout) -> None:
    sampler = Random(layout, 6, 2)
    rival = (layout.place + 1) % 24
    first = np.array([np.flatnonzero(layout.place == place)[0] for place in range(24)])
    sampler.confused = first[rival][:, None]
    sampler.share = 0.5
    places = set(layout.place[sampler.plan(0).chips].tolist())
    assert len(places) == 6
    assert sum((place + 1) % 24 in places for place in places) >= 3


def test_tile_distances_are_kept(layout: Layout) -> None:
    plan = TileDistance(layout, 12, positive=(0, 1), negative=(3, 4)).plan(2)
    assert plan.triplets is not None
    for a, p, n in plan.chips[plan.triplets]:
        assert layout.far(int(a), np.array([p]))[0] <= 1
        assert 3 <= layout.far(int(a), np.array([n]))[0] <= 4
        assert a != p
    with pytest.raises(ConfigError, match=r"widen sampler\.positive or"):
        TileDistance(layout, 4, positive=(0, 1), negative=(50, 60))


def test_labels_take_what_one_class_dominates(layout: Layout) -> None:
    shares = halves(layout)
    plan = LabelledChips(shares, 4, 5, dominance=0.9).plan(0)
    assert sorted(np.unique(plan.labels)) == [0, 1]
    assert (shares[plan.chips, plan.labels] >= 0.9).all()
    with pytest.raises(ConfigError, match=r"0 class\(es\) dominate two chips"):
        LabelledChips(np.full_like(shares, 0.5), 4, 5, dominance=0.9)


def test_proportions_separate_mixtures(layout: Layout) -> None:
    shares = halves(layout)
    plan = Proportions(shares, 10, alike=0.9, unlike=0.4).plan(0)
    assert plan.triplets is not None
    for a, p, n in plan.chips[plan.triplets]:
        assert np.minimum(shares[a], shares[p]).sum() >= 0.9
        assert np.minimum(shares[a], shares[n]).sum() <= 0.4
    with pytest.raises(ConfigError, match="no chip has both a mixture like its own"):
        Proportions(np.full_like(shares, 0.5), 4, alike=0.9, unlike=0.4)
