"""Network adjustment: least-squares transforms of all images from pairwise registrations.

Every image i gets a map ``B_i`` from its frame to that of the reference. A pair that puts point u
of image a at v in image b, give or take a covariance, asks for ``B_b⁻¹(B_a(u)) = v``. All pairs
together are solved by Gauss-Newton on sparse normal equations, each weighted by its covariance.
Since only ``B_b⁻¹ B_a`` is compared with what was measured, the answer does not depend on which
image is held fixed.

A wrong pair is wrong as a whole, so weights are given to whole pairs: first a sum of lengths, which
the majority wins wherever one begins, then a redescending function (Chatterjee & Govindu, ICCV
2013), and in the end each pair counts fully or not at all. Pairs disagree by more than they state,
as sun and season shift what they see; that scatter is estimated along with the maps (a variance
component, Paule & Mandel 1982) and added to what every pair states. What season and sun move in an
image, all its pairs share: round a loop it cancels, so pairs are weighed without it, and what is
known of an image's place holds it undiminished.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from imatch.core.types import BoolArray
from imatch.geometry.adjustment.equations import JOINT_MODELS, Equations, JointModel
from imatch.geometry.adjustment.network import Edge, bridges, components
from imatch.geometry.adjustment.shares import systematic_variances
from imatch.geometry.fit import PARAMETERS, jacobian
from imatch.geometry.transform import apply_matrix

# At first all pairs count about alike, so that a precise one cannot outvote the others.
_FIRST_SCATTER = 1.0
_ROUNDS, _STEPS = 12, 8
# Weak pairs are this many times as long as sure ones, when the middle of a network is sought.
_WEAK_LENGTH = 10.0


@dataclass(frozen=True)
class AdjustmentOptions:
    """Settings of a network adjustment.

    Attributes:
        model: Family of the maps; None for the simplest that explains the pairs.
        floor: Least standard deviation, in pixels, of each way in which a pair can be off.
        most_scatter: Largest scatter between pairs, in pixels; what disagrees more is wrong.
    """

    model: JointModel | None = None
    floor: float = 0.05
    most_scatter: float = 2.0


@dataclass(frozen=True, eq=False)
class Adjustment:
    """Adjusted transforms of n images and their accuracy, from m pairs.

    Attributes:
        model: Family of the maps.
        reference: Index of the image that is held fixed.
        matrices: (n, 3, 3) image frame to the reference's frame; NaN where not tied.
        tied: (n,) bool, connected to the reference by pairs that count.
        agrees: (m,) bool, pairs that count.
        rejected: (m,) bool, pairs between tied images that contradict the rest.
        residual: (m,) RMS distance of what a pair says from the solution, pixels of its target;
            NaN where one of its images is not tied.
        misfit: (m,) the same squared and weighed, over what is expected of a right pair: about 1.
        checked: (m,) share of a pair that counts which others check: 0 for one that nothing else
            confirms; NaN for those that do not count.
        scatter: Standard deviation, in pixels, by which pairs disagree beyond what they state.
        chi_squared: Weighted sum of squared residuals of the pairs that count.
        freedom: Its degrees of freedom: 0 where there are no loops.
        pixel: (n,) length of a pixel in each frame.
        covariances: (n, p, p) of the parameters, in normalised frames.
        scales: (n, 3, 3) those normalisations.
        systematic: (n, 2) variance along x and y of what an image and the reference show alike in
            all their pairs, in the image's frame.
    """

    model: JointModel
    reference: int
    matrices: NDArray[np.float64]
    tied: BoolArray
    agrees: BoolArray
    rejected: BoolArray
    residual: NDArray[np.float64]
    misfit: NDArray[np.float64]
    checked: NDArray[np.float64]
    scatter: float
    chi_squared: float
    freedom: int
    pixel: NDArray[np.float64]
    covariances: NDArray[np.float64]
    scales: NDArray[np.float64]
    systematic: NDArray[np.float64]

    def covariance(self, node: int, xy: ArrayLike, *, own: bool = True) -> NDArray[np.float64]:
        """Returns the covariance of reference positions mapped into an image.

        Args:
            node: The image.
            xy: (N, 2) places in the reference's frame.
            own: Add what shifts an image alike in all its pairs, which no loop can show: what the
                pairs state of it, or the scatter once more where that is larger.

        Returns:
            (N, 2, 2) covariance in the image's frame; zero for the reference, NaN if not tied.
        """
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        if node == self.reference:
            return np.zeros((len(points), 2, 2))
        if not self.tied[node]:
            return np.full((len(points), 2, 2), np.nan)
        scale, common = self.scales[node], self.scales[self.reference]
        there = apply_matrix(np.linalg.inv(self.matrices[node]), points)
        inner = common @ self.matrices[node] @ np.linalg.inv(scale)
        back = np.linalg.inv(scale[:2, :2]) @ np.linalg.inv(inner[:2, :2])
        spread = back @ jacobian(self.model, inner, apply_matrix(scale, there))
        found = spread @ self.covariances[node] @ np.swapaxes(spread, 1, 2)
        alike = np.zeros(2)
        if own:
            alike = np.maximum((self.scatter * self.pixel[node]) ** 2, self.systematic[node])
        return np.asarray(found + np.diag(alike))


def solve(
    count: int,
    edges: Sequence[Edge],
    reference: int,
    *,
    pixel: ArrayLike = 1.0,
    options: AdjustmentOptions | None = None,
) -> Adjustment:
    """Solve all images' maps together.

    A pair that is not sure of itself (`Edge.weak`) counts only where a loop confirms it.

    Args:
        count: Number of images, n.
        edges: Pairs, m.
        reference: The image that is held fixed.
        pixel: Length of a pixel in each image's frame, (n,) or one for all.
        options: How to solve.

    Returns:
        The solution; images that no chain of agreeing pairs connects to the reference are not tied.
    """
    options = options or AdjustmentOptions()
    lengths = np.broadcast_to(np.asarray(pixel, dtype=np.float64), (count,)).copy()
    kinds = JOINT_MODELS if options.model is None else (options.model,)
    # What is not tied is NaN throughout, and BLAS raises spurious flags besides.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        found = [_solve(count, edges, reference, lengths, options, kind) for kind in kinds]
        return found[0] if len(found) == 1 else _simplest(found, edges, options)


def central(count: int, edges: Sequence[Edge], pixel: ArrayLike = 1.0) -> int:
    """The image from which the others are reached by the fewest and surest pairs.

    Of the images in the largest connected part, the one with the least sum of path lengths, a pair
    being as long as its variance in pixels plus a constant; weak pairs count ten times.
    """
    lengths = np.broadcast_to(np.asarray(pixel, dtype=np.float64), (count,))
    label = components(count, edges, np.ones(len(edges), dtype=bool))
    largest = int(np.bincount(label).argmax())
    shortest: dict[tuple[int, int], float] = {}
    for edge in edges:
        ends = min(edge.a, edge.b), max(edge.a, edge.b)
        long = (0.25 + (edge.total / lengths[edge.b]) ** 2) * (_WEAK_LENGTH if edge.weak else 1.0)
        shortest[ends] = min(long, shortest.get(ends, math.inf))
    ends_of = np.array(list(shortest)).reshape(-1, 2)
    graph = coo_array(
        (np.array(list(shortest.values())), (ends_of[:, 0], ends_of[:, 1])), shape=(count, count)
    ).tocsr()
    inside = np.flatnonzero(label == largest)
    far = dijkstra(graph, directed=False, indices=inside)[:, inside].sum(axis=1)
    return int(inside[far.argmin()])


def _simplest(
    found: list[Adjustment], edges: Sequence[Edge], options: AdjustmentOptions
) -> Adjustment:
    """The simplest family that explains the pairs, by Schwarz's criterion (BIC, 1978).

    All are held against the scatter of the richest, on the pairs that count in it.
    """
    best = found[-1]
    use = best.agrees
    if not use.any():
        return found[0]
    system = Equations(
        len(best.tied),
        edges,
        best.pixel,
        best.model,
        best.reference,
        options.floor,
        options.most_scatter,
    )
    rows = float(system.modes[use].sum())

    def criterion(joint: Adjustment) -> float:
        if (joint.tied != best.tied).any():
            return math.inf
        squared = system.misfits(system.inner(joint.matrices), best.scatter)
        parameters = PARAMETERS[joint.model] * (int(joint.tied.sum()) - 1)
        return float(squared[use].sum() + parameters * math.log(rows))

    return min(found, key=criterion)


def _solve(
    count: int,
    edges: Sequence[Edge],
    reference: int,
    pixel: NDArray[np.float64],
    options: AdjustmentOptions,
    model: JointModel,
) -> Adjustment:
    label = components(count, edges, np.ones(len(edges), dtype=bool))
    tied = label == label[reference]
    within = np.array([tied[edge.a] for edge in edges], dtype=bool)
    system = Equations(count, edges, pixel, model, reference, options.floor, options.most_scatter)
    inner = system.start(tied)
    if not within.any():
        return _report(system, inner, tied, within, 0.0)
    # A sum of lengths first: nearly half of an image's pairs may be wrong by any amount.
    first = min(_FIRST_SCATTER, options.most_scatter)
    inner = system.iterate(inner, tied, within, first, _lengths)
    for _ in range(_ROUNDS):
        scatter = system.typical_scatter(inner, within)
        inner = system.iterate(inner, tied, within, scatter, _redescending_weights, _STEPS)
    # Then whole pairs, in or out, until the choice stands.
    agrees = within
    for _ in range(_ROUNDS):
        before = agrees
        agrees = within & (system.misfits(inner, scatter) <= system.improbable)
        agrees, tied = _without_unconfirmed(count, edges, agrees, reference)
        inner = system.iterate(inner, tied, agrees, scatter, _equal)
        scatter = system.scatter(inner, tied, agrees)
        if (agrees == before).all():
            break
    inner = system.iterate(inner, tied, agrees, scatter, _equal)
    return _report(system, inner, tied, agrees, scatter)


def _report(
    system: Equations,
    inner: NDArray[np.float64],
    tied: BoolArray,
    agrees: BoolArray,
    scatter: float,
) -> Adjustment:
    """Converts the solution to the caller's frames and reports its accuracy."""
    both = tied[system.a] & tied[system.b]
    covariances, checked = system.precision(inner, tied, agrees, scatter)
    squared = np.where(both, system.misfits(inner, scatter), np.nan)
    matrices = np.linalg.inv(system.scales[system.reference]) @ inner @ system.scales
    scale = np.sqrt(np.abs(np.linalg.det(matrices[:, :2, :2])))
    own = systematic_variances(system.count, system.edges, agrees, scale)
    own = (own + own[system.reference]) / scale[:, None] ** 2
    own[system.reference] = 0.0
    return Adjustment(
        system.model,
        system.reference,
        np.where(tied[:, None, None], matrices, np.nan),
        tied,
        agrees,
        both & (squared > system.improbable) & ~agrees,
        np.where(both, system.residuals(inner), np.nan),
        squared / system.modes,
        checked,
        scatter,
        float(squared[agrees].sum()),
        max(system.freedom(tied, agrees), 0),
        system.pixel,
        covariances,
        system.scales,
        np.where(tied[:, None], own, np.nan),
    )


def _without_unconfirmed(
    count: int, edges: Sequence[Edge], agrees: BoolArray, reference: int
) -> tuple[BoolArray, BoolArray]:
    """Drops weak pairs that no loop confirms, and the images that they alone tie."""
    weak = np.array([edge.weak for edge in edges], dtype=bool)
    while (lonely := bridges(count, edges, agrees) & weak).any():
        agrees = agrees & ~lonely
    label = components(count, edges, agrees)
    tied = label == label[reference]
    return agrees & np.array([tied[edge.a] for edge in edges], dtype=bool), tied


def _lengths(squared: NDArray[np.float64], _cut: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(1 / np.sqrt(np.maximum(squared, 1.0)))


def _redescending_weights(
    squared: NDArray[np.float64], cut: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns weights that fall with the misfit (Geman and McClure, 1985)."""
    return np.asarray(1 / (1 + squared / cut) ** 2)


def _equal(squared: NDArray[np.float64], _cut: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ones_like(squared)
