from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imatch.export.text import (
    accuracy_text,
    bound_text,
    certificate_text,
    counts_text,
    image_name,
    model_text,
    points_text,
    shift_text,
    tolerance_text,
)
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.result import ImageSummary, Registration

Make = Callable[..., Registration]


def test_the_shift_has_a_length_and_an_interval(make: Make) -> None:
    assert shift_text(make()) == "7.39 ± 0.11 px (73.9 ± 1.1 m)"
    assert shift_text(make(geocoded=False)) == "7.39 ± 0.11 px"
    assert shift_text(make(status="failed")) is None
    assert shift_text(replace(make(geocoded=False), ci95_px=None)) == "7.39 px"


def test_a_shift_of_nothing_has_an_interval_too(make: Make) -> None:
    still = replace(make(geocoded=False), shift_px=(0.0, 0.0), ci95_px=(0.1, 0.2))
    assert shift_text(still) == "0.00 ± 0.20 px"


def test_the_interval_follows_the_direction(make: Make) -> None:
    east = replace(make(geocoded=False), shift_px=(10.0, 0.0), ci95_px=(0.1, 3.0))
    assert shift_text(east) == "10.00 ± 0.10 px"


def test_accuracy_and_counts(make: Make) -> None:
    figures: dict[str, Any] = {"rmse_px": 0.42, "rmse_m": 4.2, "ce90_px": 0.71, "ce90_m": 7.1}
    registration = replace(make(), **figures)
    assert accuracy_text(registration) == "RMSE 0.42 px (4.20 m), CE90 0.71 px (7.10 m)"
    assert accuracy_text(make(status="failed")) is None
    assert counts_text(registration) == "170 of 200 tie points"


@pytest.mark.parametrize(
    ("certificate", "status", "expected"),
    [
        (Certificate(), "ok", None),
        (Certificate(corner_ci95_px=0.12), "ok", "all of the overlap within 0.12 px at 95%"),
        (
            Certificate(corner_ci95_px=0.12, corner_ci95_m=1.2, tolerance="3 m", passes=True),
            "ok",
            "passes 3 m: all of the overlap within 0.12 px (1.20 m) at 95%",
        ),
        (
            Certificate(corner_ci95_px=0.5, tolerance="0.3 px", passes=False),
            "ok",
            "fails 0.3 px: all of the overlap within 0.50 px at 95%",
        ),
        (
            Certificate(corner_ci95_px=0.1, tolerance="0.3 px", passes=False),
            "uncertain",
            "fails 0.3 px, being uncertain: all of the overlap within 0.10 px at 95%",
        ),
        (Certificate(tolerance="3 m", passes=False), "failed", "fails 3 m, being failed"),
        (
            Certificate(corner_ci95_px=0.1, tolerance="3 m"),
            "ok",
            "cannot be held against 3 m, as metres are unknown: all of the overlap within 0.10 px"
            " at 95%",
        ),
    ],
)
def test_the_certificate(
    certificate: Certificate, status: str, expected: str | None, make: Make
) -> None:
    registration = replace(make(status=status), certificate=certificate)
    assert certificate_text(registration) == expected
    assert (tolerance_text(registration) is None) == (certificate.tolerance is None)
    assert (bound_text(registration) is None) == (certificate.corner_ci95_px is None)


def rotated(degrees: float) -> np.ndarray:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine, 5], [sine, cosine, -3], [0, 0, 1]])


class TestModel:
    def pixels(self, make: Make, kind: str, matrix: np.ndarray) -> str | None:
        registration = make(geocoded=False)
        return model_text(replace(registration, transform=Transform(kind, matrix)))  # type: ignore[arg-type]

    def test_similarity(self, make: Make) -> None:
        # With y downwards, +x turning towards +y is clockwise to the eye.
        matrix = rotated(0.12) * [[1.0004], [1.0004], [1]]
        text = self.pixels(make, "similarity", matrix)
        assert text == "similarity: rotation 0.12° clockwise, scale 1.0004"
        text = self.pixels(make, "similarity", rotated(-90))
        assert text == "similarity: rotation 90.00° counter-clockwise, scale 1.0000"

    def test_a_local_displacement_is_named(self, make: Make) -> None:
        bend = DisplacementGrid("spline", (0, 0), (50, 50), np.zeros((4, 4, 2)))
        for kind, begins in (("similarity", "similarity + spline: rotation"), ("translation", "t")):
            moved = Transform(kind, np.eye(3))  # type: ignore[arg-type]
            text = model_text(replace(make(geocoded=False), transform=moved, local=bend))
            assert text is not None
            assert text.startswith(begins)
        assert text == "translation + spline"

    def test_affine(self, make: Make) -> None:
        shear = np.array([[1, np.tan(np.radians(2)), 0], [0, 1, 0], [0, 0, 1]])
        matrix = rotated(3) @ np.diag([1.02, 0.98, 1]) @ shear
        text = self.pixels(make, "affine", matrix)
        assert text is not None
        assert text.startswith("affine: rotation 3.00° clockwise, scale 1.0200 × 0.9800, shear 2.")

    def test_translation_and_failure(self, make: Make) -> None:
        assert self.pixels(make, "translation", np.eye(3)) == "translation"
        assert model_text(make(status="failed")) is None

    def test_homography_is_described_at_the_centre(self, make: Make) -> None:
        # Centred on y = 149.5, so that the derivative there is a plain pair of scales.
        centre = np.array([[1, 0, 0], [0, 1, 149.5], [0, 0, 1]])
        tilt = np.array([[1, 0, 0], [0, 1, 0], [1e-4, 0, 1.0]])
        matrix = centre @ tilt @ np.linalg.inv(centre)
        text = self.pixels(make, "homography", matrix)
        w = 1 + 1e-4 * 199.5
        expected = f"scale {1 / w**2:.4f} × {1 / w:.4f}"
        assert text is not None
        assert expected in text
        assert text.endswith("at the centre")

    def test_a_collapsed_model_is_called_so(self, make: Make) -> None:
        assert self.pixels(make, "affine", np.diag([0.0, 1, 1])) == "affine, degenerate"

    def test_beyond_the_geocoding_a_difference_of_pixel_size_is_none(self, make: Make) -> None:
        registration = replace(
            make(),
            transform=Transform("similarity", np.diag([0.5, 0.5, 1])),
            map_matrix=rotated(0.5),
        )
        # Map coordinates run upwards, so the same turn is counter-clockwise.
        assert model_text(registration) == (
            "similarity: rotation 0.50° counter-clockwise, scale 1.0000"
        )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (None, "array"),
        ("a/b/c.tif", "c.tif"),
        ("x" * 100 + ".tif", "x" * 23 + "…" + "x" * 19 + ".tif"),
    ],
)
def test_names_fit_a_title(path: str | None, expected: str) -> None:
    assert image_name(ImageSummary(path, 1, 1)) == expected


def test_own_tie_points_are_counted(make: Make) -> None:
    assert points_text(make()) is None

    def told(**record: Any) -> str | None:
        return points_text(replace(make(), provenance={"points": record}))

    path = "/data/november.points"
    assert told(path=path, rows=12, off=1, outside=2, used=9) == (
        "9 of 12 of november.points (1 switched off, 2 outside the images)"
    )
    assert told(rows=12, off=0, outside=0, used=12) == "12 of 12 of rows of pixels"
