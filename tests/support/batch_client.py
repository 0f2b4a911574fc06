"""A client of `imatch.pipeline.batch`, killed while its workers are at work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

_SCRIPT = """
import sys
from pathlib import Path
from imatch.pipeline.batch.run import BatchPair, run_batch
from imatch.pipeline.pair.config import MatchConfig
from tests.support import saboteur
if __name__ == "__main__":
    series, out, dask = sys.argv[1:4]
    first, *others = sorted(str(path) for path in Path(series).glob("*.tif"))
    pairs = [BatchPair(name, first, path) for name, path in zip("abcd", others)]
    run_batch(pairs, MatchConfig(matcher="sift"), Path(out), jobs=2, dask=dask or None,
              resume=True, finish=saboteur.slow)
"""


def killed_midway(series: Path, out: Path, dask: str = "") -> list[str]:
    """Kill a run, client and all, between its first row and its last; gives the rows it left."""
    script = out.parent / "client.py"
    script.write_text(_SCRIPT)
    folders = [path for path in sys.path if path]
    running = subprocess.Popen(
        [sys.executable, str(script), str(series), str(out), dask],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        stderr=subprocess.PIPE,
        text=True,
    )
    rows = out / "results.csv"
    deadline = time.monotonic() + 90
    while not (rows.exists() and rows.read_bytes().count(b"\n") >= 2):
        assert running.poll() is None, running.stderr and running.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert running.stderr is not None
    running.stderr.close()
    return rows.read_text().splitlines()[1:]
