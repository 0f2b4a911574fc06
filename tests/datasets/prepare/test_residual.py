from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.datasets.prepare.pairing import UNKNOWN, Residual, changed_ground, measure_residual
from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape


def view(seed: int, season: Season, shift: tuple[float, float] = (0, 0), sky: int = 0) -> Rendered:
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])
    ground = landscape((192, 192), seed)
    return Rendered(*render_landscape(ground, season, matrix=matrix, seed=sky))


def test_the_residual_is_as_good_as_it_says() -> None:
    off = []
    for seed, shift in enumerate([(0.0, 0.0), (1.37, -2.21), (-0.5, 4.4), (3.3, 0.2)]):
        found = measure_residual(view(seed, "summer"), view(seed, "autumn", shift, sky=9))
        assert found.known
        off += [(found.dx - shift[0]) / found.sigma, (found.dy - shift[1]) / found.sigma]
    assert np.sqrt(np.mean(np.square(off))) < 2.0
    assert np.abs(off).max() < 4.0


def test_unrelated_ground_has_no_residual() -> None:
    found = measure_residual(view(1, "summer"), view(2, "summer"))
    assert not found.known
    assert (found.dx, found.dy) == (0.0, 0.0)


def test_a_start_helps_over_a_large_displacement() -> None:
    a, b = view(3, "summer"), view(3, "summer", (7.0, -5.0), sky=4)
    found = measure_residual(a, b, (6.0, -5.0))
    assert (found.dx, found.dy) == pytest.approx((7.0, -5.0), abs=0.3)
    # Beyond what geocoded products can be apart, nothing is believed.
    assert not measure_residual(a, view(3, "summer", (12.0, 0.0), sky=4), (12.0, 0.0)).known


def test_ground_that_is_replaced_is_found_and_seasons_are_not() -> None:
    a, b = view(5, "summer"), view(5, "spring", sky=3)
    pixels: NDArray[np.float32] = b.pixels.copy()
    pixels[:, 100:180, 90:180] = view(6, "summer").pixels[:, 100:180, 90:180]
    known = Residual(0.0, 0.0, 0.1, 9.0)
    changed = changed_ground(a, Rendered(pixels, b.valid), known)
    assert changed[120:160, 110:160].mean() > 0.6
    assert changed[:80, :].mean() < 0.08
    assert changed_ground(a, b, known).mean() < 0.1
    assert not changed_ground(a, Rendered(pixels, b.valid), UNKNOWN).any()
