from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.datasets.sample import SENSORS, PairSample
from imatch.geometry.transform import apply_matrix
from imatch.training.augment import colour
from imatch.training.augment.geometry import ViewConfig
from imatch.training.augment.pair import PLAIN, Augmentation, AugmentConfig
from imatch.training.augment.sensor import sensor

MakePair = Callable[..., PairSample]
Change = Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]]

EVERYTHING = AugmentConfig(
    season=1,
    gain=1,
    grey=1,
    drop_band=1,
    haze=1,
    snow=1,
    clouds=1,
    blur=1,
    coarser=1,
    stripes=1,
    sensor=1,
)
CHANGES: dict[str, Change] = {
    "season": colour.season,
    "gain_and_gamma": colour.gain_and_gamma,
    "mix_to_grey": colour.mix_to_grey,
    "drop_band": colour.drop_band,
    "blur": colour.blur,
    "coarser": colour.coarser,
    "stripes": colour.stripes,
    "haze": colour.haze,
    "snow": colour.snow,
    "clouds": lambda pixels, rng: colour.clouds(pixels, rng)[0],
    "sensor": sensor,
}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("bands", [1, 3, 5])
def test_cardinality_and_determinism(name: str, bands: int, make_pair: MakePair) -> None:
    pixels = make_pair(bands=bands).a
    before = pixels.copy()
    first = CHANGES[name](pixels, np.random.default_rng(5))
    assert first.shape == pixels.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    assert np.array_equal(pixels, before), "the input was changed"
    assert np.array_equal(first, CHANGES[name](pixels, np.random.default_rng(5)))


@pytest.mark.parametrize("name", ["blur", "coarser", "stripes", "sensor", "haze", "gain_and_gamma"])
def test_nothing_moves(name: str, make_pair: MakePair) -> None:
    pixels = make_pair(size=128).a
    window = cv2.createHanningWindow((128, 128), cv2.CV_64F)
    shifts = []
    for seed in range(8):
        changed = CHANGES[name](pixels, np.random.default_rng(seed))
        shift, _ = cv2.phaseCorrelate(
            pixels[0].astype(np.float64), changed[0].astype(np.float64), window
        )
        shifts.append(float(np.linalg.norm(shift)))
    assert max(shifts) < 0.1


def test_seasons_change_kinds_of_ground_each_in_its_way() -> None:
    """Two fields of one texture: each keeps its texture, the contrast between them varies."""
    rng = np.random.default_rng(0)
    left = np.arange(64)[None, :] < 32
    ground = np.where(left, 0.3, 0.6) + 0.01 * rng.normal(size=(64, 64))
    pixels = np.repeat(ground[None], 3, axis=0).astype(np.float32)
    contrasts = []
    for seed in range(20):
        new = colour.season(pixels, np.random.default_rng(seed), strength=0.6)[0]
        contrasts.append(float(new[:, 32:].mean() - new[:, :32].mean()))
        # Which may turn round: bright soil, dark sprouts.
        assert abs(np.corrcoef(new[:, :28].ravel(), ground[:, :28].ravel())[0, 1]) > 0.2
    assert min(contrasts) < 0.15 < 0.35 < max(contrasts)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_one_view_of_one_sensor_is_shown_in_another_modality(
    bands: int, make_pair: MakePair
) -> None:
    pair = make_pair(bands=bands)
    plain, made = (
        Augmentation(PLAIN.model_copy(update={"modality": share}), 64)(
            pair, np.random.default_rng(5)
        )
        for share in (0.0, 1.0)
    )
    np.testing.assert_array_equal(plain.homography, made.homography)
    same = [np.array_equal(*views) for views in ((plain.a, made.a), (plain.b, made.b))]
    assert sorted(same) == [False, True]
    assert made.a.shape == plain.a.shape
    assert min(made.a.min(), made.b.min()) >= 0
    assert max(made.a.max(), made.b.max()) <= 1
    two = replace(pair, source=SENSORS)
    seen = Augmentation(PLAIN.model_copy(update={"modality": 1.0}), 64)(
        two, np.random.default_rng(5)
    )
    np.testing.assert_array_equal(seen.a, plain.a)
    np.testing.assert_array_equal(seen.b, plain.b)


