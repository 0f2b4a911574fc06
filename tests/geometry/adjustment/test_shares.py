"""What images carry into all their pairs is not averaged out by pairs, nor shrunk by loops."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from imatch.geometry.adjustment.graph import solve
from imatch.geometry.adjustment.network import Edge
from imatch.geometry.adjustment.shares import systematic_variances

PLACES = np.array([[0, 0], [900, 0], [900, 900], [0, 900], [450, 450]], dtype=np.float64)


def edge(
    a: int,
    b: int,
    systematic: tuple[float, float],
    moved: tuple[float, float] = (0, 0),
    sd: float = 0.05,
) -> Edge:
    shift = np.asarray(np.kron(np.ones((5, 5)), sd**2 * np.eye(2)), dtype=np.float64)
    return Edge(a, b, PLACES, PLACES + np.array(moved), shift, "translation", False, systematic)


def test_a_pair_alone_keeps_what_it_states() -> None:
    found = systematic_variances(2, [edge(0, 1, (0.09, 0.04))], np.array([True]), np.ones(2))
    np.testing.assert_allclose(found.sum(axis=0), [0.09, 0.04], rtol=1e-3)


def test_shares_are_those_that_the_pairs_were_made_of() -> None:
    own = np.array([[0.01, 0.02], [0.09, 0.0], [0.04, 0.01], [0.16, 0.05]])
    pairs = list(combinations(range(4), 2))
    edges = [edge(a, b, (float(x), float(y))) for a, b in pairs for x, y in [own[a] + own[b]]]
    found = systematic_variances(4, edges, np.ones(6, dtype=bool), np.ones(4))
    np.testing.assert_allclose(found, own, atol=2e-3)


def test_a_chain_shares_alike_and_loses_nothing() -> None:
    edges = [edge(0, 1, (0.08, 0.08)), edge(1, 2, (0.08, 0.08))]
    found = systematic_variances(3, edges, np.ones(2, dtype=bool), np.ones(3))
    np.testing.assert_allclose(found, 0.04, rtol=1e-2)


def test_pairs_that_do_not_count_say_nothing() -> None:
    edges = [edge(0, 1, (0.08, 0.08)), edge(1, 2, (9.0, 9.0))]
    found = systematic_variances(3, edges, np.array([True, False]), np.ones(3))
    assert not found[2].any()
    np.testing.assert_allclose(found[:2].sum(axis=0), 0.08, rtol=1e-2)


def test_frames_of_other_units_are_brought_to_the_reference() -> None:
    found = systematic_variances(
        2, [edge(0, 1, (0.04, 0.04))], np.array([True]), np.array([1, 2.0])
    )
    np.testing.assert_allclose(found.sum(axis=0), 4 * 0.04, rtol=1e-3)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_loops_do_not_shrink_the_interval(count: int) -> None:
    """Each image lies off by its own appearance: loops close exactly, and all are wrong."""
    rng = np.random.default_rng(count)
    off = rng.normal(0, 0.3, (count, 2))
    pairs = list(combinations(range(count), 2))
    edges = [
        edge(a, b, (2 * 0.3**2, 2 * 0.3**2), (float(x), float(y)))
        for a, b in pairs
        for x, y in [off[b] - off[a]]
    ]
    joint = solve(count, edges, 0)
    assert joint.agrees.all()
    assert joint.scatter < 0.05
    for node in range(1, count):
        sd = np.sqrt(np.diagonal(joint.covariance(node, PLACES), axis1=1, axis2=2))
        assert sd.min() > 0.98 * np.sqrt(2) * 0.3
        assert sd.max() < 1.2 * np.sqrt(2) * 0.3
    assert not joint.covariance(0, PLACES).any()


def test_the_stated_intervals_hold_what_images_carry() -> None:
    held = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        off = rng.normal(0, 0.3, (5, 2))
        edges = []
        for a, b in combinations(range(5), 2):
            x, y = off[b] - off[a] + rng.normal(0, 0.05, 2)
            edges.append(edge(a, b, (0.18, 0.18), (float(x), float(y))))
        joint = solve(5, edges, 0)
        for node in range(1, 5):
            back = np.linalg.inv(joint.matrices[node])
            error = back[:2, 2] + (back[:2, :2] - np.eye(2)) @ PLACES[4]
            sd = np.sqrt(np.diag(joint.covariance(node, PLACES[4:])[0]))
            held += (np.abs(error) < 1.96 * sd).tolist()
    assert 0.9 < np.mean(held) <= 1.0
