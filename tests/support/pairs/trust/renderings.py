"""A procedural landscape as two kinds of sensor show it, with the exact transform between them.

The reference is an optical image of one season; the target shows the same ground as a thermal
camera by day or by night, a map with labels and symbols, the lights of the night, a scanned aerial
photograph, or an optical satellite of another pixel size.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray

from imatch.datasets.synthetic.landscape import (
    FIELD,
    FINE,
    HEDGE,
    ROAD,
    TOWN,
    WATER,
    WOOD,
    Landscape,
    landscape,
    smooth_noise,
)
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from tests.support.pairs.trust.pair import (
    Planes,
    Side,
    TrustPair,
    Truth,
    log_uniform,
    near,
    similarity,
)

Draw: TypeAlias = np.random.Generator
Matrix: TypeAlias = NDArray[np.float64]
Size: TypeAlias = tuple[int, int]

SIDES = 256, 512
_RIM = 40
_WORDS = ("Ried", "Aubach", "Moos", "Hof", "Hochwald", "Bahnhof", "Kirche", "L 187", "Seefeld")
# Metres a pixel of Landsat and of Sentinel-2, and where the made ground lies on the map.
_COARSE, _FINE_M, _CORNER = 30.0, 10.0, (600_000.0, 5_300_000.0)


def view(ground: Landscape, values: NDArray[np.floating], matrix: Matrix, size: Size) -> Planes:
    """Integrates values of the landscape's cells over the pixels of a view.

    Args:
        ground: The landscape.
        values: (4 H, 4 W, C) value of each of its cells.
        matrix: (3, 3) landscape pixel to pixel of the view.
        size: (width, height) of the view.

    Returns:
        (C, height, width).
    """
    fine = np.array([[FINE, 0, FINE / 2 - 0.5], [0, FINE, FINE / 2 - 0.5], [0, 0, 1.0]])
    to_view = fine @ matrix @ np.linalg.inv(fine)
    width, height = size
    shown = cv2.warpPerspective(
        values.astype(np.float32),
        to_view,
        (FINE * width, FINE * height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    shown = cv2.resize(shown, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.atleast_3d(shown).transpose(2, 0, 1), dtype=np.float32)


def _thermal(ground: Landscape, rng: Draw, matrix: Matrix, size: Size, *, night: bool) -> Planes:
    """Temperatures: by day fields and roofs are warm, by night water and woods."""
    labels = ground.labels
    count = int(labels.max()) + 1
    warm = np.full(count, 0.5)
    if night:
        warm[FIELD:] = rng.uniform(0.1, 0.35, max(0, count - FIELD))
        warm[WOOD:FIELD], warm[TOWN:WOOD] = 0.55, rng.uniform(0.3, 0.7, WOOD - TOWN)
        warm[[WATER, ROAD, HEDGE]] = 0.95, 0.6, 0.45
    else:
        warm[FIELD:] = rng.uniform(0.4, 0.75, max(0, count - FIELD))
        warm[WOOD:FIELD], warm[TOWN:WOOD] = 0.28, rng.uniform(0.6, 1.0, WOOD - TOWN)
        warm[[WATER, ROAD, HEDGE]] = 0.1, 0.85, 0.4
    shown = view(ground, warm[labels][..., None], matrix, size)[0]
    # A thermal pixel is some times as wide as an optical one.
    shown = cv2.GaussianBlur(shown, (0, 0), float(rng.uniform(0.8, 2.0)))
    drift = 0.05 * smooth_noise(size, 40.0, rng)
    return np.asarray(255 * (shown + drift + rng.normal(0, 0.012, shown.shape)))[None]


def _thermal_day(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    return _thermal(ground, rng, matrix, size, night=False)


def _thermal_night(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    return _thermal(ground, rng, matrix, size, night=True)


def _map(ground: Landscape, rng: Draw, matrix: Matrix, size: Size, *, labels: bool) -> Planes:
    """A web map: plain colours of a few classes, roads with casings; fields have no borders."""
    colours = np.zeros((int(ground.labels.max()) + 1, 3))
    colours[FIELD:], colours[WOOD:FIELD], colours[TOWN:WOOD] = (
        (243, 240, 230),
        (200, 224, 180),
        (225, 220, 215),
    )
    colours[[WATER, ROAD, HEDGE]] = (165, 205, 225), (255, 255, 255), (243, 240, 230)
    values = colours[ground.labels]
    road = (ground.labels == ROAD).astype(np.uint8)
    casing = cv2.dilate(road, np.ones((FINE + 1, FINE + 1), np.uint8)) - road
    values[casing > 0] = 190, 180, 170
    shown = _levels(view(ground, values, matrix, size).transpose(1, 2, 0))
    if labels:
        _lettered(shown, rng)
    return np.asarray(shown.transpose(2, 0, 1), dtype=np.float32)


def _lettered(picture: NDArray[np.uint8], rng: Draw) -> None:
    """Writes names and draws symbols, one for each 4000 pixels, in place."""
    height, width = picture.shape[:2]
    for _ in range(max(4, width * height // 4000)):
        at = int(rng.integers(0, width)), int(rng.integers(10, height))
        if rng.random() < 0.6:
            word = str(rng.choice(_WORDS))
            size, font = float(rng.uniform(0.3, 0.6)), cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(picture, word, at, font, size, (255, 255, 255), 3, cv2.LINE_AA)
            cv2.putText(picture, word, at, font, size, (60, 60, 70), 1, cv2.LINE_AA)
        else:
            tone = tuple(float(v) for v in rng.integers(40, 200, 3))
            cv2.circle(picture, at, int(rng.integers(3, 7)), tone, -1, cv2.LINE_AA)


def _plain_map(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    return _map(ground, rng, matrix, size, labels=False)


def _lettered_map(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    return _map(ground, rng, matrix, size, labels=True)


def _night_lights(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    """Lamps along roads and in towns, some saturated, on dark ground."""
    chance = np.where(ground.labels == ROAD, 0.01, 0.0)
    chance[(ground.labels >= TOWN) & (ground.labels < WOOD)] = 0.012
    lamps = (rng.random(chance.shape) < chance) * rng.gamma(1.0, 1.0, chance.shape)
    light = view(ground, lamps[..., None], matrix, size)[0] * FINE**2
    light = cv2.GaussianBlur(light, (0, 0), float(rng.uniform(0.7, 1.5)))
    seen = 6 + 180 * light + rng.normal(0, 1.5, light.shape)
    return np.asarray(np.clip(seen, 0, 255), dtype=np.float32)[None]


def _scan(ground: Landscape, rng: Draw, matrix: Matrix, size: Size) -> Planes:
    """A grey aerial photograph with vignetting and grain, of rounded corners, in its frame."""
    pixels, _ = render_landscape(
        ground,
        SEASONS[int(rng.integers(4))],
        matrix=matrix,
        size=size,
        year=int(rng.integers(1, 3)),
        seed=int(rng.integers(2**31)),
    )
    width, height = size
    y, x = np.mgrid[:height, :width]
    away = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width / 2) ** 2
    film = 255 * pixels.mean(axis=0) ** 0.8 * (1 - float(rng.uniform(0.1, 0.35)) * away)
    film = film + rng.normal(0, float(rng.uniform(3, 9)), film.shape)
    frame = round(float(rng.uniform(0.04, 0.1)) * min(size))
    dark = float(rng.choice([8.0, 245.0]))
    picture, inner = np.full(film.shape, dark), np.zeros(film.shape, np.uint8)
    round_ = 2 * frame
    cv2.rectangle(inner, (frame + round_, frame), (width - frame - round_, height - frame), 1, -1)
    cv2.rectangle(inner, (frame, frame + round_), (width - frame, height - frame - round_), 1, -1)
    for cx in (frame + round_, width - frame - round_):
        for cy in (frame + round_, height - frame - round_):
            cv2.circle(inner, (cx, cy), round_, 1, -1)
    picture[inner > 0] = film[inner > 0]
    picture += rng.normal(0, 2, picture.shape)
    written = _levels(picture)
    half = frame // 2
    for at in ((half, height // 2), (width - half, height // 2), (width // 2, half)):
        cv2.drawMarker(written, at, 255 - dark, cv2.MARKER_CROSS, max(5, frame), 1)
    font, place = cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, (2 * frame, height - 2 * frame)
    cv2.putText(written, "14.6.53 / 2117", place, font, 0.8, 250.0, 2, cv2.LINE_AA)
    return np.asarray(written, dtype=np.float32)[None]


SENSORS: dict[str, Callable[[Landscape, Draw, Matrix, Size], Planes]] = {
    "thermal by day": _thermal_day,
    "thermal by night": _thermal_night,
    "map": _plain_map,
    "map with labels": _lettered_map,
    "night lights": _night_lights,
    "scan": _scan,
}
"""What the target is, by name; pixel sizes apart are made by `renderings` itself."""
TWO_SIZES = "two pixel sizes"


def renderings(data: Path, split: str, rng: Draw) -> TrustPair:
    """An optical image of procedural ground, and another kind of sensor's."""
    sensor = str(rng.choice([*SENSORS, TWO_SIZES]))
    side = int(log_uniform(rng, *SIDES))
    size, seed = (side, side), int(rng.integers(2**31))
    if sensor == TWO_SIZES:
        return two_sizes(side, seed, rng)
    ground = landscape((side + 2 * _RIM, side + 2 * _RIM), seed)
    free = bool(rng.random() < 0.5)
    matrix = _free(size, rng) if free else near(size, rng)
    to_ref = np.array([[1, 0, -_RIM], [0, 1, -_RIM], [0, 0, 1.0]])
    season = SEASONS[int(rng.integers(4))]
    ref, _ = render_landscape(ground, season, matrix=to_ref, size=size, seed=seed)
    tgt = SENSORS[sensor](ground, rng, matrix @ to_ref, size)
    about = {"sensor": sensor, "size": list(size), "landscape": seed, "season": season}
    about["free"] = free
    return TrustPair(Side(_levels(255 * ref)), Side(_levels(tgt)), Truth(matrix), about)


