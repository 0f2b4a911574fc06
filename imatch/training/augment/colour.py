"""Augmentations of colour: season, atmosphere and sensor; none of them moves anything.

Every function takes (C, H, W) float32 in [0, 1] and a generator, and returns a new array of the
same kind, not yet clipped.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]
Rng = np.random.Generator


def season(pixels: Pixels, rng: Rng, strength: float = 0.4, clusters: int = 5) -> Pixels:
    """Changes each kind of ground in its own way, as months do to fields, woods and water.

    The kinds are clusters of colour (k-means); every one gets its own gain and offset in every
    band, faded into the others by distance: contrasts between kinds can vanish or turn round.

    Args:
        pixels: The image.
        rng: Decides.
        strength: Largest offset; gains vary by as much around 1.
        clusters: Kinds of ground.
    """
    bands = len(pixels)
    colours = np.ascontiguousarray(pixels.reshape(bands, -1).T)
    drawn = colours[rng.integers(0, len(colours), 512)]
    centres = _k_means(drawn, clusters, rng)
    spread = max(float(drawn.std()), 1e-3)
    distance = ((colours[:, None, :] - centres[None]) ** 2).sum(axis=2)
    near = np.exp(-(distance - distance.min(axis=1, keepdims=True)) / (0.25 * spread**2 * bands))
    near /= near.sum(axis=1, keepdims=True)
    gain = 1 + strength * rng.uniform(-1, 1, (clusters, bands))
    offset = strength * spread * rng.normal(0, 1.5, (clusters, bands))
    changed = centres + offset
    mean = near @ centres
    new = near @ changed + (near @ gain) * (colours - mean)
    return np.asarray(new.T.reshape(pixels.shape), dtype=np.float32)


def gain_and_gamma(pixels: Pixels, rng: Rng, strength: float = 0.3) -> Pixels:
    """Varies gain, offset and gamma of each band, as calibration, sun and stretch do."""
    shape = (len(pixels), 1, 1)
    gamma = np.exp(strength * rng.normal(0, 1, shape))
    gain = np.exp(0.5 * strength * rng.normal(0, 1, shape))
    offset = 0.2 * strength * rng.normal(0, 1, shape)
    return np.asarray(gain * np.clip(pixels, 0, 1) ** gamma + offset, dtype=np.float32)


def mix_to_grey(pixels: Pixels, rng: Rng) -> Pixels:
    """Draws the bands towards one random mixture of them, sometimes all the way."""
    weights = rng.dirichlet(np.ones(len(pixels)))
    grey = np.tensordot(weights, pixels, axes=1)[None]
    share = 1.0 if rng.random() < 0.5 else rng.random()
    return np.asarray((1 - share) * pixels + share * grey, dtype=np.float32)


def drop_band(pixels: Pixels, rng: Rng) -> Pixels:
    """Replaces a band by the mean of the others, as where a product lacks it; one band stays."""
    bands = len(pixels)
    if bands == 1:
        return pixels.copy()
    lost = int(rng.integers(bands))
    new = pixels.copy()
    new[lost] = np.delete(pixels, lost, axis=0).mean(axis=0)
    return new


def blur(pixels: Pixels, rng: Rng, lowest_mtf: float = 0.05) -> Pixels:
    """Blurs as optics do whose MTF at the Nyquist frequency is between a bound and 0.5.

    The kernel (k, 1 - 2 k, k) has the transfer function 1 - 2 k (1 - cos 2 pi f), which at f = 1/2
    is the MTF for ``k = (1 - MTF) / 4``.
    """
    k = (1 - rng.uniform(lowest_mtf, 0.5)) / 4
    kernel = np.array([k, 1 - 2 * k, k])
    return np.stack([cv2.sepFilter2D(band, -1, kernel, kernel) for band in pixels])


def coarser(pixels: Pixels, rng: Rng, least: float = 0.5) -> Pixels:
    """Resamples as a sensor with larger pixels sees: down by areas, up by lines."""
    height, width = pixels.shape[1:]
    scale = rng.uniform(least, 0.95)
    small = max(round(scale * width), 1), max(round(scale * height), 1)
    return np.stack(
        [
            cv2.resize(
                cv2.resize(band, small, interpolation=cv2.INTER_AREA),
                (width, height),
                interpolation=cv2.INTER_LINEAR,
            )
            for band in pixels
        ]
    )


def stripes(pixels: Pixels, rng: Rng, strength: float = 0.02) -> Pixels:
    """Gains of single detectors of a push-broom sensor: columns, or rows, of a turned image."""
    bands, height, width = pixels.shape
    across = bool(rng.random() < 0.5)
    gain = 1 + strength * rng.normal(0, 1, (bands, 1, width) if across else (bands, height, 1))
    return np.asarray(pixels * gain, dtype=np.float32)


def haze(pixels: Pixels, rng: Rng, thickest: float = 0.5) -> Pixels:
    """Adds a bright veil of uneven thickness."""
    thickness = thickest * rng.random() * (0.4 + 0.6 * noise_field(pixels.shape[1:], rng))
    return np.asarray(pixels * (1 - thickness) + 0.85 * thickness, dtype=np.float32)


def snow(pixels: Pixels, rng: Rng) -> Pixels:
    """Adds snow above a line on a relief made up; dark woods keep some of their tone."""
    height = noise_field(pixels.shape[1:], rng)
    line = rng.uniform(0.3, 0.9)
    cover = np.clip((height - line) / 0.08, 0, 1) * rng.uniform(0.6, 0.95)
    bright = pixels.mean(axis=0)
    white = 0.75 + 0.2 * bright
    return np.asarray(pixels * (1 - cover) + white * cover, dtype=np.float32)


def clouds(pixels: Pixels, rng: Rng, largest: float = 0.4) -> tuple[Pixels, NDArray[np.bool_]]:
    """Adds clouds and their shadows.

    Args:
        pixels: The image.
        rng: Decides.
        largest: Largest share of the image under cloud.

    Returns:
        The image, and (H, W) bool where a cloud hides the ground or a shadow's edge could be taken
        for it.
    """
    field = noise_field(pixels.shape[1:], rng)
    share = largest * rng.random()
    edge = float(np.quantile(field, 1 - share))
    opacity = np.clip((field - edge) / 0.06, 0, 1)
    shift = rng.uniform(-0.15, 0.15, 2) * pixels.shape[1]
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]])
    shadow = cv2.warpAffine(
        opacity.astype(np.float32), matrix, pixels.shape[:0:-1], borderMode=cv2.BORDER_REFLECT
    )
    tops = 0.9 + 0.1 * noise_field(pixels.shape[1:], rng)
    lit = pixels * (1 - 0.55 * shadow)
    covered = lit * (1 - opacity) + tops * opacity
    hidden = (opacity > 0.1) | ((shadow > 0.1) & (shadow < 0.9))
    return np.asarray(covered, dtype=np.float32), hidden


def noise_field(shape: tuple[int, ...], rng: Rng) -> NDArray[np.float32]:
    """Returns (H, W) smooth noise in [0, 1] with structure at several scales."""
    height, width = shape
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(4):
        cells = 2 ** (octave + 1) + 1
        knots = rng.random((cells, cells), dtype=np.float32)
        total += cv2.resize(knots, (width, height), interpolation=cv2.INTER_CUBIC) / 2**octave
    low, high = float(total.min()), float(total.max())
    return np.asarray((total - low) / max(high - low, 1e-6), dtype=np.float32)


def _k_means(points: Pixels, count: int, rng: Rng, rounds: int = 6) -> Pixels:
    """Returns (count, C) centres of clusters by Lloyd's algorithm.

    Written out since OpenCV's draws from a global generator and SciPy's warns of empty clusters.
    """
    centres = points[rng.choice(len(points), count, replace=False)].copy()
    for _ in range(rounds):
        label = ((points[:, None] - centres[None]) ** 2).sum(axis=2).argmin(axis=1)
        for index in range(count):
            if (own := label == index).any():
                centres[index] = points[own].mean(axis=0)
    return centres
