from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from imatch.core.errors import ConfigError, ImatchError
from imatch.core.io.tables import read_rows
from imatch.pipeline.batch.dask import DaskWorkers
from imatch.pipeline.batch.run import BatchPair, BatchResult, run_batch
from imatch.pipeline.pair.config import MatchConfig
from tests.support import saboteur
from tests.support.batch_client import killed_midway

pytest.importorskip("distributed", reason="the extra dask is not installed")

from distributed import Client

SIFT = MatchConfig(matcher="sift")
NAMES = ["a", "b", "c", "d"]


def pairs_of(series: Path) -> list[BatchPair]:
    first, *others = sorted(str(path) for path in series.glob("*.tif"))
    return [BatchPair(name, first, path) for name, path in zip(NAMES, others, strict=True)]


@dataclass(frozen=True)
class Cluster:
    """A scheduler and two workers, process trees of their own.

    Attributes:
        file: Where the scheduler says how it is reached.
        processes: The scheduler and the parent of the workers.
    """

    file: Path
    processes: list[subprocess.Popen[bytes]]

    @property
    def address(self) -> str:
        """Of the scheduler."""
        return str(json.loads(self.file.read_text())["address"])


@pytest.fixture(scope="module")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Cluster]]:
    """Those begun for this module, the latest last."""
    begun: list[Cluster] = []
    try:
        yield begun
    finally:
        for process in [process for one in begun for process in reversed(one.processes)]:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def cluster(clusters: list[Cluster], tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """That of the test before, or a new one where it has lost its scheduler."""
    if not clusters or clusters[-1].processes[0].poll() is not None:
        _begin_cluster(clusters, tmp_path_factory.mktemp("cluster"))
    cluster = clusters[-1]
    with Client(cluster.address, timeout=60, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=120)
    return cluster


def _begin_cluster(clusters: list[Cluster], folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    file = folder / "scheduler.json"
    quiet = ["--no-dashboard", "--scheduler-file", str(file)]
    many = ["--nthreads", "1", "--nworkers", "2", "--local-directory", str(folder)]
    running: list[subprocess.Popen[bytes]] = []
    # In the list before they run: they are ended whatever comes.
    clusters.append(Cluster(file, running))
    with (folder / "cluster.log").open("w") as log:
        for command in (
            ["scheduler", "--host", "127.0.0.1", "--port", "0", *quiet],
            ["worker", *quiet, *many],
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", "dask", *command],
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            running.append(process)
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_worker_loses_nothing(series: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    run = run_batch(
        pairs_of(series),
        SIFT,
        tmp_path / "out",
        dask="local",
        jobs=2,
        finish=saboteur.kill_once,
        on_result=lambda row: seen.append(row.name),
    )
    assert sorted(seen) == NAMES
    assert [(row.name, row.status) for row in run.results] == [(name, "ok") for name in NAMES]
    assert run.results[2].attempts == 2
    assert [row.name for row in read_rows(run.out / "results.csv", BatchResult)] == NAMES
    assert [row.shift_x_px for row in run.results] == pytest.approx([1, 2, 3, 4], abs=0.1)


def test_a_killed_client_is_resumed(series: Path, tmp_path: Path, cluster: Cluster) -> None:
    out = tmp_path / "out"
    kept = killed_midway(series, out, cluster.address)
    assert 1 <= len(kept) < 4
    run = run_batch(pairs_of(series), SIFT, out, dask=cluster.address, resume=True)
    assert [(row.name, row.status) for row in run.results] == [(name, "ok") for name in NAMES]
    assert set(kept) <= set((out / "results.csv").read_text().splitlines())
    assert sorted(path.stem for path in (out / "results").glob("*.json")) == NAMES


def test_a_pair_out_of_time_frees_its_worker(
    series: Path, tmp_path: Path, cluster: Cluster
) -> None:
    pairs, address = pairs_of(series), cluster.address
    # A busy machine is not the pair's fault.
    usual = run_batch(pairs[:2], SIFT, tmp_path / "usual", dask=address)
    timeout = 2 + 5 * max(row.seconds for row in usual.results)
    hung = run_batch(
        pairs, SIFT, tmp_path / "hung", dask=address, timeout=timeout, finish=saboteur.hang
    )
    assert [row.status for row in hung.results] == ["ok", "ok", "error", "ok"]
    assert hung.results[2].error.startswith(f"took more than {timeout:g} s")
    assert hung.results[2].worker.startswith("tcp://")
    # The worker it hung in is one of two again.
    killed = run_batch(
        pairs, SIFT, tmp_path / "hung", dask=address, resume=True, finish=saboteur.kill_once
    )
    assert [(row.status, row.attempts) for row in killed.results] == [
        ("ok", 1),
        ("ok", 1),
        ("ok", 3),
        ("ok", 1),
    ]
    failed = run_batch(
        pairs[2:3], SIFT, tmp_path / "bug", dask=address, retries=0, finish=saboteur.fail
    )
    assert failed.results[0].error.startswith("RuntimeError: a bug in two lines")


@pytest.mark.usefixtures("warm_workers")
def test_a_scheduler_that_vanishes_ends_the_run_and_keeps_what_is_done(
    series: Path,
    tmp_path: Path,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pair that hangs leaves time for it."""
    monkeypatch.setattr("imatch.core.cluster._CONNECT", 3.0)
    out = tmp_path / "out"

    def on_result(_row: BatchResult) -> None:
        if len(read_rows(out / "results.csv", BatchResult)) == 3:
            os.killpg(cluster.processes[0].pid, signal.SIGKILL)

    with pytest.raises(ImatchError, match=r"scheduler is lost; run again with --resume"):
        run_batch(
            pairs_of(series),
            SIFT,
            out,
            dask=cluster.address,
            finish=saboteur.hang,
            on_result=on_result,
        )
    assert sorted(row.name for row in read_rows(out / "results.csv", BatchResult)) == [
        "a",
        "b",
        "d",
    ]
    again = run_batch(pairs_of(series), SIFT, out, resume=True)
    assert [row.status for row in again.results] == ["ok"] * 4


def test_no_cluster_is_told_in_one_line(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.core.cluster._CONNECT", 0.5)
    with pytest.raises(ConfigError, match=r"nowhere:1: is no scheduler's address"):
        DaskWorkers("nowhere:1")
    with pytest.raises(ImatchError, match=r"tcp://127\.0\.0\.1:9: no Dask scheduler answers"):
        run_batch(pairs_of(series), SIFT, tmp_path / "out", dask="tcp://127.0.0.1:9")
