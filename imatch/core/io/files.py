"""Atomic outputs: written to a temporary name beside their place, then renamed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from imatch.core.errors import InputError, OutputError

# File systems take 255 bytes; suffixes and temporary names need some.
_LONGEST_NAME = 120


def safe_name(text: str) -> str:
    """A name that is a file name everywhere: letters, digits, ``.``, ``_``, ``+`` and ``-``.

    Examples:
        >>> safe_name("S2A 2018/08:B4"), safe_name("..")
        ('S2A_2018_08_B4', 'pair')
    """
    name = re.sub(r"[^\w.+-]+", "_", text).strip("._")
    if len(name) <= _LONGEST_NAME:
        return name or "pair"
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{name[: _LONGEST_NAME - 9]}-{digest}"


def inside(folder: Path, name: str) -> Path:
    r"""Turns a name that some file gives (an archive, a table, a document) into a path in a folder.

    Args:
        folder: Where the path has to stay, links followed.
        name: A relative name with ``/`` or ``\`` between its parts.

    Returns:
        The path; neither it nor its folders need exist.

    Raises:
        InputError: The name leads out of the folder, or is none.

    Examples:
        >>> inside(Path("out"), "a/b.tif").as_posix()
        'out/a/b.tif'
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    # Drives of Windows are absolute, too.
    absolute = re.match(r"[A-Za-z]:|[/\\]", name) is not None
    if absolute or not parts or ".." in parts or "\0" in name:
        raise _outside_folder(folder, name)
    path = folder.joinpath(*parts)
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # A name too long, links in a circle.
        raise _outside_folder(folder, name) from error
    if not within:
        raise _outside_folder(folder, name)
    return path


def _outside_folder(folder: Path, name: str) -> InputError:
    return InputError(
        f"the name {name!r} leads out of its folder",
        subject=folder,
        hint="the file that names it is damaged or not to be trusted",
    )


if TYPE_CHECKING:
    from filelock import FileLock

# What is being made lies in a folder of such a name, beside a lock that its maker holds and what
# it is to replace.
_SUFFIX, _LOCK, _NEW, _OLD = ".imatch", ".lock", "new", "old"
_SCRATCH = re.compile(r"\..+\.[a-z0-9_]{8}" + re.escape(_SUFFIX))  # Eight are `mkdtemp`'s.


