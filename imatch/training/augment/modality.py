"""Shows an optical image as another kind of sensor, or a map, might show the same ground.

Real pairs of two sensors are few and most may not be passed on. A network that is to find one
ground in a radar image and a photograph has to learn what lasts between them, outlines and the
parts of the ground, from pairs whose contrast has nothing else in common. MINIMA (Ren et al., CVPR
2025) makes its modalities by generative networks; here they are drawn from simple models: any tone
for each kind of ground, speckle (Goodman 1976), slopes lit from aside, line drawings, flat colours
with labels.

Every function takes (3, H, W) float32 in [0, 1] and a generator, and returns a new array of the
same kind, not yet clipped or stretched; none of them moves anything.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.datasets.synthetic.cartography import (
    LINE_COLOURS,
    MAP_COLOURS,
    as_bands,
    with_words,
)

Pixels = NDArray[np.float32]
Plane = NDArray[np.float32]
Rng = np.random.Generator

# Percentiles that become 0 and 1, as in rendering (`imatch.raster.render`).
_STRETCH = (1.0, 99.0)
_LOOKS = (1, 1, 2, 3, 4, 5, 10)


def other_modality(pixels: Pixels, rng: Rng) -> Pixels:
    """Draws one of the modalities and returns the image in it, stretched to [0, 1].

    Args:
        pixels: (3, H, W) in [0, 1].
        rng: Decides.
    """
    kinds, weights = zip(*_MODALITIES, strict=True)
    share = np.array(weights) / sum(weights)
    return stretched(kinds[int(rng.choice(len(kinds), p=share))](pixels, rng))


def stretched(pixels: Pixels) -> Pixels:
    """Stretches each band by its 1st and 99th percentile, as images are rendered for matching."""
    out = np.full_like(pixels, 0.5)
    for plane, band in zip(out, pixels, strict=True):
        low, high = np.percentile(band[::2, ::2], _STRETCH)
        if high > low:
            plane[:] = np.clip((band - low) / (high - low), 0, 1)
    return out


def optical(pixels: Pixels, rng: Rng) -> Pixels:
    """Another camera: other gammas, at times blurred or grey, a little noise."""
    seen = np.clip(pixels, 0, 1) ** np.exp(rng.normal(0, 0.25, (3, 1, 1)))
    if rng.random() < 0.3:
        seen = _blurred(seen, rng.uniform(0.4, 1.2))
    if rng.random() < 0.25:
        seen = _repeated(_grey(seen, rng))
    return np.asarray(seen + rng.normal(0, rng.uniform(0, 0.03), seen.shape), dtype=np.float32)


def toned(pixels: Pixels, rng: Rng) -> Pixels:
    """Any tone for each grey value, by a curve that need not rise."""
    return _repeated(_curve(_grey(pixels, rng), rng))


def band_mixture(pixels: Pixels, rng: Rng) -> Pixels:
    """Bands mixed by random weights of either sign."""
    return np.asarray(np.tensordot(rng.normal(0, 1, (3, 3)), pixels, axes=1), dtype=np.float32)


def segments(pixels: Pixels, rng: Rng) -> Pixels:
    """Any tone or colour for each kind of ground, at times with its texture, either way round."""
    kinds, count = kinds_of_ground(pixels, rng)
    colour = rng.random((3, count)).astype(np.float32)
    if rng.random() < 0.6:
        colour[1:] = colour[0]
    seen = colour[:, kinds]
    if rng.random() < 0.6:
        seen = seen + rng.uniform(-0.6, 0.6) * (pixels - _blurred(pixels, 4.0))
    return _blurred(seen, rng.uniform(0, 1.2))


def flat_map(pixels: Pixels, rng: Rng) -> Pixels:
    """Flat map colours for the kinds of ground, lines where it has ridges, and labels."""
    kinds, count = kinds_of_ground(pixels, rng)
    colour = MAP_COLOURS[rng.integers(0, len(MAP_COLOURS), count)]
    seen = np.clip(colour + rng.normal(0, 0.02, colour.shape), 0, 1).astype(np.float32)[kinds]
    if rng.random() < 0.7:
        seen[_ridges(_grey(pixels, rng), rng)] = LINE_COLOURS[rng.integers(len(LINE_COLOURS))]
    if rng.random() < 0.4:
        edge = cv2.morphologyEx(kinds, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
        seen[edge] = rng.uniform(0.6, 0.85)
    return as_bands(with_words(seen, rng, int(rng.integers(0, 12))))


def line_drawing(pixels: Pixels, rng: Rng) -> Pixels:
    """Strength of the gradient or its strongest lines, dark on bright or bright on dark."""
    gradient = np.hypot(*_gradient(_grey(pixels, rng), rng.uniform(0.8, 2)))
    strong = max(float(np.percentile(gradient[::3, ::3], rng.uniform(80, 93))), 1e-6)
    drawn = np.clip(gradient / strong, 0, 1) if rng.random() < 0.5 else gradient > strong
    return _repeated(1.0 - drawn if rng.random() < 0.5 else drawn)


def relief(pixels: Pixels, rng: Rng) -> Pixels:
    """Slopes of the grey values, lit from one side."""
    return _repeated(_lit(_grey(pixels, rng), rng.uniform(1, 3), rng))


def thermal(pixels: Pixels, rng: Rng) -> Pixels:
    """Mostly inverted grey, blurred; at times a temperature for each kind of ground."""
    grey = _grey(pixels, rng)
    heat = 1 - grey if rng.random() < 0.7 else _curve(grey, rng)
    if rng.random() < 0.5:
        kinds, count = kinds_of_ground(pixels, rng)
        heat = 0.5 * heat + 0.5 * rng.random(count, np.float32)[kinds]
    heat = _blurred(heat, rng.uniform(0.8, 2.5))
    return _repeated(heat + rng.normal(0, 0.02, heat.shape))


def radar(pixels: Pixels, rng: Rng) -> Pixels:
    """Backscatter of the kinds of ground, slopes and bright corners, under speckle of some looks.

    Speckle is multiplicative and gamma-distributed (Goodman, "Some fundamental properties of
    speckle", JOSA 1976); the image is an amplitude, an intensity or its logarithm.
    """
    grey = _grey(pixels, rng)
    draw = rng.random()
    if draw < 0.35:
        ground = _curve(grey, rng)
    elif draw < 0.7:
        kinds, count = kinds_of_ground(pixels, rng)
        ground = rng.random(count)[kinds] + rng.uniform(-0.7, 0.7) * (grey - _blurred(grey, 3.0))
    else:
        ground = grey if rng.random() < 0.6 else 1 - grey
    log = rng.uniform(1, 4) * _blurred(ground, rng.uniform(0, 2))
    if rng.random() < 0.6:
        slope = _lit(grey, rng.uniform(0.8, 3), rng)
        log = log + rng.uniform(0.15, 0.75) * slope / max(float(slope.std()), 1e-6)
    if rng.random() < 0.7:
        contrast = _blurred(grey, 0.8) - _blurred(grey, 3.0)
        corners = np.abs(contrast) if rng.random() < 0.6 else np.maximum(contrast, 0)
        corners = corners / max(float(np.percentile(corners[::3, ::3], 97)), 1e-6)
        hit = rng.random(corners.shape) < 0.6
        log = log + rng.uniform(0.5, 2.5) * hit * np.clip(corners - rng.uniform(0, 0.6), 0, 1.5)
    looks = int(rng.choice(_LOOKS))
    speckle = rng.gamma(looks, 1 / looks, grey.shape).astype(np.float32)
    intensity = _blurred(np.exp(log), rng.uniform(0, 1)) * speckle
    correlated = rng.uniform(0, 1.1)
    if correlated > 0.4:
        intensity = _blurred(intensity, correlated)
    draw = rng.random()
    if draw < 0.5:
        return _repeated(np.sqrt(intensity))
    if draw < 0.7:
        return _repeated(np.log(intensity + 1e-3 * intensity.mean()))
    return _repeated(intensity)


def kinds_of_ground(pixels: Pixels, rng: Rng) -> tuple[NDArray[np.uint8], int]:
    """Divides the ground by colour (a few steps of k-means) into 3 to 9 kinds.

    Returns:
        (H, W) number of the kind of each pixel, and how many kinds there are.
    """
    count = int(rng.integers(3, 10))
    colours = _blurred(pixels, rng.uniform(0.8, 2.5)).reshape(3, -1).T
    centres = colours[rng.integers(0, len(colours), count)]
    some = colours[::7]
    for _ in range(2):
        nearest = ((some[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.stack(
            [
                some[nearest == k].mean(axis=0) if (nearest == k).any() else centres[k]
                for k in range(count)
            ]
        )
    distance = np.stack([((colours - centre) ** 2).sum(axis=1) for centre in centres])
    kinds = distance.argmin(axis=0).astype(np.uint8).reshape(pixels.shape[1:])
    side = int(rng.choice([1, 3, 5, 7]))
    return (cv2.medianBlur(kinds, side) if side > 1 else kinds), count


def _grey(pixels: Pixels, rng: Rng) -> Plane:
    weights = rng.dirichlet([1.5, 1.5, 1.5])
    return np.asarray(np.tensordot(weights, pixels, axes=1), dtype=np.float32)


def _curve(grey: Plane, rng: Rng) -> Plane:
    tones = rng.random(int(rng.integers(3, 7)))
    return np.interp(grey, np.linspace(0, 1, len(tones)), tones).astype(np.float32)


def _gradient(grey: Plane, sigma: float) -> tuple[Plane, Plane]:
    smooth = _blurred(grey, sigma)
    x, y = (cv2.Sobel(smooth, cv2.CV_32F, *way) for way in ((1, 0), (0, 1)))
    return np.asarray(x, dtype=np.float32), np.asarray(y, dtype=np.float32)


def _lit(grey: Plane, sigma: float, rng: Rng) -> Plane:
    angle = rng.uniform(0, 2 * np.pi)
    x, y = _gradient(grey, sigma)
    return np.asarray(np.cos(angle) * x + np.sin(angle) * y, dtype=np.float32)


def _ridges(grey: Plane, rng: Rng) -> BoolArray:
    """(H, W) bool: the strongest bright or dark lines."""
    bend = cv2.Laplacian(_blurred(grey, rng.uniform(0.8, 2.5)), cv2.CV_32F)
    bend = bend if rng.random() < 0.5 else -bend
    return np.asarray(bend > np.percentile(bend[::3, ::3], rng.uniform(90, 97)))


def _blurred(image: NDArray[np.floating], sigma: float) -> NDArray[np.float32]:
    """An image, or each of its bands, blurred by a Gaussian; unchanged below a fifth of a pixel."""
    planes = np.atleast_3d(np.asarray(image, dtype=np.float32).T)
    if sigma <= 0.2:
        return np.asarray(image, dtype=np.float32)
    done = cv2.GaussianBlur(np.ascontiguousarray(planes), (0, 0), float(sigma))
    return np.ascontiguousarray(done.T.reshape(image.shape), dtype=np.float32)


def _repeated(plane: NDArray[np.generic]) -> Pixels:
    return np.repeat(np.asarray(plane, dtype=np.float32)[None], 3, axis=0)


_MODALITIES: tuple[tuple[Callable[[Pixels, Rng], Pixels], float], ...] = (
    (optical, 0.3),
    (toned, 1.0),
    (band_mixture, 0.6),
    (segments, 1.2),
    (flat_map, 1.8),
    (line_drawing, 0.4),
    (relief, 0.3),
    (thermal, 0.6),
    (radar, 3.0),
)
