from __future__ import annotations

from typing import Any

import numpy as np

from imatch.core.types import Features
from imatch.training.match_figure import as_rgb, match_picture


def points(*xy: tuple[float, float]) -> Features:
    places = np.array(xy, np.float32).reshape(-1, 2)
    return Features(
        places, np.ones(len(places), np.float32), np.zeros((len(places), 0), np.float32), (64, 64)
    )


def test_right_matches_are_green_and_wrong_ones_red(pairs: Any) -> None:
    index = np.arange(2)
    a, b = points((10, 10), (30, 50)), points((11, 10), (50, 20))
    picture = match_picture(pairs[0], a, b, (index, index))
    assert picture.shape == (64, 128, 3)
    right, wrong = picture[10, 40].astype(int), picture[35, 72].astype(int)
    assert right[1] > right[0] + 50
    assert wrong[0] > wrong[1] + 50


def test_any_number_of_bands_can_be_looked_at() -> None:
    for bands in (1, 2, 3, 13):
        shown = as_rgb(np.linspace(-0.1, 1.1, bands * 12, dtype=np.float32).reshape(bands, 3, 4))
        assert shown.shape == (3, 4, 3)
        assert shown.dtype == np.uint8
