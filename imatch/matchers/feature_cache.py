"""Disk cache of features, shared by processes.

What decides the features decides the key: the rendered image's content, the extractor with every
setting of it, its weights' sha256 and the versions of the libraries that compute. Nothing has to be
invalidated, then; what is not asked for any more falls out, the least recently used first.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
import platformdirs
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.numpy import load, save

from imatch._version import __version__
from imatch.core.errors import MatcherError, OutputError
from imatch.core.redaction import get_logger
from imatch.core.types import Features

if TYPE_CHECKING:
    from imatch.matchers.sparse.base import Extractor

#: Bytes a cache may take unless told otherwise.
DEFAULT_LIMIT = 2 * 10**9
_LOG = get_logger(__name__)
# Raised when the stored form changes.
_FORMAT = "imatch-features-2"
# The part of a folder that is ours, and of that the names we give: the rest is the user's.
_OWN = "imatch-features"
_SUFFIX = ".features"
_NAME = re.compile(rf"[0-9a-f]{{40}}({re.escape(_SUFFIX)}|\.[0-9a-f]{{8}}\.part)")
_PACKAGES = ("torch", "kornia", "opencv-python-headless", "numpy")
_DIGEST = 16
_OPTIONAL = ("scales", "angles")
# Extracting takes seconds; whoever holds a lock for longer is stuck, and not to be waited for.
_PATIENCE = 300.0
# Looking through a large folder takes milliseconds: what is written between two looks may exceed
# the limit by this share of it, in each process.
_SLACK = 0.01


def default_folder() -> Path:
    """Returns the default folder of features, inside the user's cache folder."""
    return Path(platformdirs.user_cache_dir("imatch", appauthor=False))


def open_cache(folder: Path | None = None, limit: int | None = None) -> FeatureCache | None:
    """Opens the cache that is shared by all runs, or one in a folder of one's own.

    Args:
        folder: The folder; that of the user's caches when None.
        limit: Bytes it may take, `DEFAULT_LIMIT` when None.

    Returns:
        The cache; None, with a warning, where the user's own cannot be had: nobody asked for it.
    """
    cache = FeatureCache((folder or default_folder()).absolute(), limit or DEFAULT_LIMIT)
    if folder is None:
        try:
            cache.prepare()
        except OutputError as error:
            _LOG.warning("no features are kept: %s %s", error.subject, error.cause)
            return None
    return cache