def _free(size: Size, rng: Draw) -> Matrix:
    """Turned by up to 30 degrees, scaled by up to a fifth, moved by up to a tenth."""
    shift = rng.uniform(-0.1, 0.1, 2) * size
    scale = log_uniform(rng, 0.82, 1.22)
    return similarity(size, float(rng.uniform(-30, 30)), scale, (shift[0], shift[1]))


def two_sizes(side: int, seed: int, rng: Draw) -> TrustPair:
    """Ground at 30 m a pixel and at 10, two seasons, both geocoded and up to 60 m apart."""
    ground = landscape((side + 2 * _RIM, side + 2 * _RIM), seed)
    ratio = _COARSE / _FINE_M
    shift = rng.uniform(-6, 6, 2)
    fine = np.array([[1, 0, shift[0] - _RIM], [0, 1, shift[1] - _RIM], [0, 0, 1.0]])
    # Corner of pixel 0 upon corner of pixel 0: centres lie half a pixel off the corners.
    half = (1 / ratio - 1) / 2
    to_coarse = np.array([[1 / ratio, 0, half], [0, 1 / ratio, half], [0, 0, 1.0]])
    to_ref = np.array([[1, 0, -_RIM], [0, 1, -_RIM], [0, 0, 1.0]])
    seasons = [SEASONS[int(i)] for i in rng.permutation(4)[:2]]
    # Rendered without aliasing down to half size only: blocks of fine pixels make the coarse.
    whole, _ = render_landscape(
        ground, seasons[0], matrix=to_ref, size=(side // 3 * 3,) * 2, seed=seed
    )
    coarse = np.stack(
        [cv2.resize(p, (side // 3,) * 2, interpolation=cv2.INTER_AREA) for p in whole]
    )
    tgt, _ = render_landscape(ground, seasons[1], matrix=fine, size=(side, side), seed=seed + 1)
    # Reference pixel to landscape pixel's frame to target pixel.
    matrix = fine @ np.linalg.inv(to_ref) @ np.linalg.inv(to_coarse)
    places = [Affine.translation(*_CORNER) @ Affine.scale(m, -m) for m in (_COARSE, _FINE_M)]
    about = {"sensor": TWO_SIZES, "size": [side, side], "landscape": seed, "season": seasons[0]}
    return TrustPair(
        Side(_levels(255 * coarse), place=places[0]),
        Side(_levels(255 * tgt), place=places[1]),
        Truth(matrix),
        about,
    )


def _levels(planes: NDArray[np.floating]) -> NDArray[np.uint8]:
    # Zero would be taken for a black collar.
    return np.ascontiguousarray(np.clip(np.round(planes), 1, 255), dtype=np.uint8)
