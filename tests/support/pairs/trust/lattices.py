"""Two lattices of one period with cells of their own, as fields and city grids are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.pairs.trust.ground import draw_size
from tests.support.pairs.trust.pair import (
    Planes,
    Points,
    Side,
    TrustPair,
    Truth,
    log_uniform,
    near,
    pixel_grid,
    similarity,
)

Pattern: TypeAlias = Literal["rectangular", "sheared", "hexagonal", "fields"]
PATTERNS: tuple[Pattern, ...] = ("rectangular", "sheared", "hexagonal", "fields")
# Samples a pixel along each axis.
_FINE = 3


@dataclass(frozen=True)
class Lattice:
    """A lattice of cells, a function of the ground.

    Attributes:
        pattern: How cells lie.
        period: (first, second), pixels.
        turn: Degrees.
        shear: Second direction's lean, radians; of ``sheared`` only.
        line: Width of the lines between cells, pixels.
        line_grey: Grey of the lines.
        contrast: Deviation of the cells' greys.
        cells: Seed of the cells.
        phase: (x, y), pixels.
    """

    pattern: Pattern
    period: tuple[float, float]
    turn: float
    shear: float
    line: float
    line_grey: float
    contrast: float
    cells: int
    phase: tuple[float, float] = (0.0, 0.0)

    def grey(self, xy: Points) -> NDArray[np.float64]:
        """(N,) grey at (N, 2) positions."""
        angle = np.radians(self.turn)
        to_axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        at = (xy + np.array(self.phase)) @ to_axes.T
        if self.pattern == "sheared":
            at = at - np.column_stack([at[:, 1] * np.tan(self.shear), np.zeros(len(at))])
        if self.pattern == "hexagonal":
            cell, edge = _hexagons(at / self.period[0])
            edge = edge * self.period[0]
        elif self.pattern == "fields":
            cell, edge = self._fields(at)
        else:
            scaled = at / np.array(self.period)
            cell = np.floor(scaled).astype(np.int64)
            within = scaled - cell
            edge = (np.minimum(within, 1 - within) * np.array(self.period)).min(axis=1)
        inner = 128 + self.contrast * (2 * _hashed(cell, self.cells) - 1) * np.sqrt(3)
        return np.where(edge < self.line / 2, self.line_grey, inner)

    def _fields(self, at: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Strips of one width, each cut into fields of its own lengths."""
        across = at[:, 1] / self.period[1]
        strip = np.floor(across).astype(np.int64)
        zero = np.zeros_like(strip)
        # Every strip begins elsewhere, and every cut is displaced.
        along = at[:, 0] / self.period[0] + 7 * _hashed(np.column_stack([strip, zero]), self.cells)
        step = np.floor(along).astype(np.int64)
        cuts = [
            step + k + 0.35 * (2 * _hashed(np.column_stack([strip, step + k]), self.cells + 1) - 1)
            for k in (0, 1, 2)
        ]
        # The cell that holds the place lies between two displaced cuts.
        before = np.where(along >= cuts[1], cuts[1], cuts[0])
        after = np.where(along >= cuts[1], cuts[2], cuts[1])
        number = np.where(along >= cuts[1], step + 1, step)
        first = along < cuts[0]
        cut = (
            step - 1 + 0.35 * (2 * _hashed(np.column_stack([strip, step - 1]), self.cells + 1) - 1)
        )
        before, after = np.where(first, cut, before), np.where(first, cuts[0], after)
        number = np.where(first, step - 1, number)
        lengthwise = np.minimum(along - before, after - along) * self.period[0]
        within = across - strip
        sideways = np.minimum(within, 1 - within) * self.period[1]
        return np.column_stack([strip, number]), np.minimum(lengthwise, sideways)


