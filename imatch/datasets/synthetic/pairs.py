"""Pairs of procedural landscapes with exact truth, to train on."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.datasets.pairs import EpochPairs
from imatch.datasets.sample import PairSample
from imatch.datasets.synthetic.landscape import Landscape, landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, Season, cloud_cover, render_landscape

# Ground beyond a view on each side, so that turning it shows no edge.
_MARGIN = 0.15
# Clouds and their shadows hide the ground where they take more than this of the light.
_HIDES = 0.35


class LandscapePairs(EpochPairs):
    """A map-style data set of procedural landscapes at two dates.

    Each view is rendered from the ground by its own matrix, never warped, so the homography is
    exact: `sigma_px` is 0. The ground of an index is the same in every epoch; what it looks like,
    from where and under which sky, is drawn anew from (seed, epoch, index).

    Args:
        seed: Of the ground and of the draws. Data sets of different seeds share no ground.
        size: (width, height) of a view, pixels.
        length: Samples an epoch.
        views: Samples that share one landscape before the next is grown, which takes as long as
            two or three views.
        turn_deg: Largest rotation between the views.
        zoom: Largest difference in scale, as a share.
        shift_px: Largest displacement.

    Raises:
        ConfigError: The size is out of bounds.

    Examples:
        >>> sample = LandscapePairs(seed=1, size=(64, 64), length=4)[0]
        >>> sample.a.shape, sample.sigma_px
        ((3, 64, 64), 0.0)
    """

    def __init__(
        self,
        seed: int,
        size: tuple[int, int] = (256, 256),
        length: int = 1000,
        *,
        views: int = 8,
        turn_deg: float = 2.0,
        zoom: float = 0.02,
        shift_px: float = 4.0,
    ) -> None:
        if not (length > 0 and views > 0):
            raise ConfigError("must be positive", subject="length and views of the landscapes")
        if not all(32 <= side <= 2000 for side in size):
            raise ConfigError(
                f"is {size[0]} x {size[1]}", subject="view size", hint="choose sides of 32 to 2000"
            )
        self.seed, self.size, self.length = seed, size, length
        self._views, self._turn, self._zoom, self._shift = views, turn_deg, zoom, shift_px

    def __len__(self) -> int:
        return self.length

    def draw(self, epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`; views of an index's ground, rendered anew for each epoch."""
        number = index // self._views
        wide = tuple(round(side * (1 + 2 * _MARGIN)) for side in self.size)
        ground = _cached_landscape((wide[0], wide[1]), _ground_seed(self.seed, number))
        rng = np.random.default_rng([self.seed, 7, epoch, index])
        first = self._draw_position(ground, rng)
        between = self._motion(rng)
        seasons = [SEASONS[i] for i in rng.choice(len(SEASONS), 2, replace=rng.random() < 0.25)]
        a, valid_a, hidden_a = _draw_view(ground, seasons[0], first, self.size, rng)
        b, valid_b, hidden_b = _draw_view(ground, seasons[1], between @ first, self.size, rng)
        return PairSample(
            a=a,
            b=b,
            valid_a=valid_a,
            valid_b=valid_b,
            homography=between,
            sigma_px=0.0,
            changed=hidden_a | _warp_back(hidden_b, between),
            place=f"landscape/{self.seed}/{number}",
            dates=(seasons[0], seasons[1]),
            source="landscape",
        )

    def _draw_position(self, ground: Landscape, rng: np.random.Generator) -> NDArray[np.float64]:
        """Maps landscape to first view: any quarter turn, any place in the ground."""
        width, height = self.size
        turn = np.pi / 2 * rng.integers(4) if width == height else np.pi * rng.integers(2)
        room = (np.array(ground.size) - self.size) / 2
        move = rng.uniform(-0.4, 0.4, 2) * room
        return _similarity_about(
            (np.array(ground.size) - 1) / 2 + move, (np.array(self.size) - 1) / 2, turn, 1.0
        )

    def _motion(self, rng: np.random.Generator) -> NDArray[np.float64]:
        middle = (np.array(self.size) - 1) / 2
        turn = np.radians(rng.uniform(-self._turn, self._turn))
        scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(self._zoom)))
        return _similarity_about(
            middle, middle + rng.uniform(-self._shift, self._shift, 2), turn, scale
        )


def _similarity_about(
    begin: NDArray[np.float64], end: NDArray[np.float64], turn: float, scale: float
) -> NDArray[np.float64]:
    """Returns the (3, 3) similarity that takes one point to another, turned and scaled there."""
    a, b = scale * np.cos(turn), scale * np.sin(turn)
    x, y = begin
    return np.array([[a, -b, end[0] - a * x + b * y], [b, a, end[1] - b * x - a * y], [0, 0, 1.0]])


def _ground_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


@lru_cache(maxsize=2)
def _cached_landscape(size: tuple[int, int], seed: int) -> Landscape:
    return landscape(size, seed)


def _draw_view(
    ground: Landscape,
    season: Season,
    matrix: NDArray[np.float64],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
    """Pixels of a view under a sky of its own, its valid ground, and what the sky hides."""
    snow = float(rng.uniform(0.2, 1.0)) if season == "winter" and rng.random() < 0.6 else 0.0
    haze = float(rng.uniform(0.05, 0.35)) if rng.random() < 0.4 else 0.0
    clouds = float(rng.uniform(0.03, 0.3)) if rng.random() < 0.35 else 0.0
    azimuth = float(rng.uniform(120, 200))
    seed = int(rng.integers(1 << 31))
    pixels, valid = render_landscape(
        ground,
        season,
        matrix=matrix,
        size=size,
        year=int(rng.integers(3)),
        noise=float(rng.uniform(0.003, 0.015)),
        snow=snow,
        haze=haze,
        clouds=clouds,
        sun_azimuth=azimuth,
        seed=seed,
    )
    pixels[:, ~valid] = 0
    hidden = np.zeros(valid.shape, dtype=bool)
    if clouds > 0:
        opaque, shadow = cloud_cover(size, clouds, haze=haze, sun_azimuth=azimuth, seed=seed)
        hidden = np.maximum(opaque, 0.6 * shadow) > _HIDES
    return pixels, valid, hidden & valid


def _warp_back(mask: NDArray[np.bool_], matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Warps a mask of the second view into the frame of the first."""
    import cv2

    height, width = mask.shape
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpPerspective(mask.astype(np.uint8), matrix, (width, height), flags=flags) > 0
    )
