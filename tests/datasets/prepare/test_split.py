from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.datasets.prepare.split import Box, Partition, assign_groups, partition

SHARES = {"train": 0.8, "val": 0.2}


def gap(one: Box, other: Box) -> float:
    """Distance of two boxes along the axis on which they are further apart."""
    return max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3], 0.0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    width=st.floats(2, 40),
    height=st.floats(2, 40),
    guard=st.floats(0, 1),
    block=st.sampled_from([None, 1.0, 2.5, 8.0]),
    three=st.booleans(),
)
def test_no_ground_is_in_two_splits(
    seed: int, width: float, height: float, guard: float, block: float | None, three: bool
) -> None:
    rng = np.random.default_rng(seed)
    shares = {"train": 0.6, "val": 0.2, "test": 0.2} if three else SHARES
    ground = partition((0, 0, width, height), 1.0, shares, guard=guard, block=block, rng=rng)
    if ground is None:
        assert (
            max(width, height) < len(shares) + (len(shares) - 1) * guard or min(width, height) < 1
        )
        return
    corners = rng.uniform((0, 0), (width - 1, height - 1), (300, 2))
    boxes = [(x, y, x + 1, y + 1) for x, y in corners]
    dealt = [(box, split) for box in boxes if (split := ground.of(box)) is not None]
    for (one, first), (other, second) in combinations(dealt, 2):
        if first != second:
            assert gap(one, other) >= guard - 1e-9
    areas = ground.areas((0, 0, width, height))
    assert {split for _, split in areas} == set(shares)
    for area, split in areas:
        # The area itself touches its guard, and its edges are rounded.
        left, bottom, right, top = area
        inner = (left + 1e-9, bottom + 1e-9, right - 1e-9, top - 1e-9)
        assert ground.of(inner) == split
    for split in shares:
        # A chip of every split finds room.
        assert any(
            a[2] - a[0] >= 1 - 1e-9 and a[3] - a[1] >= 1 - 1e-9 for a, s in areas if s == split
        )


def test_a_large_place_is_dealt_in_blocks_by_the_shares() -> None:
    ground = partition((0, 0, 43, 43), 1.0, SHARES, guard=0.25, rng=np.random.default_rng(0))
    assert ground is not None
    names = [name for row in ground.cells for name in row]
    assert (len(names), names.count("val")) == (25, 5)


def test_a_small_place_is_cut_once_along_its_longer_side() -> None:
    ground = partition((0, 0, 3, 5), 1.0, SHARES, guard=0.25, rng=np.random.default_rng(0))
    assert ground is not None
    assert (len(ground.x), len(ground.y)) == (0, 1)
    val = next(area for area, split in ground.areas((0, 0, 3, 5)) if split == "val")
    # Room for one chip, and the rest is for training.
    assert val[3] - val[1] == pytest.approx(1.0)


def test_a_place_without_room_is_not_divided() -> None:
    rng = np.random.default_rng(0)
    assert partition((0, 0, 2, 2), 1.0, SHARES, guard=0.25, rng=rng) is None


def test_one_split_takes_everything() -> None:
    ground = partition((0, 0, 1, 1), 1.0, {"train": 1.0}, guard=0.25, rng=np.random.default_rng(0))
    assert ground == Partition((), (), (("train",),), 0.25)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=12), st.integers(0, 99))
def test_groups_stay_whole_and_every_split_gets_one(sizes: list[int], seed: int) -> None:
    weights = {f"event{i}": float(size) for i, size in enumerate(sizes)}
    dealt = assign_groups(weights, SHARES, np.random.default_rng(seed))
    assert set(dealt) == set(weights)
    assert len(set(dealt.values())) == min(2, len(sizes))
    largest = max(weights.values())
    held = sum(weights[name] for name, split in dealt.items() if split == "val")
    # Off the share by no more than a group.
    assert abs(held - 0.2 * sum(weights.values())) <= largest
