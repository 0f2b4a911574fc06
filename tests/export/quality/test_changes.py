"""Changed ground, on made ground of which a part is replaced."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.export.quality.changes import Changes, changed_ground
from imatch.export.quality.views import ChipView, ViewFrame
from tests.support.pairs import sensors

SIDE = 320
AWAY = np.hypot(*np.mgrid[-120 : SIDE - 120, -200 : SIDE - 200])
# Where one ground meets the other, neighbourhoods hold some of both.
DISC, CORE = AWAY < 55, AWAY < 42
FRAME = ViewFrame(0, 0, 1, SIDE, SIDE)


def ground(seed: int, noise: int = 0) -> Rendered:
    """Fields with a texture that stays, as seen on one of two dates."""
    label = sensors.fields(seed, sensors.grid(SIDE, np.eye(3)), SIDE)
    grey = sensors.camera(label, seed).mean(axis=0) / 255
    rng = np.random.default_rng((seed, noise))
    hazy = cv2.GaussianBlur(rng.normal(0, 0.5, grey.shape), (0, 0), 25)
    seen = grey * (0.8 + hazy) + rng.normal(0, 0.02, grey.shape)
    return Rendered(seen[None].astype(np.float32), np.ones(grey.shape, dtype=bool))


def view(ref: Rendered, after: Rendered | None) -> ChipView:
    return ChipView(FRAME, ref, ref, after)


def mixed(one: Rendered, other: Rendered, where: NDArray[np.bool_]) -> Rendered:
    return replace(one, pixels=np.where(where, other.pixels, one.pixels))


def found(ref: Rendered, after: Rendered) -> Changes:
    changes = changed_ground(view(ref, after))
    assert changes is not None
    return changes


@pytest.mark.parametrize("seed", range(3))
class TestChanges:
    def test_what_was_replaced_is_outlined(self, seed: int) -> None:
        changes = found(ground(seed, 1), mixed(ground(seed, 2), ground(seed + 10), DISC))
        assert changes.changed[CORE].mean() > 0.7
        assert changes.changed[~DISC].mean() < 0.03
        assert changes.regions >= 1
        assert "region" in changes.to_text()
        assert changes.to_dict()["share"] == pytest.approx(changes.share)

    def test_more_than_half_may_be_replaced(self, seed: int) -> None:
        other = np.hypot(*np.mgrid[-60 : SIDE - 60, -60 : SIDE - 60]) > 160
        assert other.mean() > 0.55
        changes = found(ground(seed, 1), mixed(ground(seed, 2), ground(seed + 10), other))
        assert changes.changed[other].mean() > 0.8
        assert changes.changed[~other].mean() < 0.1
        assert changes.told[other].mean() > 0.8

    def test_the_outline_follows_what_was_replaced(self, seed: int) -> None:
        changes = found(ground(seed, 1), mixed(ground(seed, 2), ground(seed + 10), DISC))
        both = (changes.changed & DISC).sum() / (changes.changed | DISC).sum()
        assert both > 0.75

    def test_a_cloud_hides_ground(self, seed: int) -> None:
        white = Rendered(np.full((1, SIDE, SIDE), 0.95, np.float32), DISC)
        changes = found(ground(seed, 1), mixed(ground(seed, 2), white, DISC))
        assert changes.changed[CORE].mean() > 0.6

    def test_light_and_noise_are_no_change(self, seed: int) -> None:
        changes = found(ground(seed, 1), ground(seed, 2))
        assert changes.share < 0.02

    def test_missing_ground_did_not_change(self, seed: int) -> None:
        after = replace(ground(seed, 2), valid=~DISC)
        changes = found(ground(seed, 1), after)
        assert not changes.changed[DISC].any()
        assert changes.share < 0.03


def test_of_two_places_nothing_is_told() -> None:
    assert changed_ground(view(ground(1), ground(2))) is None


def test_without_a_transform_or_ground_nothing_is_told() -> None:
    assert changed_ground(view(ground(1), None)) is None
    nothing = replace(ground(1), valid=np.zeros((SIDE, SIDE), dtype=bool))
    assert changed_ground(view(ground(1), nothing)) is None
    small = Rendered(np.zeros((1, 20, 20), np.float32), np.ones((20, 20), dtype=bool))
    assert changed_ground(ChipView(ViewFrame(0, 0, 1, 20, 20), small, small, small)) is None


def test_no_change_is_said() -> None:
    nothing = np.zeros((4, 4), dtype=bool)
    assert Changes(nothing, ~nothing).to_text().startswith("Nowhere")
