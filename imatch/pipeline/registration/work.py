"""Transform between working pixels with a local displacement."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.geometry.transform import DisplacementGrid, Transform, apply_matrix
from imatch.raster import WorkPair

_HALF = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])


def frames(pair: WorkPair) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3, 3) from working pixels of either image to the frame in which a registration is given.

    That is the map of the common grid for both where there is one; else the native pixels of the
    reference, and those of the target.
    """
    if pair.grid is not None:
        centred = np.array(pair.grid.transform, dtype=np.float64).reshape(3, 3) @ _HALF
        return centred, centred
    to_ref, to_tgt = pair.ref_map.matrix, pair.tgt_map.matrix
    assert to_ref is not None
    assert to_tgt is not None
    return to_ref, to_tgt


@dataclass(frozen=True, eq=False)
class WorkModel:
    """Maps working pixels of the reference to those of the target.

    Attributes:
        matrix: (3, 3) global transform between working pixels.
        pair: The working pair.
        local: Displacement on top of it, in the frame of the registration (`frames`); None without.
    """

    matrix: NDArray[np.float64]
    pair: WorkPair
    local: DisplacementGrid | None = None
    _ref_frame: NDArray[np.float64] = field(init=False, repr=False)
    _tgt_frame: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ref_frame, tgt_frame = frames(self.pair)
        object.__setattr__(self, "_ref_frame", ref_frame)
        object.__setattr__(self, "_tgt_frame", tgt_frame)

    @property
    def frame_matrix(self) -> NDArray[np.float64]:
        """(3, 3) the global transform in the frame of the registration."""
        matrix = self._tgt_frame @ self.matrix @ np.linalg.inv(self._ref_frame)
        return np.asarray(matrix / matrix[2, 2])

    def apply(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) working pixels of the reference to those of the target."""
        moved = apply_matrix(self.matrix, xy)
        if self.local is None:
            return moved
        step = self.local.displacement(apply_matrix(self._ref_frame, xy))
        # Frames are affine, so a displacement there is one here, turned and scaled.
        return moved + step @ np.linalg.inv(self._tgt_frame[:2, :2]).T

    def inverse(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) working pixels of the target to those of the reference."""
        if self.local is None:
            return apply_matrix(np.linalg.inv(self.matrix), xy)
        correction = Transform("homography", self.frame_matrix, self.local)
        found = correction.inverse(apply_matrix(self._tgt_frame, xy))
        return apply_matrix(np.linalg.inv(self._ref_frame), found)