def _hexagons(at: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Cell (N, 2) and distance (N,) to its edge, of hexagons whose centres lie 1 apart."""
    basis = np.array([[1.0, 0.5], [0.0, np.sqrt(3) / 2]])
    # The two nearest centres are corners of the triangle around a place, so of its rhombus.
    corner = np.floor(at @ np.linalg.inv(basis).T).astype(np.int64)
    steps = [np.array([i, j]) for i in (0, 1) for j in (0, 1)]
    centres = np.stack([corner + step for step in steps])
    offset = at - centres @ basis.T
    length = np.linalg.norm(offset, axis=2)
    order = np.argsort(length, axis=0)
    rows = np.arange(len(at))
    nearest, second = order[0], order[1]
    edge = (length[second, rows] ** 2 - length[nearest, rows] ** 2) / 2
    return centres[nearest, rows], edge


def _hashed(cell: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """(N,) in [0, 1), a fixed function of (N, 2) cells."""
    mixed = cell.astype(np.uint64)
    value = mixed[:, 0] * np.uint64(0x9E3779B97F4A7C15) + mixed[:, 1] * np.uint64(
        0xC2B2AE3D27D4EB4F
    )
    value ^= np.uint64(seed * 0x165667B19E3779F9 % 2**64)
    for _ in range(2):
        value ^= value >> np.uint64(33)
        value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    return (value >> np.uint64(11)).astype(np.float64) / 2**53


def draw_lattice(rng: np.random.Generator, size: tuple[int, int]) -> Lattice:
    """A lattice with at least three periods on the shorter side."""
    pattern = PATTERNS[int(rng.integers(len(PATTERNS)))]
    most = min(64.0, min(size) / 3)
    one, two = (log_uniform(rng, 12, most) for _ in range(2))
    line = float(rng.uniform(0.8, max(1.0, min(one, two) / 5)))
    grey = float(rng.choice([rng.uniform(20, 90), rng.uniform(170, 235)]))
    contrast = log_uniform(rng, 4, 55)
    period = (one, one) if rng.random() < 0.3 else (one, two)
    shear, cells = float(rng.uniform(-0.6, 0.6)), int(rng.integers(2**31))
    return Lattice(pattern, period, float(rng.uniform(0, 180)), shear, line, grey, contrast, cells)


def seen(
    lattice: Lattice,
    to_ground: NDArray[np.float64],
    size: tuple[int, int],
    blur: float,
    noise: float,
    rng: np.random.Generator,
) -> Planes:
    """(1, H, W) grey levels: a lattice integrated over the pixels of a view.

    Args:
        lattice: The ground.
        to_ground: (3, 3) view pixel to ground.
        size: (width, height).
        blur: Sigma of the optics, pixels.
        noise: Grey levels.
        rng: Noise and light.
    """
    fine = pixel_grid((size[0] * _FINE, size[1] * _FINE))
    at = (fine + 0.5) / _FINE - 0.5
    ground = at @ to_ground[:2, :2].T + to_ground[:2, 2]
    grey = lattice.grey(ground).reshape(size[1] * _FINE, size[0] * _FINE).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(grey, (0, 0), _FINE * blur), dtype=np.float64)
    plane = soft.reshape(size[1], _FINE, size[0], _FINE).mean(axis=(1, 3))
    y, x = np.mgrid[: size[1], : size[0]] / max(size)
    lean = rng.uniform(-20, 20, 2)
    plane = (plane - 128) * rng.uniform(0.7, 1.2) + 128 + rng.uniform(-25, 25)
    plane = plane + lean[0] * x + lean[1] * y + rng.normal(0, noise, plane.shape)
    return np.asarray(plane[None], dtype=np.float32)


def _both(
    rng: np.random.Generator, *, same_cells: bool
) -> tuple[Planes, Planes, NDArray[np.float64], dict[str, object]]:
    size = draw_size(rng, 96, 512)
    first = draw_lattice(rng, size)
    # Each has its own paint; the lines' may be the same, as roads and hedges keep theirs.
    second = first
    if not same_cells:
        reach = 10 * max(first.period)
        phase = float(rng.uniform(0, reach)), float(rng.uniform(0, reach))
        second = replace(first, cells=int(rng.integers(2**31)), phase=phase)
        if rng.random() < 0.5:
            second = replace(
                second,
                contrast=log_uniform(rng, 4, 55),
                line=first.line * float(rng.uniform(0.7, 1.4)),
                line_grey=float(rng.uniform(20, 235)),
            )
    matrix = near(size, rng) if same_cells else np.eye(3)
    if not same_cells and rng.random() < 0.5:
        matrix = similarity(
            size, float(rng.uniform(-2, 2)), float(rng.uniform(0.98, 1.02)), (0.0, 0.0)
        )
    blur, noise = float(rng.uniform(0.3, 1.0)), log_uniform(rng, 0.5, 12)
    views = [
        seen(lattice, np.linalg.inv(to_view).astype(np.float64), size, blur, noise, rng)
        for lattice, to_view in ((first, np.eye(3)), (second, matrix))
    ]
    about: dict[str, object] = {
        "size": list(size),
        "pattern": first.pattern,
        "period": [round(p, 3) for p in first.period],
        "turn": round(first.turn, 3),
        "line": round(first.line, 3),
        "contrast": [round(first.contrast, 3), round(second.contrast, 3)],
        "noise": round(noise, 3),
    }
    return views[0], views[1], matrix, about


def lattices(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """Two lattices of one pattern and period, of different cells and random phase."""
    first, second, _, about = _both(rng, same_cells=False)
    return TrustPair(_eight_bit(first), _eight_bit(second), None, about)


def lattice_true(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """One lattice seen twice: there is a right answer, and refusing is no shame."""
    first, second, matrix, about = _both(rng, same_cells=True)
    return TrustPair(_eight_bit(first), _eight_bit(second), Truth(matrix), about)


def _eight_bit(planes: Planes) -> Side:
    return Side(np.clip(np.round(planes), 1, 255).astype(np.uint8))
