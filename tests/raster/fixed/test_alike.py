"""What two images show at the same pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as displaced

from imatch.raster.fixed.alike import common_marks, line_steps, without_marks
from imatch.raster.image import GeoImage
from tests.support.pairs.trust.fixed import STRUCTURES

SIZE = (200, 180)


def views(shift: Sequence[float] = (5.3, -3.6), bands: int = 1) -> list[NDArray[np.uint8]]:
    """Two views (C, H, W) of one ground, displaced, with noise of their own."""
    rng = np.random.default_rng(3)
    wide = gaussian_filter(rng.normal(0, 90, (bands, 220, 240)), (0, 1.3, 1.3))
    found = []
    for x, y in ((0.0, 0.0), shift):
        seen = displaced(wide, (0, y, x), order=3)[:, 20:200, 20:220]
        noisy = 128 + seen + rng.normal(0, 1.5, seen.shape)
        found.append(np.clip(np.round(noisy), 1, 255).astype(np.uint8))
    return found


def image(pixels: NDArray[np.generic]) -> GeoImage:
    names = tuple(str(band) for band in range(len(pixels)))
    valid = np.ones(pixels.shape[1:], dtype=bool)
    return GeoImage(pixels.astype(np.float32), valid, Affine.identity(), None, names)


def lost(pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.bool_]:
    ref, tgt = without_marks(image(pixels[0]), image(pixels[1]), (0, 0))
    np.testing.assert_array_equal(ref.valid, tgt.valid)
    assert (ref.pixels[:, ~ref.valid] == 0).all()
    return ~ref.valid


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["frame", "stripes", "band_gaps"])
def test_fill_at_the_same_pixels_is_missing_ground(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mark, _ = STRUCTURES[name](SIZE, rng)
    plain = views(bands=2)
    marked = [mark(view) for view in plain]
    # Where ground and fill happen to be of one grey nothing is lost.
    filled = (marked[0] != plain[0]).any(axis=0) & (marked[1] != plain[1]).any(axis=0)
    assert filled.mean() > 0.01
    found = lost(marked)
    assert found[filled].mean() > 0.98
    # A pixel around goes as well.
    near = np.zeros_like(filled)
    y, x = np.nonzero(filled)
    for step in (-2, -1, 0, 1, 2):
        for other in (-2, -1, 0, 1, 2):
            near[np.clip(y + step, 0, 179), np.clip(x + other, 0, 199)] = True
    assert found[~near].mean() < 0.01


@pytest.mark.parametrize("share", [0.7, 1.0])
def test_a_band_that_is_mostly_marks_says_nothing(share: float) -> None:
    pair = views(bands=3)
    for view in pair:
        view[1, :, : round(share * 200)] = 7
    ref, tgt = without_marks(image(pair[0]), image(pair[1]), (0, 0))
    for left, view in ((ref, pair[0]), (tgt, pair[1])):
        assert left.valid.all()
        assert (left.pixels[1] == 0).all()
        np.testing.assert_array_equal(left.pixels[[0, 2]], view[[0, 2]])
    # Where it is all there is, what lies beside its marks counts.
    assert lost([view[1:2] for view in pair]).mean() == pytest.approx(share, abs=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_dead_lines_and_pixels_are_missing_ground(axis: int) -> None:
    rng = np.random.default_rng(axis)
    pair = views()
    dead = rng.choice(170, 7, replace=False)
    spots = rng.integers(10, 170, (2, 40))
    for view in pair:
        (view[0] if axis == 0 else view[0].T)[dead] = 60
        view[0, spots[0], spots[1]] = 255
    found = lost(pair)
    assert (found if axis == 0 else found.T)[dead].mean() > 0.98
    assert found[spots[0], spots[1]].mean() > 0.9
    assert found.mean() < 0.25


def test_ground_alone_loses_nothing() -> None:
    for shift in ((0.0, 0.0), (5.3, -3.6), (0.4, 0.2)):
        assert lost(views(shift)).mean() < 0.002


def test_water_of_one_value_is_no_mark_unless_its_shores_are_the_same() -> None:
    first, second = views((0.0, 0.0))
    y, x = np.mgrid[:180, :200]
    for view, wide in ((first, 30), (second, 34)):
        view[0, np.hypot(x - 100, y - 90) < wide] = 1
    assert not common_marks(
        first.astype(np.float32), second.astype(np.float32), np.ones((180, 200), bool)
    ).any()
    second[0] = np.where(np.hypot(x - 100, y - 90) < 30, 1, np.maximum(second[0], 2))
    first[0] = np.where(np.hypot(x - 100, y - 90) < 30, 1, np.maximum(first[0], 2))
    assert lost([first, second]).mean() > 0.07


def test_of_a_copy_nothing_is_lost() -> None:
    view = views()[0]
    view[0, 60:120, 20:90] = 7
    assert not lost([view, view.copy()]).any()


def test_pixels_are_the_same_by_their_number_in_the_file() -> None:
    first, second = views()
    for view in (first, second):
        view[0, 60:70, 20:90] = 0
    ref = image(first)
    tgt = image(second[:, 8:, 3:])
    found = without_marks(ref, tgt, (-3, -8))
    assert not found[0].valid[60:70, 20:90].any()
    assert not found[1].valid[52:62, 17:87].any()
    assert without_marks(ref, tgt, (0, 0))[0].valid.all()
    # Other bands, or hardly any common pixel, tell nothing.
    assert without_marks(ref, image(np.repeat(second, 3, axis=0)), (0, 0))[0] is ref
    assert without_marks(ref, tgt, (195, 0))[1] is tgt


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("depth", [2.0, 12.0])
def test_what_is_added_to_whole_lines_is_taken_off(axis: int, depth: float) -> None:
    rng = np.random.default_rng(7)
    pattern = rng.normal(0, depth, 180 if axis == 0 else 200)
    pattern[60:] += 3 * depth
    plain = views()
    added = pattern[:, None] if axis == 0 else pattern
    pair = [np.clip(np.round(view + added), 0, 255).astype(np.uint8) for view in plain]
    ref, tgt = without_marks(image(pair[0]), image(pair[1]), (0, 0))
    for left, view in ((ref, pair[0]), (tgt, pair[1])):
        seen = line_steps(view[0].astype(np.float32), left.valid, axis).mean(axis=0)[:-1]
        assert np.corrcoef(seen, np.diff(pattern))[0, 1] > 0.7
        steps = line_steps(left.pixels[0], left.valid, axis).mean(axis=0)[:-1]
        assert np.abs(steps).mean() < 0.1 * np.abs(np.diff(pattern)).mean()
        # Nothing else has changed.
        changed = left.pixels[0] - view[0]
        assert np.ptp(changed, axis=1 - axis).max() < 1e-3


def test_lines_of_different_ground_are_left_as_they_are() -> None:
    first, second = views()
    for pair in ((first, second), (first, second[:, ::-1, ::-1]), views((0.1, 0.0))):
        ref, tgt = without_marks(image(pair[0]), image(pair[1]), (0, 0))
        np.testing.assert_array_equal(ref.pixels[:, ref.valid], pair[0][:, ref.valid])
        np.testing.assert_array_equal(tgt.pixels[:, tgt.valid], pair[1][:, tgt.valid])
