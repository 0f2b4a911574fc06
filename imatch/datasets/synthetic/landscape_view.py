"""Rendering of procedural landscapes: on a date, through any matrix, under any sky.

Every view is integrated over its own pixels straight from the ground, so two views differ exactly
by their matrices; no image is ever warped into another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.types import BoolArray, FloatArray
from imatch.datasets.synthetic.landscape import (
    FIELD,
    FINE,
    HEDGE,
    ROAD,
    TOWN,
    WATER,
    WOOD,
    Landscape,
    fractal,
    smooth_noise,
)

Season: TypeAlias = Literal["spring", "summer", "autumn", "winter"]
SEASONS: tuple[Season, ...] = get_args(Season)

# Pixels of a view rendered beyond its frame, so that its blur sees what lies there.
_RIM = 3
# Optics: with the pixel's own area, an MTF of 0.3 at the Nyquist frequency, as of Sentinel-2.
_OPTICS = 0.4

_SOIL, _STRAW, _GREEN = (0.36, 0.28, 0.20), (0.56, 0.49, 0.31), (0.13, 0.27, 0.09)
_NEEDLES = (0.06, 0.13, 0.08)
_LEAVES = {
    "spring": (0.16, 0.29, 0.10),
    "summer": (0.08, 0.19, 0.07),
    "autumn": (0.36, 0.24, 0.09),
    "winter": (0.24, 0.20, 0.16),
}
# Share of green and of straw in each season; the rest is bare soil. Cereal, maize, meadow, orchard,
# fallow, catch crop: some of them are bright when others are dark, and change places.
_CROPS = np.array(
    [
        [(0.95, 0.0), (0.05, 0.9), (0.1, 0.0), (0.5, 0.0)],
        [(0.05, 0.0), (0.9, 0.0), (0.1, 0.6), (0.0, 0.2)],
        [(0.8, 0.0), (0.6, 0.3), (0.6, 0.1), (0.3, 0.3)],
        [(0.3, 0.1), (0.5, 0.1), (0.4, 0.3), (0.1, 0.1)],
        [(0.3, 0.2), (0.2, 0.6), (0.1, 0.2), (0.1, 0.0)],
        [(0.0, 0.1), (0.4, 0.3), (0.9, 0.0), (0.7, 0.0)],
    ]
)
_SUN_HEIGHT = {"spring": 50.0, "summer": 62.0, "autumn": 36.0, "winter": 22.0}


def render_landscape(
    ground: Landscape,
    season: Season,
    *,
    matrix: FloatArray | None = None,
    size: tuple[int, int] | None = None,
    year: int = 0,
    noise: float = 0.01,
    snow: float = 0.0,
    haze: float = 0.0,
    clouds: float = 0.0,
    sun_azimuth: float = 150.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], BoolArray]:
    """Renders a landscape.

    Args:
        ground: The landscape.
        season: Decides colours and the height of the sun.
        matrix: (3, 3) landscape pixel to pixel of the view; the identity when None. Scales from
            half to twice are rendered without aliasing.
        size: (width, height) of the view; the landscape's when None.
        year: Crops rotate from one to the next.
        noise: Standard deviation of the sensor's noise.
        snow: Share of the landscape's heights that are under snow, from the summits down.
        haze: 0 for clear air to 1 for none of the ground to be seen.
        clouds: Share of the view covered by clouds; their shadows come on top.
        sun_azimuth: Degrees clockwise from north (up).
        seed: Of clouds, haze and noise, which are the view's own and not the ground's.

    Returns:
        (3, H, W) float32 in [0, 1] of red, green and blue, and (H, W) bool, False beyond the
        landscape. Clouds count as valid: nobody has told the user where they are.

    Raises:
        ConfigError: A season that does not exist.
    """
    if season not in SEASONS:
        raise ConfigError("no season", subject=season, hint=f"choose one of {', '.join(SEASONS)}")
    width, height = size or ground.size
    matrix = np.eye(3) if matrix is None else np.asarray(matrix, dtype=np.float64)
    lit = _Light(season, year, sun_azimuth, snow)
    image = _integrate_pixels(ground, lit, matrix, (width, height))
    air = np.random.default_rng([seed, 2])
    image = _add_atmosphere(image, haze, clouds, sun_azimuth, air)
    image += air.normal(0, noise, image.shape).astype(np.float32)
    inside = cv2.warpPerspective(
        np.ones(ground.size[::-1], np.uint8), matrix, (width, height), flags=cv2.INTER_NEAREST
    )
    pixels = np.ascontiguousarray(np.clip(image, 0, 1).transpose(2, 0, 1), dtype=np.float32)
    return pixels, inside > 0


def cloud_cover(
    size: tuple[int, int],
    clouds: float,
    *,
    haze: float = 0.0,
    sun_azimuth: float = 150.0,
    seed: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns where the clouds of a view are.

    Args:
        size: (width, height) of the view.
        clouds: As given to `render_landscape`, and so are the others.
        haze: Its draws come before those of the clouds.
        sun_azimuth: Degrees clockwise from north (up).
        seed: That of the view.

    Returns:
        (H, W) float32 in [0, 1]: the share of the ground's light that clouds take, and the depth
        of their shadows.
    """
    air = np.random.default_rng([seed, 2])
    if haze > 0:
        fractal(size, 0.5 * max(size), air)
    opaque, shadow, _ = _clouds(size, clouds, sun_azimuth, air)
    return opaque, shadow


