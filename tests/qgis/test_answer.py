from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imatch
from imatch.qgis.plugin.answer import Answer, bound_text, exaggeration
from tests.qgis.conftest import REFERENCE, TARGET


def answer(matrix: Any, transform: Any = (10.0, 0.0, 500.0, 0.0, -10.0, 900.0)) -> Answer:
    reference = {"width": 101, "height": 201, "transform": transform}
    return Answer({"status": "ok", "matrix": matrix, "reference": reference})


def drawn(found: Answer, dx: float, dy: float) -> tuple[float, float]:
    axes = found.arrow_axes()
    assert axes is not None
    a, b, c, d = axes
    return a * dx + b * dy, c * dx + d * dy


def test_a_verdict_has_the_status_and_the_bound(tmp_path: Path) -> None:
    found = imatch.match(REFERENCE, TARGET)
    found.save(tmp_path / "a.json")
    read = Answer.read(tmp_path / "a.json")
    bound = found.certificate.corner_ci95_m
    assert bound is not None
    assert read.verdict == f"ok ± {bound_text(bound, None)}"
    assert read.reason == found.reason
    assert Answer({"status": "failed", "certificate": None}).verdict == "failed"


def test_what_is_no_result_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match=r"a\.json: No such file"):
        Answer.read(path)
    for content in (b"[1]", b"{}", b"{", b"\xa0"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no result of imatch match or register"):
            Answer.read(path)


def test_arrows_point_to_where_the_registered_image_has_the_ground() -> None:
    # Right and down in the target's pixels is east and south on the map.
    assert drawn(answer(np.eye(3).tolist()), 1, 2) == pytest.approx((10, -20))
    # The target is turned by a quarter: its x runs along the reference's y.
    turned = [[0.0, 1.0, 0.0], [-1.0, 0.0, 100.0], [0.0, 0.0, 1.0]]
    assert drawn(answer(turned), 1, 0) == pytest.approx((0, -10))
    # Twice the pixels of the reference: half the way.
    assert drawn(answer(np.diag([2.0, 2.0, 1.0]).tolist()), 1, 0) == pytest.approx((5, 0))
    # Without geocoding QGIS lays pixels with y upwards.
    assert drawn(answer(np.eye(3).tolist(), None), 1, 1) == pytest.approx((1, -1))


def test_arrows_of_a_homography_are_those_at_the_centre() -> None:
    matrix = np.array([[1.1, 0.02, 3.0], [-0.03, 0.9, 5.0], [1e-4, -2e-4, 1.0]])

    def to_target(xy: np.ndarray) -> np.ndarray:
        u, v, w = matrix @ [*xy, 1.0]
        return np.array([u / w, v / w])

    centre, step = np.array([50.0, 100.0]), np.array([1e-4, 2e-4])
    residual = to_target(centre + step) - to_target(centre)
    east, north = drawn(answer(matrix.tolist()), *residual)
    assert (east, north) == pytest.approx((10 * step[0], -10 * step[1]), rel=1e-3)


def test_without_a_transform_there_are_no_arrows() -> None:
    assert answer(None).arrow_axes() is None
    assert answer([[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).arrow_axes() is None


@pytest.mark.parametrize(("longest", "room"), [(8, 300), (0.3, 2000), (50, 60), (1e-7, 0.01)])
def test_arrows_are_drawn_longer_but_clear_of_one_another(longest: float, room: float) -> None:
    factor = exaggeration(longest, room)
    assert room / 2.5 <= factor * longest * (1 + 1e-9) <= room * (1 + 1e-9) or factor == 1
    assert f"{factor:e}"[0] in "125"


def test_nothing_to_draw_is_not_drawn_longer() -> None:
    assert exaggeration(0, 300) == exaggeration(3, 0) == exaggeration(math.nan, 3) == 1


@pytest.mark.parametrize(
    ("metres", "px", "text"),
    [
        (7.332, 0.73, "7.4 m"),
        (7.4, None, "7.4 m"),
        (0.0, 0.0, "0 m"),
        (123.4, None, "130 m"),
        (None, 0.9951, "1.0 px"),
        (9.904, None, "10 m"),
        (0.1, None, "0.10 m"),
        (None, 0.0123, "0.013 px"),
        (None, None, None),
        (math.nan, None, None),
    ],
)
def test_bounds_are_rounded_up(metres: float | None, px: float | None, text: str | None) -> None:
    assert bound_text(metres, px) == text
