"""Pictures of embeddings on a plane, for the trackers."""

from __future__ import annotations

import colorsys
from importlib import import_module
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError

_SIDE, _MARGIN = 512, 16


def plane(
    vectors: NDArray[np.float32], method: Literal["umap", "pca"], seed: int = 0
) -> NDArray[np.float64]:
    """Returns (N, 2) positions of embeddings on a plane.

    Args:
        vectors: (N, D).
        method: ``pca``, the two widest directions; or ``umap`` (McInnes et al. 2018,
            arXiv:1802.03426), which keeps neighbours together.
        seed: Of UMAP.

    Raises:
        ConfigError: umap-learn is not installed.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if method == "pca" or len(vectors) < 5:
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        # An axis has no sign: the first large component decides, so that pictures do not flip.
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
        flat = centred @ (axes * signs[:, None])[:2].T
        return np.pad(flat, ((0, 0), (0, 2 - flat.shape[1])))
    umap = umap_module()
    settled = umap.UMAP(
        n_neighbors=min(15, len(vectors) - 1), metric="cosine", random_state=seed, n_jobs=1
    )
    return np.asarray(settled.fit_transform(vectors), dtype=np.float64)


def umap_module() -> Any:
    """Imports the package umap.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module("umap")
    except ImportError as error:
        raise ConfigError(
            "is not installed",
            subject="umap-learn",
            hint="pip install umap-learn, or set validation.picture=pca",
        ) from error


def scatter(xy: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Draws points on white, one colour a group, (512, 512, 3).

    Args:
        xy: (N, 2) positions.
        groups: (N,) numbers.
    """
    canvas = np.full((_SIDE, _SIDE, 3), 255, dtype=np.uint8)
    low, high = xy.min(axis=0), xy.max(axis=0)
    placed = (xy - low) / np.maximum(high - low, 1e-12) * (_SIDE - 1 - 2 * _MARGIN) + _MARGIN
    names, number = np.unique(groups, return_inverse=True)
    for (x, y), group in zip(placed, number.reshape(-1), strict=True):
        # Steps of the golden ratio keep the hues of neighbours apart.
        hue = colorsys.hsv_to_rgb(group * 0.618 % 1, 0.75, 0.8 if len(names) > 1 else 0.2)
        colour = [round(255 * part) for part in hue]
        cv2.circle(canvas, (round(x), round(y)), 3, colour, -1, cv2.LINE_AA)
    return canvas
