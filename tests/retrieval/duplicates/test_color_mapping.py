from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.retrieval.duplicates.color_mapping import fit_colours, overlay_mask, recolour

LUMA = np.array([0.3, 0.6, 0.1], np.float32)


@pytest.fixture
def bands() -> NDArray[np.float32]:
    """(3, 64, 64) in [0, 1]."""
    return np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)


EVERYWHERE = np.ones((64, 64), dtype=bool)


@pytest.mark.parametrize(
    "change",
    [
        lambda b: np.tensordot(LUMA, b[::-1], axes=1),
        lambda b: np.tensordot(LUMA, b, axes=1) ** 0.7,
        lambda b: 0.3 * b[0] * b[1] + 0.2,
    ],
    ids=["exchanged", "gamma", "product"],
)
def test_changes_of_colour_are_followed(bands: NDArray[np.float32], change: object) -> None:
    wanted = change(bands).astype(np.float32)  # type: ignore[operator]
    weights, error = fit_colours(bands, wanted, EVERYWHERE)
    assert error < 0.01
    assert np.abs(recolour(bands, weights) - wanted).max() < 0.1


def test_what_is_covered_does_not_count(bands: NDArray[np.float32]) -> None:
    wanted = np.tensordot(LUMA, bands, axes=1).astype(np.float32)
    marked = wanted.copy()
    marked[20:36] = 1.0
    weights, error = fit_colours(bands, marked, EVERYWHERE)
    made = recolour(bands, weights)
    assert np.abs(made - wanted).max() < 0.01
    found = overlay_mask(marked, made, error, EVERYWHERE)
    assert found[20:36].mean() > 0.95
    assert not found[:18].any()
    assert not found[38:].any()


def test_what_is_cut_off_does_not_bend_the_map(bands: NDArray[np.float32]) -> None:
    wanted = np.clip(1.6 * np.tensordot(LUMA, bands, axes=1) - 0.1, 0, 1).astype(np.float32)
    weights, _ = fit_colours(bands, wanted, EVERYWHERE)
    assert np.abs(recolour(bands, weights) - wanted).max() < 0.01


def test_other_ground_is_not_explained(bands: NDArray[np.float32]) -> None:
    other = np.random.default_rng(1).random((64, 64), dtype=np.float32)
    _, error = fit_colours(bands, other, EVERYWHERE)
    assert error > 0.25
