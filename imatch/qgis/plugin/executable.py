"""Finds the imatch that the plugin runs, and asks it for its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

#: Beside the plugin: the path of the imatch that installed it.
NOTE = "executable.txt"
#: Seconds that an executable may take to tell its version.
PATIENCE_S = 60
#: What QGIS sets for its own libraries, which those of imatch must not see.
_FOREIGN = {
    "PYTHONHOME",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "PROJ_DATA",
    "PROJ_LIB",
    "QT_PLUGIN_PATH",
}
_WINDOWS = os.name == "nt"
#: Keeps Windows from opening a console (CREATE_NO_WINDOW).
NO_WINDOW = 0x08000000 if _WINDOWS else 0
_NAME = "imatch.exe" if _WINDOWS else "imatch"
_BIN = "Scripts" if _WINDOWS else "bin"
#: Folders of the user's that are environments, or hold some.
_ENVIRONMENTS = (
    ".venv",
    "venv",
    "imatch/.venv",
    "imatch/venv",
    ".virtualenvs/*",
    "venvs/*",
    ".local/share/pipx/venvs/imatch",
    ".local/pipx/venvs/imatch",
    "pipx/venvs/imatch",
    ".local/share/uv/tools/imatch",
    "AppData/Roaming/uv/tools/imatch",
    *(
        f"{root}{part}"
        for root in ("miniconda3", "anaconda3", "miniforge3", "mambaforge", "micromamba", ".conda")
        for part in ("", "/envs/*")
    ),
)
#: Folders of the user's with executables.
_FOLDERS = (
    ".local/bin",
    "Library/Python/3.*/bin",
    "AppData/Roaming/Python/Python3*/Scripts",
    "AppData/Local/Programs/Python/Python3*/Scripts",
)
_SHARED = ("/usr/local/bin", "/opt/homebrew/bin", "/opt/conda/bin", "/opt/conda/envs/*/bin")
_PLUGIN = Path(__file__).parent


class ExecutableError(Exception):
    """No imatch that this plugin can run, in one line with the next step."""


def plugin_version() -> str:
    """The version of this plugin, which is that of the imatch it came with."""
    parser = ConfigParser(interpolation=None)
    parser.read(_PLUGIN / "metadata.txt", encoding="utf-8")
    return parser["general"]["version"]


def clean_environment() -> dict[str, str]:
    """The environment for imatch: what there is, less what QGIS sets for itself."""
    return {name: text for name, text in os.environ.items() if name not in _FOREIGN}


def find_executable(chosen: str = "") -> Path:
    """Finds the imatch to run.

    Args:
        chosen: What the settings name; empty to look in the usual places: the one that installed
            the plugin, the PATH, then environments of the user's.

    Raises:
        ExecutableError: There is none.
    """
    if chosen:
        path = Path(chosen).expanduser()
        found = shutil.which(str(path))
        if found is None:
            what = "is not there" if not path.exists() else "cannot be run"
            raise ExecutableError(f"{path}: {what}; {_where_to_set()}")
        return Path(found)
    for path in candidates(Path.home()):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise ExecutableError(
        "imatch was not found; install it with: pip install imatch, or name its executable: "
        + _where_to_set()
    )


def candidates(home: Path) -> Iterator[Path]:
    """Where imatch may be, the likeliest first.

    Args:
        home: The user's folder.
    """
    note = _PLUGIN / NOTE
    if note.is_file():
        yield Path(note.read_text(encoding="utf-8").strip())
    on_path = shutil.which("imatch")
    if on_path is not None:
        yield Path(on_path)
    for pattern in _FOLDERS:
        yield from (folder / _NAME for folder in sorted(home.glob(pattern)))
    for pattern in _ENVIRONMENTS:
        yield from (folder / _BIN / _NAME for folder in sorted(home.glob(pattern)))
    for text in _SHARED:
        anchor = Path(Path(text).anchor or "/")
        pattern = str(Path(text).relative_to(anchor)) if not _WINDOWS else text.lstrip("/")
        yield from (folder / _NAME for folder in sorted(anchor.glob(pattern)))


def check_version(executable: Path) -> str:
    """Asks an executable for its version.

    Args:
        executable: The imatch to run.

    Returns:
        The version, as ``"0.2.0"``.

    Raises:
        ExecutableError: It is no imatch, does not start, or is older than this plugin.
    """
    try:
        done = subprocess.run(
            [str(executable), "--version"],
            env=clean_environment(),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE_S,
            check=False,
            creationflags=NO_WINDOW,
        )
    except subprocess.TimeoutExpired:
        raise ExecutableError(
            f"{executable}: told no version within {PATIENCE_S} s; {_where_to_set()}"
        ) from None
    except OSError as error:
        raise ExecutableError(f"{executable}: {error.strerror}; {_where_to_set()}") from None
    said = done.stdout.decode("utf-8", "replace")
    found = re.fullmatch(r"imatch (\d[\w.+-]*)\s*", said)
    if done.returncode != 0 or found is None:
        told = (done.stderr.decode("utf-8", "replace").strip() or said.strip()).splitlines()
        why = f" ({told[-1].strip()})" if told else ""
        raise ExecutableError(f"{executable}: is no imatch that works{why}; {_where_to_set()}")
    if numbers(found[1]) < numbers(plugin_version()):
        raise ExecutableError(
            f"{executable}: is imatch {found[1]}, older than this plugin ({plugin_version()}); "
            "update it with: pip install --upgrade imatch"
        )
    return found[1]


def numbers(version: str) -> tuple[int, ...]:
    """The release of a version as numbers, to compare; what follows them does not count.

    Examples:
        >>> numbers("0.10.1rc1"), numbers("0.2") < numbers("0.10.1")
        ((0, 10, 1), True)
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _where_to_set() -> str:
    return "Settings > Options > Processing > Providers > imatch"
