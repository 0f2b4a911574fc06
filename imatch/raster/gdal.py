"""Opens datasets through GDAL with bounded caches, checks and one-line errors."""

from __future__ import annotations

import logging
import os
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import CRSError, NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from imatch.core.errors import ImatchError, InputError
from imatch.core.redaction import redacted
from imatch.raster.decoding import cache_options, decoding_options
from imatch.raster.integrity import check_whole
from imatch.raster.names import is_remote, openable
from imatch.raster.remote.reach import check_reach
from imatch.raster.remote.web import web_fault, web_options

#: Sources of a virtual dataset that are opened to see whether they can be.
_MOST_SOURCES = 64
#: Datasets kept open at a time: more than any image has files and levels in use at once.
_MOST_OPEN = 32
#: Bytes of all bands in a block, which a decoder holds at once.
_LARGEST_BLOCK = 1 << 29
#: Pixels of all bands that are decoded for one reading: minutes.
_MOST_DECODED = 20 * 10**9
#: Bands of a raster; imaging spectrometers have hundreds.
_MOST_BANDS = 10_000
#: So many pixels for each byte of a GeoTIFF are more than empty tiles, or strips of blank ground,
#: account for; where there are few pixels, it does not matter. Strips without compression hold
#: their pixels one by one: a file of which so little is there was cut or never written.
_MOST_SPARSE = {"tiled": 30_000, "strips": 10_000, "plain": 100}
_FEW = 2 * 10**7


# Also in the text of a VRT of our own.
_REMOTE_PART = re.compile(r"/vsi(?:curl|s3|gs|az|adls|oss|swift)|://")
_OPTIONS = {
    "GDAL_PAM_ENABLED": "YES",
    # Overviews are chosen here, by level, since some of them are displaced (see `levels`): a tiny
    # threshold keeps GDAL from choosing one by itself, also inside a VRT's sources.
    "GDAL_OVERVIEW_OVERSAMPLING_THRESHOLD": "0.000001",
    "GDAL_DISABLE_READDIR_ON_OPEN": "FALSE",
    # A cut JPEG is otherwise filled up with grey, silently.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # JPEG 2000 tiles that GDAL itself decodes in threads come back as zeros where they are damaged:
    # rasterio hears of errors in its own thread only.
    "GDAL_NUM_THREADS": 1,
}


@contextmanager
def session(name: str = "") -> Iterator[None]:
    """GDAL set up as this room needs it, without warnings about missing geocoding.

    Args:
        name: What is to be opened, which may lie on another host.
    """
    options = {**_OPTIONS, **cache_options()}
    if _REMOTE_PART.search(name):
        options |= web_options(name)
    with rasterio.Env(**options), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def explained(name: str, cause: str, hint: str) -> Iterator[None]:
    """Turn what GDAL raises into one `InputError`.

    Args:
        name: The file.
        cause: What failed, GDAL's last word is added in brackets.
        hint: The next step.
    """
    try:
        yield
    except ImatchError:
        raise
    except (RasterioError, CPLE_BaseError, OSError, ValueError, MemoryError) as error:
        root: BaseException = error
        while root.__cause__ is not None:
            root = root.__cause__
        if is_remote(name) and (fault := web_fault(str(root))) is not None:
            raise InputError(fault[0], subject=name, hint=fault[1]) from error
        detail = in_words(str(root), name) or type(root).__name__
        raise InputError(f"{cause} ({detail})", subject=name, hint=hint) from error


#: What decoders only warn of although pixels are lost or displaced; not what is said of tags.
_CORRUPT = re.compile(r"corrupt|premature|bad code|mismatch|discarding|lack of data", re.IGNORECASE)


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Read pixels inside the block; what fails, and what a decoder warns of, is an `InputError`.

    Args:
        name: What to call what is read.

    Raises:
        InputError: The pixels cannot be read, or are damaged.
    """
    cause, hint = "its pixels cannot be read", "the file may be truncated: get it again"
    with warned() as texts, explained(name, cause, hint):
        yield
    for text in filter(_CORRUPT.search, texts):
        raise InputError(f"{cause} ({in_words(text, name)})", subject=name, hint=hint)


@contextmanager
def warned() -> Iterator[list[str]]:
    """Collects what GDAL warns of in this thread inside the block, which rasterio only logs."""
    for logger in _LOGGERS:
        if not logger.isEnabledFor(logging.WARNING):  # A program wants less of its log.
            logger.setLevel(logging.WARNING)
    before, texts = _warnings.texts, list[str]()
    _warnings.texts = texts
    try:
        yield texts
    finally:
        _warnings.texts = before


class _ThreadWarnings(threading.local):
    """Collects GDAL's warnings of one thread, besides the log."""

    texts: list[str] | None = None


