from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest

from imatch.export.images import checkerboard, detail_window, grey, rgba, warp_onto_reference
from imatch.pipeline.registration.result import Preview, Registration

Make = Callable[..., Registration]


def preview(registration: Registration) -> Preview:
    assert registration.preview is not None
    return registration.preview


@pytest.mark.parametrize("channels", [1, 3])
def test_rgba_shows_valid_ground_only(channels: int) -> None:
    image = np.full((4, 5, channels), 7, np.uint8)
    valid = np.zeros((4, 5), bool)
    valid[1, 2] = True
    shown = rgba(image, valid)
    assert shown.shape == (4, 5, 4)
    assert shown[1, 2].tolist() == [7, 7, 7, 255]
    assert shown[..., 3].sum() == 255


def test_the_matrix_brings_the_target_home(make: Make) -> None:
    shown = preview(make(size=(300, 200), target_size=(360, 260)))
    assert shown.matrix is not None
    image, valid = warp_onto_reference(shown, shown.matrix)
    assert image.shape == valid.shape == (200, 300)
    assert valid.mean() > 0.95
    # The factory's target is 0.6 of the reference plus 40. 160 x 256 pixels have a Fourier
    # transform that OpenCV does not pad, which would bias it.
    part = (slice(20, 180), slice(20, 276))
    found, truth = image[part].astype(np.float64), grey(shown.ref)[part].astype(np.float64)
    shift, response = cv2.phaseCorrelate(truth - truth.mean(), found - found.mean())
    assert response > 0.9
    assert shift == pytest.approx((0, 0), abs=0.05)
    assert np.abs(found - (truth * 0.6 + 40)).mean() < 5


def test_the_identity_pads_a_smaller_target(make: Make) -> None:
    shown = preview(make(size=(300, 200), target_size=(100, 250), matrix=np.eye(3)))
    image, valid = warp_onto_reference(shown, np.eye(3))
    np.testing.assert_allclose(image[:, :100], grey(shown.tgt)[:200], atol=1e-3)
    assert valid[:, :100].all()
    assert not valid[:, 100:].any()


def test_squares_take_turns(make: Make) -> None:
    shown = preview(make(size=(120, 120)))
    blind = replace(shown, tgt_valid=np.zeros_like(shown.tgt_valid))
    board = checkerboard(blind, np.eye(3), (0, 0, 120, 120))
    assert board.shape == (120, 120, 4)
    opaque = board[..., 3] == 255
    assert opaque[:20, :20].all()
    assert not opaque[:20, 20:40].any()
    assert opaque.mean() == pytest.approx(0.5)


def test_the_detail_grows_with_the_shift(make: Make) -> None:
    near = make(size=(1000, 800), matrix=np.array([[1, 0, 4.0], [0, 1, 0], [0, 0, 1]]))
    far = make(size=(1000, 800), matrix=np.array([[1, 0, 15.0], [0, 1, 0], [0, 0, 1]]))
    left, top, right, bottom = detail_window(preview(near), near.tie_points.inlier)
    assert (right - left, bottom - top) == (200, 160)
    left, top, right, bottom = detail_window(preview(far), far.tie_points.inlier)
    assert bottom - top == pytest.approx(24 * 15, abs=2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"status": "failed"}, (0, 0, 400, 300)),
        ({"n": 0, "outliers": 0}, (0, 0, 400, 300)),
        ({"matrix": np.array([[1, 0, 90.0], [0, 1, 0], [0, 0, 1]])}, (0, 0, 400, 300)),
        ({"size": (1200, 100), "status": "failed"}, (500, 0, 700, 100)),
        ({"size": (100, 1200), "status": "failed"}, (0, 500, 100, 700)),
    ],
)
def test_as_much_as_the_shape_allows_where_there_is_no_detail(
    options: dict[str, object], expected: tuple[int, ...], make: Make
) -> None:
    registration = make(**options)
    assert detail_window(preview(registration), registration.tie_points.inlier) == expected
