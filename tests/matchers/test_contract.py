"""What every row of the registry promises, whatever the method."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from imatch.core.types import Matches, Rendered
from imatch.matchers import MATCHERS, Matcher, load_matcher
from imatch.models.weights import find_weights

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape

OPTIONS = {"device": "cpu", "max_keypoints": 512}


@lru_cache(maxsize=1)
def _loaded(name: str) -> Matcher:
    return load_matcher(name, **OPTIONS)


@pytest.fixture(
    params=[name for name in MATCHERS if MATCHERS[name].kind != "cascade"], scope="module"
)
def name(request: pytest.FixtureRequest) -> str:
    row = MATCHERS[request.param]
    for weight in row.weights:
        # A corrupt checkpoint is an error, not a reason to skip.
        if find_weights(weight) is None:
            pytest.skip(f"the weights {weight} are not on this machine")
    return row.name


@pytest.fixture
def matcher(name: str) -> Matcher:
    return _loaded(name)


def check(matches: Matches, shift: tuple[float, float], *, least: int = 10) -> None:
    """Most points are right, and the right ones are right on average.

    Detectors that know whole pixels or cells of 8 only (DISK, XFeat) scatter by most of a pixel,
    but a half-pixel slip anywhere would show as a common offset.
    """
    assert len(matches) >= least
    error = matches.tgt_xy - matches.ref_xy - shift
    near = np.linalg.norm(error, axis=1) < 2.0
    assert near.mean() > 0.5
    assert np.abs(error[near].mean(axis=0)).max() < 0.2


def test_row(name: str, matcher: Matcher) -> None:
    row = MATCHERS[name]
    assert set(matcher.weights_used) == set(row.weights)
    assert all(len(digest) == 64 for digest in matcher.weights_used.values())
    assert matcher.channels in (1, 3)
    assert row.summary
    assert row.licence


def test_identity(matcher: Matcher, landscape: Landscape) -> None:
    image = landscape()
    matches = matcher.match(image, image)
    check(matches, (0, 0))
    assert np.median(np.abs(matches.tgt_xy - matches.ref_xy)) < 0.01
    assert matches.ref_xy.dtype == matches.scores.dtype == np.float64
    assert (matches.scores >= 0).all()
    assert (matches.scores <= 1).all()
    assert (np.diff(matches.scores) <= 0).all()


@pytest.mark.parametrize("shift", [(9.0, -6.0), (4.5, 2.25)])
def test_translation(matcher: Matcher, landscape: Landscape, shift: tuple[float, float]) -> None:
    check(matcher.match(landscape(), landscape(shift=shift)), shift)


@pytest.mark.parametrize("value", [0.0, 0.5, np.nan])
def test_blank(matcher: Matcher, landscape: Landscape, value: float) -> None:
    image = landscape()
    blank = Rendered(np.full_like(image.pixels, value), image.valid)
    for pair in ((image, blank), (blank, image), (blank, blank)):
        matches = matcher.match(*pair)
        assert matches.ref_xy.shape == matches.tgt_xy.shape == (0, 2)


def test_no_valid_ground(matcher: Matcher, landscape: Landscape) -> None:
    image = landscape()
    nowhere = Rendered(image.pixels, np.zeros_like(image.valid))
    assert len(matcher.match(image, nowhere)) == 0


def test_nodata(matcher: Matcher, landscape: Landscape) -> None:
    ref, tgt = landscape(), landscape(shift=(3.0, 2.0))
    hidden_ref, hidden_tgt = ref.valid.copy(), tgt.valid.copy()
    hidden_ref[:, :90] = False
    hidden_tgt[150:] = False
    pixels = ref.pixels.copy()
    pixels[:, :, :90] = np.nan
    matches = matcher.match(Rendered(pixels, hidden_ref), Rendered(tgt.pixels, hidden_tgt))
    check(matches, (3.0, 2.0), least=3)
    assert matches.ref_xy[:, 0].min() > 89.5 + (matcher.guard - 0.5 if matcher.guard else 0)
    assert matches.tgt_xy[:, 1].max() < 149.5 - (matcher.guard - 0.5 if matcher.guard else 0)


def test_deterministic(name: str, matcher: Matcher, landscape: Landscape) -> None:
    ref, tgt = landscape((160, 144)), landscape((160, 144), shift=(2.0, 1.0))
    first = matcher.match(ref, tgt)
    torch.manual_seed(1)
    second = load_matcher(name, **OPTIONS).match(ref, tgt)
    assert len(first)
    np.testing.assert_array_equal(first.ref_xy, second.ref_xy)
    np.testing.assert_array_equal(first.tgt_xy, second.tgt_xy)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_odd_and_unequal_sizes(matcher: Matcher, landscape: Landscape) -> None:
    shift = (2.0, 3.0)
    ref, tgt = landscape((203, 197)), landscape((181, 230), shift=shift)
    matches = matcher.match(ref, tgt)
    check(matches, shift, least=5)
    for xy, size in ((matches.ref_xy, ref.size), (matches.tgt_xy, tgt.size)):
        assert (xy >= -0.5).all()
        assert (xy <= np.array(size) - 0.5).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (15, 15)])
def test_too_small(matcher: Matcher, landscape: Landscape, size: tuple[int, int]) -> None:
    assert len(matcher.match(landscape(size), landscape())) == 0


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 31)])
def test_smallest(matcher: Matcher, landscape: Landscape, size: tuple[int, int]) -> None:
    small = landscape(size)
    matches = matcher.match(small, small)
    assert (matches.ref_xy < size).all()


def test_one_and_three_bands(matcher: Matcher, landscape: Landscape) -> None:
    one, three = landscape(channels=1), landscape(channels=3)
    check(matcher.match(one, three), (0, 0))


def test_arrays_and_tensors_agree(matcher: Matcher, landscape: Landscape) -> None:
    ref, tgt = landscape((160, 144)), landscape((160, 144), shift=(2.0, 1.0))
    valid = np.ones((144, 160), dtype=bool)
    valid[:, :40] = False
    expected = matcher.match(Rendered(ref.pixels, valid), tgt)
    arrays = matcher(ref.pixels, tgt.pixels, valid)
    tensors = matcher(
        torch.from_numpy(ref.pixels)[None], torch.from_numpy(tgt.pixels), torch.from_numpy(valid)
    )
    for matches in (arrays, tensors):
        np.testing.assert_array_equal(matches.ref_xy, expected.ref_xy)
        np.testing.assert_array_equal(matches.tgt_xy, expected.tgt_xy)


def test_budget(name: str, landscape: Landscape) -> None:
    matcher = load_matcher(name, device="cpu", max_keypoints=20)
    image = landscape((160, 144))
    assert 0 < len(matcher.match(image, image)) <= 20
