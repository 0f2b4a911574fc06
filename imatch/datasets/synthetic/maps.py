"""Pairs of a photograph and a map of one procedural ground."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from imatch.core.errors import ConfigError
from imatch.datasets.pairs import EpochPairs
from imatch.datasets.sample import MAPS, PairSample
from imatch.datasets.synthetic.cartography import landscape_map
from imatch.datasets.synthetic.landscape import Landscape, landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from imatch.datasets.synthetic.town import photograph, town, town_map

# One ground in so many is open country, the others are towns; samples that share a ground.
_COUNTRY, _VIEWS = 4, 8
# How well roofs, words and lines tell where the ground is, pixels.
_SIGMA = 1.0


class MapPairs(EpochPairs):
    """A map-style data set of procedural photographs and the maps of the same ground.

    The ground of an index is the same in every epoch; how it is photographed and drawn follows from
    (seed, epoch, index).

    Args:
        seed: Of the ground and of the draws. Data sets of different seeds share no ground.
        size: Side of the images, pixels.
        length: Samples an epoch.

    Raises:
        ConfigError: The size or the length is out of bounds.

    Examples:
        >>> sample = MapPairs(seed=1, size=64, length=4)[1]
        >>> sample.a.shape, sample.dates
        ((3, 64, 64), ('photograph', 'map'))
    """

    def __init__(self, seed: int, size: int = 256, length: int = 1000) -> None:
        if not (length > 0 and 64 <= size <= 2000):
            raise ConfigError(
                f"{length} pairs of {size} px cannot be made",
                subject="procedural maps",
                hint="choose at least one, of sides of 64 to 2000",
            )
        self.seed, self.size, self.length = seed, size, length

    def __len__(self) -> int:
        return self.length

    def draw(self, epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`."""
        number = index // _VIEWS
        rng = np.random.default_rng([self.seed, 11, epoch, index])
        ground = int(np.random.SeedSequence([self.seed, 5, number]).generate_state(1)[0])
        if number % _COUNTRY == _COUNTRY - 1:
            country = _landscape(self.size, ground)
            season = SEASONS[int(rng.integers(len(SEASONS)))]
            azimuth, year = float(rng.uniform(120, 200)), int(rng.integers(3))
            a, _ = render_landscape(
                country, season, year=year, sun_azimuth=azimuth, seed=int(rng.integers(1 << 31))
            )
            b = landscape_map(country, rng)
        else:
            built = town(self.size, np.random.default_rng(ground))
            a, b = photograph(built, rng), town_map(built, rng)
        seen = np.ones((self.size, self.size), dtype=bool)
        return PairSample(
            a=a,
            b=b,
            valid_a=seen,
            valid_b=seen.copy(),
            homography=np.eye(3),
            sigma_px=_SIGMA,
            changed=np.zeros_like(seen),
            place=f"map/{self.seed}/{number}",
            dates=("photograph", "map"),
            source=MAPS,
        )


@lru_cache(maxsize=2)
def _landscape(size: int, seed: int) -> Landscape:
    return landscape((size, size), seed)
