from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.geometry.adjustment.graph import AdjustmentOptions, central, solve
from imatch.geometry.adjustment.network import Edge
from imatch.geometry.fit import jacobian
from imatch.geometry.transform import ModelKind, apply_matrix

SIDE = 1000
CORNERS = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], dtype=np.float64)
GRID = np.stack(np.meshgrid(*[np.linspace(50, SIDE - 50, 3)] * 2), axis=-1).reshape(-1, 2)
EXACT = AdjustmentOptions(floor=1e-4)


def random_map(
    rng: np.random.Generator, turn: float = 15, zoom: float = 0.1, shear: float = 0.0
) -> NDArray[np.float64]:
    """A similarity about the middle, sheared if wanted."""
    angle, scale = np.radians(rng.uniform(-turn, turn)), np.exp(rng.uniform(-zoom, zoom))
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[a, -b], [b, a]]) + rng.uniform(-shear, shear, (2, 2))
    middle = np.full(2, SIDE / 2)
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle - linear @ middle + rng.uniform(-80, 80, 2)
    return matrix


def truth(count: int, seed: int, **how: float) -> list[NDArray[np.float64]]:
    """Image frame to the frame of image 0."""
    rng = np.random.default_rng(seed)
    return [np.eye(3), *(random_map(rng, **how) for _ in range(count - 1))]


def measured(
    maps: Sequence[NDArray[np.float64]],
    a: int,
    b: int,
    rng: np.random.Generator,
    *,
    sigma: float = 0.1,
    corner: float = 0.2,
    kind: ModelKind = "similarity",
    scatter: float = 0.0,
    off: NDArray[np.float64] | None = None,
    weak: bool = False,
) -> Edge:
    """A pair with an error drawn from the covariance it states, and more if wanted."""
    there = apply_matrix(np.linalg.inv(maps[b]) @ maps[a], GRID)
    fields = jacobian(kind, np.eye(3), there - there.mean(axis=0))
    linear = np.sqrt(corner**2 - sigma**2) / (SIDE / np.sqrt(2))
    spread = {
        "translation": [sigma, sigma],
        "similarity": [linear, linear, sigma, sigma],
        "affine": [linear, linear, sigma, linear, linear, sigma],
    }[kind]
    design = fields.reshape(-1, len(spread)) * np.array(spread)
    error = design @ rng.normal(size=len(spread))
    if scatter:
        # An orthogonal basis over the points: each mode off by `scatter`, RMS.
        basis, _ = np.linalg.qr(fields.reshape(-1, len(spread)))
        error += basis @ rng.normal(0, scatter * np.sqrt(len(GRID)), len(spread))
    there = there + error.reshape(-1, 2)
    if off is not None:
        there = apply_matrix(off, there)
    return Edge(a, b, GRID, there, design @ design.T, kind, weak)


def network(
    maps: Sequence[NDArray[np.float64]],
    seed: int,
    pairs: Sequence[tuple[int, int]] | None = None,
    **how: Any,
) -> list[Edge]:
    rng = np.random.default_rng([seed, 1])
    return [measured(maps, a, b, rng, **how) for a, b in pairs or combinations(range(len(maps)), 2)]


