from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from imatch.core.types import Rendered
from imatch.matchers import load_matcher
from imatch.matchers.dense.phase import Phase, Window

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape


@pytest.mark.parametrize("shift", [(0.0, 0.0), (0.5, 0.25), (-3.3, 1.7), (31.4, -20.6)])
def test_sub_pixel(landscape: Landscape, shift: tuple[float, float]) -> None:
    matches = load_matcher("phase").match(landscape(), landscape(shift=shift))
    assert len(matches) >= 8
    error = matches.tgt_xy - matches.ref_xy - shift
    assert np.abs(np.median(error, axis=0)).max() < 0.05
    assert np.percentile(np.linalg.norm(error, axis=1), 90) < 0.1


def test_tie_points_spread(landscape: Landscape) -> None:
    matches = load_matcher("phase").match(landscape(), landscape(shift=(1.0, 1.0)))
    assert np.ptp(matches.ref_xy[:, 0]) > 150
    assert np.ptp(matches.ref_xy[:, 1]) > 120


def test_unlike_images_give_next_to_nothing(landscape: Landscape) -> None:
    for seed in (1, 2, 3):
        assert len(load_matcher("phase").match(landscape(), landscape(seed=seed))) <= 5


def test_noise(landscape: Landscape) -> None:
    rng = np.random.default_rng(0)
    ref, tgt = (
        Rendered(
            np.clip(view.pixels + rng.normal(0, 0.05, view.pixels.shape), 0, 1).astype(np.float32),
            view.valid,
        )
        for view in (landscape(), landscape(shift=(2.3, -1.4)))
    )
    matches = load_matcher("phase").match(ref, tgt)
    assert len(matches) >= 5
    assert np.abs(np.median(matches.tgt_xy - matches.ref_xy, axis=0) - (2.3, -1.4)).max() < 0.05


def test_masks_do_not_pull(landscape: Landscape) -> None:
    # A mask that stays put while the ground moves would pull the shift towards zero.
    ref, tgt = landscape(), landscape(shift=(6.4, 3.6))
    valid = ref.valid.copy()
    valid[60:130, 80:170] = False
    matches = load_matcher("phase").match(
        Rendered(np.where(valid, ref.pixels, 0), valid),
        Rendered(np.where(valid, tgt.pixels, 0), valid),
    )
    assert len(matches) >= 5
    assert np.abs(np.median(matches.tgt_xy - matches.ref_xy, axis=0) - (6.4, 3.6)).max() < 0.05


def test_weak_peaks_are_dropped(landscape: Landscape) -> None:
    ref, tgt = landscape(), landscape(shift=(2.0, 0.0))
    few = Phase(window=Window(least_evidence=1e6)).match(ref, tgt)
    assert len(few) == 0
