from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.benchmark.metrics import corner_error
from imatch.core.types import Rendered
from imatch.geometry.alignment.coarse_search import Hypothesis
from imatch.geometry.alignment.orientation import warp_image
from imatch.geometry.sensor_field import SensorFields, similarity
from imatch.geometry.sensor_search import search_places
from tests.support.sensor_fields import directions_alone

SIZE = 180, 150


def _ground(seed: int, size: tuple[int, int] = SIZE) -> Rendered:
    planes = np.random.default_rng(seed).random((*size[::-1], 3), dtype=np.float32)
    smooth = np.asarray(cv2.GaussianBlur(planes, (0, 0), 2.5), dtype=np.float32)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return Rendered(np.ascontiguousarray(smooth.transpose(2, 0, 1)), np.ones(size[::-1], bool))


def _copy(image: Rendered, there: NDArray[np.float64], size: tuple[int, int] = SIZE) -> Rendered:
    """An image whose pixels a (3, 3) transform leads to those of its copy."""
    return warp_image(image, np.asarray(np.linalg.inv(there), dtype=np.float64), size)


def _search(ref: Rendered, tgt: Rendered, **options: Any) -> list[Hypothesis]:
    maps = SensorFields(directions_alone, ref).maps
    return search_places(directions_alone, maps, ref.size, tgt, keep=3, **options)


def _moved(matrix: NDArray[np.float64], x: float, y: float) -> NDArray[np.float64]:
    shift = np.eye(3)
    shift[:2, 2] = x, y
    return np.asarray(shift @ matrix)


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    degrees=st.floats(-32, 32),
    scale=st.floats(0.8, 1.25),
    x=st.floats(-20, 20),
    y=st.floats(-20, 20),
)
def test_it_finds_a_copy(seed: int, degrees: float, scale: float, x: float, y: float) -> None:
    ref = _ground(seed)
    truth = _moved(similarity(SIZE, np.radians(degrees), scale), x, y)
    found = _search(ref, _copy(ref, truth))
    # A step of the maps, of turn and of scale.
    assert min(corner_error(place.matrix, truth, SIZE) for place in found) < 12
    assert [place.score for place in found] == sorted((p.score for p in found), reverse=True)


@pytest.mark.parametrize("size", [(180, 40), (40, 180), (65, 65), (600, 90)])
def test_any_shape_may_be_searched(size: tuple[int, int]) -> None:
    ref = _ground(1, size)
    best = _search(ref, ref)[0]
    assert corner_error(best.matrix, np.eye(3), size) < 12


def test_sizes_may_differ_where_scales_do() -> None:
    ref = _ground(2, (160, 160))
    twice = np.diag([2.0, 2.0, 1.0])
    twice[:2, 2] = 0.5
    tgt = _copy(ref, twice, (320, 320))
    best = _search(ref, tgt, zoom=2.0)[0]
    assert corner_error(best.matrix, twice, ref.size) < 16


def test_without_turning_it_shifts_only() -> None:
    ref = _ground(3)
    tgt = _copy(ref, _moved(np.eye(3), 12, -8))
    best = _search(ref, tgt, turning=False)[0]
    np.testing.assert_allclose(best.matrix, _moved(np.eye(3), 12, -8), atol=3)


def test_the_middle_stays_within_reach() -> None:
    ref = _ground(4)
    tgt = _copy(ref, _moved(np.eye(3), 30, 0))
    middle = np.array([(SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2, 1])
    for place in _search(ref, tgt, within=(np.eye(3), 8.0)):
        assert np.hypot(*(place.matrix @ middle - middle)[:2]) < 8 * 1.3
    assert _search(ref, tgt)[0].score > _search(ref, tgt, within=(np.eye(3), 8.0))[0].score


def test_nothing_in_common_is_no_place() -> None:
    ref = _ground(5)
    blank = Rendered(np.zeros_like(ref.pixels), np.zeros_like(ref.valid))
    assert _search(ref, blank) == []