def errors(found: NDArray[np.float64], maps: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """(n,) largest corner error of each map."""
    gaps = [
        apply_matrix(m, CORNERS) - apply_matrix(t, CORNERS)
        for m, t in zip(found, maps, strict=True)
    ]
    return np.array([np.hypot(*gap.T).max() for gap in gaps])


def exact(
    maps: Sequence[NDArray[np.float64]], pairs: Sequence[tuple[int, int]], **how: Any
) -> list[Edge]:
    """Pairs without error that state some."""
    made = network(maps, 0, pairs, **how)
    return [
        Edge(
            e.a,
            e.b,
            e.a_xy,
            apply_matrix(np.linalg.inv(maps[e.b]) @ maps[e.a], e.a_xy),
            e.covariance,
            e.kind,
        )
        for e in made
    ]


def test_exact_pairs_give_the_exact_maps() -> None:
    maps = truth(6, 1)
    joint = solve(6, exact(maps, list(combinations(range(6), 2))), 0)
    assert joint.model == "similarity"
    assert joint.tied.all()
    assert joint.agrees.all()
    assert errors(joint.matrices, maps).max() < 1e-6
    assert joint.scatter == 0
    assert joint.chi_squared == pytest.approx(0, abs=1e-6)


def test_january_reaches_july_through_april() -> None:
    """No direct pair: the chain gives the map, and its uncertainty is the sum of its links'."""
    maps = truth(3, 2)
    chain = exact(maps, [(0, 1), (1, 2)])
    joint = solve(3, chain, 0, options=AdjustmentOptions("similarity", floor=1e-4))
    assert errors(joint.matrices, maps).max() < 1e-6
    assert joint.freedom == 0
    assert joint.checked == pytest.approx([0, 0], abs=1e-6)
    middle = np.array([[SIDE / 2, SIDE / 2]])
    near, far = (np.trace(joint.covariance(node, middle)[0]) for node in (1, 2))
    assert far > 1.6 * near


@pytest.mark.parametrize("model", ["translation", "similarity", "affine"])
def test_the_simplest_family_that_explains_the_pairs_is_taken(model: ModelKind) -> None:
    families: dict[str, dict[str, float]] = {
        "translation": {"turn": 0, "zoom": 0},
        "similarity": {},
        "affine": {"shear": 0.05},
    }
    maps = truth(7, 3, **families[model])
    joint = solve(7, network(maps, 3, kind=model), 0)
    assert joint.model == model
    assert errors(joint.matrices, maps).max() < 0.6


def test_pairs_as_homographies_are_followed_over_their_points() -> None:
    maps = truth(3, 4)
    edges = exact(maps, [(0, 1), (1, 2), (0, 2)])
    edges = [Edge(e.a, e.b, e.a_xy, e.b_xy, e.covariance, "homography") for e in edges]
    assert errors(solve(3, edges, 0).matrices, maps).max() < 1e-6


def test_stated_covariances_are_believed_and_the_maps_own_ones_hold() -> None:
    """Over many networks chi-squared is its degrees of freedom, and errors are what is stated."""
    ratios, distances = [], []
    place = np.array([[0.7 * SIDE, 0.3 * SIDE]])
    options = AdjustmentOptions("similarity", floor=1e-4, most_scatter=1e-6)
    for seed in range(60):
        maps = truth(5, seed)
        joint = solve(5, network(maps, seed), 0, options=options)
        ratios.append(joint.chi_squared / joint.freedom)
        gap = apply_matrix(np.linalg.inv(joint.matrices[3]), place)
        gap = gap - apply_matrix(np.linalg.inv(maps[3]), place)
        distances.append(float(gap[0] @ np.linalg.solve(joint.covariance(3, place)[0], gap[0])))
    # 60 networks of 24 degrees of freedom; 60 squared Mahalanobis distances of two coordinates.
    assert np.mean(ratios) == pytest.approx(1, abs=0.12)
    assert np.mean(distances) == pytest.approx(2, abs=0.75)


def test_scatter_beyond_what_is_stated_is_found_and_widens_the_bounds() -> None:
    maps = truth(9, 5)
    options = AdjustmentOptions("similarity", floor=1e-4)
    quiet = solve(9, network(maps, 5, sigma=0.02, corner=0.03), 0, options=options)
    loud = solve(9, network(maps, 5, sigma=0.02, corner=0.03, scatter=0.3), 0, options=options)
    assert quiet.scatter < 0.02
    assert loud.scatter == pytest.approx(0.3, rel=0.25)
    assert loud.chi_squared == pytest.approx(loud.freedom, rel=1e-3)
    wide, narrow = (np.trace(j.covariance(4, CORNERS)[0]) for j in (loud, quiet))
    assert wide > 20 * narrow


@pytest.mark.parametrize("seed", range(4))
def test_wrong_pairs_are_switched_off_and_named(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = truth(8, seed)
    pairs = list(combinations(range(8), 2))
    wrong = set(rng.permutation(len(pairs))[:7].tolist())
    edges = [
        # A wrong pair states to be the most precise of all.
        measured(maps, a, b, rng, sigma=0.01, corner=0.02, off=random_map(rng, 10))
        if i in wrong
        else measured(maps, a, b, rng)
        for i, (a, b) in enumerate(pairs)
    ]
    joint = solve(8, edges, 0)
    assert set(np.flatnonzero(joint.rejected).tolist()) == wrong
    assert (joint.agrees == ~joint.rejected).all()
    assert joint.tied.all()
    assert errors(joint.matrices, maps).max() < 0.6
    assert joint.residual[list(wrong)].min() > 5
    assert joint.misfit[joint.agrees].max() < 10


def test_a_pair_a_few_pixels_off_is_switched_off_too() -> None:
    maps = truth(7, 6)
    edges = network(maps, 6)
    off = np.array([[1, 0, 2.5], [0, 1, -2.0], [0, 0, 1]])
    spoilt = edges[4]
    edges[4] = Edge(
        spoilt.a,
        spoilt.b,
        spoilt.a_xy,
        apply_matrix(off, spoilt.b_xy),
        spoilt.covariance,
        "similarity",
    )
    joint = solve(7, edges, 0)
    assert np.flatnonzero(joint.rejected).tolist() == [4]


def test_what_is_not_connected_is_not_tied() -> None:
    maps = truth(6, 7)
    joint = solve(6, network(maps, 7, [(0, 1), (1, 2), (0, 2), (3, 4)]), 0)
    assert joint.tied.tolist() == [True] * 3 + [False] * 3
    assert np.isnan(joint.matrices[3:]).all()
    assert np.isnan(joint.covariance(4, CORNERS)).all()
    assert joint.agrees.tolist() == [True] * 3 + [False]
    assert not joint.rejected.any()
    assert np.isnan(joint.residual[3])


def test_no_pairs_at_all_leave_the_reference() -> None:
    joint = solve(3, [], 1)
    assert joint.tied.tolist() == [False, True, False]
    np.testing.assert_array_equal(joint.matrices[1], np.eye(3))
    assert joint.freedom == 0


def test_a_weak_pair_counts_only_where_a_loop_confirms_it() -> None:
    maps = truth(5, 8)
    rng = np.random.default_rng(8)
    sure = [measured(maps, a, b, rng) for a, b in [(0, 1), (1, 2), (0, 2)]]
    confirmed = [measured(maps, a, 3, rng, weak=True) for a in (0, 2)]
    lonely = [measured(maps, 1, 4, rng, weak=True)]
    joint = solve(5, [*sure, *confirmed, *lonely], 0)
    assert joint.agrees.tolist() == [True] * 5 + [False]
    assert joint.tied.tolist() == [True] * 4 + [False]
    assert not joint.rejected.any()
    contradicted = [
        confirmed[0],
        measured(maps, 2, 3, rng, weak=True, off=random_map(rng)),
    ]
    joint = solve(4, [*sure, *contradicted], 0)
    assert joint.tied.tolist() == [True] * 3 + [False]


def test_weak_pairs_do_not_move_what_sure_ones_say() -> None:
    maps = truth(4, 9)
    rng = np.random.default_rng(9)
    sure = [measured(maps, a, b, rng) for a, b in combinations(range(4), 2)]
    wrong = [measured(maps, 0, b, rng, weak=True, off=random_map(rng)) for b in (1, 2, 3)]
    alone, with_wrong = solve(4, sure, 0), solve(4, [*sure, *wrong], 0)
    assert with_wrong.rejected.tolist() == [False] * 6 + [True] * 3
    np.testing.assert_allclose(with_wrong.matrices, alone.matrices, atol=1e-5)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), reference=st.integers(1, 5))
