"""Plausibility limits of a transform: scale, rotation, shear, perspective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.transform import apply_matrix


@dataclass(frozen=True)
class Limits:
    """Bounds of a plausible transform between near-nadir images.

    Attributes:
        scale: Largest enlargement or reduction between the working images.
        shear: Largest ratio of the two principal scales.
        perspective: Largest ratio of local areas over the reference.
        prior_shift: Largest shift of the centre for geocoded pairs, working pixels; None for none.
        prior_rotation_deg: Largest rotation for geocoded pairs; None for none.
        prior_scale: Largest enlargement for geocoded pairs; None for none.
    """

    scale: float = 5.0
    shear: float = 1.6
    perspective: float = 1.8
    prior_shift: float | None = None
    prior_rotation_deg: float | None = None
    prior_scale: float | None = None


def local_linear(matrix: NDArray[np.float64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2, 2) derivative of the mapped point at (N, 2) points."""
    w = xy @ matrix[2, :2] + matrix[2, 2]
    mapped = apply_matrix(matrix, xy)
    rows = matrix[:2, :2] - mapped[:, :, None] * matrix[2, :2]
    return np.asarray(rows / w[:, None, None])


def off_centre(matrix: NDArray[np.float64], size: tuple[int, int]) -> float:
    """How far a (3, 3) transform moves the middle of an image of (width, height), pixels."""
    middle = np.array([[(size[0] - 1) / 2, (size[1] - 1) / 2]])
    return float(np.hypot(*(apply_matrix(matrix, middle) - middle)[0]))


def implausibility(
    matrix: NDArray[np.float64], shape: tuple[int, ...], limits: Limits
) -> str | None:
    """Why a transform cannot be true, or None.

    Args:
        matrix: (3, 3) reference to target, working pixels.
        shape: (H, W) of the reference.
        limits: What is plausible.

    Returns:
        A clause such as ``"it mirrors the image"``, or None when plausible.
    """
    height, width = shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    points = np.array([[x, y], [0, 0], [2 * x, 0], [2 * x, 2 * y], [0, 2 * y]])
    depth = points @ matrix[2, :2] + matrix[2, 2]
    if (depth <= 1e-6).any():
        return "its horizon lies within the image"
    linear = local_linear(matrix, points)
    area = np.linalg.det(linear)
    if (area <= 0).any():
        return "it mirrors the image"
    if area.max() / area.min() > limits.perspective:
        return "its perspective is too strong for a view from above"
    large, small = np.linalg.svd(linear[0], compute_uv=False)
    scale = float(np.sqrt(large * small))
    if not 1 / limits.scale <= scale <= limits.scale:
        return f"it scales the image by {scale:.2g}"
    if large / small > limits.shear:
        return f"it shears the image ({large / small:.2f} to 1)"
    if limits.prior_scale is not None and not 1 / limits.prior_scale <= scale <= limits.prior_scale:
        return f"it scales geocoded images by {scale:.2f}"
    angle = float(np.degrees(np.arctan2(linear[0, 1, 0] - linear[0, 0, 1], np.trace(linear[0]))))
    if limits.prior_rotation_deg is not None and abs(angle) > limits.prior_rotation_deg:
        return f"it turns geocoded images by {angle:.0f} degrees"
    shift = off_centre(matrix, (width, height))
    if limits.prior_shift is not None and shift > limits.prior_shift:
        return f"it moves geocoded images by {shift:.0f} working pixels"
    return None
