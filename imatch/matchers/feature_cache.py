"""Features on disk: an image that occurs in many pairs is extracted once, by whichever process.

What decides the features decides the key: the rendered image's content, the extractor with every
setting of it, its weights' sha256 and the versions of the libraries that compute. Nothing has to be
invalidated, then; what is not asked for any more falls out, the least recently used first.
"""

from __future__ import annotations

import hashlib
import io
import logging
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diskcache
import numpy as np
import platformdirs
from diskcache.core import MODE_PICKLE
from filelock import FileLock

from imatch._version import __version__
from imatch.core.errors import OutputError
from imatch.core.types import Features

if TYPE_CHECKING:
    from imatch.matchers.sparse import Extractor

#: Bytes a cache may take unless told otherwise.
DEFAULT_LIMIT = 2 * 10**9
_LOG = logging.getLogger(__name__)
# Raised when the stored form changes.
_FORMAT = "imatch-features-1"
# The part of a folder that is ours, and may be thrown away: the rest is the user's.
_OWN = "imatch-features"
_PACKAGES = ("torch", "kornia", "opencv-python-headless", "numpy")
_DIGEST = 16
_OPTIONAL = ("scales", "angles")
# Extracting takes seconds; whoever holds a lock for longer is stuck, and not to be waited for.
_PATIENCE = 300.0
_TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout)


def default_folder() -> Path:
    """Where features are kept unless told otherwise, imatch's part of the user's cache folder."""
    return Path(platformdirs.user_cache_dir("imatch", appauthor=False))


class _Plain(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types.
    """Keeps texts and bytes only: what lies in a cache folder is never unpickled."""

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Read a value, but not a pickled one."""
        return b"" if mode == MODE_PICKLE else super().fetch(mode, filename, value, read)


class FeatureCache:
    """Features of rendered images in a folder that many processes share.

    Trouble with the folder (full, read-only, on a file system without locks) costs time, never a
    result: the features are then computed.

    Args:
        folder: Where; made at the first use. Nothing in it is touched but a folder of the cache's
            own (`place`).
        limit: Bytes it may take, a little more for a moment; the least recently used goes first.

    Attributes:
        computed: Images that were extracted through this object.
        found: Images whose features were found on disk.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder, self.limit = folder, limit
        self.computed = self.found = 0
        self._opened: Any = None
        self._unlocked = False

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process opens the folder itself, and counts for itself.
        return FeatureCache, (self.folder, self.limit)

    def prepare(self) -> None:
        """Make the folder ready, one that is corrupt anew, and see to its size.

        Raises:
            OutputError: It cannot be used.
        """
        try:
            self._cache.cull()
        except _TROUBLE as error:
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
            with self._turn(key):
                # Another process may have been at it in the meantime.
                features = self._load(key)
                if features is None:
                    features = extract()
                    self.computed += 1
                    self._keep(key, features)
                    return features
        self.found += 1
        return features

    def clear(self) -> int:
        """Forget everything; gives the number of images that were kept."""
        return int(self._cache.clear())

    def __len__(self) -> int:
        return len(self._cache)

    @property
    def place(self) -> Path:
        """The folder of its own in which everything lies."""
        return self.folder / _OWN

    @property
    def volume(self) -> int:
        """Bytes it takes on disk, roughly."""
        return int(self._cache.volume())

    def close(self) -> None:
        """Close the folder; the next use opens it again."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    @property
    def _cache(self) -> Any:
        if self._opened is None:
            try:
                self._opened = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise  # Locked, full or read-only, but not broken.
                _LOG.warning("%s is corrupt (%s) and begins anew", self.place, error)
                shutil.rmtree(self.place)
                self._opened = self._open()
        return self._opened

    def _open(self) -> Any:
        self.place.mkdir(parents=True, exist_ok=True)
        return diskcache.Cache(
            str(self.place),
            disk=_Plain,
            size_limit=self.limit,
            eviction_policy="least-recently-used",
        )

    @contextmanager
    def _turn(self, key: str) -> Iterator[None]:
        """Wait until no other process extracts this; the system frees a killed one's lock."""
        with ExitStack() as held:
            try:
                # A few locks for all keys: one each would leave as many files behind.
                path = self.place / "locks" / f"{key[:2]}.lock"
                path.parent.mkdir(parents=True, exist_ok=True)
                held.enter_context(FileLock(path, timeout=_PATIENCE))
            except (OSError, NotImplementedError) as error:  # Also filelock's Timeout.
                # A lock only saves others the same work: whatever is kept is kept whole.
                if not self._unlocked:
                    _LOG.warning("others may extract the same features: no lock (%s)", error)
                self._unlocked = True
            yield

    def _load(self, key: str) -> Features | None:
        try:
            stored = self._cache.get(key)
            if stored is None:
                return None
            features = _decode(stored)
            if features is None:
                _LOG.warning("features in %s were corrupt and are computed again", self.folder)
                self._cache.delete(key)
        except _TROUBLE as error:
            _LOG.warning("no features from %s: %s", self.folder, error)
            return None
        return features

    def _keep(self, key: str, features: Features) -> None:
        try:
            self._cache.set(key, _encode(features))
        except _TROUBLE as error:
            _LOG.warning("features not kept in %s: %s", self.folder, error)


def _key(extractor: Extractor, digest: bytes) -> str:
    facts = repr((_FORMAT, _versions(), _identity(extractor))).encode()
    return hashlib.blake2b(digest + facts, digest_size=20).hexdigest()


def _identity(extractor: Extractor) -> tuple[object, ...]:
    """Everything besides the image that decides what an extractor finds."""
    kind, options = type(extractor), extractor.options
    # Every plain public attribute is a setting, those of classes of other packages as well.
    settings: dict[str, object] = {}
    for owner in reversed(kind.__mro__):
        settings.update(vars(owner))
    settings.update(vars(extractor))
    plain = {
        name: value
        for name, value in sorted(settings.items())
        if not name.startswith("_") and isinstance(value, bool | int | float | str | tuple)
    }
    # Only networks have one, and different devices round differently.
    device = getattr(getattr(extractor, "device", None), "type", "cpu")
    return (
        f"{kind.__module__}.{kind.__qualname__}",
        plain,
        options.max_keypoints,
        options.seed,
        device,
        sorted(extractor.weights_used.items()),
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


def _encode(features: Features) -> bytes:
    """A checksum, then an .npz."""
    arrays: dict[str, Any] = {
        "xy": features.xy,
        "scores": features.scores,
        "descriptors": features.descriptors,
        "size": np.array(features.size),
    }
    for name in _OPTIONAL:
        if (values := getattr(features, name)) is not None:
            arrays[name] = values
    text = io.BytesIO()
    np.savez(text, **arrays)
    body = text.getvalue()
    return hashlib.blake2b(body, digest_size=_DIGEST).digest() + body


def _decode(stored: object) -> Features | None:
    """The inverse of `_encode`; None for what it did not write."""
    if not isinstance(stored, bytes) or len(stored) <= _DIGEST:
        return None
    checksum, body = stored[:_DIGEST], stored[_DIGEST:]
    if hashlib.blake2b(body, digest_size=_DIGEST).digest() != checksum:
        return None
    with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
        width, height = arrays["size"].tolist()
        return Features(
            arrays["xy"],
            arrays["scores"],
            arrays["descriptors"],
            (width, height),
            *(arrays.get(name) for name in _OPTIONAL),
        )
