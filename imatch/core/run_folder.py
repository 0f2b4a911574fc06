"""The folder of a run: its record, its lock, and how a run is resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from filelock import FileLock, Timeout

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.core.io.files import atomic_path, check_local, disk_errors, remove_leftovers
from imatch.core.io.jsontext import parse_json, to_json

#: The lock of a folder that only one process may write to.
LOCK = ".lock"
#: Says of what differs between two runs how it does: its name, then and now.
Describe: TypeAlias = Callable[[str, Any, Any], str]


def lock_folder(path: Path, cause: str) -> FileLock:
    """Makes a folder where it is missing, and takes its lock, which the system frees at the end.

    Args:
        path: The folder.
        cause: What to say where another process holds it.

    Raises:
        OutputError: Another process holds it, or the folder cannot be written to.
    """
    with disk_errors(path):
        check_local(path)
        path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            hint = "wait for it, or choose another folder"
            raise OutputError(cause, subject=path, hint=hint) from error
    return lock


@dataclass
class RunFolder:
    """A folder with a record of the run that it holds, a JSON document.

    Attributes:
        path: The folder.
        what: What messages call the run, such as ``"batch"``.
        record: Name of the record.
        schema: Its version, the record's member ``schema``.
        key: The record's member with what must be the same for two sessions to be one run.
        files: Other files of such a run, and
        folders: its folders: what goes where it is overwritten.
    """

    path: Path
    what: str
    record: str
    schema: str
    key: str = "identity"
    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    _lock: FileLock | None = field(default=None, init=False, repr=False)

    def lock(self) -> None:
        """Lets this process alone write to the folder, until `release`.

        Raises:
            OutputError: It is in use, or cannot be written to.
        """
        self._lock = lock_folder(self.path, f"another {self.what} is running in this folder")

    def release(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.release()

    def open(
        self,
        identity: Mapping[str, Any],
        *,
        resume: bool,
        overwrite: bool,
        session: Mapping[str, Any] | None = None,
        members: Mapping[str, Any] | None = None,
        describe: Describe | None = None,
    ) -> list[dict[str, Any]]:
        """Makes the folder ready and writes its record.

        Args:
            identity: What must be the same for two sessions to be one run, JSON-ready.
            resume: Go on with the run it holds, if it holds one.
            overwrite: Throw away what it holds, unless it is gone on with.
            session: What to remember of this session; None for records without any.
            members: What else to remember.
            describe: Tells how members of `identity` differ.

        Returns:
            The run's sessions, this one last.

        Raises:
            OutputError: It holds something else or a damaged record, or cannot be written to.
            ConfigError: The run it holds differs.
        """
        sessions: list[dict[str, Any]] = []
        with disk_errors(self.path):
            check_local(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self.remove_leftovers()
            resumed = resume and (self.path / self.record).exists()
            if resumed:
                try:
                    sessions = self._earlier(identity, describe or plain_change)
                except ImatchError:
                    if not overwrite:
                        raise
                    resumed = False
            if not resumed:
                self._clear(overwrite)
            document = {"schema": self.schema, self.key: identity, **(members or {})}
            if session is not None:
                sessions = [*sessions, dict(session)]
                document["sittings"] = sessions
            with atomic_path(self.path / self.record, overwrite=True) as path:
                path.write_text(to_json(document) + "\n", encoding="utf-8")
        return sessions

    def remove_leftovers(self) -> None:
        """Removes what killed processes were writing in the folder and the run's folders in it."""
        for folder in (self.path, *(self.path / name for name in self.folders)):
            remove_leftovers(folder)

    def _earlier(self, identity: Mapping[str, Any], describe: Describe) -> list[dict[str, Any]]:
        """The sessions of the run that the folder holds, if it is the same run."""
        path, change = self.path / self.record, None
        anew = "pass --overwrite to begin anew"
        try:
            before = parse_json(path.read_text(encoding="utf-8"))
            same_schema = before["schema"] == self.schema
            was, sessions = before[self.key], _checked_sessions(before.get("sittings", []))
            if same_schema:
                # As JSON gives it back, which knows no tuples.
                change = first_change(was, parse_json(to_json(identity)), describe)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutputError(f"is no record of a {self.what}", subject=path, hint=anew) from error
        if not same_schema:
            raise OutputError("is of another version", subject=path, hint=anew)
        if change is not None:
            raise ConfigError(
                f"cannot resume: {change}",
                subject=self.path,
                hint=f"repeat the options it was begun with, or {anew}",
            )
        return sessions

    def _clear(self, overwrite: bool) -> None:
        kept = (self.path / self.record).exists()
        if not overwrite and any(path.name != LOCK for path in self.path.iterdir()):
            raise OutputError(
                f"already holds a {self.what}" if kept else "already exists and is not empty",
                subject=self.path,
                hint="pass --resume to go on with it, or --overwrite to begin anew"
                if kept
                else "choose another folder, or pass --overwrite",
            )
        if kept:
            # What lies in folders of these names is the run's own.
            for name in self.folders:
                shutil.rmtree(self.path / name, ignore_errors=True)
        # The record last: without it nobody knows the rest for a run.
        for name in (*self.files, self.record):
            (self.path / name).unlink(missing_ok=True)


def plain_change(name: str, was: Any, now: Any) -> str:
    """Describes a changed value: what it was and what it is."""
    return f"{name} was {was!r} and is {now!r}"


def first_change(
    was: Mapping[str, Any], now: Mapping[str, Any], describe: Describe = plain_change
) -> str | None:
    """Describes the first difference of two mappings; None if they are equal.

    Examples:
        >>> first_change({"size": 512, "seed": 0}, {"size": 512, "seed": 3})
        'seed was 0 and is 3'
    """
    for name in [*now, *was]:
        if was.get(name) != now.get(name):
            return describe(name, was.get(name), now.get(name))
    return None


def _checked_sessions(value: object) -> list[dict[str, Any]]:
    """Checks the list of sessions in a record and returns it."""
    if not isinstance(value, list):
        raise TypeError("no list of sittings")
    for item in value:
        if not isinstance(item, dict):
            raise TypeError("a sitting is no mapping")
        if not all(isinstance(item.get(name, {}), dict) for name in ("machine", "versions")):
            raise TypeError("a sitting's machine or versions are no mapping")
    return value
