"""The sample of a trainer: one ground at two dates, and how well they are aligned."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.geometry.transform import apply_matrix

#: `PairSample.source` of what two sensors saw: real pairs, procedural photographs and their maps.
SENSORS, MAPS = "sensors", "map"


def _no_points() -> NDArray[np.float32]:
    return np.zeros((0, 2), dtype=np.float32)


def _no_sigmas() -> NDArray[np.float32]:
    return np.zeros(0, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class PairSample:
    """Two views of one ground.

    Attributes:
        a: (C, H, W) float32 in [0, 1], 0 where not valid.
        b: (C, H', W') float32 in [0, 1], likewise.
        valid_a: (H, W) bool, False where `a` shows no ground.
        valid_b: (H', W') bool, likewise of `b`.
        homography: (3, 3) float64, pixel of `a` to pixel of `b`.
        sigma_px: Standard deviation of that mapping, pixels of `b`; NaN where it is unknown, and
            then the pair must not serve as a positive.
        changed: (H, W) bool in the frame of `a`: ground that is not the same in `b` (flood, cloud,
            a felled wood).
        keypoints_a: (K, 2) float32, named places such as polygon centroids, pixels of `a`.
        keypoint_sigma_a: (K,) float32, how well those are known, pixels.
        place: The ground shown; samples of one place are never in two splits.
        dates: Of `a` and `b`, ISO 8601 or the name of a season; empty where unknown.
        source: The data set it comes from.

    Raises:
        ValueError: Shapes or types do not fit together.

    Examples:
        >>> ground = np.zeros((1, 8, 8), np.float32)
        >>> seen = np.ones((8, 8), bool)
        >>> sample = PairSample(ground, ground, seen, seen, np.eye(3), 0.1, ~seen)
        >>> sample.known, sample.swapped().known
        (True, True)
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    valid_a: BoolArray
    valid_b: BoolArray
    homography: NDArray[np.float64]
    sigma_px: float
    changed: BoolArray
    keypoints_a: NDArray[np.float32] = field(default_factory=_no_points)
    keypoint_sigma_a: NDArray[np.float32] = field(default_factory=_no_sigmas)
    place: str = ""
    dates: tuple[str, str] = ("", "")
    source: str = ""

    def __post_init__(self) -> None:
        for name, image, valid in (("a", self.a, self.valid_a), ("b", self.b, self.valid_b)):
            if image.ndim != 3 or image.dtype != np.float32:
                raise ValueError(f"{name} must be (C, H, W) float32, got {image.shape}")
            if valid.shape != image.shape[1:] or valid.dtype != np.bool_:
                raise ValueError(f"valid_{name} {valid.shape} does not fit {image.shape}")
        if self.a.shape[0] != self.b.shape[0]:
            raise ValueError(f"{self.a.shape[0]} bands in a, {self.b.shape[0]} in b")
        if self.changed.shape != self.valid_a.shape or self.changed.dtype != np.bool_:
            raise ValueError(f"changed {self.changed.shape} does not fit a {self.a.shape}")
        if self.homography.shape != (3, 3) or not np.isfinite(self.homography).all():
            raise ValueError(f"not a 3x3 projective matrix: {self.homography.tolist()}")
        count = len(self.keypoint_sigma_a)
        if self.keypoints_a.shape != (count, 2):
            raise ValueError(f"keypoints_a must be ({count}, 2), got {self.keypoints_a.shape}")

    @property
    def known(self) -> bool:
        """Whether it is known which pixel of `b` shows the ground of one of `a`."""
        return bool(np.isfinite(self.sigma_px))

    def swapped(self) -> PairSample:
        """Returns the pair the other way round.

        The changed ground and the keypoints move with the homography; keypoints that leave the
        frame are dropped, and `sigma_px` is rescaled to pixels of `a`.
        """
        import cv2

        back = np.linalg.inv(self.homography)
        back = back / back[2, 2]
        height, width = self.valid_b.shape
        changed = cv2.warpPerspective(
            self.changed.astype(np.uint8), self.homography, (width, height), flags=cv2.INTER_NEAREST
        )
        zoom = float(np.sqrt(abs(np.linalg.det(self.homography[:2, :2]))))
        xy = apply_matrix(self.homography, self.keypoints_a)
        inside = (xy >= -0.5).all(axis=1) & (xy <= (width - 0.5, height - 0.5)).all(axis=1)
        return PairSample(
            a=self.b,
            b=self.a,
            valid_a=self.valid_b,
            valid_b=self.valid_a,
            homography=back,
            sigma_px=self.sigma_px / zoom,
            changed=changed > 0,
            keypoints_a=xy[inside].astype(np.float32),
            keypoint_sigma_a=(self.keypoint_sigma_a[inside] * zoom).astype(np.float32),
            place=self.place,
            dates=(self.dates[1], self.dates[0]),
            source=self.source,
        )
