from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="the extra dask is not installed")

from experiments.benchmarks.batch_cluster import demonstrate, to_markdown


def test_nothing_is_lost_when_a_worker_and_then_the_client_are_killed(tmp_path: Path) -> None:
    """On a cluster; on local processes the tests of the batch itself do the same."""
    evidence = demonstrate(tmp_path, "dask", pairs=6, workers=2, side=160)
    assert evidence.each_once
    assert evidence.status == {"ok": 6}
    assert evidence.rows_at_worker_kill < evidence.rows_at_client_kill < 6
    assert evidence.kept >= evidence.rows_at_client_kill
    assert evidence.worst_px < 0.3
    assert f"| dask, 2 | 6 | {evidence.rows_at_worker_kill} |" in to_markdown([evidence])