class _Listener(logging.Handler):
    """Log handler that passes GDAL's warnings to `_ThreadWarnings`."""

    def emit(self, record: logging.LogRecord) -> None:
        if _warnings.texts is not None:
            _warnings.texts.append(re.sub(r"^CPLE_\w+( in |:)", "", record.getMessage()))


_warnings = _ThreadWarnings()
# While it reads pixels rasterio logs by the second name.
_LOGGERS = [logging.getLogger(name) for name in ("rasterio._env", "rasterio._err")]
for _logger in _LOGGERS:
    _logger.addHandler(_Listener(logging.WARNING))  # For good: several threads may listen at once.


# What GDAL and its libraries say of a file, and what it means. The name is gone by then.
_MEANINGS = (
    (r"(it )?(does not exist|no such file).*", "no such file"),
    (r"(it )?not recognized as .*", "its format is unknown"),
    (r"(CURL|HTTP) error: ", ""),
    # Names of functions and libraries, and line numbers of blocks that have no lines.
    (r"^(TIFF|_TIFF|lib|JPEG|PNG|VSI|WEBP|opj_|GDAL)\w*: *", ""),
    (r" at scanline 4294967295", ""),
    (r"'utf-8' codec can't decode.*", "it holds a text that is not UTF-8"),
)


def in_words(text: str, name: str) -> str:
    """Converts GDAL's message about a file to a clause that can follow the file's name.

    Args:
        text: What was raised.
        name: The file; it is not repeated.

    Examples:
        >>> in_words("'/a/b.tif' not recognized as being in a supported file format.", "/a/b.tif")
        'its format is unknown'
        >>> in_words("b.tif: /a/b.tif:Cannot read TIFF header", "/a/b.tif")
        'cannot read TIFF header'
    """
    text, name = redacted(" ".join(text.split())), redacted(name)
    for known in (name, os.path.basename(name)):  # noqa: PTH119 - also of URLs.
        text = text.replace(f"'{known}'", "it")
        text = re.sub(rf"(^|(?<=[ :])){re.escape(known)}: *", "", text)
        text = text.replace(known, "it")
    for pattern, meaning in _MEANINGS:
        text = re.sub(pattern, meaning, text, flags=re.IGNORECASE)
    text = text.rstrip(". ")
    # A sentence's capital, not an abbreviation's.
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


class _OpenDatasets(threading.local):
    """The datasets that one thread keeps open; None outside of `kept_open`."""

    datasets: OrderedDict[tuple[str, int | None], DatasetReader] | None = None


_open_datasets = _OpenDatasets()


def _forget_datasets() -> None:
    """Opens files anew in a forked process: those of its parent have threads that stayed there."""
    if _open_datasets.datasets is not None:
        _open_datasets.datasets = OrderedDict()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_forget_datasets)


@contextmanager
def kept_open() -> Iterator[None]:
    """Keeps datasets open between readings, and with them the blocks that GDAL has decoded.

    Reading a large image tile by tile would else decode again what neighbouring tiles share, and
    all of it where a file's blocks are whole lines. Of this thread only.
    """
    if _open_datasets.datasets is not None:
        yield
        return
    _open_datasets.datasets = OrderedDict()
    try:
        yield
    finally:
        for dataset in _open_datasets.datasets.values():
            dataset.close()
        _open_datasets.datasets = None


@contextmanager
def _header_errors(name: str) -> Iterator[None]:
    """Turns what GDAL raises over a damaged head into one `InputError`."""
    try:
        yield
    except (CPLE_BaseError, CRSError) as error:
        detail = in_words(str(error), name)
        raise InputError(
            f"its description cannot be read ({detail})", subject=name, hint="get it again"
        ) from error


