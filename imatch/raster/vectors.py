"""Reads vector files with one-line errors, whichever library raises."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath

from imatch.core.errors import ImatchError, InputError
from imatch.raster.gdal import in_words
from imatch.raster.remote.reach import check_reach


@contextmanager
def reading_vectors(path: str | PathLike[str], cause: str) -> Iterator[None]:
    """Turns whatever reading a vector file raises inside the block into an `InputError`.

    GDAL, pyogrio, GEOS, PROJ and geopandas each raise their own, and `IndexError` for a file
    without layers.

    Args:
        path: The file.
        cause: What failed; the library's last word is added in brackets.

    Raises:
        InputError: The file is damaged, its shapes are none, or `check_reach` forbids its requests.
    """
    name = fspath(path)
    check_reach(name)
    try:
        with warnings.catch_warnings():
            # GDAL closes open rings and warns of it; GEOS takes none.
            warnings.simplefilter("ignore")
            yield
    except (ImatchError, KeyboardInterrupt):
        raise
    except Exception as error:
        detail = "it has no layer" if isinstance(error, IndexError) else str(error)
        detail = in_words(detail.removeprefix("IllegalArgumentException: "), name)
        raise InputError(
            f"{cause} ({detail or type(error).__name__})",
            subject=name,
            hint="check its shapes: rings are closed, of three places or more, in finite numbers",
        ) from error
