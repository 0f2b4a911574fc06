"""Bent ground and appearance: what no number of windows averages out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.acceptance import Evidence
from imatch.geometry.alignment.coherence import of_offsets, of_windows
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.alignment.judge import judge_alignment
from imatch.geometry.alignment.systematic import APPEARANCE, appearance, misfit_of
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


@given(seed=st.integers(0, 99), share=st.floats(0.15, 0.5), random=st.floats(0.0, 0.5))
def test_a_seam_sought_far_stands_out_where_many_windows_found_nothing(
    seed: int, share: float, random: float
) -> None:
    rng = np.random.default_rng(seed)
    side = np.linspace(32, 480, 29)
    centre = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    moved = centre[:, 1] > np.quantile(centre[:, 1], 1 - share)
    residual = rng.normal(0, 0.1, centre.shape) + np.where(moved[:, None], [0.0, 9.0], 0.0)
    lost = rng.random(len(centre)) < random
    residual[lost] = rng.uniform(-20, 20, (int(lost.sum()), 2))
    found = misfit_of(of_windows(centre, residual, 64.0, far=True), far=True)
    assert found[1] > 9 * np.sqrt(share) / 2

    residual[~lost] = rng.normal(0, 0.1, (int((~lost).sum()), 2))
    found = misfit_of(of_windows(centre, residual, 64.0, far=True), far=True)
    assert (found < 0.5).all()


def test_relief_smaller_than_a_window_widens_the_bound() -> None:
    hills = np.random.default_rng(2).normal(size=(SIDE, SIDE))
    smooth = np.asarray(cv2.GaussianBlur(hills, (0, 0), 12), dtype=np.float64)
    lean = 0.5 * smooth / smooth.std()
    found = judged(waves(3, (SIDE, SIDE), lean, 0.0, noise=0.01))
    assert found.corner_ci95 > np.quantile(np.abs(lean), 0.95)