@dataclass(frozen=True)
class _Light:
    """Season, snow and sun, which decide how the ground looks."""

    season: Season
    year: int
    azimuth: float
    snow: float


def _integrate_pixels(
    ground: Landscape, light: _Light, matrix: FloatArray, size: tuple[int, int]
) -> NDArray[np.float32]:
    """Returns (H, W, 3) light that reaches each pixel of a view."""
    rim = np.array([[1, 0, -_RIM], [0, 1, -_RIM], [0, 0, 1.0]])
    # From a sample of the view to the landscape.
    back = np.linalg.inv(matrix) @ rim @ np.linalg.inv(_to_finer_grid(FINE))
    columns, rows = ((side + 2 * _RIM) * FINE for side in size)
    ends = np.array([[0, 0, 1], [columns, 0, 1], [columns, rows, 1], [0, rows, 1]]) @ back.T
    corners = ends[:, :2] / ends[:, 2:]
    low = np.clip(np.floor(corners.min(axis=0)) - 2, 0, np.array(ground.size) - 4).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)) + 2, low + 4, ground.size).astype(int)
    begin = np.array([[1, 0, -low[0]], [0, 1, -low[1]], [0, 0, 1]])
    # Interpolated between cells: picking the nearest one would shift edges by parts of a cell.
    image = cv2.warpPerspective(
        _colours(ground, light, low, high),
        _to_finer_grid(FINE) @ begin @ back,
        (columns, rows),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    image = cv2.GaussianBlur(image, (0, 0), _OPTICS * FINE)
    image = cv2.resize(image, (columns // FINE, rows // FINE), interpolation=cv2.INTER_AREA)
    return np.asarray(image[_RIM:-_RIM, _RIM:-_RIM], dtype=np.float32)


def _colours(
    ground: Landscape, light: _Light, low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Returns (4 H, 4 W, 3) colours of the cells between two corners of the landscape."""
    cells = np.s_[FINE * low[1] : FINE * high[1], FINE * low[0] : FINE * high[0]]
    labels, texture = ground.labels[cells], ground.texture[cells]
    to_pixel = np.array([[1, 0, low[0]], [0, 1, low[1]], [0, 0, 1]]) @ np.linalg.inv(
        _to_finer_grid(FINE)
    )

    def fine(layer: NDArray[np.float32]) -> NDArray[np.float32]:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        shape, border = labels.shape[::-1], cv2.BORDER_REPLICATE
        return np.asarray(
            cv2.warpAffine(layer, to_pixel[:2], shape, flags=flags, borderMode=border),
            dtype=np.float32,
        )

    colours, grain = _palette(ground, light.season, light.year)
    # One damp and one dry patch after another, different on every date.
    date = np.random.default_rng([ground.seed, 3, light.year, SEASONS.index(light.season)])
    moisture = fine(smooth_noise(ground.size, 9.0, date))
    sun = fine(_shading(ground, light.season, light.azimuth))
    image = colours[labels] * (sun * (1 + grain[labels] * texture + 0.05 * moisture))[..., None]
    if light.snow > 0:
        line = float(np.quantile(ground.height, max(0.0, 1 - light.snow))) - 0.1 * (light.snow >= 1)
        lies = np.clip(20 * (fine(ground.height) - line) + 0.4 * texture, 0, 1)
        lies *= _snow_kept(len(colours))[labels]
        image += lies[..., None] * (0.75 * sun[..., None] - image)
    return np.asarray(image, dtype=np.float32)


def _palette(
    ground: Landscape, season: Season, year: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns colour (L, 3) and strength of texture (L,) of every label on a date."""
    count = int(ground.labels.max()) + 1
    lasting = np.random.default_rng([ground.seed, 4])
    own = lasting.normal(0, 1, (count, 3)) @ (0.05 * np.eye(3) + 0.06)
    conifers = lasting.random(count) < 0.45
    crop = lasting.integers(0, len(_CROPS), count)
    for passed in range(1, year + 1):
        rotating = np.random.default_rng([ground.seed, 5, passed])
        crop = np.where(rotating.random(count) < 0.5, rotating.integers(0, 6, count), crop)
    date = np.random.default_rng([ground.seed, 6, year, SEASONS.index(season)])
    share = _CROPS[crop, SEASONS.index(season)] + date.normal(0, 0.07, (count, 2))
    share = np.clip(share, 0, 1)
    green, straw = share[:, :1], np.minimum(share[:, 1:], 1 - share[:, :1])
    colours = green * _GREEN + straw * _STRAW + (1 - green - straw) * np.array(_SOIL)
    grain = np.full(count, 0.07)
    trees = np.arange(WOOD, min(FIELD, count))
    colours[trees] = np.where(conifers[trees, None], _NEEDLES, _LEAVES[season])
    grain[trees] = 0.22
    colours[TOWN:WOOD] = lasting.uniform(0.2, 0.65, (count, 1))[TOWN:WOOD]
    colours[HEDGE] = np.mean([_LEAVES[season], _SOIL], axis=0)
    colours *= np.exp(own)
    colours[WATER], colours[ROAD] = (0.06, 0.10, 0.12), (0.46, 0.45, 0.43)
    grain[[WATER, ROAD]] = 0.02
    return colours.astype(np.float32), grain.astype(np.float32)


def _snow_kept(count: int) -> NDArray[np.float32]:
    """Returns the (L,) share of a label's ground that snow hides: trees shed it, roads clear it."""
    kept = np.full(count, 0.93, np.float32)
    kept[TOWN:WOOD], kept[WOOD:FIELD] = 0.6, 0.3
    kept[WATER], kept[ROAD], kept[HEDGE] = 0.0, 0.4, 0.5
    return kept


def _shading(ground: Landscape, season: Season, azimuth: float) -> NDArray[np.float32]:
    """Returns (H, W) sunlight on the slopes, 1 on level ground."""
    steep = 0.16 * max(ground.size)
    down_y, down_x = (steep * slope for slope in np.gradient(ground.height))
    turn, tilt = np.radians(azimuth), np.radians(_SUN_HEIGHT[season])
    towards = -down_x * np.sin(turn) + down_y * np.cos(turn)
    level = np.sin(tilt)
    light = (level + towards * np.cos(tilt)) / np.sqrt(1 + down_x**2 + down_y**2) / level
    # The sky lights what the sun does not.
    return np.asarray(0.35 + 0.65 * np.clip(light, 0, 2), dtype=np.float32)


def _add_atmosphere(
    image: NDArray[np.float32], haze: float, clouds: float, azimuth: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    height, width = image.shape[:2]
    size, across = (width, height), float(max(width, height))
    if haze > 0:
        thick = np.clip(haze * (1 + 0.35 * fractal(size, 0.5 * across, rng)), 0, 1)[..., None]
        image = image + thick * (np.array([0.62, 0.66, 0.72], np.float32) - image)
    if clouds > 0:
        opaque, shadow, shape = _clouds(size, clouds, azimuth, rng)
        image = image * (1 - 0.6 * shadow)[..., None]
        image = image + opaque[..., None] * (0.9 + 0.05 * shape[..., None] - image)
    return np.asarray(image, dtype=np.float32)


def _clouds(
    size: tuple[int, int], clouds: float, azimuth: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Returns opacity of clouds, of their shadows, and the billows they are made of."""
    across = float(max(size))
    shape = fractal(size, 0.3 * across, rng)
    depth = shape - np.quantile(shape, 1 - min(clouds, 1.0))
    opaque = np.clip(3.0 * depth + 0.15, 0, 1).astype(np.float32)
    away = np.radians(azimuth)
    reach = 0.04 * across
    move = np.array([[1, 0, -reach * np.sin(away)], [0, 1, reach * np.cos(away)]])
    shadow = cv2.warpAffine(opaque, move, size, borderMode=cv2.BORDER_REFLECT)
    return opaque, np.asarray(shadow, dtype=np.float32), shape


def _to_finer_grid(factor: float) -> NDArray[np.float64]:
    """Maps a pixel to the cells of a grid `factor` times as fine, or back for its inverse."""
    return np.array([[factor, 0, factor / 2 - 0.5], [0, factor, factor / 2 - 0.5], [0, 0, 1]])
