"""Global transforms from reference pixels to target pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.core.errors import InputError
from imatch.core.types import FloatArray

ModelKind: TypeAlias = Literal["translation", "similarity", "affine", "homography"]
MODEL_KINDS: tuple[ModelKind, ...] = get_args(ModelKind)


@dataclass(frozen=True, eq=False)
class Transform:
    """A global transform from reference pixels to target pixels.

    Attributes:
        kind: The family it was fitted in.
        matrix: (3, 3) float64, ``[x', y', w'] = matrix @ [x, y, 1]``, scaled so that
            ``matrix[2, 2]`` is 1.

    Example:
        >>> shift = Transform("translation", np.array([[1, 0, 3], [0, 1, -2], [0, 0, 1]]))
        >>> shift.apply([[10, 10]])
        array([[13.,  8.]])
        >>> shift.inverse().apply(shift.apply([[1, 2]]))
        array([[1., 2.]])
    """

    kind: ModelKind
    matrix: NDArray[np.float64]

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[2, 2] == 0:
            raise InputError(f"not a 3x3 projective matrix: {matrix.tolist()}")
        object.__setattr__(self, "matrix", matrix / matrix[2, 2])

    def apply(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) reference pixels to (N, 2) target pixels."""
        return apply_matrix(self.matrix, xy)

    def inverse(self) -> Transform:
        """The transform from target pixels to reference pixels.

        Raises:
            InputError: The matrix is singular.
        """
        try:
            inverse = np.linalg.inv(self.matrix).astype(np.float64)
            return Transform(self.kind, inverse)
        except np.linalg.LinAlgError as error:
            raise InputError("the transform cannot be inverted") from error

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form: ``{"kind", "matrix"}``."""
        return {"kind": self.kind, "matrix": self.matrix.tolist()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Transform:
        """The inverse of `to_dict`."""
        return cls(data["kind"], np.asarray(data["matrix"], dtype=np.float64))


def apply_matrix(matrix: FloatArray, xy: ArrayLike) -> NDArray[np.float64]:
    """Map (N, 2) points by a (3, 3) projective matrix."""
    points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    x, y = points[:, 0], points[:, 1]
    # Written out: BLAS raises spurious floating-point flags, which numpy reports as warnings.
    # A place without an image is infinite, and times zero that is no number: as it should be.
    with np.errstate(invalid="ignore"):
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in np.asarray(matrix, dtype=np.float64))
    return np.column_stack([u / w, v / w])
