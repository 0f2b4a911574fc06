"""A warm process from which command lines are forked, each to end itself at a given moment.

A moment is a call that changes the disk: opening a file to write, renaming, removing, making a
folder, seeing a file onto the disk, writing a block of pixels. SIGKILL comes just before it, and to
every process of the run, so that nothing depends on time. Importing costs seconds and is done once;
a run costs what it computes.

Runs see a clock that stands still: what they write of times is alike in all of them. So is the
memory that a benchmark measures.

Reads a JSON document a line: ``arguments``, ``watched`` (the folder whose changes count),
``kill_at`` (the number of a moment, from 0; null for none), ``log`` (a file to name the moments in)
and ``prepare`` (``module:function`` to call with that folder first, or null). Answers each with the
exit code.
"""

from __future__ import annotations

import ctypes
import datetime
import gc
import json
import multiprocessing
import os
import pkgutil
import shutil
import signal
import sys
import tempfile
import time
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

_SET_CHILD_SUBREAPER = 36  # Of prctl: what a killed run leaves alone is ours to wait for.
# Of `sys.addaudithook`; their arguments begin with a path and end with the folder it starts from.
_EVENTS = {"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate"}
# What imatch imports when it needs it, at the latest moment.
_HEAVY = (
    "faiss",
    "matplotlib.backends.backend_svg",
    "pyarrow.parquet",
    "rich.progress",
    "rich.table",
    "sklearn.ensemble",
    "sklearn.manifold",
    "sklearn.model_selection",
    "sklearn.neural_network",
    "tests.support.verb_inputs",
    "torch._dynamo",
)
_NOON = datetime.datetime(2020, 1, 1, 12, tzinfo=datetime.UTC)


def _watch(watched: str, kill_at: int | None, log: str) -> None:
    """Count moments in this process and its children, and end them all at one of them."""
    count = multiprocessing.get_context("fork").Value("l", 0)
    names = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def moment(name: str, path: str) -> None:
        with count.get_lock():
            if count.value == kill_at:
                os.killpg(0, signal.SIGKILL)
            count.value += 1
            os.write(names, f"{name} {path.removeprefix(watched)}\n".encode())

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            # Folders are opened for files without a name, which nobody sees.
            if not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or args[2] & os.O_DIRECTORY:
                return
        elif event not in _EVENTS:
            return
        path = args[0]
        if not isinstance(path, str | os.PathLike):
            return
        if event in ("os.remove", "os.rmdir") and args[-1] >= 0:
            path = Path(f"/proc/self/fd/{args[-1]}").readlink() / path
        if os.fspath(path).startswith(watched):
            moment(event, os.fspath(path))

    def told(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            moment(name, "")
            return call(*args)

        return wrapped

    os.fsync = told("fsync", os.fsync)
    # Asked before each block of pixels that is written.
    shutil.disk_usage = told("block", shutil.disk_usage)
    sys.addaudithook(hook)


def _stop_the_clock() -> None:
    """Let all of imatch see one time, and one use of memory."""
    from imatch.benchmark import worker

    class Standing(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Standing:
            return cls.fromtimestamp(_NOON.timestamp(), tz)

    clock = types.SimpleNamespace(**{**vars(time), "time": _NOON.timestamp, "perf_counter": float})
    for name, module in list(sys.modules.items()):
        if name.startswith("imatch."):
            for key, value in list(vars(module).items()):
                if value is time:
                    setattr(module, key, clock)
                elif value is datetime.datetime:
                    setattr(module, key, Standing)
    worker.peak_mb = lambda: 1.0
    os.environ["OGR_CURRENT_DATE"] = "2020-01-01T12:00:00Z"


def _run(request: dict[str, Any]) -> None:
    """Be one run; does not return."""
    from imatch.cli import cli

    os.setpgid(0, 0)
    said = os.open(f"{request['log']}.said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, file in ((0, nothing), (1, said), (2, said)):
        os.dup2(file, stream)
    code = 1
    try:
        if request["prepare"]:
            module, _, name = request["prepare"].partition(":")
            getattr(import_module(module), name)(Path(request["watched"]))
        _watch(request["watched"], request["kill_at"], request["log"])
        cli.main(request["arguments"], prog_name="imatch")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _serve() -> None:
    fork = multiprocessing.get_context("fork")
    # Workers that are spawned would import everything anew, and see neither clock nor moments.
    multiprocessing.get_context = lambda _method=None: fork  # type: ignore[assignment]
    import imatch

    for found in pkgutil.walk_packages(imatch.__path__, "imatch."):
        # The plugin is imported in QGIS alone.
        if not found.name.endswith("__main__") and ".qgis.plugin" not in found.name:
            import_module(found.name)
    for name in _HEAVY:
        import_module(name)
    # A run changes the hook and the clock for good, so it has them in a process of its own.
    _stop_the_clock()
    tempfile.tempdir = None
    # Runs share the server's memory as long as they do not write to it, which a collection would.
    gc.freeze()
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        Path(request["log"]).unlink(missing_ok=True)
        child = os.fork()
        if child == 0:
            _run(request)
        _, status = os.waitpid(child, 0)
        while True:  # The run's own processes, ended with it.
            try:
                os.wait()
            except ChildProcessError:
                break
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
