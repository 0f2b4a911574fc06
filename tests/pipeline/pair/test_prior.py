from __future__ import annotations

import cv2
import numpy as np
import pytest

from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.prior import Sensors, alike
from imatch.raster import WorkPair, array_source, read_pair
from tests.support.pairs import sensors


@pytest.fixture(scope="module")
def pair() -> WorkPair:
    """A camera, and radar so smooth that it seems optical by itself."""
    ground = sensors.fields(1, sensors.grid(256, np.eye(3)), 256)
    radar = np.repeat(sensors.radar(ground, 1, 4.0)[:1], 3, axis=0)
    planes = (sensors.camera(ground, 1), 2.5), (radar, 0.8)
    ref, tgt = (
        array_source(
            np.asarray(cv2.GaussianBlur(np.moveaxis(each, 0, 2).astype("f4"), (0, 0), sigma))
        )
        for each, sigma in planes
    )
    return read_pair(ref, tgt)


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (("optical", "sar"), False),
        (("map", "optical"), False),
        (("sar", "sar"), True),
        (("optical", None), True),
        ((None, None), True),
    ],
)
def test_what_they_are_taken_for_decides(pair: WorkPair, kinds: Sensors, expected: bool) -> None:
    assert alike(MatchConfig(), pair, kinds) is expected


def test_pixels_are_asked_where_both_seem_optical(pair: WorkPair) -> None:
    both: Sensors = ("optical", "optical")
    assert not alike(MatchConfig(), pair, both)
    told = MatchConfig(ref_modality="optical", tgt_modality="optical")
    assert alike(told, pair, both)
