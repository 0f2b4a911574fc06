"""Arrays and records shared by all packages: rendered images, features, matches.

Pixel rule, everywhere: coordinates are (x, y) and the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.floating[Any]]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rendered:
    """An image made ready for a matcher.

    Attributes:
        pixels: (C, H, W) float32 in [0, 1]; C is 1 (luminance) or 3 (RGB).
        valid: (H, W) bool, False where there is no ground to match.
    """

    pixels: NDArray[np.float32]
    valid: BoolArray

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] not in (1, 3):
            raise ValueError(f"pixels must be (1|3, H, W), got {self.pixels.shape}")
        if self.valid.shape != self.pixels.shape[1:]:
            raise ValueError(f"valid {self.valid.shape} does not fit pixels {self.pixels.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return int(self.pixels.shape[2]), int(self.pixels.shape[1])


@dataclass(frozen=True, eq=False)
class Features:
    """Keypoints of one image and their descriptors.

    Attributes:
        xy: (N, 2) float32 keypoints in pixels.
        scores: (N,) float32, higher is better.
        descriptors: (N, D) float32.
        size: (width, height) of the image they come from.
        scales: (N,) float32 keypoint diameters in pixels where the detector gives them, else None.
        angles: (N,) float32 orientations in radians where the detector gives them, else None.
    """

    xy: NDArray[np.float32]
    scores: NDArray[np.float32]
    descriptors: NDArray[np.float32]
    size: tuple[int, int]
    scales: NDArray[np.float32] | None = None
    angles: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.xy)

    def select(self, index: NDArray[Any]) -> Features:
        """Keypoints picked by a boolean mask or an index array."""
        return Features(
            self.xy[index],
            self.scores[index],
            self.descriptors[index],
            self.size,
            None if self.scales is None else self.scales[index],
            None if self.angles is None else self.angles[index],
        )


def _no_points() -> NDArray[np.float64]:
    return np.zeros((0, 2), dtype=np.float64)


def _no_scores() -> NDArray[np.float64]:
    return np.zeros(0, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Matches:
    """Putative tie points: ``ref_xy[i]`` and ``tgt_xy[i]`` show the same ground.

    Attributes:
        ref_xy: (N, 2) float64, reference pixels.
        tgt_xy: (N, 2) float64, target pixels.
        scores: (N,) float64 in [0, 1], higher is better.
    """

    ref_xy: NDArray[np.float64] = field(default_factory=_no_points)
    tgt_xy: NDArray[np.float64] = field(default_factory=_no_points)
    scores: NDArray[np.float64] = field(default_factory=_no_scores)

    def __post_init__(self) -> None:
        n = len(self.scores)
        if self.ref_xy.shape != (n, 2) or self.tgt_xy.shape != (n, 2):
            raise ValueError(
                f"expected ({n}, 2) points, got {self.ref_xy.shape} and {self.tgt_xy.shape}"
            )

    def __len__(self) -> int:
        return len(self.scores)

    def select(self, index: NDArray[Any]) -> Matches:
        """Matches picked by a boolean mask or an index array."""
        return Matches(self.ref_xy[index], self.tgt_xy[index], self.scores[index])

    @staticmethod
    def concatenate(parts: list[Matches]) -> Matches:
        """All matches of several sets, in order."""
        if not parts:
            return Matches()
        return Matches(
            np.concatenate([p.ref_xy for p in parts]),
            np.concatenate([p.tgt_xy for p in parts]),
            np.concatenate([p.scores for p in parts]),
        )
