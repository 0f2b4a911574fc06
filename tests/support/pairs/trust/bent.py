"""Pairs that no transform fits: jitter, seams, smooth bends and relief, known at every place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.pairs.trust.ground import draw_ground, draw_size, present, seen_twice
from tests.support.pairs.trust.pair import (
    Bend,
    Points,
    TrustPair,
    Truth,
    log_uniform,
    near,
    pixel_grid,
)

Drawn = tuple[Bend, dict[str, Any]]
Size = tuple[int, int]

#: A bend whose gradient is larger folds.
STEEPEST = 0.8


def sine(amplitude: float, period: float, phase: float, axis: int) -> Bend:
    """Rows (`axis` 0: along x, by y) or columns displaced by a sine, as a pushbroom's jitter."""

    def bend(xy: Points) -> Points:
        out = np.zeros_like(xy)
        out[:, axis] = amplitude * np.sin(2 * np.pi * xy[:, 1 - axis] / period + phase)
        return out

    return bend


def _rows(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    return _sine(amplitude, 0, rng)


def _columns(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    return _sine(amplitude, 1, rng)


def _sine(amplitude: float, axis: int, rng: np.random.Generator) -> Drawn:
    period, phase = log_uniform(rng, 16, 400), float(rng.uniform(0, 2 * np.pi))
    return sine(amplitude, period, phase, axis), {"period": period}


def _both(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """Each component by the same coordinate, as a platform shakes, or each by the other's."""
    period, other = log_uniform(rng, 16, 400), log_uniform(rng, 16, 400)
    phase, second = rng.uniform(0, 2 * np.pi, 2)
    ratio = float(rng.uniform(0.3, 1))
    if rng.random() < 0.5:
        # Rows must not overtake one another.
        along = min(ratio * amplitude, STEEPEST * other / (2 * np.pi))
        shake = sine(amplitude, period, float(phase), 0)

        def bend(xy: Points) -> Points:
            out = shake(xy)
            out[:, 1] = along * np.sin(2 * np.pi * xy[:, 1] / other + second)
            return out

        return bend, {"period": [period, other], "along": along}
    steep = STEEPEST / (2 * np.pi)
    crossed = min(ratio * amplitude, steep**2 * period * other / amplitude)
    one, two = sine(amplitude, period, float(phase), 0), sine(crossed, other, float(second), 1)
    return lambda xy: one(xy) + two(xy), {"period": [period, other], "across": crossed}


def _steps(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """Detectors side by side, or blocks of lines, each displaced by its own vector."""
    axis = int(rng.integers(2))
    count = int(rng.integers(2, 9))
    cuts = np.sort(rng.uniform(0.05, 0.95, count - 1)) * size[axis]
    offsets = rng.uniform(-1, 1, (count, 2))
    if rng.random() < 0.5:
        offsets[:, int(rng.integers(2))] = 0
    offsets *= amplitude / max(float(np.abs(offsets).max()), 1e-9)

    def bend(xy: Points) -> Points:
        return np.asarray(offsets[np.searchsorted(cuts, xy[:, axis])])

    return bend, {"seams": count - 1, "axis": axis}


def _polynomial(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """Second and third order, as an old sensor model leaves them."""
    factors = rng.normal(size=(7, 2))
    middle, half = (np.array(size) - 1) / 2, np.array(size) / 2

    def plain(xy: Points) -> Points:
        u, v = ((xy - middle) / half).T
        terms = np.column_stack([u * u, u * v, v * v, u**3, u * u * v, u * v * v, v**3])
        return np.asarray(terms @ factors)

    return _scaled(plain, amplitude, size), {}


def _radial(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """A lens's distortion about a point near the middle."""
    middle = (np.array(size) - 1) / 2 + rng.uniform(-0.15, 0.15, 2) * np.array(size)
    sign = float(rng.choice([-1, 1]))

    def plain(xy: Points) -> Points:
        off = (xy - middle) / max(size)
        return np.asarray(sign * off * (off**2).sum(axis=1, keepdims=True))

    return _scaled(plain, amplitude, size), {"centre": middle.tolist()}


def _smooth(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """A random smooth field of Gaussian covariance, by random Fourier features."""
    scale = log_uniform(rng, 40, 400)
    waves = rng.normal(0, 1 / scale, (2, 40, 2))
    phases = rng.uniform(0, 2 * np.pi, (2, 40))

    def plain(xy: Points) -> Points:
        parts = [np.cos(xy @ w.T + p).mean(axis=1) for w, p in zip(waves, phases, strict=True)]
        return np.column_stack(parts)

    return _scaled(plain, amplitude, size), {"scale": scale}


def _relief(amplitude: float, size: Size, rng: np.random.Generator) -> Drawn:
    """Hills and buildings that lean in one direction."""
    count = int(np.exp(rng.uniform(np.log(3), np.log(60))))
    centres = rng.uniform(0, 1, (count, 2)) * np.array(size)
    radii = np.exp(rng.uniform(np.log(4), np.log(max(8.0, min(size) / 4)), count))
    heights = rng.uniform(0.2, 1, count)
    hills = bool(rng.random() < 0.5)
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), np.sin(angle)])

    def plain(xy: Points) -> Points:
        off = (xy[:, None] - centres) / radii[:, None]
        if hills:
            rise = np.exp(-(off**2).sum(axis=2) / 2)
        else:
            # Walls: what stands hides ground, which the inverse then lacks.
            rise = 1 / (1 + np.exp(np.clip((np.abs(off).max(axis=2) - 1) * radii / 0.5, -40, 40)))
        return np.asarray((rise * heights).max(axis=1)[:, None] * direction)

    about = {"blobs": count, "hills": hills, "direction": float(np.degrees(angle))}
    if hills:
        return _scaled(plain, amplitude, size), about
    return (lambda xy: amplitude * plain(xy)), about


def _scaled(plain: Bend, amplitude: float, size: Size) -> Bend:
    """A bend whose largest displacement is the amplitude, or as much of it as does not fold."""
    grid = pixel_grid((size[0] // 4, size[1] // 4)) * 4
    at = plain(grid)
    slopes = [np.abs(plain(grid + step) - at).sum(axis=1).max() for step in np.eye(2)]
    least = max(float(np.hypot(*at.T).max()), 1e-12)
    factor = min(amplitude / least, STEEPEST / max(*slopes, 1e-12) / 2)
    return lambda xy: factor * plain(xy)


BENDS: dict[str, Callable[[float, Size, np.random.Generator], Drawn]] = {
    "rows": _rows,
    "columns": _columns,
    "both": _both,
    "steps": _steps,
    "polynomial": _polynomial,
    "radial": _radial,
    "smooth": _smooth,
    "relief": _relief,
}


def bent(data: Path, split: str, rng: np.random.Generator) -> TrustPair:
    """A bend of 0.3 to 8 px on two dates, or on one image with noise."""
    size = draw_size(rng, 128, 512)
    ground = draw_ground(data, split, size, rng, rim=24, one_date=bool(rng.random() < 0.5))
    name = str(rng.choice(list(BENDS)))
    amplitude = log_uniform(rng, 0.3, 8)
    bend, about = BENDS[name](amplitude, size, rng)
    truth = Truth(near(size, rng), ground.shift, bend, ground.sd_px)
    pair = seen_twice(ground, truth, log_uniform(rng, 0.5, 8), rng)
    params = pair.params | {"bend": name, "amplitude": amplitude} | about
    return present(TrustPair(pair.ref, pair.tgt, pair.truth, params), rng)
