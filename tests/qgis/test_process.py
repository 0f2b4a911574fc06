from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from imatch.qgis.plugin.process import RunCancelledError, RunFailedError, run
from tests.qgis.conftest import REFERENCE, TARGET, script


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_progress_and_other_lines_are_told_apart() -> None:
    code = (
        "import sys\n"
        "print('wörld')\n"
        'print(\'{"stage": "reading", "done": 1, "total": 4}\', file=sys.stderr)\n'
        'print(\'{"stage": "writing", "done": 0, "total": null}\', file=sys.stderr)\n'
        "print('{\"stage\" is no JSON', file=sys.stderr)\n"
        "print('wrote /nowhere', file=sys.stderr)"
    )
    stages: list[tuple[str, float | None]] = []
    lines: list[str] = []
    told = run(
        python(code),
        on_progress=lambda stage, percent: stages.append((stage, percent)),
        on_line=lines.append,
    )
    assert told.answer == "wörld\n"
    assert stages == [("reading", 25.0), ("writing", None)]
    assert lines == ['{"stage" is no JSON', "wrote /nowhere"] == told.lines
    assert told.written == []


def test_an_error_is_its_one_line() -> None:
    code = "import sys; print('imatch: error: a.tif: is empty', file=sys.stderr); sys.exit(1)"
    with pytest.raises(RunFailedError, match=r"^a\.tif: is empty$"):
        run(python(code))
    with pytest.raises(RunFailedError, match="ended with code 7"):
        run(python("raise SystemExit(7)"))
    with pytest.raises(RunFailedError, match="No such file"):
        run(["/nowhere/imatch"])


def test_an_answer_that_is_not_ok_is_no_error() -> None:
    code = "import sys; print('imatch: uncertain: 2 of 9', file=sys.stderr); sys.exit(3)"
    told = run(python(code))
    assert (told.code, told.complaint) == (3, "uncertain: 2 of 9")
    assert run(python("raise SystemExit(1)"), codes=(0, 1)).code == 1


def test_written_files_are_found_with_their_remarks(tmp_path: Path) -> None:
    names = ["a.tif", "b (1).tif"]
    for name in names:
        (tmp_path / name).touch()
    lines = f"wrote {tmp_path / names[0]} (9x9 pixels)\\nwrote {tmp_path / names[1]} (cubic)"
    told = run(python(f"import sys; print('{lines}', file=sys.stderr)"))
    assert [path.name for path in told.written] == names


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_cancelled_run_ends_with_its_workers_and_leaves_nothing(tmp_path: Path) -> None:
    # The worker takes no notice of being asked.
    worker = "import signal, time; signal.signal(2, signal.SIG_IGN); print(1, flush=True)"
    code = (
        "import subprocess, sys, time\n"
        f"inner = [sys.executable, '-c', {worker + '; time.sleep(60)'!r}]\n"
        "worker = subprocess.Popen(inner, stdout=subprocess.PIPE)\n"
        "worker.stdout.readline()\n"
        "print(worker.pid, file=sys.stderr, flush=True)\n"
        "time.sleep(60)"
    )
    left = [".out.tif.imatch", ".out.tif.ab12cd34.imatch"]
    for name in [*left, ".other.tif.imatch"]:
        (tmp_path / name).mkdir()
    pids: list[int] = []
    begun = time.monotonic()
    with pytest.raises(RunCancelledError, match="cancelled; no file is left half written"):
        run(
            python(code),
            outputs=[str(tmp_path / "out.tif")],
            is_cancelled=lambda: bool(pids),
            on_line=lambda line: pids.append(int(line)),
        )
    assert time.monotonic() - begun < 30
    assert _gone(pids[0])
    assert [path.name for path in tmp_path.iterdir()] == [".other.tif.imatch"]


@pytest.mark.skipif(sys.platform == "win32", reason="its program is a shell script")
def test_imatch_tells_its_progress_and_its_files(tmp_path: Path) -> None:
    imatch = script(tmp_path / "imatch", f'exec "{sys.executable}" -m imatch "$@"')
    stages: list[str] = []
    told = run(
        [str(imatch), "match", str(REFERENCE), str(TARGET), "-o", str(tmp_path / "a.json")],
        on_progress=lambda stage, _percent: stages.append(stage),
    )
    assert "certifying" in stages
    assert told.written == [tmp_path / "a.json"]


def _gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has, too."""
    for _ in range(50):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False
