"""Consensus of neighbouring windows and tiles of a scene.

A window that shows changed ground correlates somewhere, at random; a tile that a cloud or another
image's pixels fill may even do so in concert. Both contradict their neighbours: whatever deforms an
image moves neighbouring ground alike. No global transform is assumed, so a deformation far larger
than the tie points' errors does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.geometry.alignment.fine_alignment import AGREES

# Windows round a window that say where it should lie.
_NEIGHBOURS = 32
_LEAST_NEIGHBOURS = 4
# Two displacements support one another when they differ by less than this along either axis,
# pixels: as much as agrees, and some slope.
_ALIKE = 2.0
# A tile agrees when this share of its windows does: at random, one in forty does.
_SHARE = 0.25
# A tile that agrees within itself contradicts the tiles around it when it lies further from a
# plane through them than this, pixels, and than so many times what the plane leaves of themselves:
# more where they lie on one side only, since there the plane reaches beyond them.
_APART, _TIMES, _TIMES_ASIDE = 2.0, 4.0, 8.0
_SURROUNDED = 5
_ROUNDS = 6
_AT_ONCE = 1024


@dataclass(frozen=True, eq=False)
class Consensus:
    """Agreement of each window and tile with its neighbours.

    Attributes:
        inlier: (N,) bool, windows that agree with those around them, in tiles that do.
        tiles: (T, 2) column and row of the tiles that hold a window.
        agrees: (T,) bool, whether the tile as a whole agrees with the tiles around it.
    """

    inlier: BoolArray
    tiles: NDArray[np.int64]
    agrees: BoolArray


def consensus(
    xy: NDArray[np.float64], moved: NDArray[np.float64], tile: NDArray[np.int64]
) -> Consensus:
    """Judge windows by their neighbourhood.

    Each window is held against a robust plane through the displacements of the 32 windows nearest
    to it, itself left out. Tiles where few windows agree are dropped, and tiles that agree within
    themselves but not with the tiles around them; the windows that remain are judged once more.

    Args:
        xy: (N, 2) centres of the windows, pixels.
        moved: (N, 2) displacement of each from where it was expected, pixels; finite.
        tile: (N, 2) column and row of the tile each window is in.

    Returns:
        The verdicts.
    """
    if len(xy) == 0:
        nothing = np.zeros((0, 2), dtype=np.int64)
        return Consensus(np.zeros(0, dtype=bool), nothing, np.zeros(0, dtype=bool))
    tiles, member = np.unique(tile, axis=0, return_inverse=True)
    member = np.asarray(member).reshape(-1)
    inlier = _confirmed(xy, moved)
    count = np.bincount(member)
    agrees = np.bincount(member, inlier) >= np.maximum(1.0, _SHARE * count)
    inlier &= agrees[member]
    agrees &= ~_contradicting(tiles, member, inlier, xy, moved)
    kept = np.flatnonzero(agrees[member])
    inlier = np.zeros(len(xy), dtype=bool)
    inlier[kept] = _confirmed(xy[kept], moved[kept])
    return Consensus(inlier, tiles, agrees)


def _confirmed(xy: NDArray[np.float64], moved: NDArray[np.float64]) -> BoolArray:
    """(N,) bool: windows that lie where their neighbours say."""
    count = min(_NEIGHBOURS, len(xy) - 1)
    if count < _LEAST_NEIGHBOURS:
        return np.zeros(len(xy), dtype=bool)
    _, index = scipy.spatial.cKDTree(xy).query(xy, k=count + 1)
    # The window itself comes first, unless another lies on the same place.
    own = np.equal(index, np.arange(len(xy))[:, None])
    own[~own.any(axis=1), -1] = True
    index = index[~own].reshape(len(xy), count)
    predicted = np.empty_like(moved)
    for begin in range(0, len(xy), _AT_ONCE):
        part = np.s_[begin : begin + _AT_ONCE]
        predicted[part] = _predicted(xy[index[part]] - xy[part, None], moved[index[part]])
    near: BoolArray = np.hypot(*(moved - predicted).T) < AGREES
    return near


def _predicted(offset: NDArray[np.float64], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 2) what robust planes through (M, K, 2) displacements say in their middles.

    Each begins where most displacements are alike, which stands more than half of random ones.
    """
    apart: NDArray[np.float64] = np.abs(moved[:, :, None] - moved[:, None]).max(axis=3)
    alike = apart < _ALIKE
    best = alike.sum(axis=2).argmax(axis=1)
    weights = alike[np.arange(len(moved)), best].astype(np.float64)
    spread = np.maximum(np.abs(offset).max(axis=(1, 2), keepdims=True), 1e-9)
    basis = np.concatenate([np.ones((*offset.shape[:2], 1)), offset / spread], axis=2)
    # A faint pull towards a level plane: neighbours may all lie on one side.
    ridge = np.diag([1e-9, *([1e-2 * offset.shape[1]] * 2)])
    theta = np.zeros((len(moved), 3, 2))
    for _ in range(_ROUNDS):
        weighted = basis * weights[:, :, None]
        normal = weighted.transpose(0, 2, 1) @ basis + ridge
        theta = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ moved)
        weights = _biweight(np.hypot(*np.moveaxis(moved - basis @ theta, 2, 0)))
    return np.asarray(theta[:, 0])


def _contradicting(
    tiles: NDArray[np.int64],
    member: NDArray[np.int64],
    inlier: BoolArray,
    xy: NDArray[np.float64],
    moved: NDArray[np.float64],
) -> BoolArray:
    """(T,) bool: tiles whose agreeing windows lie elsewhere than the tiles around them say."""
    near: BoolArray = np.abs(tiles[:, None] - tiles[None]).max(axis=2) <= 1
    np.fill_diagonal(near, False)
    against = np.zeros(len(tiles), dtype=bool)
    for index in range(len(tiles)):
        own = inlier & (member == index)
        ring = inlier & near[index][member]
        if not own.any() or ring.sum() < _NEIGHBOURS:
            continue
        middle = xy[own].mean(axis=0)
        basis = np.column_stack([np.ones(int(ring.sum())), xy[ring] - middle])
        weights, theta = np.ones(len(basis)), np.zeros((3, 2))
        left = np.zeros(len(basis))
        for _ in range(_ROUNDS):
            weighted = basis * weights[:, None]
            theta = np.linalg.lstsq(weighted, moved[ring] * weights[:, None], rcond=None)[0]
            left = np.hypot(*(moved[ring] - basis @ theta).T)
            # Absolute deviations: another tile may be as wrong.
            weights = 1 / np.sqrt(np.maximum(left, 0.1))
        there = np.column_stack([np.ones(int(own.sum())), xy[own] - middle]) @ theta
        apart = float(np.hypot(*np.median(moved[own] - there, axis=0)))
        around = len(np.unique(member[ring]))
        times = _TIMES if around >= _SURROUNDED else _TIMES_ASIDE
        against[index] = apart > max(_APART, times * float(np.median(left)))
    return against


def _biweight(length: NDArray[np.float64]) -> NDArray[np.float64]:
    """Tukey's weights of residuals, zero from twice what agrees."""
    cut = 2 * AGREES
    # Never all zero: a plane through nothing is none.
    return np.maximum(np.where(length < cut, (1 - (length / cut) ** 2) ** 2, 0.0), 1e-9)
