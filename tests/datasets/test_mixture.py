from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from imatch.core.errors import ConfigError
from imatch.datasets.pairs import Key, Mixture
from imatch.datasets.sample import PairSample


class Numbered:
    """Samples that say who was asked for what."""

    def __init__(self, name: str, count: int) -> None:
        self.name, self.count = name, count

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int, /) -> None:
        raise AssertionError(f"asked by (epoch, index), not {epoch}")

    def __getitem__(self, key: Key, /) -> PairSample:
        assert isinstance(key, tuple)
        assert 0 <= key[1] < self.count
        ground, seen = np.zeros((1, 2, 2), np.float32), np.ones((2, 2), bool)
        where = f"{key[0]}/{key[1]}"
        return PairSample(
            ground, ground, seen, seen, np.eye(3), 0, ~seen, place=where, source=self.name
        )


def test_members_come_by_their_weights_and_are_used_up_evenly() -> None:
    mixture = Mixture([(Numbered("a", 30), 3.0), (Numbered("b", 500), 1.0)], length=400, seed=2)
    samples = [mixture[i] for i in range(400)]
    share = Counter(sample.source for sample in samples)
    assert 0.68 < share["a"] / 400 < 0.82
    indices = Counter(s.place.split("/")[1] for s in samples if s.source == "a")
    assert max(indices.values()) - min(indices.values()) <= 1
    # A member asked twice for one index is asked in another of its rounds, and draws differently.
    assert max(Counter((s.source, s.place) for s in samples).values()) == 1


def test_a_sample_depends_on_epoch_and_index_alone() -> None:
    mixture = Mixture([(Numbered("a", 9), 1.0), (Numbered("b", 9), 1.0)], length=50)
    again = Mixture([(Numbered("a", 9), 1.0), (Numbered("b", 9), 1.0)], length=50)
    first = [mixture[1, i].place for i in range(50)]
    again.set_epoch(1)
    assert [again[i].place for i in reversed(range(50))] == first[::-1]
    assert first != [mixture[2, i].place for i in range(50)]


def test_bounds_and_mistakes() -> None:
    members = [(Numbered("a", 9), 1.0), (Numbered("b", 4), 0.0)]
    mixture = Mixture(members)
    assert len(mixture) == 9
    assert {mixture[i].source for i in range(9)} == {"a"}
    with pytest.raises(IndexError):
        mixture[9]
    with pytest.raises(ConfigError, match="cannot mix by"):
        Mixture([(Numbered("a", 9), 0.0)])
    with pytest.raises(ConfigError, match="cannot mix by"):
        Mixture([(Numbered("a", 9), 1.0), (Numbered("b", 9), -1.0)])
    with pytest.raises(ConfigError, match="cannot mix by"):
        Mixture([])
