"""Keypoint metrics of sparse matchers: repeatability, MMA and matching score.

Repeatability and matching score follow SuperPoint (DeTone et al., https://arxiv.org/abs/1712.07629,
appendix), mean matching accuracy follows D2-Net (Dusmanu et al., https://arxiv.org/abs/1905.03561).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from imatch.benchmark.cases import Case
from imatch.benchmark.prepare_case import PreparedCase, longest_side
from imatch.benchmark.results import NAN
from imatch.core.io.tables import Plain
from imatch.core.types import BoolArray, FloatArray
from imatch.geometry.transform import apply_matrix
from imatch.matchers.images import prepare, valid_at
from imatch.raster import read_pair, render

if TYPE_CHECKING:
    from imatch.matchers.sparse.base import Sparse

#: A keypoint found again, or a match, within this distance is right.
CORRECT_PX = 3.0


@dataclass(frozen=True)
class DetectorResult(Plain):
    """Keypoint metrics of one pair, a row of ``detectors.csv``.

    Attributes:
        case: The case's name.
        source: Its data set.
        variant: Its variant.
        tag: Its conditions.
        matcher: Registry name.
        n_ref: Keypoints of the reference on ground that the target shows.
        n_tgt: Keypoints of the target on ground that the reference shows.
        n_matches: Matches.
        repeatability: Share of both images' keypoints that have one of the other within 3 px.
        mma_1: Share of the matches within 1 px of the truth; 0 of none.
        mma_3: Within 3 px.
        mma_5: Within 5 px.
        matching_score: Matches within 3 px per keypoint of the shared ground, mean of both sides.
    """

    case: str
    source: str
    variant: str
    tag: str
    matcher: str
    n_ref: int = 0
    n_tgt: int = 0
    n_matches: int = 0
    repeatability: float = NAN
    mma_1: float = NAN
    mma_3: float = NAN
    mma_5: float = NAN
    matching_score: float = NAN


MEASURES = ("repeatability", "mma_1", "mma_3", "mma_5", "matching_score")


@dataclass(frozen=True)
class Keypoints:
    """Keypoints on the shared ground, in their own and in the other image.

    Attributes:
        xy: (N, 2) in their own image.
        moved: (N, 2) where the truth puts them in the other.
    """

    xy: NDArray[np.float64]
    moved: NDArray[np.float64]


def shared_keypoints(
    xy: FloatArray, matrix: NDArray[np.float64], other_valid: BoolArray
) -> Keypoints:
    """Returns the keypoints whose ground the other image shows.

    Args:
        xy: (N, 2) keypoints.
        matrix: (3, 3) to the other image's pixels.
        other_valid: (H, W) valid ground of the other image.
    """
    points = np.asarray(xy, dtype=np.float64)
    moved = apply_matrix(matrix, points)
    visible = valid_at(other_valid, moved)
    return Keypoints(points[visible], moved[visible])


def repeatability(ref: Keypoints, tgt: Keypoints, radius: float = CORRECT_PX) -> float:
    """Returns the share of keypoints that were detected in the other image too; NaN of none.

    Args:
        ref: Keypoints of the reference.
        tgt: Keypoints of the target.
        radius: Distance within which a keypoint is the same, pixels of the image it is sought in.
    """
    total = len(ref.xy) + len(tgt.xy)
    if not total:
        return NAN
    return (
        _count_within(ref.moved, tgt.xy, radius) + _count_within(tgt.moved, ref.xy, radius)
    ) / total


def _count_within(wanted: NDArray[np.float64], there: NDArray[np.float64], radius: float) -> int:
    if not len(wanted) or not len(there):
        return 0
    distance, _ = cKDTree(there).query(wanted)
    return int((distance <= radius).sum())


def measure_keypoints(
    case: Case, views: tuple[PreparedCase, PreparedCase], matcher: Sparse, name: str
) -> DetectorResult:
    """Measures a sparse matcher's keypoints and raw matches on a pair with truth.

    The images are at native resolution and rendered as for a match. Where the pipeline has just
    matched the same pair, the matcher remembers its features.

    Args:
        case: A positive case.
        views: Reference and presented target.
        matcher: The matcher.
        name: Its registry name.
    """
    assert case.truth is not None
    pair = read_pair(*(view.source() for view in views), size=longest_side(*views))
    seen = [render(image, matcher.channels) for image in (pair.ref, pair.tgt)]
    ready = [prepare(image, matcher.channels, matcher.guard) for image in seen]
    features = [matcher.features(image) for image in ready]
    back = np.asarray(np.linalg.inv(case.truth), dtype=np.float64)
    ref = shared_keypoints(features[0].xy, case.truth, ready[1].valid)
    tgt = shared_keypoints(features[1].xy, back, ready[0].valid)
    matches = matcher.match(*seen)
    gap = matches.tgt_xy - apply_matrix(case.truth, matches.ref_xy)
    distance = np.hypot(gap[:, 0], gap[:, 1])
    right = int((distance <= CORRECT_PX).sum())
    accuracy = [float((distance <= px).mean()) if len(distance) else 0.0 for px in (1, 3, 5)]
    shares = [right / len(points.xy) for points in (ref, tgt) if len(points.xy)]
    return DetectorResult(
        case.name,
        case.source,
        case.variant,
        case.tag,
        name,
        len(ref.xy),
        len(tgt.xy),
        len(matches),
        repeatability(ref, tgt),
        accuracy[0],
        accuracy[1],
        accuracy[2],
        float(np.mean(shares)) if shares else NAN,
    )
