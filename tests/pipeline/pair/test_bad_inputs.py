"""Images that show little or nothing get a status with its reason, or one line that refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import imatch
from imatch.core.errors import InputError
from tests.support.ground import waves

SHAPE = (190, 200)


def ground(dx: float = 0.0, dy: float = 0.0, noise: float = 0.01) -> NDArray[np.uint8]:
    image = np.round(20 + 200 * waves(1, SHAPE[::-1], dx, dy, noise=noise))
    return np.asarray(np.clip(image, 1, 255), dtype=np.uint8)


def sine(period: float, moved: float) -> NDArray[np.uint8]:
    x = np.arange(SHAPE[1]) - moved
    line = np.round(128 + 100 * np.sin(2 * np.pi * x / period))
    return np.tile(line.astype(np.uint8), (SHAPE[0], 1))


NONE = np.zeros(SHAPE, np.uint8)
FLAT = np.full(SHAPE, 7, np.uint8)


@pytest.mark.parametrize("matcher", ["auto", "sift"])
@pytest.mark.parametrize(
    "empty", [(NONE, {"ref_nodata": 0}), (np.full(SHAPE, np.nan), {}), (np.stack([NONE] * 3), {})]
)
def test_an_image_of_gaps_alone_is_refused(
    empty: tuple[NDArray[np.float64], dict[str, Any]], matcher: str
) -> None:
    pixels, settings = empty
    with pytest.raises(InputError, match="has no valid pixels"):
        imatch.match(pixels, ground(), matcher=matcher, **settings)


@pytest.mark.parametrize("matcher", ["auto", "sift"])
@pytest.mark.parametrize("pair", [(NONE, ground()), (NONE, NONE), (ground(), FLAT), (FLAT, FLAT)])
def test_an_image_of_one_value_fails_with_the_reason(
    pair: tuple[NDArray[np.uint8], NDArray[np.uint8]], matcher: str
) -> None:
    r = imatch.match(pair[0], pair[1], matcher=matcher)
    assert r.status == "failed"
    assert "one value everywhere" in r.reason or "distinct matches" in r.reason


@pytest.mark.parametrize("matcher", ["auto", "sift"])
@pytest.mark.parametrize("constant", [0, 7])
@pytest.mark.parametrize("bands", [(1,), (0, 2)])
def test_a_constant_band_is_left_out(bands: tuple[int, ...], constant: int, matcher: str) -> None:
    pair = [np.stack([view] * 3) for view in (ground(), ground(4, -3))]
    for view in pair:
        view[list(bands)] = constant
    r = imatch.match(pair[0], pair[1], matcher=matcher)
    assert r.status == "ok", r.reason
    assert r.shift_px == pytest.approx((4, -3), abs=0.1)


def test_one_window_of_ground_is_right_or_refused() -> None:
    window = np.zeros(SHAPE, dtype=bool)
    window[60:108, 60:108] = True
    first, second = ground(noise=0.03), ground(4, -3, noise=0.03)
    asked: list[dict[str, Any]] = [{}, {"ref_nodata": 0, "tgt_nodata": 0}]
    for settings in asked:
        pair = [np.where(window, view, 0).astype(np.uint8) for view in (first, second)]
        r = imatch.match(pair[0], pair[1], matcher="sift", **settings)
        if r.status == "ok":
            assert r.shift_px == pytest.approx((4, -3), abs=0.3)
        else:
            assert r.reason


@pytest.mark.parametrize("matcher", ["auto", "sift"])
@pytest.mark.parametrize("period", [230.0, 500.0, 3000.0])
def test_a_wave_longer_than_the_image_pins_down_nothing(period: float, matcher: str) -> None:
    r = imatch.match(sine(period, 0), sine(period, 5), matcher=matcher)
    assert r.status != "ok"
    assert r.reason


def test_gaps_everywhere_leave_nothing() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    gaps = (y + x // 5) % 12 < 11
    first, second = (np.where(gaps, 0, v).astype(np.uint8) for v in (ground(), ground(4, -3)))
    r = imatch.match(first, second)
    assert r.status == "failed"
