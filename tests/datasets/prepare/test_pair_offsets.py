from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imatch.datasets.manifest import PairRow
from imatch.datasets.prepare.pairing import fill_residuals

NAN = float("nan")


def pair(site: int, dx: float, *, known: bool = True, dates: str = "ab") -> PairRow:
    return PairRow(
        site=f"s/p/x{site}",
        split="train",
        source="s",
        a=f"chips/s/p/x{site}/{dates[0]}.tif",
        b=f"chips/s/p/x{site}/{dates[1]}.tif",
        dx=dx if known else 0.0,
        dy=-dx if known else 0.0,
        sigma_px=0.1 if known else NAN,
        log_odds=3.0 if known else -2.0,
        measured="chip" if known else "none",
        given_dx=NAN,
        given_dy=NAN,
        apart=0.5,
        changed="",
        changed_share=0.0,
        tag="",
    )


def test_chips_that_agree_speak_for_the_rest() -> None:
    rows = [pair(i, 1.0 + 0.05 * i) for i in range(5)] + [pair(9, 0, known=False)]
    pooled = fill_residuals(rows)
    assert pooled[:5] == rows[:5]
    assert pooled[5].measured == "scene"
    assert pooled[5].dx == pytest.approx(1.1)
    assert 0.1 < pooled[5].sigma_px < 0.2


def test_a_chip_that_contradicts_them_all_loses_its_own() -> None:
    pooled = fill_residuals([*(pair(i, 0.5) for i in range(6)), pair(7, 6.0)])
    assert (pooled[-1].measured, pooled[-1].dx) == ("scene", 0.5)


def test_few_or_quarrelling_chips_speak_for_nobody() -> None:
    unknown = pair(9, 0, known=False)
    for own in ([pair(i, 1.0) for i in range(3)], [pair(i, float(i)) for i in range(6)]):
        assert np.isnan(fill_residuals([*own, unknown])[-1].sigma_px)


def test_other_dates_and_other_places_are_not_asked() -> None:
    rows = [pair(i, 1.0) for i in range(6)]
    others = [
        pair(9, 0, known=False, dates="ac"),
        replace(pair(9, 0, known=False), site="s/q/x9"),
    ]
    assert [row.measured for row in fill_residuals([*rows, *others])[-2:]] == ["none", "none"]
