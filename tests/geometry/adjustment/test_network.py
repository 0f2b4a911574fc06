from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.geometry.adjustment.network import (
    Edge,
    bridges,
    components,
    loops,
    reliable_tree,
    support,
    triangle_votes,
)
from imatch.geometry.transform import apply_matrix

POINTS = np.array([[0, 0], [100, 0], [100, 100], [0, 100], [50, 50.0]])
PIXEL = np.ones(9)


def shift(dx: float, dy: float = 0.0) -> NDArray[np.float64]:
    return np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]])


def pair(a: int, b: int, dx: float = 0.0, *, weak: bool = False, sigma: float = 0.1) -> Edge:
    """Image b shows what image a shows, `dx` pixels further right."""
    return Edge(
        a, b, POINTS, apply_matrix(shift(dx), POINTS), sigma**2 * np.eye(10), "similarity", weak
    )


def used(edges: Sequence[Edge]) -> NDArray[np.bool_]:
    return np.ones(len(edges), dtype=bool)


def test_an_edge_gives_back_the_transform_its_points_were_made_by() -> None:
    matrix = np.array([[1.1, 0.2, 3], [-0.1, 0.9, 4], [1e-4, 2e-4, 1]])
    homography = Edge(0, 1, POINTS, apply_matrix(matrix, POINTS), np.eye(10), "homography")
    np.testing.assert_allclose(homography.matrix, matrix, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2])
def test_an_edge_needs_points_that_span_a_plane(count: int) -> None:
    with pytest.raises(ValueError, match="3 points or more"):
        Edge(0, 1, POINTS[:count], POINTS[:count], np.eye(2 * count))


def test_an_edge_joins_two_images_and_its_covariance_fits_its_points() -> None:
    with pytest.raises(ValueError, match="joins two images"):
        pair(1, 1)
    with pytest.raises(ValueError, match="covariance"):
        Edge(0, 1, POINTS, POINTS, np.eye(4))


def test_components_are_told_apart_by_the_edges_in_use() -> None:
    edges = [pair(0, 1), pair(1, 2), pair(3, 4)]
    label = components(6, edges, used(edges))
    assert label[0] == label[1] == label[2]
    assert label[3] == label[4]
    assert len(set(label.tolist())) == 3
    without = components(6, edges, np.array([True, False, True]))
    assert without[1] != without[2]


def test_bridges_are_the_edges_on_no_loop() -> None:
    #  0-1-2-0 is a loop, 3 and 4 hang on it one after the other, 5-6 stands apart.
    edges = [pair(0, 1), pair(1, 2), pair(2, 0), pair(2, 3), pair(3, 4), pair(5, 6)]
    assert bridges(7, edges, used(edges)).tolist() == [False] * 3 + [True] * 3
    opened = np.array([True, True, False, True, True, True])
    assert bridges(7, edges, opened).tolist() == [True, True, False, True, True, True]


def test_two_pairs_of_the_same_images_are_no_bridge() -> None:
    edges = [pair(0, 1), pair(0, 1)]
    assert not bridges(2, edges, used(edges)).any()


def test_a_pair_that_closes_no_triangle_has_few_votes() -> None:
    edges = [
        pair(i, j, dx=40 if (i, j) == (0, 3) else 0) for i in range(5) for j in range(i + 1, 5)
    ]
    votes = triangle_votes(5, edges, PIXEL)
    wrong = next(i for i, edge in enumerate(edges) if (edge.a, edge.b) == (0, 3))
    assert votes[wrong] < 0.25
    assert np.delete(votes, wrong).min() > 0.55


def test_the_reliable_tree_avoids_wrong_and_weak_pairs() -> None:
    edges = [
        pair(0, 1, dx=40, sigma=0.001),  # precise, and wrong
        pair(0, 2),
        pair(1, 2),
        pair(0, 3, weak=True),
        pair(1, 3),
        pair(2, 3),
    ]
    tree = set(reliable_tree(4, edges, PIXEL).tolist())
    assert len(tree) == 3
    assert not tree & {0, 3}


def test_loops_are_as_many_as_independent_ones_and_close_by_what_was_put_in() -> None:
    # All pairs agree but for the one from 2 to 3, which is 7 pixels off.
    edges = [pair(i, j, dx=7 if (i, j) == (2, 3) else 0) for i in range(4) for j in range(i + 1, 4)]
    found = loops(0, 4, edges, used(edges))
    assert len(found) == len(edges) - 3
    for loop in found:
        assert len(loop.nodes) == len(loop.edges) == 3
        ends = [{edges[i].a, edges[i].b} for i in loop.edges]
        around = [*loop.nodes, loop.nodes[0]]
        assert ends == [{around[i], around[i + 1]} for i in range(3)]
        through = any({2, 3} == pair_ends for pair_ends in ends)
        assert loop.closure == pytest.approx(7.0 if through else 0.0, abs=1e-9)


def test_loops_far_from_the_root_and_apart_from_it_are_found_too() -> None:
    ring = [pair(2, 3, 1), pair(3, 4, 1), pair(4, 5, 1), pair(5, 2, 1)]
    apart = [pair(6, 7, 1), pair(7, 8, 1), pair(8, 6, -2)]
    edges = [pair(0, 1), pair(1, 2), *ring, *apart]
    found = loops(0, 9, edges, used(edges))
    assert sorted(round(loop.closure, 6) for loop in found) == [0.0, 4.0]
    assert {frozenset(loop.nodes) for loop in found} == {
        frozenset({2, 3, 4, 5}),
        frozenset({6, 7, 8}),
    }


def test_support_counts_ways_that_share_no_pair() -> None:
    edges = [pair(0, 1), pair(1, 3), pair(0, 2), pair(2, 3), pair(3, 4)]
    none = np.zeros(len(edges), dtype=bool)
    assert support(0, 3, 5, edges, used(edges), none).sure == 2
    assert support(0, 4, 5, edges, used(edges), none).sure == 1


def test_weak_pairs_support_half_and_never_alone() -> None:
    edges = [pair(0, 1, weak=True), pair(0, 2), pair(1, 2, weak=True)]
    held = support(0, 1, 3, edges, used(edges), np.zeros(3, dtype=bool))
    assert held.sure == 0
    assert held.agreeing == 1


def test_what_contradicts_counts_where_the_ways_are_narrowest() -> None:
    # 3 and 4 hang together on 0 by one pair, and a sure pair that was set aside says otherwise.
    edges = [pair(0, 1), pair(0, 3), pair(3, 4), pair(1, 4, dx=30), pair(1, 3, dx=30, weak=True)]
    agrees = np.array([True, True, True, False, False])
    held = support(0, 4, 5, edges, agrees, ~agrees)
    assert (held.sure, held.against) == (1, 1)
    assert support(0, 1, 5, edges, agrees, ~agrees).against == 1