@contextmanager
def disk_errors(subject: str | PathLike[str], *, hint: str | None = None) -> Iterator[None]:
    """Makes what the disk refuses inside the block an `OutputError` in one line.

    Args:
        subject: What is written.
        hint: The next step.

    Raises:
        OutputError: The disk refused.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=subject, hint=hint) from error


def append(path: Path, content: bytes) -> None:
    """Appends to a file, made where it is missing, and sees it onto the disk.

    Raises:
        OSError: The disk refused.
    """
    with path.open("ab") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def check_local(path: Path) -> None:
    """Refuses to write to a URL or an object store.

    Raises:
        OutputError: It is one.
    """
    # As a path a URL has lost one of its slashes, and may have been made absolute.
    scheme = any(re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", part) for part in path.parts)
    virtual = re.match(r"[/\\]vsi\w+[/\\]", str(path)) is not None
    if (scheme or virtual) and not path.parent.is_dir():
        raise OutputError(
            "lies on another host, where nothing is written: results appear whole or not at all,"
            " which takes a rename",
            subject=path,
            hint="write it to this machine and upload it",
        )


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse early what could not be written later.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The folder is missing or read-only, or the file exists and may not be replaced.
    """
    check_local(path)
    if path.is_dir() and not path.is_symlink():
        raise OutputError("is a folder", subject=path, hint="name a file in it")
    # A link that leads nowhere is there, too; what it leads to is never touched.
    if os.path.lexists(path) and not overwrite:
        raise OutputError("already exists", subject=path, hint="pass --overwrite to replace it")
    parent = path.parent
    if not parent.is_dir():
        raise OutputError("its folder does not exist", subject=path, hint=f"run mkdir -p {parent}")
    try:
        # Tried rather than asked: os.access says yes to the super-user and to read-only mounts.
        with tempfile.TemporaryFile(dir=parent):
            pass
    except OSError as error:
        raise OutputError(
            f"its folder is not writable ({error.strerror})",
            subject=path,
            hint="choose another place",
        ) from error


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to make it in, so that a rename brings it to its place.

    It goes when the block ends, and if the process is killed before, with the next `scratch` in
    the same folder.

    Args:
        path: What is to be made.

    Yields:
        The folder, empty.

    Raises:
        OSError: The disk refused.
    """
    _sweep(path.parent)
    folder, lock = _locked_scratch(path)
    try:
        new = folder / _NEW
        new.mkdir()
        yield new
    finally:
        _discard(folder, lock)


def remove_leftovers(folder: Path, *, deep: bool = False) -> None:
    """Remove what killed processes were making in a folder.

    A process holds a lock in each `scratch` folder of its own, which the system frees when it
    ends in whatever way: what is still held, on this machine or another, stays.

    Args:
        folder: The folder; it need not exist.
        deep: Whether to look into its sub-folders too, as in a run that is resumed.
    """
    for place in [Path(name) for name, _, _ in os.walk(folder)] if deep else [folder]:
        _sweep(place)


def _sweep(parent: Path) -> None:
    from filelock import FileLock

    with suppress(OSError):
        # Folders of 100 000 files take a while to list. With two links, most file systems say
        # that there are no sub-folders.
        if parent.stat().st_nlink == 2:
            return
        for folder in [path for path in parent.iterdir() if _SCRATCH.fullmatch(path.name)]:
            with suppress(OSError):
                folder.rmdir()  # Its owner ended before it had the lock.
                continue
            if folder.is_symlink() or not (folder / _LOCK).is_file():
                continue  # None of ours.
            lock = FileLock(folder / _LOCK)
            with suppress(OSError, NotImplementedError):  # Also filelock's Timeout.
                lock.acquire(timeout=0)
                _discard(folder, lock)


def _locked_scratch(path: Path) -> tuple[Path, FileLock | None]:
    """A new scratch folder and the lock in it; no lock where the file system knows none."""
    # Not at the head: importing it takes a tenth of the time that a help text may.
    from filelock import FileLock, Timeout

    prefix = f".{path.name[:50]}."  # With the rest it is to stay within 255 bytes.
    while True:
        folder = Path(tempfile.mkdtemp(_SUFFIX, prefix, path.parent))
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=0)
        except (Timeout, FileNotFoundError):
            continue  # Another process took it for a leftover before the lock was held.
        except (OSError, NotImplementedError):
            (folder / _LOCK).touch()
            return folder, None
        if (folder / _LOCK).exists():
            return folder, lock
        lock.release()


def _discard(folder: Path, lock: FileLock | None) -> None:
    """Remove a scratch folder; what was set aside for a successor that never came goes back."""
    with suppress(OSError):
        for old in (folder / _OLD).iterdir():
            if not os.path.lexists(folder.parent / old.name):
                old.rename(folder.parent / old.name)
    # The lock is the last to go: without it nobody knows a half emptied folder for ours.
    for part in (folder / _NEW, folder / _OLD, folder):
        shutil.rmtree(part, ignore_errors=True)
    if lock is not None:
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # Windows lets no file go while it is open.


@contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path with the same suffix, renamed to `path` when the block ends well.

    A link at `path` is replaced, never what it leads to. On any exception the temporary file, and
    whatever stands beside it (GDAL side-cars), goes, and what was at `path` stays as it was.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Yields:
        The path to write to, in a hidden folder beside `path` so that the rename is atomic.

    Raises:
        OutputError: As `check_output`, or the disk refused.
    """
    check_output(path, overwrite=overwrite)
    with disk_errors(path), scratch(path) as folder:
        temporary = folder / path.name
        yield temporary
        if not temporary.exists():
            raise OutputError("nothing was written", subject=path)
        # Side-cars first: the file itself is the last to appear, so it is never seen without.
        for extra in sorted(folder.iterdir()):
            if extra != temporary:
                extra.replace(path.parent / extra.name)
        temporary.replace(path)


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary folder, renamed to `path` when the block ends well.

    Args:
        path: The folder to be made; the one it lies in exists.
        overwrite: Whether an existing folder may be replaced.

    Yields:
        An empty folder to fill, renamed to `path` when the block ends well.

    Raises:
        OutputError: It exists and may not be replaced, or the disk refused.
    """
    with disk_errors(path, hint="nothing was written"), scratch(path) as folder:
        made, old = folder / path.name, folder.parent / _OLD
        made.mkdir()
        yield made
        if os.path.lexists(path):
            if not overwrite:
                hint = "pass --overwrite to replace it"
                raise OutputError("already exists", subject=path, hint=hint)
            old.mkdir()
            path.rename(old / path.name)
        made.rename(path)
