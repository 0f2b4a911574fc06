"""Folder of a batch: settings, journal of results, resume."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from imatch.core.errors import ConfigError, OutputError
from imatch.core.io.files import atomic_path, remove_leftovers
from imatch.core.io.jsontext import parse_json, to_json
from imatch.core.io.tables import Journal, checked_sittings, mend, read_rows, write_rows
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import REGISTERED, RESULTS, STATE, result_path

SCHEMA = "imatch.batch-run/1"
TABLE, RECORD = "results.csv", "batch.json"
PREVIEWS = "previews"
#: What a report adds.
SUMMARIES = ("summary.json", "report.html")
_FOLDERS = (RESULTS, REGISTERED, PREVIEWS, STATE)
_LOCK = ".lock"


@dataclass
class BatchFolder:
    """An open batch; one process at a time writes to it.

    Attributes:
        out: The folder.
        rows: The last row of each pair, by name, those of earlier sittings included.
        sittings: What is known of each sitting: command, time, engine, versions.
    """

    out: Path
    rows: dict[str, BatchResult]
    sittings: list[dict[str, Any]]
    _lock: FileLock
    _journal: Journal | None = field(default=None, repr=False)

    @classmethod
    def open(
        cls,
        out: Path,
        settings: Mapping[str, Any],
        sitting: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> Self:
        """Make a folder ready.

        Args:
            out: The folder, made where it is missing.
            settings: What must be the same for two sittings to be one run, JSON-ready.
            sitting: What to remember of this sitting.
            resume: Go on with the run it holds, if it holds one.
            overwrite: Throw that away.

        Raises:
            OutputError: It holds something else, is in use, or cannot be written to.
            ConfigError: The run it holds had other settings.
        """
        lock = _locked(out)
        try:
            _tidy(out)
            earlier = _earlier(out, settings, resume=resume, overwrite=overwrite)
            sittings = [*earlier, dict(sitting)]
            record = {"schema": SCHEMA, "settings": dict(settings), "sittings": sittings}
            with atomic_path(out / RECORD, overwrite=True) as path:
                path.write_text(to_json(record) + "\n", encoding="utf-8")
            # After the record, without which what the folder holds is not known for a batch.
            (out / RESULTS).mkdir(exist_ok=True)
            mend(out / TABLE)
            rows = read_rows(out / TABLE, BatchResult) if (out / TABLE).exists() else []
            folder = cls(out, {row.name: row for row in rows}, sittings, lock)
            folder._journal = Journal(out / TABLE, BatchResult.columns())
        except OSError as error:
            lock.release()
            raise OutputError(error.strerror or str(error), subject=out) from error
        except BaseException:
            lock.release()
            raise
        return folder

    def finished(self, pair: BatchPair) -> bool:
        """Whether a pair has an answer that still stands: its files and settings as they were."""
        row = self.rows.get(pair.name)
        return (
            row is not None
            and row.status != "error"
            and row.key == pair.key
            and result_path(self.out, pair.name).exists()
        )

    def append(self, row: BatchResult) -> None:
        """Keep a row, on the disk before this returns.

        Raises:
            OutputError: The disk refused.
        """
        assert self._journal is not None, "the folder is closed"
        self.rows[row.name] = self._journal.append(row)

    def close(self, order: Sequence[BatchPair] = ()) -> None:
        """Leave the table with one row a pair: those of `order` in order, then any others.

        Args:
            order: The pairs; none leaves the table as it grew.

        Raises:
            OutputError: The disk refused; the table is then as it grew.
        """
        try:
            if self._journal is not None:
                self._journal.close()
                self._journal = None
            if order:
                names = dict.fromkeys([*(pair.name for pair in order), *self.rows])
                with atomic_path(self.out / TABLE, overwrite=True) as path:
                    write_rows(
                        path, BatchResult, (self.rows[name] for name in names if name in self.rows)
                    )
            _tidy(self.out)
            with suppress(OSError):
                (self.out / STATE).rmdir()  # Empty unless scenes were left half done.
        finally:
            self._lock.release()


def _locked(out: Path) -> FileLock:
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / _LOCK, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            "another batch is running in this folder",
            subject=out,
            hint="wait for it, or choose another folder",
        ) from error
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    return lock


def _earlier(
    out: Path, settings: Mapping[str, Any], *, resume: bool, overwrite: bool
) -> list[dict[str, Any]]:
    """The earlier sittings of the run that is to go on; a clean folder otherwise."""
    record = out / RECORD
    if resume and record.exists():
        return _same_run(record, settings)
    if any(path.name != _LOCK for path in out.iterdir()) and not overwrite:
        kept = record.exists()
        raise OutputError(
            "already holds a batch" if kept else "already exists and is not empty",
            subject=out,
            hint="pass --resume to go on with it, or --overwrite to begin anew"
            if kept
            else "choose another folder, or pass --overwrite",
        )
    if record.exists():
        # What lies in folders of these names is the run's own.
        for name in _FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
    for name in (TABLE, *SUMMARIES, RECORD):
        (out / name).unlink(missing_ok=True)
    return []


def _same_run(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    try:
        before = parse_json(path.read_text(encoding="utf-8"))
        schema, kept = before["schema"], dict(before["settings"])
        sittings = checked_sittings(before["sittings"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(
            "is no record of a batch", subject=path, hint="pass --overwrite to begin anew"
        ) from error
    if schema != SCHEMA:
        raise OutputError("is of another version", subject=path, hint="pass --overwrite")
    # As JSON has it, which knows no tuples.
    now: dict[str, Any] = parse_json(to_json(settings))
    for name in [*now, *kept]:
        if now.get(name) != kept.get(name):
            raise ConfigError(
                f"cannot resume: {name} was {kept.get(name)!r} and is {now.get(name)!r}",
                subject=path.parent,
                hint="repeat the options it was begun with, or pass --overwrite to begin anew",
            )
    return sittings


def _tidy(out: Path) -> None:
    """Remove what killed workers were writing."""
    for folder in (out, *(out / name for name in _FOLDERS)):
        remove_leftovers(folder)
