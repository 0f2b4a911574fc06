"""Run commands on damaged inputs, each in a child with a memory limit, and judge how they end.

A warm parent has imported what the verbs need and forks a child for each input, which sets its
limits and runs ``imatch …`` as the console script does; starting an interpreter for each would
take seconds. A command fails here if it ends by a signal or a traceback, takes over 60 s or the
memory, calls itself a bug, says other than one line of its own that names a file, changes a file
outside its output, or leaves something half-written.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from random import Random
from unittest import mock

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    # Before anything starts threads, which do not survive a fork.
    os.environ[_name] = "1"

import imatch.cli  # noqa: E402
from imatch.core.io.jsontext import to_json  # noqa: E402
from imatch.pipeline.scene import checkpoint as scene_state  # noqa: E402
from tests.support.fuzz.damage import damaged  # noqa: E402
from tests.support.fuzz.inputs import KINDS  # noqa: E402
from tests.support.fuzz.rasters import Command, Sample, truth  # noqa: E402

LIMIT_S = 60
#: Address space of a child; some 1.3 GB of it are the libraries.
LIMIT_BYTES = 4 << 30
#: Resident memory that such small images never need, some 350 MB of it the libraries.
_PEAK_MB = 1200
#: What a registration of such small images may be off by and still be called right.
_RIGHT_PX = 3.0
_CODES = {0, 1, 2, 3}
#: Formats without compression or checksums.
_PLAIN = {"geotiff", "envi", "netcdf", "netcdf4", "hdf5", "vrt"}
_TABLES = {"batch", "stack", "bench"}
#: How libraries speak: Python's warnings, GDAL's errors, what C code prints by itself. What
#: libgeotiff makes of odd keys of a JPEG 2000 ("Error: Key…") nobody can keep from stderr.
_CHATTER = re.compile(
    r"\.pyx?:\d|Warning\b|ERROR \d|lib(png|jpeg|tiff|webp)|\w+: line \d|Exception ignored"
    r"|terminate called|\[ ?(ERROR|WARN|INFO)|cv::|(?-i:WARNING|ERROR) (?!imatch)|^OMP|malloc"
    r"|free\(\)|core dump",
    re.IGNORECASE,
)
_WARM = (
    *("torch", "kornia", "cv2", "rasterio", "geopandas", "pyogrio", "safetensors.torch", "yaml"),
    *("imatch.pipeline", "imatch.retrieval.search", "imatch.training.superpoint.trainer"),
    *(module.name for module in walk_packages(imatch.cli.__path__, "imatch.cli.")),
)


@dataclass
class Outcome:
    """What came of a damaged input.

    Attributes:
        number: Which one.
        kind: Its kind, a key of `KINDS`.
        victim: The file that was damaged.
        damage: How.
        command: What read it.
        code: Exit code; negative for a signal, None where it took too long.
        seconds: Wall time.
        peak_mb: Peak of its resident memory, the libraries included.
        faults: What is wrong with it; none if nothing is.
        said: The end of what it said on stderr.
    """

    number: int
    kind: str
    victim: str
    damage: str
    command: Command
    code: int | None = None
    seconds: float = 0.0
    peak_mb: int = 0
    faults: list[str] = field(default_factory=list)
    said: str = ""


@dataclass
class _Running:
    """A child at work."""

    outcome: Outcome
    folder: Path
    sample: Sample
    before: dict[str, bytes]
    hidden: set[str]
    begun: float


def _child(folder: Path, command: Sequence[str], *, unfinished: bool = False) -> int:
    """Fork, and run a command in the folder's ``in``; the parent gets the child's id.

    `unfinished` leaves a scene's finished tiles behind, as if it had been interrupted.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(folder / "in")
        for stream, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        os.environ |= {"XDG_CACHE_HOME": str(folder / "home" / "cache"), "COLUMNS": "400"}
        tempfile.tempdir = None
        resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["imatch", *command]
        if unfinished:
            mock.patch.object(scene_state, "clear").start()
        from imatch.cli import cli

        cli.main(list(command), prog_name="imatch")
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 70
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _whole(folder: Path, *command: str, unfinished: bool = False) -> None:
    """Run a command on whole inputs; it has to succeed."""
    pid = _child(folder.parent, command, unfinished=unfinished)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        raise RuntimeError(f"{command} failed: {(folder.parent / 'stderr').read_text()}")


