"""Where the ground of a synthetic target lies, as a formula: exact at every point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imatch.geometry.transform import apply_matrix

_ROUNDS = 60
_SETTLED_PX = 1e-10
#: Waves of a local field, and their lengths in pixels: relief and jitter, not noise.
_WAVES = 6
_LENGTHS_PX = (3000.0, 9000.0)


@dataclass(frozen=True, eq=False)
class Truth:
    """Reference pixel to target pixel: a matrix, and a sum of sines on top of it.

    Attributes:
        matrix: (3, 3) global part.
        amplitude: (K, 2) pixels in x and y of each wave.
        wave: (K, 2) wave vectors, radians a reference pixel.
        phase: (K,) radians.

    Example:
        >>> truth = Truth.make(400, (5.0, -3.0, 0.1, 1.001), 3.0, seed=1, lengths=(200, 400))
        >>> truth.inverse(truth.apply([[17, 230]])).round(6)
        array([[ 17., 230.]])
    """

    matrix: NDArray[np.float64]
    amplitude: NDArray[np.float64]
    wave: NDArray[np.float64]
    phase: NDArray[np.float64]

    @classmethod
    def make(
        cls,
        size: int,
        warp: tuple[float, float, float, float],
        local_px: float,
        *,
        seed: int,
        lengths: tuple[float, float] = _LENGTHS_PX,
    ) -> Truth:
        """A field for a square scene.

        Args:
            size: Its side, pixels.
            warp: Shift in x and y (pixels), rotation (degrees) and scale, about the middle.
            local_px: Largest local displacement anywhere in the scene; 0 for none.
            seed: Of the waves.
            lengths: Shortest and longest wave, pixels.
        """
        dx, dy, degrees, scale = warp
        middle = (size - 1) / 2
        angle = np.radians(degrees)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = linear
        matrix[:2, 2] = middle + np.array([dx, dy]) - linear @ [middle, middle]
        rng = np.random.default_rng([seed, 1])
        length = np.exp(rng.uniform(np.log(lengths[0]), np.log(lengths[1]), _WAVES))
        heading, push = rng.uniform(0, 2 * np.pi, (2, _WAVES))
        wave = (2 * np.pi / length)[:, None] * np.column_stack([np.cos(heading), np.sin(heading)])
        # Longer waves are higher, as in relief.
        height = length / length.max()
        amplitude = height[:, None] * np.column_stack([np.cos(push), np.sin(push)])
        phase = rng.uniform(0, 2 * np.pi, _WAVES)
        if local_px == 0:
            return cls(matrix, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0))
        raw = cls(matrix, amplitude, wave, phase)
        reached = np.hypot(*raw.local(lattice(size, 129)).T).max()
        return cls(matrix, amplitude * (local_px / reached), wave, phase)

    def local(self, xy: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) local displacement at (N, 2) reference pixels."""
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        out = np.zeros_like(points)
        for (ax, ay), (kx, ky), phase in zip(self.amplitude, self.wave, self.phase, strict=True):
            swing = np.sin(points[:, 0] * kx + points[:, 1] * ky + phase)
            out[:, 0] += ax * swing
            out[:, 1] += ay * swing
        return out

    def apply(self, xy: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) target pixels that show the ground of (N, 2) reference pixels."""
        return apply_matrix(self.matrix, xy) + self.local(xy)

    def inverse(self, xy: ArrayLike) -> NDArray[np.float64]:
        """(N, 2) reference pixels of the ground that (N, 2) target pixels show.

        Raises:
            ValueError: The field is too steep to be inverted.
        """
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        back = np.linalg.inv(self.matrix)
        found = apply_matrix(back, points)
        for _ in range(_ROUNDS):
            better = apply_matrix(back, points - self.local(found))
            step = np.abs(better - found).max(initial=0.0)
            found = better
            if step < _SETTLED_PX:
                return found
        raise ValueError("the local displacement is too steep to be inverted")

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "matrix": self.matrix.tolist(),
            "amplitude": self.amplitude.tolist(),
            "wave": self.wave.tolist(),
            "phase": self.phase.tolist(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Truth:
        """The inverse of `to_dict`."""
        return cls(
            np.asarray(data["matrix"], dtype=np.float64),
            np.asarray(data["amplitude"], dtype=np.float64).reshape(-1, 2),
            np.asarray(data["wave"], dtype=np.float64).reshape(-1, 2),
            np.asarray(data["phase"], dtype=np.float64),
        )


def lattice(size: int | tuple[int, int], count: int) -> NDArray[np.float64]:
    """(count², 2) pixels spread evenly over an image, its corners included."""
    width, height = (size, size) if isinstance(size, int) else size
    x, y = np.meshgrid(np.linspace(0, width - 1, count), np.linspace(0, height - 1, count))
    return np.column_stack([x.ravel(), y.ravel()])
