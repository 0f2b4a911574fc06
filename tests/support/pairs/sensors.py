"""One made ground as a camera, a radar and a map show it, with a known transform between them."""

from __future__ import annotations

import cv2
import numpy as np
import scipy
from numpy.typing import NDArray

# Fields on the ground, and classes of them that a radar or a map tells apart: neighbours of one
# class have no border there.
_FIELDS, _CLASSES = 160, 4


def fields(seed: int, xy: NDArray[np.float64], side: int) -> NDArray[np.int64]:
    """Numbers the field at each place of a made ground.

    Args:
        seed: Of the ground.
        xy: (..., 2) places, pixels of the ground.
        side: Side of the ground, pixels.
    """
    seats = np.random.default_rng(seed).uniform(-0.3 * side, 1.3 * side, (_FIELDS, 2))
    return np.asarray(scipy.spatial.cKDTree(seats).query(xy)[1], dtype=np.int64)


def grid(side: int, matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """(side, side, 2) ground places of the pixels of an image, by a (3, 3) pixel to ground."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    return np.asarray(np.stack([x, y, np.ones_like(x)], axis=-1) @ matrix[:2].T)


def camera(label: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """(3, H, W) fields of all colours with texture."""
    rng = np.random.default_rng((seed, 1))
    tone = rng.uniform(40, 200, (_FIELDS, 3))[label]
    rough = cv2.GaussianBlur(rng.normal(0, 25, label.shape), (0, 0), 1.2)
    return np.moveaxis(tone + rough[..., None], 2, 0).astype(np.float32)


def radar(label: NDArray[np.int64], seed: int, looks: float = 2.0) -> NDArray[np.float32]:
    """(1, H, W) amplitude of a few classes of fields under multiplicative speckle."""
    rng = np.random.default_rng((seed, 2))
    power = np.geomspace(0.2, 2.0, _CLASSES)[rng.integers(_CLASSES, size=_FIELDS)][label]
    speckled = power * rng.gamma(looks, 1 / looks, label.shape)
    return np.asarray(100 * np.sqrt(speckled)[None], dtype=np.float32)


def drawn(label: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """(3, H, W) map: plain colours of a few classes, with lines along some borders."""
    rng = np.random.default_rng((seed, 3))
    colours = np.array([(242, 239, 233), (200, 230, 180), (170, 211, 223), (250, 225, 180)], float)
    kind = rng.choice(_CLASSES, size=_FIELDS, p=(0.4, 0.25, 0.15, 0.2))[label]
    road = (rng.integers(3, size=_FIELDS)[label] == 0).astype(np.uint8)
    image = colours[kind]
    image[cv2.morphologyEx(road, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 255, 200, 90
    return np.moveaxis(image, 2, 0).astype(np.float32)


def similarity(
    side: int, degrees: float, scale: float, shift: tuple[float, float]
) -> NDArray[np.float64]:
    """(3, 3) turn and scale about the middle of an image, and a shift."""
    matrix = np.eye(3)
    middle = (side - 1) / 2
    matrix[:2] = cv2.getRotationMatrix2D((middle, middle), degrees, scale)
    matrix[:2, 2] += shift
    return matrix
