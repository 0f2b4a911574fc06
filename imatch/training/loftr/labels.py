"""Alignment labels: pairs of unknown residual, aligned by our own matchers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.arrays import read_arrays
from imatch.core.io.files import atomic_path
from imatch.core.progress import progress
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.pair.match import match
from imatch.pipeline.registration.result import Registration
from imatch.raster import array_source
from imatch.training.loftr.config import LoFTRDistilConfig
from imatch.training.views import Pairs

_BOUND = 1.96
"""From a 95 % bound to a standard deviation."""


@dataclass(frozen=True, eq=False)
class AlignedTargets:
    """Alignment of two views, and where it is supported.

    Attributes:
        homography: (3, 3) pixel of `a` to pixel of `b`.
        sigma_px: Its standard deviation at the worst place, pixels of `b`.
        tie_points: (N, 2) float32 pixels of `a` that agree with it.
    """

    homography: NDArray[np.float64]
    sigma_px: float
    tie_points: NDArray[np.float32]


class Alignments:
    """The alignments of a data set's pairs, made once and kept on disk.

    They are a function of the pairs and the settings, so a run that is resumed finds them the same.

    Args:
        config: Who aligns, and how sure they must be.
        folder: Where they are kept; of these settings and this data alone.
    """

    def __init__(self, config: LoFTRDistilConfig, folder: Path) -> None:
        self.config = config
        self.folder = folder

    def of_all(self, pairs: Pairs, indices: Sequence[int]) -> dict[int, AlignedTargets]:
        """Returns the alignments of those pairs that the matchers are certain of.

        Args:
            pairs: A data set.
            indices: Pairs of it.

        Raises:
            MatcherError: There is no such matcher.
            WeightsError: A matcher lacks its weights.
        """
        found = {}
        with progress("aligning pairs by our own matchers", len(indices)) as advance:
            for index in indices:
                known = self._of(index, pairs)
                if known is not None:
                    found[index] = known
                advance(1)
        return found

    def _of(self, index: int, pairs: Pairs) -> AlignedTargets | None:
        path = self.folder / f"{index:06d}.npz"
        if path.exists():
            return _read(path)
        known = align(pairs[index], self.config)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, known)
        return known


def align(sample: PairSample, config: LoFTRDistilConfig) -> AlignedTargets | None:
    """Aligns a pair by matchers that have to be certain, and to agree.

    Args:
        sample: The pair; its own homography is not looked at.
        config: Who aligns, and how sure they must be.

    Returns:
        The most certain answer of those that agree, with the tie points of all of these; None
        where too few do.
    """
    a = array_source(sample.a, valid=sample.valid_a)
    b = array_source(sample.b, valid=sample.valid_b)
    results = [
        result
        for name in config.matchers
        if _certain(result := match(a, b, matcher=name, fetch=True), config)
    ]
    results.sort(key=_doubt)
    corners = _corners(sample.valid_a.shape)
    for best in results:
        near = [other for other in results if _apart(best, other, corners) <= config.apart_px]
        if len(near) >= config.agree:
            assert best.transform is not None
            points = [other.tie_points.ref_xy[other.tie_points.inlier] for other in near]
            matrix = best.transform.matrix / best.transform.matrix[2, 2]
            return AlignedTargets(
                np.asarray(matrix, dtype=np.float64),
                _doubt(best) / _BOUND,
                np.concatenate(points).astype(np.float32),
            )
    return None


def with_alignment(sample: PairSample, known: AlignedTargets, reach_px: float) -> PairSample:
    """Returns a pair with the alignment that was found; ground far from tie points is changed.

    Args:
        sample: The pair.
        known: Its alignment.
        reach_px: How far from a tie point is far.
    """
    height, width = sample.valid_a.shape
    elsewhere = np.ones((height, width), np.uint8)
    column, row = np.rint(known.tie_points).astype(int).T
    elsewhere[row.clip(0, height - 1), column.clip(0, width - 1)] = 0
    away = cv2.distanceTransform(elsewhere, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) > reach_px
    return replace(
        sample,
        homography=known.homography,
        sigma_px=known.sigma_px,
        changed=sample.changed | np.asarray(away, dtype=bool),
    )


def _certain(result: Registration, config: LoFTRDistilConfig) -> bool:
    return result.status == "ok" and _doubt(result) <= config.max_ci_px


def _doubt(result: Registration) -> float:
    certificate = result.certificate
    bound = None if certificate is None else certificate.corner_ci95_px
    return float("inf") if bound is None else bound


def _corners(shape: tuple[int, ...]) -> NDArray[np.float64]:
    height, width = shape
    return np.array([[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]], float)


def _apart(one: Registration, other: Registration, corners: NDArray[np.float64]) -> float:
    """Returns the largest distance of the corners by two results."""
    assert one.transform is not None
    assert other.transform is not None
    gap = apply_matrix(one.transform.matrix, corners) - apply_matrix(
        other.transform.matrix, corners
    )
    return float(np.hypot(gap[:, 0], gap[:, 1]).max())


def _write(path: Path, known: AlignedTargets | None) -> None:
    # That nobody was certain is remembered as well.
    nothing = AlignedTargets(np.eye(3), float("nan"), np.zeros((0, 2), np.float32))
    written = known or nothing
    with atomic_path(path, overwrite=True) as temporary:
        np.savez(
            temporary,
            homography=written.homography,
            sigma_px=written.sigma_px,
            tie_points=written.tie_points,
        )


def _read(path: Path) -> AlignedTargets | None:
    sigma, homography, tie_points = read_arrays(path, ("sigma_px", "homography", "tie_points"))
    return AlignedTargets(homography, float(sigma), tie_points) if np.isfinite(sigma) else None
