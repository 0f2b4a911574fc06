"""Other views of a pair, exact for its homography, keypoints and masks."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imatch.core.settings import Settings
from imatch.core.types import BoolArray
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix

Matrix = NDArray[np.float64]


class ViewConfig(Settings):
    """How the two views of a pair differ, within what satellites do.

    Attributes:
        rotation_deg: Largest rotation between the views.
        scale: Largest ratio of their GSDs, either way.
        shear: Largest shear.
        perspective: Largest displacement of a corner by perspective, as a share of the side.
        shift_px: Largest shift along each axis.
        turn: Whether both are turned together by any angle and mirrored.
        zoom: Largest change of scale of both together, either way.
    """

    rotation_deg: float = Field(default=20.0, ge=0, le=180)
    scale: float = Field(default=1.2, ge=1, le=2)
    shear: float = Field(default=0.05, ge=0, le=0.5)
    perspective: float = Field(default=0.02, ge=0, le=0.2)
    shift_px: float = Field(default=16.0, ge=0)
    turn: bool = True
    zoom: float = Field(default=1.25, ge=1, le=2)


NEAR = ViewConfig(
    rotation_deg=2, scale=1.02, shear=0.0, perspective=0.0, shift_px=12, turn=False, zoom=1.0
)
"""How two geocoded products of a place differ; what validation shows."""


def draw_views(
    views: ViewConfig, sample: PairSample, size: int, rng: np.random.Generator
) -> tuple[Matrix, Matrix]:
    """Matrices from the sample's images to two new views of the same ground.

    Both views share a random crop, turn and zoom; the second differs by a homography about its
    centre besides, which is the homography of the new pair.

    Args:
        views: Limits.
        sample: The pair.
        size: Side of the new images, pixels.
        rng: Decides.

    Returns:
        (3, 3) pixel of `a` to pixel of the new `a`, and the same of `b`.
    """
    height, width = sample.valid_a.shape
    zoom = views.zoom ** rng.uniform(-1, 1)
    spare = np.maximum(np.array([width, height]) - size / zoom, 0) / 2
    centre = (np.array([width, height]) - 1) / 2 + rng.uniform(-1, 1, 2) * spare
    angle = rng.uniform(-np.pi, np.pi) if views.turn else 0.0
    mirror = -1.0 if views.turn and rng.random() < 0.5 else 1.0
    middle = np.full(2, (size - 1) / 2)
    linear = zoom * _rotation(angle) @ np.diag([mirror, 1.0])
    to_a = _shift(middle) @ _square(linear) @ _shift(-centre)

    turn = np.deg2rad(views.rotation_deg) * rng.uniform(-1, 1)
    stretch = views.scale ** rng.uniform(-1, 1)
    slant = np.array([[1.0, views.shear * rng.uniform(-1, 1)], [0.0, 1.0]])
    change = _square(stretch * _rotation(turn) @ slant)
    # At a corner, half a side away along both axes, the depth differs by twice this share at most.
    change[2, :2] = 2 * views.perspective * rng.uniform(-1, 1, 2) / size
    moved = middle + views.shift_px * rng.uniform(-1, 1, 2)
    change = _shift(moved) @ change @ _shift(-middle)
    return to_a, change @ to_a @ np.linalg.inv(sample.homography)


def move(sample: PairSample, to_a: Matrix, to_b: Matrix, size: int) -> PairSample:
    """See a pair through two matrices.

    Args:
        sample: The pair.
        to_a: (3, 3) pixel of `a` to pixel of the new `a`.
        to_b: The same of `b`.
        size: Side of the new images, pixels.

    Returns:
        The pair of (C, size, size) views. Ground is valid where no invalid pixel was mixed in;
        keypoints that left the frame are dropped.
    """
    a, valid_a = _seen(sample.a, sample.valid_a, to_a, size)
    b, valid_b = _seen(sample.b, sample.valid_b, to_b, size)
    homography = to_b @ sample.homography @ np.linalg.inv(to_a)
    changed = cv2.warpPerspective(
        sample.changed.astype(np.float32), to_a, (size, size), flags=cv2.INTER_LINEAR
    )
    xy, inside = move_points(sample.keypoints_a, to_a, valid_a)
    return replace(
        sample,
        a=a,
        b=b,
        valid_a=valid_a,
        valid_b=valid_b,
        homography=homography / homography[2, 2],
        sigma_px=sample.sigma_px * zoom_of(to_b, sample.valid_b.shape),
        changed=changed > 1e-3,
        keypoints_a=xy.astype(np.float32),
        keypoint_sigma_a=(
            sample.keypoint_sigma_a[inside] * zoom_of(to_a, sample.valid_a.shape)
        ).astype(np.float32),
    )


def move_points(
    xy: NDArray[np.floating], matrix: Matrix, valid: BoolArray
) -> tuple[NDArray[np.float64], BoolArray]:
    """Maps points into a new view.

    Args:
        xy: (N, 2) pixels.
        matrix: (3, 3) to pixels of the view.
        valid: (H, W) valid ground of the view.

    Returns:
        (M, 2) those on valid ground of the view, and (N,) bool which ones they are.
    """
    moved = apply_matrix(matrix, xy)
    height, width = valid.shape
    low, high = (moved >= -0.5).all(axis=1), (moved < (width - 0.5, height - 0.5)).all(axis=1)
    inside = np.asarray(low & high, dtype=bool)
    columns, rows = np.rint(moved[inside]).astype(np.int64).T
    inside[inside] = valid[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]
    return moved[inside], inside


def zoom_of(matrix: Matrix, shape: tuple[int, ...]) -> float:
    """Returns how much a matrix enlarges at the centre of an image of (H, W)."""
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    u, v, w = matrix @ np.array([x, y, 1.0])
    jacobian = (matrix[:2, :2] - np.outer([u / w, v / w], matrix[2, :2])) / w
    return float(np.sqrt(abs(np.linalg.det(jacobian))))


def _seen(
    pixels: NDArray[np.float32], valid: BoolArray, matrix: Matrix, size: int
) -> tuple[NDArray[np.float32], BoolArray]:
    zoom = zoom_of(matrix, valid.shape)
    if zoom < 0.95:
        # What a coarser pixel integrates over, less what the finer one did already.
        sigma = 0.5 * float(np.sqrt(1 / zoom**2 - 1))
        pixels = np.stack([cv2.GaussianBlur(band, (0, 0), sigma) for band in pixels])
    seen = [
        cv2.warpPerspective(band, matrix, (size, size), flags=cv2.INTER_CUBIC) for band in pixels
    ]
    ground = cv2.warpPerspective(
        valid.astype(np.float32), matrix, (size, size), flags=cv2.INTER_LINEAR
    )
    # Cubic kernels reach two pixels out.
    whole = cv2.erode((ground > 0.999).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    image = np.clip(np.stack(seen), 0, 1).astype(np.float32) * whole
    return np.ascontiguousarray(image, dtype=np.float32), np.asarray(whole, dtype=bool)


def _rotation(angle: float) -> Matrix:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _square(linear: NDArray[np.floating]) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    return matrix


def _shift(by: NDArray[np.floating]) -> Matrix:
    matrix = np.eye(3)
    matrix[:2, 2] = by
    return matrix
