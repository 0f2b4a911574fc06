from __future__ import annotations

import numpy as np

from imatch.geometry.nonrigid.smooth_map import SmoothMap
from imatch.geometry.transform import apply_matrix


def test_a_projective_map_over_a_tile_is_followed_to_a_thousandth_of_a_pixel() -> None:
    matrix = np.array([[0.9, -0.4, 5e4], [0.4, 0.9, -3e4], [1e-6, -2e-6, 1.0]])
    x, y = np.meshgrid(np.linspace(20_000, 21_024, 8), np.linspace(9_000, 10_024, 8))
    xy = np.column_stack([x.ravel(), y.ravel()])
    fitted = SmoothMap.fit(xy, apply_matrix(matrix, xy))
    inside = np.random.default_rng(0).uniform((20_000, 9_000), (21_024, 10_024), (200, 2))
    np.testing.assert_allclose(fitted.apply(inside), apply_matrix(matrix, inside), atol=1e-3)


def test_the_derivative_is_that_of_the_map() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(0, 1000, (64, 2))
    uv = xy @ [[1.1, 0.2], [-0.3, 0.9]] + 3 * np.sin(xy / 400)
    fitted = SmoothMap.fit(xy, uv)
    step = 1e-3
    at = rng.uniform(100, 900, (20, 2))
    for axis in range(2):
        ahead, behind = at.copy(), at.copy()
        ahead[:, axis] += step
        behind[:, axis] -= step
        slope = (fitted.apply(ahead) - fitted.apply(behind)) / (2 * step)
        np.testing.assert_allclose(fitted.jacobian(at)[:, :, axis], slope, atol=1e-7)