class FeatureCache:
    """Features of rendered images in a folder that many processes share.

    Trouble with the folder (full, read-only, on a file system without locks) costs time, never a
    result: the features are then computed. Files have names made of their key and hold plain
    arrays behind a checksum; nothing is taken from the folder but such files, and nothing else in
    it is written to or deleted. Still, whoever may write there may put other features in.

    Args:
        folder: Where; made at the first use. Nothing in it is touched but a folder of the cache's
            own (`place`), which must not be a symbolic link.
        limit: Bytes it may take, a little more for a moment; the least recently used goes first.

    Attributes:
        computed: Images that were extracted through this object.
        found: Images whose features were found on disk.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.computed = self.found = 0
        self._unlocked = False
        # Bytes written since the folder was last looked through; it has not been yet.
        self._unseen = float("inf")

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process counts for itself.
        return FeatureCache, (self.folder, self.limit)

    def prepare(self) -> None:
        """Make the folder ready and see to its size.

        Raises:
            OutputError: It cannot be used.
        """
        try:
            probe = self._make_place() / _temporary_name("0" * 40)
            probe.touch(exist_ok=False)
            probe.unlink()
            self._cull()
        except OSError as error:
            raise OutputError(
                f"cannot hold a cache ({error})",
                subject=self.folder,
                hint="choose another folder, or go without (--no-cache)",
            ) from error

    def features(
        self, extractor: Extractor, digest: bytes, extract: Callable[[], Features]
    ) -> Features:
        """Look features up, or extract and keep them.

        Where several processes want the same features at once, one computes and the others wait.

        Args:
            extractor: What would extract them.
            digest: Of the image's pixels and valid mask.
            extract: Does it.
        """
        key = _key(extractor, digest)
        features = self._load(key)
        if features is None:
            with self._exclusive(key):
                # Another process may have been at it in the meantime.
                features = self._load(key)
                if features is None:
                    features = extract()
                    self.computed += 1
                    self._store(key, features)
                    return features
        self.found += 1
        return features

    def clear(self) -> int:
        """Deletes all features and returns the number of images they were of."""
        entries = self._entries()
        for _, _, path in entries:
            path.unlink(missing_ok=True)
        return sum(path.suffix == _SUFFIX for _, _, path in entries)

    def __len__(self) -> int:
        return sum(path.suffix == _SUFFIX for _, _, path in self._entries())

    @property
    def place(self) -> Path:
        """The folder of its own in which everything lies."""
        return self.folder / _OWN

    @property
    def volume(self) -> int:
        """Bytes it takes on disk."""
        return sum(size for _, size, _ in self._entries())

    def _make_place(self) -> Path:
        """Creates the folder `place` where it is missing and returns it.

        Raises:
            OSError: It cannot be made, or is a link to somewhere else.
        """
        self.place.mkdir(parents=True, exist_ok=True)
        if self.place.is_symlink():
            raise OSError(f"{self.place} is a symbolic link")
        return self.place

    def _entries(self) -> list[tuple[int, int, Path]]:
        """(time of the last use, bytes, path) of every file of ours, least recently used first.

        What a killed process left half-written is among them, and goes as the others do.
        """
        found = []
        for path in self._make_place().iterdir():
            if _NAME.fullmatch(path.name):
                with suppress(FileNotFoundError):  # Other processes delete, too.
                    about = path.lstat()
                    if stat.S_ISREG(about.st_mode):
                        found.append((about.st_mtime_ns, about.st_size, path))
        return sorted(found)

    def _cull(self) -> None:
        entries = self._entries()
        excess = sum(size for _, size, _ in entries) - self.limit
        for _, size, path in entries:
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size
        self._unseen = 0

    @contextmanager
    def _exclusive(self, key: str) -> Iterator[None]:
        """Holds the lock of a key, so that no two processes extract the same features."""
        with ExitStack() as held:
            try:
                # A few locks for all keys: one each would leave as many files behind.
                path = self._make_place() / f"{key[:2]}.lock"
                held.enter_context(FileLock(path, timeout=_PATIENCE))
            except (OSError, NotImplementedError) as error:  # Also filelock's Timeout.
                # A lock only saves others the same work: whatever is kept is kept whole.
                if not self._unlocked:
                    _LOG.warning("others may extract the same features: no lock (%s)", error)
                self._unlocked = True
            yield

    def _load(self, key: str) -> Features | None:
        try:
            path = self._make_place() / f"{key}{_SUFFIX}"
            about = path.lstat()
            regular = stat.S_ISREG(about.st_mode) and about.st_size <= self.limit
            features = _decode(key, path.read_bytes()) if regular else None
            if features is None:
                _LOG.warning("features in %s were corrupt and are computed again", self.folder)
                path.unlink()
                return None
            with suppress(OSError):  # A folder that is read-only still serves.
                os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            _LOG.warning("no features from %s: %s", self.folder, error)
            return None
        return features

    def _store(self, key: str, features: Features) -> None:
        content = _encode(key, features)
        if len(content) > self.limit:
            return
        try:
            temporary = self._make_place() / _temporary_name(key)
            try:
                # Made anew, so that nothing is written through a link, and readable to all who
                # share the folder, as files of the `tempfile` module are not.
                with temporary.open("xb") as file:
                    file.write(content)
                temporary.replace(self.place / f"{key}{_SUFFIX}")
            finally:
                temporary.unlink(missing_ok=True)
            self._unseen += len(content)
            if self._unseen > _SLACK * self.limit:
                self._cull()
        except OSError as error:
            _LOG.warning("features not kept in %s: %s", self.folder, error)


def _temporary_name(key: str) -> str:
    """Returns a temporary file name that no other process takes."""
    return f"{key}.{secrets.token_hex(4)}.part"


def _key(extractor: Extractor, digest: bytes) -> str:
    facts = repr((_FORMAT, _versions(), _identity(extractor))).encode()
    return hashlib.blake2b(digest + facts, digest_size=20).hexdigest()


# They change no features: where weights may come from, and where features are kept. The device and
# the weights themselves are in the key as what they turned out to be.
_NEUTRAL_OPTIONS = frozenset({"fetch", "cache", "device", "weights"})


def _identity(extractor: Extractor) -> tuple[object, ...]:
    """Everything besides the image that decides what an extractor finds.

    Raises:
        MatcherError: It has a setting of a kind that cannot be told apart from another.
    """
    kind, options = type(extractor), extractor.options
    # Every public attribute is a setting, those of classes of other packages as well; methods,
    # properties and what these have computed follow from the others.
    settings: dict[str, object] = {}
    for owner in reversed(kind.__mro__):
        settings.update(vars(owner))
    derived = {name for name, value in settings.items() if hasattr(value, "__get__")}
    settings.update(vars(extractor))
    # Only networks have one, and different devices round differently.
    device = getattr(getattr(extractor, "device", None), "type", "cpu")
    return (
        f"{kind.__module__}.{kind.__qualname__}",
        tuple(
            (name, _plain_setting(value, f"{kind.__name__}.{name}"))
            for name, value in sorted(settings.items())
            if not name.startswith("_") and name not in derived and name != "options"
        ),
        tuple(
            (field.name, _plain_setting(getattr(options, field.name), field.name))
            for field in fields(options)
            if field.name not in _NEUTRAL_OPTIONS
        ),
        device,
        sorted(extractor.weights_used.items()),
    )


def _plain_setting(value: object, name: str) -> object:
    """Converts a setting to plain values, equal for equal settings only."""
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    if isinstance(value, Enum | PurePath):
        return type(value).__qualname__, str(value)
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, tuple | list):
        return "sequence", tuple(_plain_setting(item, name) for item in value)
    if isinstance(value, set | frozenset):
        return "set", tuple(sorted((_plain_setting(item, name) for item in value), key=repr))
    if isinstance(value, Mapping):
        items = [
            (_plain_setting(key, name), _plain_setting(item, name)) for key, item in value.items()
        ]
        return "mapping", tuple(sorted(items, key=repr))
    if is_dataclass(value):
        parts = ((field.name, getattr(value, field.name)) for field in fields(value))
        return type(value).__qualname__, tuple(
            (key, _plain_setting(item, name)) for key, item in parts
        )
    raise MatcherError(
        f"is a {type(value).__name__}, by which features on disk cannot be told apart",
        subject=name,
        hint="keep none on disk (--no-cache), or in the extractor make it a plain value, or begin"
        " its name with _ if it decides nothing",
    )


@lru_cache(maxsize=1)
def _versions() -> tuple[str, ...]:
    found = [__version__]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return tuple(found)


def _encode(key: str, features: Features) -> bytes:
    """A checksum, then the arrays in safetensors' format."""
    arrays = {
        "xy": features.xy,
        "scores": features.scores,
        "descriptors": features.descriptors,
        "size": np.array(features.size),
    }
    for name in _OPTIONAL:
        if (values := getattr(features, name)) is not None:
            arrays[name] = values
    # Safetensors writes the memory behind an array, whatever its strides.
    body = save({name: np.ascontiguousarray(values) for name, values in arrays.items()})
    return _checksum(key, body) + body


def _checksum(key: str, body: bytes) -> bytes:
    # With the key, so that a file under another's name is found out.
    return hashlib.blake2b(body, digest_size=_DIGEST, key=key.encode()).digest()


def _decode(key: str, stored: bytes) -> Features | None:
    """The inverse of `_encode`; None for what it did not write."""
    body = stored[_DIGEST:]
    if stored[:_DIGEST] != _checksum(key, body):
        return None
    try:
        arrays = load(body)
        width, height = arrays.pop("size").tolist()
        features = Features(**arrays, size=(width, height))
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    n = features.scores.size
    columns = (features.scores, features.scales, features.angles)
    fits = (
        features.xy.shape == (n, 2)
        and features.descriptors.ndim == 2
        and len(features.descriptors) == n
        and all(column is None or column.shape == (n,) for column in columns)
    )
    return features if fits else None