def _make(folder: Path, kind: str) -> Sample:
    for name in ("out", "home", "tmp"):
        (folder / name).mkdir(parents=True)
    sample = KINDS[kind](folder, _whole)
    for name in ("home", "tmp", "stdout", "stderr"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return sample


def _snapshot(folder: Path) -> dict[str, bytes]:
    """The files round the output, and what they hold."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.relative_to(folder).parts[0] not in ("out", "stdout", "stderr")
    }


def _begin(number: int, kind: str, whole: Path, sample: Sample, work: Path, seed: int) -> _Running:
    """Damage a copy of a sample and let a command read it."""
    rng = Random(f"{seed} {kind} {number}")  # noqa: S311 - reproducible, not secret.
    folder = work / f"{number:05}-{kind}"
    shutil.copytree(whole, folder, symlinks=True)
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    if sample.resumed:
        # A run knows its files by where they lie.
        for file in (folder / "out").rglob("*"):
            if file.suffix in (".json", ".jsonl", ".yaml", ".csv"):
                text = file.read_text(encoding="utf-8")
                file.write_text(text.replace(str(whole), str(folder)), encoding="utf-8")
    victim = rng.choice(sample.victims)
    damage = damaged(folder / "in" / victim, rng)
    naming = [line for line in sample.commands if Path(victim).name in line]
    command = rng.choice(naming or sample.commands)
    outcome = Outcome(number, kind, victim, damage, command)
    before, hidden = _snapshot(folder), _hidden(folder / "out")
    return _Running(outcome, folder, sample, before, hidden, time.monotonic())


def judge(running: _Running) -> list[str]:
    """What is wrong with how a command ended."""
    outcome, folder = running.outcome, running.folder
    said = (folder / "stderr").read_text(errors="replace")
    told = (folder / "stdout").read_text(errors="replace")
    code, faults = outcome.code, []
    if code is None:
        faults.append("hang")
    elif code < 0:
        faults.append(f"signal {-code}")
    elif code not in _CODES:
        faults.append(f"exit code {code}")
    if "Traceback" in said + told:
        faults.append("traceback")
    if "this is a bug" in said + told:
        faults.append("called a bug")
    if "out of memory" in said or outcome.peak_mb > _PEAK_MB:
        faults.append(f"memory: {outcome.peak_mb} MB")
    lines = said.splitlines()
    ours = ("imatch: ", "WARNING imatch.", "ERROR imatch.")
    if any(_CHATTER.search(line) for line in lines if not line.startswith(ours)):
        faults.append("chatter")
    errors = [line for line in lines if line.startswith("imatch: ")]
    if code in (1, 2):
        # A table of pairs names those that failed.
        if len(errors) != 1 and not (outcome.command[0] in _TABLES and not errors):
            faults.append(f"{len(errors)} lines of error")
        names = {Path(part).name for name in running.before for part in (name, *Path(name).parts)}
        names |= {part for path in (folder / "out").rglob("*") for part in (path.name,)}
        names |= {Path(running.outcome.victim).name, "../out"}
        if outcome.command[0] not in _TABLES and not any(name in said + told for name in names):
            faults.append("no file named")
        if not running.sample.resumed and _files_under(folder / "out") and code == 1:
            verb = outcome.command[0]
            if verb in ("match", "register", "same", "search"):
                faults.append("output of a failure")
    hidden = [name for name in _hidden(folder / "out") if name not in running.hidden]
    if hidden and code is not None:
        faults.append(f"left: {hidden[:3]}")
    after = _snapshot(folder)
    if after != running.before:
        changed = [
            k for k in after.keys() | running.before if after.get(k) != running.before.get(k)
        ]
        # A cache of the user's own is where caches go.
        changed = [name for name in changed if not name.startswith(("home/cache/", "home/.rust"))]
        if changed:
            faults.append(f"outside: {sorted(changed)[:3]}")
    # What is stored without a structure moves as its bytes do, and nothing in the file tells.
    off = None if outcome.kind in _PLAIN else truth(folder / "out" / "r.json")
    if code == 0 and off is not None and off > _RIGHT_PX:
        faults.append(f"ok, {off:.1f} px off")
    return faults


def _files_under(folder: Path) -> bool:
    """Whether a folder holds files, those of finished work aside, which are kept on purpose."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return any(not path.parent.name.endswith((".imatch", ".tiles")) for path in files)


def _hidden(folder: Path) -> set[str]:
    """What begins with a dot, as what is to be renamed does; locks and what can be resumed stay."""
    found = (str(path.relative_to(folder)) for path in folder.rglob(".*"))
    return {name for name in found if not name.endswith((".lock", ".tiles", ".imatch"))}


def _ended(running: _Running, pid: int) -> bool:
    """Whether a child has ended, or had to be; its outcome is then told."""
    outcome = running.outcome
    outcome.seconds = round(time.monotonic() - running.begun, 2)
    done, status, used = os.wait4(pid, os.WNOHANG)
    if not done and outcome.seconds <= LIMIT_S:
        return False
    if done:
        outcome.code = os.waitstatus_to_exitcode(status)
    else:
        os.killpg(pid, signal.SIGKILL)
        _, _, used = os.wait4(pid, 0)
    outcome.peak_mb = used.ru_maxrss >> 10
    outcome.said = (running.folder / "stderr").read_text(errors="replace")[-600:]
    outcome.faults = judge(running)
    return True


def run_damaged(
    kinds: Sequence[str], inputs: int, seed: int, jobs: int, out: Path
) -> Iterator[Outcome]:
    """Damage inputs and run commands on them.

    Args:
        kinds: Keys of `KINDS`.
        inputs: How many in all.
        seed: Of everything random.
        jobs: Children at a time.
        out: Folder for what fails.

    Yields:
        The outcomes, as they come.
    """
    for module in _WARM:
        import_module(module)
    # Not a TemporaryDirectory, which what a child forks would take away as it ends.
    work = Path(tempfile.mkdtemp(prefix="imatch-fuzz-")).resolve()
    try:
        samples = {kind: _make(work / "whole" / kind, kind) for kind in kinds}
        total = sum(sample.weight for sample in samples.values())
        plan = [
            (number, kind)
            for kind, sample in samples.items()
            for number in range(max(1, round(inputs * sample.weight / total)))
        ]
        Random(seed).shuffle(plan)  # noqa: S311 - reproducible, not secret.
        children: dict[int, _Running] = {}
        while plan or children:
            while plan and len(children) < jobs:
                number, kind = plan.pop()
                one = _begin(number, kind, work / "whole" / kind, samples[kind], work, seed)
                children[_child(one.folder, one.outcome.command)] = one
            time.sleep(0.005)
            for pid in [pid for pid, running in children.items() if _ended(running, pid)]:
                running = children.pop(pid)
                if running.outcome.faults:
                    kept = out / "failing" / running.folder.name
                    shutil.rmtree(kept, ignore_errors=True)
                    shutil.copytree(running.folder, kept, symlinks=True)
                    (kept / "outcome.json").write_text(to_json(asdict(running.outcome)) + "\n")
                shutil.rmtree(running.folder)
                yield running.outcome
    finally:
        shutil.rmtree(work, ignore_errors=True)
