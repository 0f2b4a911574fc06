"""Writes the viewer's page of a result."""

from __future__ import annotations

from pathlib import Path

from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json
from imatch.core.progress import ProgressOption, shown
from imatch.export.html import render
from imatch.export.stack.files import DOCUMENT
from imatch.export.viewer.views import Document, batch_document, pair_document, stack_document
from imatch.pipeline.batch.journal import TABLE
from imatch.pipeline.pair.match import Image
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration

#: Bytes of a page, and those that are neither pictures nor tie points.
PAGE_BYTES, _FRAME = 5_000_000, 120_000
# What a row of a table and its reason take.
_ROW = 700


def write_page(
    result: Registration | Path,
    path: Path,
    *,
    ref: Image | None = None,
    tgt: Image | None = None,
    budget: int = PAGE_BYTES,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> None:
    """Writes a page on which a result can be looked at; it needs nothing else.

    Args:
        result: A registration, its ``.json``, or the folder of a batch or a stack.
        path: Where to.
        ref: The reference of a pair, where it was no file or lies elsewhere now.
        tgt: The target, likewise.
        budget: Bytes that the page may take.
        overwrite: Whether an existing file may be replaced.
        progress: See `imatch.view`.

    Raises:
        InputError: It is no result, or an image cannot be read.
        OutputError: The place refuses.
    """
    with atomic_path(path, overwrite=overwrite) as temporary:
        document = _document(result, budget - _FRAME, ref, tgt, progress)
        page = render("view.html.j2", document=document)
        temporary.write_text(page, encoding="utf-8")


def _document(
    result: Registration | Path,
    budget: int,
    ref: Image | None,
    tgt: Image | None,
    progress: ProgressOption,
) -> Document:
    if isinstance(result, Path):
        if result.name in (TABLE, DOCUMENT):
            result = result.parent
        if result.is_dir():
            return _folder(result, budget, progress)
        result = read_registration(result)
    with shown(progress)("reading the images", 1) as advance:
        return pair_document(result, budget, ref, tgt, advance)


def _folder(folder: Path, budget: int, progress: ProgressOption) -> Document:
    if (folder / DOCUMENT).is_file():
        try:
            stack = parse_json((folder / DOCUMENT).read_text(encoding="utf-8"))
            count = len(stack["images"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"is no document of a stack ({error})", subject=folder / DOCUMENT
            ) from error
        with shown(progress)("reading the images", count) as advance:
            return stack_document(folder, stack, budget, advance)
    if not (folder / TABLE).is_file():
        raise InputError(
            f"holds neither {TABLE} of a batch nor {DOCUMENT} of a stack",
            subject=folder,
            hint="name the folder that imatch batch or imatch stack wrote, or a result's .json",
        )
    with (folder / TABLE).open(encoding="utf-8") as file:
        rows = max(0, sum(1 for _ in file) - 1)
    with shown(progress)("reading the images", rows) as advance:
        return batch_document(folder, max(budget // 4, budget - _ROW * rows), advance)
