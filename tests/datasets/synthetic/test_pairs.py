from __future__ import annotations

import numpy as np
import pytest

from imatch.core.errors import ConfigError
from imatch.core.types import Rendered
from imatch.datasets.prepare.pairing import measure_residual
from imatch.datasets.sample import PairSample
from imatch.datasets.synthetic.pairs import LandscapePairs


def alike(one: PairSample, other: PairSample) -> bool:
    return all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("a", "b", "valid_a", "homography", "changed")
    )


@pytest.fixture(scope="module")
def pairs() -> LandscapePairs:
    return LandscapePairs(seed=3, size=(128, 128), length=12, views=4)


def test_samples_depend_on_epoch_and_index_alone(pairs: LandscapePairs) -> None:
    first = pairs[0, 5]
    _ = pairs[0, 11]
    assert alike(first, pairs[0, 5])
    assert alike(first, LandscapePairs(3, (128, 128), 12, views=4)[5])
    assert not alike(first, pairs[1, 5])
    pairs.set_epoch(1)
    assert alike(pairs[5], pairs[1, 5])
    pairs.set_epoch(0)


def test_the_ground_stays_over_the_epochs_and_changes_with_the_index(
    pairs: LandscapePairs,
) -> None:
    assert pairs[0, 1].place == pairs[7, 2].place != pairs[0, 4].place
    assert LandscapePairs(4, (128, 128), 12)[0].place != pairs[0].place


def test_the_truth_is_exact() -> None:
    # Without rotation and zoom the homography is a shift, which correlation can check.
    shifts = LandscapePairs(8, (160, 160), 6, turn_deg=0, zoom=0, shift_px=3, views=2)
    off = []
    for i in range(6):
        sample = shifts[i]
        assert (sample.sigma_px, sample.known) == (0.0, True)
        np.testing.assert_allclose(sample.homography[:2, :2], np.eye(2), atol=1e-12)
        given = sample.homography[:2, 2]
        found = measure_residual(
            Rendered(sample.a, sample.valid_a),
            Rendered(sample.b, sample.valid_b),
            (float(given[0]), float(given[1])),
        )
        if found.known:
            off.append(np.hypot(found.dx - given[0], found.dy - given[1]))
    assert len(off) >= 3
    assert np.median(off) < 0.2


def test_clouds_are_told_as_changed(pairs: LandscapePairs) -> None:
    samples = [pairs[epoch, i] for epoch in range(3) for i in range(12)]
    shares = np.array([sample.changed.mean() for sample in samples])
    assert 0.2 < (shares > 0).mean() < 0.9
    assert shares.max() < 0.8
    assert {name for sample in samples for name in sample.dates} == {
        "spring",
        "summer",
        "autumn",
        "winter",
    }
    for sample in samples[:6]:
        assert sample.a.min() >= 0
        assert sample.a.max() <= 1
        assert sample.valid_a.mean() > 0.95


def test_bounds(pairs: LandscapePairs) -> None:
    assert len(pairs) == 12
    assert alike(pairs[-1], pairs[11])
    with pytest.raises(IndexError):
        pairs[12]
    with pytest.raises(ConfigError, match="choose sides"):
        LandscapePairs(1, (8, 8))
    with pytest.raises(ConfigError, match="must be positive"):
        LandscapePairs(1, length=0)