def test_the_answer_does_not_depend_on_which_image_is_held_fixed(seed: int, reference: int) -> None:
    maps = truth(6, seed)
    edges = network(maps, seed, sigma=0.2, corner=0.5)
    options = AdjustmentOptions("similarity")
    one, other = solve(6, edges, 0, options=options), solve(6, edges, reference, options=options)
    # Into the frame of the other reference.
    changed = np.linalg.inv(one.matrices[reference]) @ one.matrices
    for node in range(6):
        gap = apply_matrix(changed[node], CORNERS) - apply_matrix(other.matrices[node], CORNERS)
        assert np.abs(gap).max() < 1e-5
    assert one.scatter == pytest.approx(other.scatter, abs=1e-5)
    np.testing.assert_allclose(one.residual, other.residual, atol=1e-5)
    np.testing.assert_allclose(one.checked, other.checked, atol=1e-4)


@settings(max_examples=12, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_order_of_images_and_pairs_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps = truth(6, seed)
    edges = network(maps, seed)
    edges[3] = measured(maps, edges[3].a, edges[3].b, rng, off=random_map(rng, 5))
    place, order = rng.permutation(6), rng.permutation(len(edges))
    shuffled = [
        Edge(int(place[e.a]), int(place[e.b]), e.a_xy, e.b_xy, e.covariance, e.kind)
        for e in (edges[i] for i in order)
    ]
    one, other = solve(6, edges, 2), solve(6, shuffled, int(place[2]))
    assert one.model == other.model
    np.testing.assert_allclose(other.matrices[place], one.matrices, atol=1e-5)
    assert (other.rejected == one.rejected[order]).all()


def test_a_pair_may_be_told_either_way_round() -> None:
    """Translations, whose covariances are the same in both frames."""
    maps = truth(5, 10, turn=0, zoom=0)
    edges = network(maps, 10, kind="translation")
    turned = [Edge(e.b, e.a, e.b_xy, e.a_xy, e.covariance, e.kind) for e in edges]
    options = AdjustmentOptions("translation")
    one, other = solve(5, edges, 0, options=options), solve(5, turned, 0, options=options)
    np.testing.assert_allclose(one.matrices, other.matrices, atol=1e-6)


def test_frames_may_be_metres_of_any_map() -> None:
    """Large coordinates and long pixels: the same answer as in pixels."""
    maps = truth(5, 11)
    edges = network(maps, 11)
    to_map = np.array([[107.2, 0, 4e5], [0, -107.2, 5.6e6], [0, 0, 1]])
    # Rows run down and the map runs up, which turns a rotation but not its family.
    turned = np.kron(np.eye(len(GRID)), to_map[:2, :2])
    mapped = [
        Edge(
            e.a,
            e.b,
            apply_matrix(to_map, e.a_xy),
            apply_matrix(to_map, e.b_xy),
            turned @ e.covariance @ turned.T,
            e.kind,
        )
        for e in edges
    ]
    pixels, metres = solve(5, edges, 0), solve(5, mapped, 0, pixel=107.2)
    assert metres.model == pixels.model
    back = np.linalg.inv(to_map) @ metres.matrices @ to_map
    np.testing.assert_allclose(
        apply_matrix(back[3], CORNERS), apply_matrix(pixels.matrices[3], CORNERS), atol=1e-4
    )
    np.testing.assert_allclose(metres.residual, pixels.residual, rtol=1e-3, atol=1e-5)
    assert metres.scatter == pytest.approx(pixels.scatter, abs=1e-4)


def test_the_covariance_of_the_reference_is_none_and_grows_with_the_scatter() -> None:
    maps = truth(5, 12)
    joint = solve(5, network(maps, 12, scatter=0.4), 0)
    assert not joint.covariance(0, CORNERS).any()
    own, shared = (joint.covariance(2, CORNERS, own=own) for own in (True, False))
    np.testing.assert_allclose(
        own - shared, np.broadcast_to(joint.scatter**2 * np.eye(2), own.shape), atol=1e-9
    )


def test_every_pair_of_a_dense_network_is_checked_by_others() -> None:
    maps = truth(6, 13)
    edges = network(maps, 13)
    joint = solve(6, edges, 0, options=AdjustmentOptions("similarity"))
    # Redundancies of all pairs sum up to the degrees of freedom (Baarda, 1968).
    assert (joint.checked * 4).sum() == pytest.approx(joint.freedom, rel=1e-6)
    assert joint.checked.min() > 0.3


def test_the_central_image_is_the_one_with_the_shortest_ways() -> None:
    maps = truth(5, 14)
    star = network(maps, 14, [(0, 3), (1, 3), (2, 3), (4, 3)])
    assert central(5, star) == 3
    rng = np.random.default_rng(14)
    # The hub of weak pairs is no good middle.
    weak = [measured(maps, a, 0, rng, weak=True) for a in (1, 2, 3, 4)]
    assert central(5, [*weak, *network(maps, 14, [(1, 2), (2, 3), (3, 4)])]) in (2, 3)