@contextmanager
def opened(name: str, level: int | None = None) -> Iterator[DatasetReader]:
    """Open a dataset (path, ``/vsi…`` path, URL or VRT document) inside a `session`.

    Args:
        name: What GDAL is to open.
        level: Overview level to present as the whole dataset; None for full resolution.

    Yields:
        The dataset.

    Raises:
        InputError: GDAL cannot open it, or only by requests that `check_reach` forbids; it is
            damaged, or its blocks are too large.
    """
    options = {} if level is None else {"OVERVIEW_LEVEL": f"{level} only"}
    options |= decoding_options(name)
    datasets = _open_datasets.datasets
    with session(name):
        if datasets is not None and (name, level) in datasets:
            datasets.move_to_end((name, level))
            with _header_errors(name):
                yield datasets[name, level]
            return
        if not name.startswith("<"):  # A document of our own.
            check_reach(name)
        with explained(name, "cannot be opened as an image", "check that the file is whole"):
            dataset = rasterio.open(openable(name), **options)
            try:
                _check_blocks(dataset, name)
                for file in dataset.files:
                    check_whole(Path(file))
                if dataset.driver == "VRT" and not name.startswith("<"):
                    _check_sources(dataset, name)
            except BaseException:
                dataset.close()
                raise
        if datasets is None:
            with dataset, _header_errors(name):
                yield dataset
            return
        datasets[name, level] = dataset
        if len(datasets) > _MOST_OPEN:
            datasets.popitem(last=False)[1].close()
        with _header_errors(name):
            yield dataset


def _check_sources(dataset: DatasetReader, name: str) -> None:
    """Refuse a virtual dataset whose sources cannot be opened, as seen from its own file.

    GDAL says so once: as long as it remembers the failure, later readings are zeros without a word.
    """
    sources = [file for file in dataset.files if not file.startswith(name)]
    if len(sources) > _MOST_SOURCES:  # Opened one by one they would take long.
        sources = [
            file for file in sources if not file.startswith("/vsi") and not Path(file).exists()
        ]
    for file in sources:
        with explained(
            name,
            f"its source {redacted(file)} cannot be opened",
            "get it again, with all files that it is made of",
        ):
            rasterio.open(openable(file)).close()


def check_extent(pixels: float, name: str, hint: str) -> None:
    """Checks that the pixels can be decoded in reasonable time.

    Args:
        pixels: How many there are to be decoded, in all bands.
        name: The file.
        hint: The next step.

    Raises:
        InputError: They are too many.
    """
    if pixels > _MOST_DECODED:
        raise InputError(f"has {pixels:.3g} pixels to be read for so few", subject=name, hint=hint)


def _check_blocks(dataset: DatasetReader, name: str) -> None:
    """Refuse blocks that are too large to be decoded one by one, and bands beyond number."""
    if dataset.count > _MOST_BANDS:
        raise InputError(
            f"claims to have {dataset.count} bands", subject=name, hint="check that it is whole"
        )
    if dataset.driver == "GTiff" and Path(name).is_file():
        claimed = float(dataset.width) * dataset.height * dataset.count
        stored = sum(Path(file).stat().st_size for file in dataset.files if Path(file).is_file())
        layout = "strips" if dataset.profile.get("compress") else "plain"
        if dataset.profile.get("tiled"):
            layout = "tiled"
        if claimed > max(_FEW, _MOST_SPARSE[layout] * stored):
            raise InputError(
                f"claims {dataset.width} x {dataset.height} pixels in {stored} bytes: nearly all of"
                " it is empty",
                subject=name,
                hint="check that it is whole",
            )
    rows, columns = max(dataset.block_shapes, default=(0, 0))
    bands = dataset.count if dataset.profile.get("interleave") == "pixel" else 1
    # NumPy has no complex integers.
    sizes = [16 if "complex" in kind else np.dtype(kind).itemsize for kind in dataset.dtypes]
    needed = rows * columns * bands * max(sizes, default=1)
    if needed > _LARGEST_BLOCK:
        raise InputError(
            f"is stored in blocks of {columns} x {rows} pixels and {bands} bands,"
            f" {needed / 2**30:,.1f} GiB each",
            subject=name,
            hint="save it in tiles: gdal_translate -co TILED=YES",
        )


def check_file(path: Path) -> None:
    """Checks that a path is a readable file that is not empty.

    Raises:
        InputError: It is missing, empty or unreadable.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                raise InputError("the file is empty", subject=path, hint="get it again")
    except (FileNotFoundError, ValueError) as error:  # A NUL is in no file's name.
        raise InputError("no such file", subject=path, hint="check the path") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot be read: {reason}", subject=path, hint="check it") from error
