"""Bent ground and appearance: what no number of windows averages out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.acceptance import Evidence
from imatch.geometry.alignment.coherence import of_offsets, slow_bend
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.alignment.judge import judge_alignment
from imatch.geometry.alignment.systematic import APPEARANCE, appearance
from imatch.geometry.estimate import BandShift, Estimate, EstimateOptions
from tests.support.ground import waves

SIDE = 320
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)

U, V = X / (SIDE / 2) - 1, Y / (SIDE / 2) - 1


def judged(target: NDArray[np.float32], reference: NDArray[np.float32] | None = None) -> Estimate:
    reference = waves(3, (SIDE, SIDE), noise=0.01) if reference is None else reference
    planes = [image if image.ndim == 3 else image[None] for image in (reference, target)]
    valid = np.ones((SIDE, SIDE), dtype=bool)
    ref, tgt = (Rendered(image, valid) for image in planes)
    aligner = Aligner(ref, tgt)
    alignment = aligner.align(np.eye(3))
    assert alignment is not None
    return judge_alignment(aligner, alignment, valid, valid, EstimateOptions(), Evidence())


Moved: TypeAlias = "NDArray[np.float64] | float"
BENT: dict[str, Callable[[float], tuple[Moved, Moved]]] = {
    "rows, long": lambda a: (a * np.sin(2 * np.pi * Y / 170), 0.0),
    "rows, short": lambda a: (a * np.sin(2 * np.pi * Y / 36 + 1), 0.0),
    "columns": lambda a: (0.0, a * np.sin(2 * np.pi * X / 90)),
    "step": lambda a: (np.where(Y > 150, a, -a), 0.0),
    "bulge": lambda a: (0.0, a * np.sin(Y / 60) * np.cos(X / 70)),
    "lens": lambda a: (a * U * (U**2 + V**2), a * V * (U**2 + V**2)),
}


@pytest.mark.parametrize("amplitude", [0.6, 1.3])
@pytest.mark.parametrize("kind", BENT)
def test_the_bound_holds_on_bent_ground(kind: str, amplitude: float) -> None:
    dx, dy = BENT[kind](amplitude)
    found = judged(waves(3, (SIDE, SIDE), dx, dy, noise=0.01))
    if found.status != "ok":
        return
    assert found.transform is not None
    matrix = found.transform.matrix
    mapped = np.stack([X + dx, Y + dy])  # The target shows at x + d what stood at x, nearly.
    x, y = (matrix[i, 0] * X + matrix[i, 1] * Y + matrix[i, 2] for i in (0, 1))
    error = np.hypot(mapped[0] - x, mapped[1] - y)
    assert (error <= found.corner_ci95).mean() >= 0.95


@given(
    factors=arrays(np.float64, (10, 2), elements=st.floats(-2, 2)),
    wrong=st.floats(0, 0.1),
    seed=st.integers(0, 9),
)
def test_a_slow_bend_is_known_beyond_the_windows(
    factors: NDArray[np.float64], wrong: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # As windows of 32 px lie that look to the rim.
    side = np.linspace(16, 304, 18)
    centre = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    rim = np.array([[0.0, 0.0], [319.0, 0.0], [160.0, 319.0]])

    def bend(at: NDArray[np.float64]) -> NDArray[np.float64]:
        u, v = (at / 160 - 1).T
        terms = [u**i * v**j for i in range(4) for j in range(4 - i)]
        return np.asarray(np.column_stack(terms) @ factors)

    residual = bend(centre)
    stray = rng.random(len(centre)) < wrong
    residual[stray] += rng.uniform(-8, 8, (stray.sum(), 2))
    assert np.allclose(slow_bend(centre, residual, 32.0, rim), bend(rim), atol=0.6)


def test_of_ground_that_no_window_sees_a_bend_is_not_asked() -> None:
    rng = np.random.default_rng(0)
    centre = np.column_stack([rng.uniform(16, 150, 300), rng.uniform(16, 304, 300)])
    places = np.array([[0.0, 0.0], [160.0, 300.0], [300.0, 160.0]])
    residual = np.column_stack([1e-4 * centre[:, 0] ** 2, rng.normal(0, 0.1, 300)])
    found = slow_bend(centre, residual, 32.0, places)
    assert np.allclose(found[:, 0], 1e-4 * places[:2, 0] ** 2, atol=0.3)


def test_too_few_windows_tell_of_no_bend() -> None:
    centre = np.array([[50.0, 50.0], [150.0, 50.0], [50.0, 150.0]])
    places = np.array([[0.0, 0.0], [200.0, 200.0]])
    assert not slow_bend(centre, np.ones((3, 2)), 64.0, places).any()
    assert slow_bend(np.zeros((0, 2)), np.zeros((0, 2)), 64.0, places).shape == (2, 2)


@given(seed=st.integers(0, 99), clouds=st.floats(0.1, 0.6))
def test_lines_that_find_clouds_when_sought_far_are_no_jitter(seed: int, clouds: float) -> None:
    rng = np.random.default_rng(seed)
    offsets = rng.normal(0, 0.2, (2, 120, 2))
    lost = rng.random(120) < clouds
    # Both measures of a line see the same cloud, at places that go together, but not the same one.
    drift = rng.uniform(8, 18, lost.sum())
    offsets[0, lost, 0], offsets[1, lost, 0] = drift, drift - rng.uniform(2, 5, lost.sum())
    near, far = (of_offsets([(offsets, None)], far=far)[0] for far in (False, True))
    # Each of the lost lines has a product of 8 by 3 or more.
    assert near.shared[0] > 20 * lost.mean()
    assert far.shared[0] < 0.1
    jitter = offsets + 9 * np.sin(np.arange(120) / 4)[None, :, None] * [1, 0]
    (found,) = of_offsets([(jitter[:, ~lost], None)], far=True)
    assert found.shared[0] > 20


def test_a_few_lines_found_twice_by_chance_do_not_count() -> None:
    offsets = np.random.default_rng(0).uniform(-20, 20, (2, 120, 2))
    offsets[:, :5] = 8.0
    assert of_offsets([(offsets, None)], far=True) == []


@pytest.mark.parametrize("amplitude", [6.0, 9.0])
def test_strong_jitter_is_not_accepted(amplitude: float) -> None:
    dx = amplitude * np.sin(Y / 25)
    assert judged(waves(3, (SIDE, SIDE), dx, 0.0, noise=0.01)).status != "ok"


def test_what_follows_the_transform_has_no_misfit() -> None:
    found = judged(waves(3, (SIDE, SIDE), 2.3, -1.1, noise=0.05))
    assert found.status == "ok"
    assert max(found.misfit) < 0.05
    assert max(found.ci95) < 0.1


def test_bands_that_disagree_widen_the_interval() -> None:
    shifts = [(0.0, 0.0), (0.7, 0.0), (0.0, 0.9)]
    reference = np.stack([waves(seed, (SIDE, SIDE)) for seed in (3, 4, 5)])
    target = np.stack([waves(s, (SIDE, SIDE), *d) for s, d in zip((3, 4, 5), shifts, strict=True)])
    found = judged(target, reference)
    assert len(found.bands) == 3
    assert found.transform is not None
    for band, shift in zip(found.bands, shifts, strict=True):
        total = found.transform.matrix[:2, 2] + band.offset
        np.testing.assert_allclose(total, shift, atol=0.1)
    assert found.ci95[0] > 1.5 * np.std([0.0, 0.7, 0.0], ddof=1) - 0.1
    assert found.ci95[1] > 1.5 * np.std([0.0, 0.0, 0.9], ddof=1) - 0.1
    alike = judged(np.stack([waves(s, (SIDE, SIDE), 0.3) for s in (3, 4, 5)]), reference)
    assert max(alike.ci95) < 0.1


def test_one_band_alone_is_less_sure_the_less_it_correlates() -> None:
    alone = [float(appearance([BandShift((0, 0), s)], s)[0]) for s in (1.0, 0.7, 0.3)]
    assert alone[0] == 0
    assert alone[0] < alone[1] < alone[2]
    assert alone[2] == pytest.approx(APPEARANCE.alone * np.log(1 / 0.3))