def test_a_lost_band_is_the_mean_of_the_others(make_pair: MakePair) -> None:
    pixels = make_pair(bands=3).a
    new = colour.drop_band(pixels, np.random.default_rng(1))
    (lost,) = np.flatnonzero((new != pixels).any(axis=(1, 2)))
    np.testing.assert_allclose(new[lost], np.delete(pixels, lost, axis=0).mean(axis=0), atol=1e-6)


def test_blur_has_the_transfer_function_it_says() -> None:
    """The finest pattern a pixel grid holds keeps between 5 and 50 % of its contrast."""
    stripes = np.zeros((1, 64, 64), np.float32)
    stripes[..., ::2] = 1
    for seed in range(5):
        left = np.ptp(colour.blur(stripes, np.random.default_rng(seed))[0, 30, 20:40])
        assert 0.05 <= left <= 0.5


def test_clouds_hide_what_they_cover(make_pair: MakePair) -> None:
    pixels = make_pair(size=128).a
    for seed in range(6):
        new, hidden = colour.clouds(pixels, np.random.default_rng(seed))
        assert 0 <= hidden.mean() < 0.95
        untouched = ~hidden
        assert np.abs(new - pixels)[:, untouched].max() <= 0.6
        bright = (new - pixels)[0] > 0.2
        assert hidden[bright].all()


def test_noise_has_no_preferred_place() -> None:
    fields = np.stack([colour.noise_field((32, 48), np.random.default_rng(s)) for s in range(60)])
    assert fields.min() == 0
    assert fields.max() == 1
    assert fields.mean(axis=0).std() < 0.15


class TestAugmentation:
    def test_equal_generators_give_equal_pairs(self, make_pair: MakePair) -> None:
        look = Augmentation(EVERYTHING, 48)
        one, two = (look(make_pair(bands=3), np.random.default_rng(3)) for _ in range(2))
        assert np.array_equal(one.a, two.a)
        assert np.array_equal(one.b, two.b)
        assert np.array_equal(one.changed, two.changed)

    def test_stays_within_bounds(self, make_pair: MakePair) -> None:
        look = Augmentation(EVERYTHING, 48)
        for seed in range(5):
            seen = look(make_pair(bands=3), np.random.default_rng(seed))
            for image, valid in ((seen.a, seen.valid_a), (seen.b, seen.valid_b)):
                assert image.shape == (3, 48, 48)
                assert image.min() >= 0
                assert image.max() <= 1
                assert (image[:, ~valid] == 0).all()

    def test_plain_changes_no_colour(self, make_pair: MakePair) -> None:
        seen = Augmentation(PLAIN, 48).vary(make_pair(), np.random.default_rng(0))
        assert np.array_equal(seen.pair.a, seen.clear.a)
        assert np.array_equal(seen.pair.b, seen.clear.b)

    def test_clouds_of_either_date_count_as_change(self, make_pair: MakePair) -> None:
        still = ViewConfig(
            rotation_deg=0, scale=1, shear=0, perspective=0, shift_px=0, turn=False, zoom=1
        )
        look = Augmentation(PLAIN.model_copy(update={"clouds": 1.0, "views": still}), 64)
        seen = look.vary(make_pair(shift=(4, 3)), np.random.default_rng(2))
        pair, clear = seen.pair, seen.clear
        np.testing.assert_allclose(pair.homography, np.eye(3), atol=1e-9)
        for image, before in ((pair.a, clear.a), (pair.b, clear.b)):
            cloudy = (image - before)[0] > 0.3
            assert cloudy.any()
            assert pair.changed[cloudy].all()

    def test_other_points_can_follow(self, make_pair: MakePair) -> None:
        before = make_pair(shift=(2, -3))
        seen = Augmentation(AugmentConfig(), 64).vary(before, np.random.default_rng(1))
        moved = apply_matrix(seen.to_a, before.keypoints_a)
        for point in seen.pair.keypoints_a:
            assert np.abs(moved - point).max(axis=1).min() < 1e-3
