"""Folder of a batch: settings, journal of results, resume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from imatch.core.io.files import atomic_path, disk_errors
from imatch.core.io.tables import Journal, write_rows
from imatch.core.run_folder import RunFolder
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import REGISTERED, RESULTS, STATE, result_path

SCHEMA = "imatch.batch-run/1"
TABLE, RECORD = "results.csv", "batch.json"
PREVIEWS = "previews"
#: What a report adds.
SUMMARIES = ("summary.json", "report.html")
_FOLDERS = (RESULTS, REGISTERED, PREVIEWS, STATE)


class BatchFolder:
    """An open batch; one process at a time writes to it.

    Args:
        out: The folder, made where it is missing.
        settings: What must be the same for two sessions to be one run, JSON-ready.
        session: What to remember of this session.
        resume: Go on with the run it holds, if it holds one.
        overwrite: Throw that away.

    Attributes:
        out: The folder.
        rows: The last row of each pair, by name, those of earlier sessions included.
        sessions: What is known of each session: command, time, engine, versions.

    Raises:
        OutputError: It holds something else, is in use, or cannot be written to.
        ConfigError: The run it holds had other settings.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        session: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
    ) -> None:
        self.out = out
        files = (TABLE, *SUMMARIES)
        self._run = RunFolder(out, "batch", RECORD, SCHEMA, "settings", files, _FOLDERS)
        self._run.lock()
        try:
            self.sessions = self._run.open(
                settings, resume=resume, overwrite=overwrite, session=session
            )
            with disk_errors(out):
                # After the record, without which what the folder holds is not known for a batch.
                (out / RESULTS).mkdir(exist_ok=True)
            self._journal = Journal(out / TABLE, BatchResult)
            self.rows = {row.name: row for row in self._journal.rows}
        except BaseException:
            self._run.release()
            raise

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
        self.rows[row.name] = self._journal.append(row)

    def close(self, order: Sequence[BatchPair] = ()) -> None:
        """Leave the table with one row a pair: those of `order` in order, then any others.

        Args:
            order: The pairs; none leaves the table as it grew.

        Raises:
            OutputError: The disk refused; the table is then as it grew.
        """
        try:
            if order:
                names = dict.fromkeys([*(pair.name for pair in order), *self.rows])
                with atomic_path(self.out / TABLE, overwrite=True) as path:
                    write_rows(
                        path, BatchResult, (self.rows[name] for name in names if name in self.rows)
                    )
            self._run.remove_leftovers()
            with suppress(OSError):
                (self.out / STATE).rmdir()  # Empty unless scenes were left half done.
        finally:
            self._run.release()
