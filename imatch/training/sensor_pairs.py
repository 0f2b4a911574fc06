"""Real pairs of two sensors, from a table of cases, for any trainer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from imatch.benchmark.cases import UNRELATED, Case, read_cases
from imatch.benchmark.prepare_case import prepare_case
from imatch.core.errors import InputError
from imatch.datasets.pairs import EpochPairs
from imatch.datasets.sample import SENSORS, PairSample
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import render
from imatch.training.views import PairsConfig


class SensorPairs(EpochPairs):
    """Real pairs of two sensors from a table of cases, each ground once, as its files have it.

    Args:
        cases: The cases; their truth leads to the warped target, and is taken back.
        config: Names the table, beside which the images lie.
    """

    def __init__(self, cases: Sequence[Case], config: PairsConfig) -> None:
        assert config.cases is not None
        self._cases, self._root = list(cases), config.cases.parent
        self._kept: dict[int, PairSample] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def draw(self, _epoch: int, index: int) -> PairSample:
        """See `EpochPairs.draw`; the same in every epoch."""
        if index not in self._kept:
            self._kept[index] = self._read(self._cases[index])
        return self._kept[index]

    def _read(self, case: Case) -> PairSample:
        assert case.truth is not None
        plain = replace(case, warp=np.eye(3))
        images = [
            render(view.source().read(), 3)
            for view in prepare_case(plain, self._root, MatchConfig())
        ]
        homography = np.linalg.inv(case.warp) @ case.truth
        return PairSample(
            a=images[0].pixels,
            b=images[1].pixels,
            valid_a=images[0].valid,
            valid_b=images[1].valid,
            homography=homography / homography[2, 2],
            sigma_px=case.tol_px / 2,
            changed=np.zeros_like(images[0].valid),
            place=case.name,
            dates=("reference", case.source),
            source=SENSORS,
        )


def split_cases(config: PairsConfig) -> tuple[list[Case], list[Case]]:
    """Reads the table of cases and keeps every so many-th ground for validation.

    Args:
        config: Names the table, and which of its sources are used.

    Returns:
        Cases to learn from and cases to measure on, one of each ground.

    Raises:
        InputError: The table cannot be read, or has no pair of the sources.
    """
    if config.cases is None:
        return [], []
    grounds: dict[tuple[str, str], Case] = {}
    for case in read_cases(config.cases):
        wanted = config.case_sources is None or case.source in config.case_sources
        if wanted and case.variant != UNRELATED:
            grounds.setdefault((case.ref, case.tgt), case)
    if not grounds:
        raise InputError(
            "has no pair of two sensors of these sources",
            subject=config.cases,
            hint="see its column source, and data.case_sources",
        )
    # By source, so that each has its share.
    chosen = sorted(grounds.values(), key=lambda case: (case.source, case.name))
    held = chosen[:: config.held_out]
    kept = [case for number, case in enumerate(chosen) if number % config.held_out]
    return kept, held
