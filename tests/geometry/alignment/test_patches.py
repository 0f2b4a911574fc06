"""Patches of a scene: what its tie points miss or average out, in any direction."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.geometry.alignment.fine_alignment import AlignedImages
from imatch.geometry.alignment.patches import band_shifts, crest, misfit, windows_of
from imatch.geometry.alignment.systematic import BENT_95
from tests.support.ground import waves

SIDE = 256
Y, X = np.mgrid[0:SIDE, 0:SIDE].astype(np.float64)
Moved = NDArray[np.float64] | float


def patch(
    seed: int, dx: Moved = 0.0, dy: Moved = 0.0, at: tuple[int, int] = (0, 0), bands: int = 1
) -> AlignedImages:
    """Ground seen twice, the second time displaced and with noise."""
    first = np.stack([waves(seed + 7 * band, (SIDE, SIDE)) for band in range(bands)])
    second = np.stack(
        [waves(seed + 7 * band, (SIDE, SIDE), dx, dy, noise=0.02) for band in range(bands)]
    )
    valid = np.ones((SIDE, SIDE), dtype=bool)
    to_ref = np.eye(3)
    to_ref[:2, 2] = at
    return AlignedImages(Rendered(first, valid), Rendered(second, valid), 1.0, to_ref)


def scene(*moved: tuple[Moved, Moved]) -> list[AlignedImages]:
    """Patches that lie apart."""
    return [patch(3 + n, *d, at=(300 * n, 40 * n)) for n, d in enumerate(moved)]


def oblique(turn: float, period: float, phase: float = 0.0) -> NDArray[np.float64]:
    across = Y * np.cos(turn) - X * np.sin(turn)
    return np.asarray(np.sin(2 * np.pi * across / period + phase))


BENT: dict[str, Callable[[float], list[tuple[Moved, Moved]]]] = {
    "rows": lambda a: [(a * oblique(0, 24, n), 0.0) for n in range(3)],
    "rows and columns": lambda a: [(a * oblique(0, 60, n), a * oblique(0, 31)) for n in range(3)],
    "columns": lambda a: [(0.0, a * oblique(np.pi / 2, 40, n)) for n in range(3)],
    "oblique": lambda a: [(a * oblique(0.2, 30, n), 0.3 * a) for n in range(3)],
    "steep": lambda a: [(a * oblique(-1.0, 45, n), a * oblique(-1.0, 45, n)) for n in range(3)],
    "long": lambda a: [(0.0, a * oblique(0.4, 210, n)) for n in range(3)],
    "seam": lambda a: [(np.where(X + Y > SIDE, a, -a), 0.0), (-a, 0.0), (a, 0.0)],
}


@pytest.mark.parametrize("amplitude", [1.0, 2.5])
@pytest.mark.parametrize("kind", BENT)
def test_the_bound_holds_nearly_everywhere(kind: str, amplitude: float) -> None:
    moved = BENT[kind](amplitude)
    patches = scene(*moved)
    found = misfit(patches, windows_of(patches))
    error = [np.hypot(*np.broadcast_arrays(dx, dy, X)[:2]).ravel() for dx, dy in moved]
    assert (np.concatenate(error) <= BENT_95 * np.hypot(*found) + 0.1).mean() >= 0.95


def test_what_follows_the_model_has_no_misfit() -> None:
    patches = scene((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
    windows = windows_of(patches)
    assert windows.reliable.mean() > 0.95
    assert max(misfit(patches, windows)) < 0.05


def test_a_model_that_is_off_everywhere_is_found_off() -> None:
    patches = scene((0.8, 0.0), (0.8, 0.0), (0.8, 0.0))
    found = misfit(patches, windows_of(patches))
    assert found[0] == pytest.approx(0.8, abs=0.2)
    assert found[1] < 0.1


def test_a_tenth_that_departs_is_not_averaged_away() -> None:
    moved: list[tuple[Moved, Moved]] = [(0.0, 0.0)] * 8
    moved[5] = (2.0 * oblique(0, 26), 0.0)
    patches = scene(*moved)
    assert BENT_95 * misfit(patches, windows_of(patches))[0] > 2.0


@pytest.mark.parametrize("turn", [-1.2, -0.4, 0.1, 0.9])
@pytest.mark.parametrize("period", [22, 70])
def test_the_direction_of_a_wave_is_found(turn: float, period: float) -> None:
    patches = scene((1.5 * oblique(turn, period), 0.0), (1.5 * oblique(turn, period, 2.0), 0.0))
    found = crest([p.fields for p in patches])
    assert found is not None
    off = (found - turn + np.pi / 2) % np.pi - np.pi / 2
    # So well that the phase of the wave is the same from end to end of a line.
    assert abs(off) < period / SIDE / 2


def test_patches_too_small_for_waves_have_no_direction() -> None:
    valid = np.ones((100, 100), dtype=bool)
    small = Rendered(waves(3, (100, 100))[None], valid)
    assert crest([AlignedImages(small, small, 1.0, np.eye(3)).fields]) is None


def test_each_band_says_where_it_lies() -> None:
    patches = [patch(3, 0.4, -0.2, bands=3), patch(50, 0.4, -0.2, at=(400, 0), bands=3)]
    shifts = band_shifts(patches)
    assert [shift.name for shift in shifts] == ["0", "1", "2"]
    for shift in shifts:
        assert shift.offset == pytest.approx((0.4, -0.2), abs=0.06)
        assert shift.strength > 0.6
