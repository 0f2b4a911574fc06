"""A procedural landscape seen twice, in two seasons and through a random warp known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from imatch.raster import GeoImage, render

# How far products of one place differ: degrees, scale, share of the side.
_VARIANTS = {"near": (2.0, 0.02, 0.03), "free": (30.0, 0.2, 0.1)}
_MARGIN = 1.3


def make_pair(seed: int) -> tuple[Rendered, Rendered, NDArray[np.float64], dict[str, Any]]:
    """Two views of a landscape, the exact (3, 3) matrix between them, and what they are."""
    rng = np.random.default_rng([seed, 77])
    size = int(rng.integers(256, 641)), int(rng.integers(256, 641))
    ground = landscape((round(_MARGIN * size[0]), round(_MARGIN * size[1])), seed)
    offset = [(big - side) / 2 for big, side in zip(ground.size, size, strict=True)]
    to_ref = np.array([[1, 0, -offset[0]], [0, 1, -offset[1]], [0, 0, 1.0]])
    variant = str(rng.choice(list(_VARIANTS)))
    turn, zoom, shift = _VARIANTS[variant]
    angle = np.radians(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(zoom)))
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    dx, dy = rng.uniform(-shift, shift, 2) * max(size)
    warp = np.array([[a, -b, x - a * x + b * y + dx], [b, a, y - b * x - a * y + dy], [0, 0, 1.0]])
    seasons = [str(s) for s in rng.permutation(SEASONS)[:2]]
    if rng.random() < 0.2:
        seasons[1] = seasons[0]
    hard = float(rng.uniform(0, 1))
    views, clouds = [], []
    for side, matrix in enumerate((to_ref, warp @ to_ref)):
        season = seasons[side]
        clouds.append(float(rng.uniform(0.05, 0.3 + 0.3 * hard) * (rng.random() < 0.3)))
        pixels, valid = render_landscape(
            ground,
            season,  # type: ignore[arg-type]
            matrix=matrix,
            size=size,
            year=int(rng.integers(0, 3)),
            noise=0.003 + 0.06 * hard**2,
            snow=float(rng.uniform(0.2, 1) * (season == "winter" and rng.random() < 0.5)),
            haze=float(rng.uniform(0, 0.3 + 0.4 * hard)),
            clouds=clouds[side],
            sun_azimuth=float(rng.uniform(110, 190)),
            seed=10 * seed + side,
        )
        image = GeoImage(pixels, valid, Affine.identity(), None, ("red", "green", "blue"))
        views.append(image)
    about = {
        "seed": seed,
        "variant": variant,
        "hard": hard,
        "size": size,
        "seasons": seasons,
        "clouds": clouds,
        "scale": scale,
        "turn_deg": float(np.degrees(angle)),
    }
    return render(views[0], 3), render(views[1], 3), warp, about
