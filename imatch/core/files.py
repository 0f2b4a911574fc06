"""Outputs that are whole or absent: written beside their place, then renamed into it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from imatch.core.errors import InputError, OutputError

# File systems take 255 bytes; suffixes and temporary names need some.
_LONGEST_NAME = 120


def safe_name(text: str) -> str:
    """A name that is a file name everywhere: letters, digits, ``.``, ``_``, ``+`` and ``-``.

    Example:
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

    Example:
        >>> inside(Path("out"), "a/b.tif").as_posix()
        'out/a/b.tif'
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    # Drives of Windows are absolute, too.
    absolute = re.match(r"[A-Za-z]:|[/\\]", name) is not None
    if absolute or not parts or ".." in parts or "\0" in name:
        raise _leads_out(folder, name)
    path = folder.joinpath(*parts)
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # A name too long, links in a circle.
        raise _leads_out(folder, name) from error
    if not within:
        raise _leads_out(folder, name)
    return path


def _leads_out(folder: Path, name: str) -> InputError:
    return InputError(
        f"the name {name!r} leads out of its folder",
        subject=folder,
        hint="the file that names it is damaged or not to be trusted",
    )


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse early what could not be written later.

    Args:
        path: The file to be written.
        overwrite: Whether an existing file may be replaced.

    Raises:
        OutputError: The folder is missing or read-only, or the file exists and may not be replaced.
    """
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
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=path) from error
    try:
        temporary = folder / path.name
        yield temporary
        if not temporary.exists():
            raise OutputError("nothing was written", subject=path)
        # Side-cars first: the file itself is the last to appear, so it is never seen without them.
        for extra in sorted(folder.iterdir()):
            if extra != temporary:
                extra.replace(path.parent / extra.name)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=path) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
