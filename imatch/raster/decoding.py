"""How many threads decode blocks of files, and how many decoded ones are kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio

#: Megabytes of decoded blocks GDAL may keep; its own default is a share of the machine's memory.
CACHE_MB = 256
#: How a TIFF begins, classic and big, of either byte order.
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# OpenJPEG's threads share a tile, and report to the one that asked for it. Worker processes have 1.
os.environ.setdefault("OPJ_NUM_THREADS", "ALL_CPUS")
# The threads of GDAL's pool do not live on in a forked process, which would wait for them.
if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=lambda: os.environ.update(OPJ_NUM_THREADS="1"))


def coding_threads() -> str:
    """Returns how many threads decode and compress blocks, in the words of GDAL's options."""
    return os.environ["OPJ_NUM_THREADS"]


def decoding_options(name: str) -> dict[str, str]:
    """Returns the open options of GDAL with which a file is decoded in threads.

    A TIFF alone: unlike other drivers, its own tells of what the threads cannot decode.

    Args:
        name: What is to be opened.
    """
    try:
        with Path(name).open("rb") as file:
            threads = file.read(4) in _TIFF
    except (OSError, ValueError):  # A name that GDAL understands, and not the file system.
        threads = False
    return {"NUM_THREADS": coding_threads()} if threads else {}


class _Cache:
    """What GDAL may keep of decoded blocks now: one figure for all files and threads."""

    megabytes = CACHE_MB


def cache_options() -> dict[str, Any]:
    """Returns the options of `rasterio.Env` for the cache of decoded blocks."""
    # Rasterio hands this one to GDAL in bytes, where the variable of that name means megabytes.
    return {"GDAL_CACHEMAX": _Cache.megabytes * 1024**2}


@contextmanager
def larger_cache(megabytes: int) -> Iterator[None]:
    """Lets GDAL keep more decoded blocks inside the block than elsewhere.

    Args:
        megabytes: How many, of all files together.
    """
    before, _Cache.megabytes = _Cache.megabytes, max(megabytes, _Cache.megabytes)
    try:
        yield
    finally:
        _Cache.megabytes = before
        with rasterio.Env(**cache_options()):
            pass  # What is beyond the smaller one goes at once.
