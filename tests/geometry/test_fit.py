from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.geometry.fit import jacobian, least_squares, minimum_points, reweighted
from imatch.geometry.transform import MODEL_KINDS, ModelKind, Transform, apply_matrix

MATRICES: dict[ModelKind, np.ndarray] = {
    "translation": np.array([[1, 0, 12.3], [0, 1, -4.5], [0, 0, 1]]),
    "similarity": np.array([[0.9, -0.3, 12.3], [0.3, 0.9, -4.5], [0, 0, 1]]),
    "affine": np.array([[0.9, -0.2, 12.3], [0.35, 1.1, -4.5], [0, 0, 1]]),
    "homography": np.array([[0.9, -0.2, 12.3], [0.35, 1.1, -4.5], [2e-4, -1e-4, 1]]),
}


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_exact_points_give_the_exact_matrix(kind: ModelKind) -> None:
    ref = np.random.default_rng(1).uniform(0, 5000, (30, 2))
    fitted = least_squares(kind, ref, apply_matrix(MATRICES[kind], ref))
    np.testing.assert_allclose(
        apply_matrix(fitted, ref), apply_matrix(MATRICES[kind], ref), atol=1e-5
    )


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_minimal_sample_suffices(kind: ModelKind) -> None:
    ref = np.array([[0, 0], [300, 20], [30, 280], [310, 330]], dtype=np.float64)
    ref = ref[: minimum_points(kind)]
    fitted = least_squares(kind, ref, apply_matrix(MATRICES[kind], ref))
    np.testing.assert_allclose(
        apply_matrix(fitted, ref), apply_matrix(MATRICES[kind], ref), atol=1e-6
    )


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_jacobian_equals_finite_differences(kind: ModelKind) -> None:
    from imatch.geometry.fit import PARAMETERS, step

    xy = np.array([[0.3, -0.7], [1.2, 0.4]])
    matrix = MATRICES[kind]
    jac = jacobian(kind, matrix, xy)
    for index in range(PARAMETERS[kind]):
        theta = np.zeros(PARAMETERS[kind])
        theta[index] = 1e-6
        moved = apply_matrix(matrix + step(kind, theta), xy) - apply_matrix(matrix, xy)
        np.testing.assert_allclose(jac[:, :, index], moved / 1e-6, atol=1e-4)


def test_homography_agrees_with_opencv() -> None:
    rng = np.random.default_rng(2)
    ref = rng.uniform(0, 500, (80, 2))
    tgt = apply_matrix(MATRICES["homography"], ref) + rng.normal(0, 0.5, (80, 2))
    theirs, _ = cv2.findHomography(ref, tgt, method=0)
    ours = least_squares("homography", ref, tgt)
    np.testing.assert_allclose(
        apply_matrix(ours, ref), apply_matrix(np.asarray(theirs, dtype=np.float64), ref), atol=0.02
    )


def test_reweighting_ignores_gross_errors() -> None:
    rng = np.random.default_rng(3)
    ref = rng.uniform(0, 500, (100, 2))
    tgt = apply_matrix(MATRICES["similarity"], ref) + rng.normal(0, 0.2, (100, 2))
    tgt[:30] += rng.uniform(2, 40, (30, 2))
    start = MATRICES["similarity"] + np.array([[0, 0, 0.8], [0, 0, -0.6], [0, 0, 0]])
    fitted = reweighted("similarity", ref, tgt, start, 3.0)
    assert (
        np.abs(apply_matrix(fitted, ref) - apply_matrix(MATRICES["similarity"], ref)).max() < 0.15
    )


@pytest.mark.parametrize("kind", ["similarity", "affine", "homography"])
def test_coincident_points_are_degenerate(kind: ModelKind) -> None:
    ref = np.tile([[5.0, 5.0]], (10, 1))
    with pytest.raises(np.linalg.LinAlgError):
        least_squares(kind, ref, ref)


@given(
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.2, 5),
    x=st.floats(-5000, 5000),
    y=st.floats(-5000, 5000),
)
@settings(max_examples=50, derandomize=True, deadline=None)
def test_inverse_undoes_the_transform(angle: float, scale: float, x: float, y: float) -> None:
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    transform = Transform("similarity", np.array([[a, -b, x], [b, a, y], [0, 0, 1]]))
    points = np.array([[0, 0], [10980, 0], [3.25, 777.5]])
    np.testing.assert_allclose(transform.inverse(transform.apply(points)), points, atol=1e-6)
