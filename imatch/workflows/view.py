"""Write a page to look at a result, and open it."""

from __future__ import annotations

import os
import sys
import webbrowser
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from imatch.core.errors import ConfigError, InputError
from imatch.core.progress import ProgressOption
from imatch.export.viewer.page import PAGE_BYTES, write_page
from imatch.pipeline.pair.match import Image
from imatch.pipeline.registration.result import Registration

Place: TypeAlias = str | PathLike[str]

_LEAST_BYTES = 300_000


def view(
    result: Registration | Place,
    out: Place | None = None,
    *,
    ref: Image | None = None,
    tgt: Image | None = None,
    max_bytes: int = PAGE_BYTES,
    open_page: bool = False,
    overwrite: bool = False,
    progress: ProgressOption = None,
) -> Path:
    """Write one page on which a result can be looked at, and perhaps open it in the browser.

    Both images over each other to swipe, blink, move and zoom, the residuals, every tie point with
    its surroundings, to be struck out; the kept ones are exported as a table that `points` of
    `imatch.match` takes. A batch has a table of its pairs, a stack a slider for its dates. The page
    loads nothing, neither from other files nor from the network.

    Args:
        result: A registration, the ``.json`` that holds it, or the folder of a batch or a stack.
        out: The page, ``.html``; beside the result when None.
        ref: The reference of a pair, where it was no file or lies elsewhere now.
        tgt: The target, likewise.
        max_bytes: About how many bytes the page may take: it decides how fine the images are.
        open_page: Open it in the browser, where there is a display.
        overwrite: Replace a page that exists.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.

    Returns:
        The page.

    Raises:
        ConfigError: The page is no ``.html``, or is to be too small.
        InputError: It is no result, or an image cannot be read.
        OutputError: The place refuses.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        >>> a, b = ground[:, :280], ground[:, 20:300]
        >>> found = imatch.match(a, b, matcher="sift")
        >>> folder = getfixture("tmp_path")
        >>> imatch.view(found, folder / "page.html", ref=a, tgt=b).name
        'page.html'
    """
    held = result if isinstance(result, Registration) else Path(result)
    if isinstance(held, Path) and not held.exists():
        raise InputError(
            "does not exist", subject=held, hint="name a result's .json, or a batch's folder"
        )
    path = _beside(held) if out is None else Path(out)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ConfigError("is no .html", subject=path, hint="name the page so")
    if max_bytes < _LEAST_BYTES:
        raise ConfigError(
            f"is too little for a page: {max_bytes}",
            subject="max_bytes",
            hint=f"at least {_LEAST_BYTES}",
        )
    write_page(
        held, path, ref=ref, tgt=tgt, budget=max_bytes, overwrite=overwrite, progress=progress
    )
    if open_page and has_display():
        webbrowser.open(path.absolute().as_uri())
    return path


def has_display() -> bool:
    """Whether a browser with a window can be opened here."""
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _beside(result: Registration | Path) -> Path:
    if isinstance(result, Registration):
        return Path("view.html")
    return result / "view.html" if result.is_dir() else result.with_name(f"{result.stem}_view.html")
