from __future__ import annotations

import cv2
import numpy as np
import pytest

from imatch.benchmark.metrics import corner_error
from imatch.core.types import Rendered
from imatch.geometry.alignment.orientation import warp_image
from imatch.geometry.sensor_field import (
    SensorFields,
    correlation,
    similarity,
    transformed,
)
from tests.support.pairs import sensors
from tests.support.sensor_fields import directions_alone, shipped


def _image(seed: int) -> Rendered:
    """Texture without end."""
    planes = np.random.default_rng(seed).random((160, 160, 3), dtype=np.float32)
    smooth = np.asarray(cv2.GaussianBlur(planes, (0, 0), 1.5), dtype=np.float32)
    return Rendered(np.ascontiguousarray(smooth.transpose(2, 0, 1)), np.ones((160, 160), bool))


def _two_sensors(seed: int, kind: int) -> tuple[Rendered, Rendered]:
    ground = sensors.fields(seed, sensors.grid(200, np.eye(3)), 200)
    other = sensors.radar(ground, seed), sensors.drawn(ground, seed)
    planes = sensors.camera(ground, seed), np.broadcast_to(other[kind], (3, 200, 200))
    seen = np.ones((200, 200), bool)
    ref, tgt = (np.clip(each / 255, 0, 1).astype(np.float32) for each in planes)
    return Rendered(ref, seen), Rendered(tgt, seen)


@pytest.mark.parametrize("shift", [(0, 0), (4, -6)])
def test_a_copy_stands_out_where_it_lies(shift: tuple[int, int]) -> None:
    ref = _image(1)
    moved = np.eye(3)
    moved[:2, 2] = shift
    tgt = warp_image(ref, moved, ref.size)
    fields = SensorFields(directions_alone, ref)
    height, other = fields.peak(tgt, np.eye(3), reach=8, apart=10)
    assert height > 20
    assert other < 8
    # Beyond reach, another place is all there is.
    if shift != (0, 0):
        near, best = fields.peak(tgt, np.eye(3), reach=2, apart=5)
        assert near < best


@pytest.mark.parametrize("kind", [0, 1], ids=["radar", "map"])
def test_the_ground_stands_out_and_other_ground_does_not(kind: int) -> None:
    ref, tgt = _two_sensors(1, kind)
    fields = SensorFields(shipped(), ref)
    same, different = (
        fields.peak(image, np.eye(3), 6, 10) for image in (tgt, _two_sensors(2, kind)[1])
    )
    assert same[0] - same[1] > 2
    assert different[0] - different[1] < 1


def test_nothing_in_common_is_no_height() -> None:
    ref = _image(1)
    blank = Rendered(np.zeros_like(ref.pixels), np.zeros_like(ref.valid))
    assert SensorFields(directions_alone, ref).peak(blank, np.eye(3), 6, 10) == (0.0, 0.0)


def test_overshoots_of_resampling_are_cut() -> None:
    ref = _image(1)
    over = Rendered(1.6 * ref.pixels - 0.3, ref.valid)
    assert np.isfinite(SensorFields(shipped(), ref).peak(over, np.eye(3), 6, 10)).all()


def test_the_surface_has_a_deviation_of_one() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 3, 24, 30)).astype(np.float32)
    surface, enough = correlation(*(transformed(each, (36, 45)) for each in maps))
    assert float(np.sqrt((surface[enough] ** 2).mean())) == pytest.approx(1)
    assert not surface[~enough].any()
    assert 0.2 < enough.mean() < 0.8


def test_a_transform_is_pulled_tight() -> None:
    ref = _image(3)
    truth = similarity(ref.size, np.radians(1.4), 1.015) @ np.array(
        [[1, 0, 3.4], [0, 1, -5.3], [0, 0, 1.0]]
    )
    tgt = warp_image(ref, np.linalg.inv(truth), ref.size)
    fields = SensorFields(directions_alone, ref)
    assert corner_error(fields.tightened(tgt, np.eye(3)), truth, ref.size) < 1.5
    shifted = fields.tightened(tgt, np.eye(3), turning=False)
    np.testing.assert_array_equal(shifted[:2, :2], np.eye(2))
    blank = Rendered(np.zeros_like(ref.pixels), np.zeros_like(ref.valid))
    np.testing.assert_array_equal(fields.tightened(blank, truth), truth)


def test_what_repeats_itself_in_both_is_told() -> None:
    rng = np.random.default_rng(4)
    maps = rng.normal(size=(2, 2, 80, 80)).astype(np.float32)
    fields = SensorFields(lambda *_: maps[0], _image(1))
    assert fields.repetition(maps[1], 16) < 0.2
    # Cells of 15 by 15 pixels of the maps, 30 of the image, in one and in both.
    cells = rng.normal(size=(2, 2, 15, 15)).astype(np.float32)
    tiled = np.tile(cells, (1, 1, 6, 6))[:, :, :80, :80] + maps / 2
    assert fields.repetition(tiled[1], 16) < 0.2
    both = SensorFields(lambda *_: tiled[0], _image(1))
    assert both.repetition(tiled[1], 16) > 0.6
    # Other periods are no common ones.
    other = np.tile(cells[1, :, :11, :11], (1, 8, 8))[:, :80, :80]
    assert both.repetition(other, 16) < 0.45


def test_nothing_repeats_where_nothing_is_seen() -> None:
    ref = _image(1)
    fields = SensorFields(directions_alone, ref)
    assert fields.repetition(np.zeros_like(fields.maps), 16) == 0
