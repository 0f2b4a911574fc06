"""A pair as another satellite would have seen it on other days."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from imatch.core.extras import require_extra
from imatch.core.settings import Settings
from imatch.core.types import BoolArray
from imatch.datasets.sample import MAPS, SENSORS, PairSample
from imatch.training.augment import colour
from imatch.training.augment.geometry import Matrix, ViewConfig, draw_views, move
from imatch.training.augment.modality import other_modality


class AugmentConfig(Settings):
    """How pairs are varied; the figures are probabilities for each view unless said otherwise.

    Attributes:
        views: Geometry, always.
        season: Each kind of ground changes colour in its own way.
        gain: Gain, offset and gamma of each band.
        grey: Bands are drawn towards one mixture.
        drop_band: A band is lost.
        haze: A bright veil.
        snow: Snow above a line.
        clouds: Clouds and their shadows; what they hide counts as changed.
        blur: A sensor's transfer function.
        coarser: Larger pixels.
        stripes: Those of a push-broom sensor.
        sensor: Noise and compression (albumentations).
        modality: Share of the pairs of one sensor of which one view is shown as another sensor or a
            map might show it.
    """

    views: ViewConfig = ViewConfig()
    season: float = Field(default=0.3, ge=0, le=1)
    gain: float = Field(default=0.8, ge=0, le=1)
    grey: float = Field(default=0.3, ge=0, le=1)
    drop_band: float = Field(default=0.1, ge=0, le=1)
    haze: float = Field(default=0.2, ge=0, le=1)
    snow: float = Field(default=0.1, ge=0, le=1)
    clouds: float = Field(default=0.2, ge=0, le=1)
    blur: float = Field(default=0.3, ge=0, le=1)
    coarser: float = Field(default=0.2, ge=0, le=1)
    stripes: float = Field(default=0.2, ge=0, le=1)
    sensor: float = Field(default=0.7, ge=0, le=1)
    modality: float = Field(default=0.0, ge=0, le=1)


PLAIN = AugmentConfig.model_validate(
    {name: 0.0 for name in AugmentConfig.model_fields if name != "views"}
)
"""Geometry alone."""


@dataclass(frozen=True, eq=False)
class Augmented:
    """A varied pair and how its views came about.

    Attributes:
        pair: What the network sees.
        clear: The same views without change of colour, as a teacher should see them.
        to_a: (3, 3) pixel of the original `a` to pixel of the new one.
        to_b: The same of `b`.
    """

    pair: PairSample
    clear: PairSample
    to_a: Matrix
    to_b: Matrix


@dataclass(frozen=True)
class Augmentation:
    """Varies pairs; the homography, the keypoints and the masks stay exact.

    Args:
        config: How.
        size: Side of the new images, pixels.

    Raises:
        ConfigError: The configuration takes an extra that is not installed.
    """

    config: AugmentConfig
    size: int

    def __post_init__(self) -> None:
        if self.config.sensor > 0:
            require_extra("albumentations", "for augment.sensor, which may be 0")

    def __call__(self, sample: PairSample, rng: np.random.Generator) -> PairSample:
        """Returns a varied pair."""
        return self.vary(sample, rng).pair

    def vary(self, sample: PairSample, rng: np.random.Generator) -> Augmented:
        """Returns a varied pair, and what is needed to bring other points into it."""
        to_a, to_b = draw_views(self.config.views, sample, self.size, rng)
        clear = move(sample, to_a, to_b, self.size)
        a, hidden_a = self.coloured(clear.a, clear.valid_a, rng)
        b, hidden_b = self.coloured(clear.b, clear.valid_b, rng)
        # Nothing is drawn where nothing is asked: runs without it stay what they were.
        made = self.config.modality and sample.source not in (SENSORS, MAPS)
        if made and rng.random() < self.config.modality:
            if rng.random() < 0.5:
                a = _in_other_modality(a, clear.valid_a, rng)
            else:
                b = _in_other_modality(b, clear.valid_b, rng)
        hidden = cv2.warpPerspective(
            hidden_b.astype(np.uint8),
            clear.homography,
            (self.size, self.size),
            flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        )
        changed = clear.changed | hidden_a | (hidden > 0)
        return Augmented(replace(clear, a=a, b=b, changed=changed), clear, to_a, to_b)

    def coloured(
        self, pixels: NDArray[np.float32], valid: BoolArray, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], BoolArray]:
        """Returns a view under another sky, and (H, W) where the ground can no longer be told.

        Args:
            pixels: (C, H, W) in [0, 1].
            valid: (H, W) bool.
            rng: Decides.
        """
        config = self.config
        hidden = np.zeros(valid.shape, dtype=bool)
        # In the order in which light meets them: ground, air, optics, detector, ground segment.
        if rng.random() < config.season:
            pixels = colour.season(pixels, rng)
        if rng.random() < config.snow:
            pixels = colour.snow(pixels, rng)
        if rng.random() < config.clouds:
            pixels, hidden = colour.clouds(pixels, rng)
        if rng.random() < config.haze:
            pixels = colour.haze(pixels, rng)
        if rng.random() < config.blur:
            pixels = colour.blur(pixels, rng)
        if rng.random() < config.coarser:
            pixels = colour.coarser(pixels, rng)
        if rng.random() < config.stripes:
            pixels = colour.stripes(pixels, rng)
        if rng.random() < config.sensor:
            from imatch.training.augment.sensor import sensor

            pixels = sensor(np.clip(pixels, 0, 1).astype(np.float32), rng)
        if rng.random() < config.gain:
            pixels = colour.gain_and_gamma(pixels, rng)
        if rng.random() < config.drop_band:
            pixels = colour.drop_band(pixels, rng)
        if rng.random() < config.grey:
            pixels = colour.mix_to_grey(pixels, rng)
        return np.asarray(np.clip(pixels, 0, 1) * valid, dtype=np.float32), hidden


def _in_other_modality(
    pixels: NDArray[np.float32], valid: BoolArray, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(C, H, W) a view as another sensor or a map might show it."""
    colours = pixels if len(pixels) == 3 else np.repeat(pixels.mean(axis=0)[None], 3, axis=0)
    made = other_modality(colours, rng)
    if len(pixels) != 3:
        made = np.repeat(made.mean(axis=0)[None], len(pixels), axis=0)
    return np.asarray(made * valid, dtype=np.float32)
