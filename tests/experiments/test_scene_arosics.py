"""The comparison with AROSICS, from rows as a run makes them."""

from __future__ import annotations

from dataclasses import replace

from experiments.benchmarks.arosics import scenes_table
from tests.support.arosics.scenes import PEERS, Row

OURS = Row("10980, shift", PEERS[2], "ok", 0.026, 0.03, 2163, 30.0, 50.0, 1.2)
THEIRS = replace(OURS, peer=PEERS[1], rmse_px=0.128, seconds=300.0, cpu_seconds=400.0)


def test_times_are_told_as_multiples_of_ours() -> None:
    table = scenes_table([THEIRS, OURS])
    lines = [
        dict(zip(table.header, (cell.text for cell in row), strict=True)) for row in table.rows
    ]
    assert [line["times imatch"] for line in lines] == ["10.0", "1.0"]
    assert [line["CPU seconds"] for line in lines] == ["400", "50"]
    assert [line["RMSE, px"] for line in lines] == ["0.128", "0.026"]
