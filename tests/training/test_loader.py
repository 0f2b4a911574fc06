from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pytest

from imatch.training.loader import Draw, Draws, endless


class Numbers:
    def __len__(self) -> int:
        return 5

    def __getitem__(self, draw: Draw) -> Draw:
        return draw


def batches(start: int, count: int, workers: int = 0) -> list[Sequence[Draw]]:
    loader = endless(Numbers(), list, batch_size=2, seed=3, start=start, workers=workers)
    return list(islice(loader, count))


def test_every_sample_once_an_epoch() -> None:
    draws = Draws(5, seed=1).first(15)
    for epoch in range(3):
        assert sorted(index for index, _ in draws[5 * epoch : 5 * epoch + 5]) == list(range(5))
    assert [number for _, number in draws] == list(range(15))


def test_goes_on_anywhere() -> None:
    whole = batches(0, 9)
    for start in (1, 4, 7):
        assert batches(start, 9 - start) == whole[start:]


# PyTorch forks a process that has threads; its workers start none.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_workers_change_nothing() -> None:
    assert batches(1, 4, workers=2) == batches(1, 4)
