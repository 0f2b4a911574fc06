"""Locates and verifies checkpoints on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from os import PathLike
from pathlib import Path

import platformdirs

from imatch.core.errors import WeightsError
from imatch.models.catalogue import Bundled, WeightSpec, Wheel, spec_of

ENVIRONMENT = "IMATCH_WEIGHTS"
_PIN = "#sha256="
_BUNDLED = "imatch itself"


@dataclass(frozen=True)
class WeightsFile:
    """A verified checkpoint on this machine.

    Attributes:
        spec: What it is.
        path: Where it lies.
        where: How it was found: ``"named file"``, ``"$IMATCH_WEIGHTS"``, ``"imatch itself"``,
            ``"cache"``, ``"installed package"`` or ``"torch hub"``.
        sha256: Its checksum; differs from ``spec.sha256`` only for a file the user pinned.
    """

    spec: WeightSpec
    path: Path
    where: str
    sha256: str


def cache_dir() -> Path:
    """The folder our own downloads are kept in (it need not exist yet)."""
    return Path(platformdirs.user_cache_dir("imatch", appauthor=False)) / "weights"


def sha256_of(path: Path) -> str:
    """Checksum of a file, remembered for as long as its size and modification time stay.

    Raises:
        WeightsError: The file cannot be read.
    """
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise WeightsError(error.strerror or str(error), subject=path) from error


@lru_cache(maxsize=128)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named_file(explicit: str) -> Path:
    """The file that a user named, as ``PATH`` or ``PATH#sha256=HEX``."""
    return Path(explicit.partition(_PIN)[0]).expanduser()


def _named(spec: WeightSpec, explicit: str) -> WeightsFile:
    """The file the user named, as ``PATH`` or ``PATH#sha256=HEX``."""
    _, pinned, pin = explicit.partition(_PIN)
    path = named_file(explicit)
    if not path.is_file():
        cause = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(cause, subject=path, hint=f"name a file for the weights {spec.name!r}")
    actual, wanted = sha256_of(path), pin.strip().lower() if pinned else spec.sha256
    if actual == wanted:
        return WeightsFile(spec, path, "named file", actual)
    if pinned:
        raise WeightsError(
            f"its sha256 is {actual}, not {wanted} as asked", subject=path, hint="check the file"
        )
    raise WeightsError(
        f"its sha256 is {actual}, not {spec.sha256} as published for {spec.name!r}",
        subject=path,
        hint=f"for a checkpoint of your own, name it as {path}{_PIN}{actual}",
    )


def environment_folders() -> tuple[Path, ...]:
    """The folders in ``$IMATCH_WEIGHTS``, in order."""
    text = os.environ.get(ENVIRONMENT, "")
    return tuple(Path(part).expanduser() for part in text.split(os.pathsep) if part)


def hub_folder() -> Path:
    """Torch's hub cache, found without importing torch (the rules of ``torch.hub.get_dir``)."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(base) / "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def _package_file(source: Wheel) -> Path | None:
    try:
        return Path(str(distribution(source.package).locate_file(source.member)))
    except PackageNotFoundError:
        return None


def _candidates(spec: WeightSpec) -> Iterator[tuple[str, Path, bool]]:
    """Every place to look, in order: where it is, the path, and whether the folder is ours.

    A wrong file in a folder of ours is an error; elsewhere it is somebody else's business.
    """
    for folder in environment_folders():
        yield f"${ENVIRONMENT}", folder / spec.filename, True
    if isinstance(spec.source, Bundled):
        yield _BUNDLED, Path(str(files("imatch") / spec.source.member)), True
        return
    if not spec.default:
        return
    yield "cache", cache_dir() / spec.filename, True
    if isinstance(spec.source, Wheel) and (file := _package_file(spec.source)) is not None:
        yield "installed package", file, False
    for name in (spec.filename, *spec.hub_names):
        yield "torch hub", hub_folder() / name, False


def _repair_hint(spec: WeightSpec, where: str) -> str:
    if where == _BUNDLED:
        return "install imatch again"
    again = f"run imatch weights fetch {spec.name}" if spec.default else "copy it anew"
    return f"delete it and {again}"


def searched_places(name: str) -> list[str]:
    """Returns the folders that `find_weights` searches, as texts for an error message."""
    spec = spec_of(name)
    places = [
        f"{where} ({path.parent})" for where, path, _ in _candidates(spec) if where != "torch hub"
    ]
    if not environment_folders():
        places.insert(0, f"${ENVIRONMENT} (not set)")
    hub = spec.default and not isinstance(spec.source, Bundled)
    return [*places, f"torch hub ({hub_folder()})"] if hub else places


def find_weights(name: str, explicit: PathLike[str] | str | None = None) -> WeightsFile | None:
    """Find and verify a checkpoint; nothing is downloaded and nothing imported.

    The order is: the file the user names, the folders in ``$IMATCH_WEIGHTS``, our own package where
    it carries them, our cache, the files of an installed pip package, torch's hub cache. Weights
    with ``default=False`` are used only from the first two, that is where the user put them
    knowingly.

    Args:
        name: A key of `WEIGHTS`.
        explicit: A file the user names. ``PATH#sha256=HEX`` verifies it against that sum instead of
            the published one, for checkpoints of one's own.

    Returns:
        The file, or None when there is none.

    Raises:
        WeightsError: The name is unknown; the named file is missing or not the published one; or a
            file in ``$IMATCH_WEIGHTS`` or the cache is corrupt.
    """
    spec = spec_of(name)
    if explicit is not None:
        return _named(spec, os.fspath(explicit))
    for where, path, ours in _candidates(spec):
        if not path.is_file():
            continue
        # A file of another size is another file: that saves hashing what lies in shared caches.
        if not ours and path.stat().st_size != spec.size:
            continue
        actual = sha256_of(path)
        if actual == spec.sha256:
            return WeightsFile(spec, path, where, actual)
        if ours:
            raise WeightsError(
                f"is corrupt: its sha256 is {actual}, not {spec.sha256}",
                subject=path,
                hint=_repair_hint(spec, where),
            )
    return None
