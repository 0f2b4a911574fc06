"""Tables of an index in a LanceDB database: how they are made, opened and read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from imatch.core.errors import ImatchError, InputError, OutputError
from imatch.core.extras import require_extra
from imatch.core.run_folder import LOCK
from imatch.retrieval.index.manifest import MAKE_ONE, IndexManifest, parse_manifest
from imatch.retrieval.index.store import IndexedImage, check_image

if TYPE_CHECKING:
    import pyarrow as pa
    from lancedb.db import DBConnection
    from lancedb.table import Table

CHIPS, IMAGES = "chips", "images"
#: Columns of a chip's window.
WINDOW = ("left", "top", "width", "height", "side")
#: What to do where the database fails.
REOPEN = "open it again, or see that it can be reached and is whole"
_META = b"imatch"
_IMAGE = TypeAdapter(IndexedImage)


@dataclass(frozen=True, eq=False)
class LanceTables:
    """The open tables of an index.

    Attributes:
        manifest: What the index was made with.
        images: Its images, in the order of their rows.
        chips: A row each chip.
        listing: A row each image.
    """

    manifest: IndexManifest
    images: list[IndexedImage]
    chips: Table
    listing: Table


def open_tables(uri: str) -> LanceTables:
    """Opens the tables of an index.

    Raises:
        InputError: There is none, or it is damaged or cannot be reached.
        ImatchError: LanceDB is not installed.
    """
    database = _connect(uri)
    if database is None:
        raise InputError("does not exist", subject=uri, hint=MAKE_ONE)
    with lance_errors(uri):
        if IMAGES not in _names(database):
            raise InputError("is no index", subject=uri, hint=MAKE_ONE)
        listing, chips = database.open_table(IMAGES), database.open_table(CHIPS)
        rows = listing.to_arrow().sort_by("first").to_pylist()
    return LanceTables(_manifest(listing, uri), _checked(rows, uri), chips, listing)


def lance_manifest(uri: str) -> IndexManifest | None:
    """The manifest of a database; None where there is no index.

    Raises:
        InputError: It is of another version, or the store cannot be reached.
        ImatchError: LanceDB is not installed.
    """
    database = _connect(uri)
    if database is None:
        return None
    with lance_errors(uri):
        if IMAGES not in _names(database):
            return None
        return _manifest(database.open_table(IMAGES), uri)


@contextmanager
def lance_errors(uri: str, kind: type[ImatchError] = InputError) -> Iterator[None]:
    """Tells in one line what LanceDB raises inside the block.

    Args:
        uri: The database.
        kind: What to raise.
    """
    try:
        yield
    # What its native code raises; pyarrow's errors are of these kinds, too.
    except (RuntimeError, ValueError, OSError) as error:
        first = shorten(str(error).strip().partition("\n")[0], 200, placeholder=" …")
        raise kind(f"LanceDB failed: {first}", subject=uri, hint=REOPEN) from error


def _connect(uri: str) -> DBConnection | None:
    """Connects to a database; None where there is no folder, which would be made."""
    require_extra("lancedb", "it keeps an index whose name ends in .lance")
    import lancedb

    if "://" not in uri and not Path(uri).is_dir():
        return None
    with lance_errors(uri):
        return lancedb.connect(uri)


def _names(database: DBConnection) -> list[str]:
    return list(database.list_tables().tables)


def check_place(uri: str) -> None:
    """Checks that nothing but an index, or the beginning of one, is where one is to be.

    Raises:
        OutputError: There is.
    """
    if "://" not in uri:
        path = Path(uri)
        own = {LOCK, f"{CHIPS}.lance", f"{IMAGES}.lance"}
        foreign = path.exists() and (
            not path.is_dir() or any(file.name not in own for file in path.iterdir())
        )
    else:
        database = _connect(uri)
        assert database is not None, "what is no folder can always be asked"
        with lance_errors(uri, OutputError):
            foreign = any(name not in (CHIPS, IMAGES) for name in _names(database))
    if foreign:
        raise OutputError("exists and is no index", subject=uri, hint="choose another place")


def create_tables(uri: str, manifest: IndexManifest) -> None:
    """Makes an index where there is none: the list of images, by which it is known, last.

    Raises:
        OutputError: Somebody else's tables are there, or the place refuses.
    """
    database = _connect(uri)
    assert database is not None, "the lock made the folder"
    with lance_errors(uri, OutputError):
        names = _names(database)
        if IMAGES in names:
            return
        # Ours, of an interruption, or somebody else's, who chose the same name.
        if CHIPS in names and _META not in (database.open_table(CHIPS).schema.metadata or {}):
            raise OutputError("exists and is no index", subject=uri, hint="choose another place")
        schema = chips_schema(manifest.model.dim).with_metadata({_META: CHIPS})
        database.create_table(
            CHIPS, schema=schema, mode="overwrite" if CHIPS in names else "create"
        )
        text = manifest.model_dump_json(by_alias=True)
        database.create_table(IMAGES, schema=images_schema().with_metadata({_META: text}))


def _manifest(listing: Table, uri: str) -> IndexManifest:
    text = (listing.schema.metadata or {}).get(_META)
    if text is None:
        raise InputError("is no index", subject=uri, hint=MAKE_ONE)
    return parse_manifest(text.decode(), uri)


def _checked(rows: list[dict[str, Any]], uri: str) -> list[IndexedImage]:
    """Reads the list of images.

    Raises:
        InputError: It makes no sense.
    """
    images: list[IndexedImage] = []
    try:
        for row in rows:
            image = _IMAGE.validate_python(row)
            check_image(image)
            if images and image.first < images[-1].rows.stop:
                raise ValueError(f"{image.path}: shares rows with {images[-1].path}")
            images.append(image)
    except (ValueError, ValidationError) as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise InputError(
            f"is damaged ({first})", subject=f"{uri} ({IMAGES})", hint="index the images anew"
        ) from error
    return images


def chips_schema(dim: int) -> pa.Schema:
    """Returns the columns of chips whose vectors have so many numbers."""
    import pyarrow as pa

    whole = [(name, pa.int32()) for name in WINDOW[:-1]]
    return pa.schema(
        [
            ("row", pa.int64()),
            *whole,
            ("side", pa.float64()),
            ("geometry", pa.binary()),
            ("vector", pa.list_(pa.float32(), dim)),
        ]
    )


def images_schema() -> pa.Schema:
    """Returns the columns of images."""
    import pyarrow as pa

    return pa.schema(
        [
            ("path", pa.string()),
            ("bytes", pa.int64()),
            ("modified_ns", pa.int64()),
            ("width", pa.int64()),
            ("height", pa.int64()),
            ("crs", pa.string()),
            ("transform", pa.list_(pa.float64(), 6)),
            ("gsd_m", pa.float64()),
            ("first", pa.int64()),
            ("count", pa.int64()),
            ("left_out", pa.int64()),
        ]
    )
