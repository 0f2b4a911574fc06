"""``imatch view``: a page to look at a result."""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.console import seen
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    files_offline_option,
    output_file_option,
    overwrite_option,
)
from imatch.cli.options.values import parse_size


@click.command(cls=Verb)
@click.argument("result", metavar="RESULT", type=PATH)
@output_file_option("The page to write.  [default: beside the result]", "FILE.html")
@click.option("--ref", metavar="FILE", help="The reference of a pair, where it lies elsewhere now.")
@click.option("--tgt", metavar="FILE", help="The target of a pair, likewise.")
@click.option(
    "--max-bytes",
    metavar="SIZE",
    callback=parse_size,
    help="About how large the page may be, as 20MB: it decides how fine the images are."
    "  [default: 5MB]",
)
@click.option(
    "--open/--no-open",
    "open_page",
    default=True,
    show_default=True,
    help="Open it in the browser, where there is a display.",
)
@overwrite_option
@files_offline_option
def view(
    result: Path,
    *,
    out: Path | None,
    ref: str | None,
    tgt: str | None,
    max_bytes: int | None,
    open_page: bool,
    overwrite: bool,
) -> None:
    """Write a page to look at RESULT, and open it.

    RESULT is the .json that match or register wrote, or the folder of batch or stack. The page is
    one file that needs nothing else: both images over each other to swipe, blink, move and zoom,
    the residuals, and the surroundings of every tie point. Strike out wrong ones there and export
    the others for --points. Of a batch it has a table of the pairs, of a stack a slider for the
    dates.

    \b
    imatch view result.json
    imatch view runs/batch -o batch.html --no-open
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.export.viewer.page import PAGE_BYTES

    page = imatch.view(
        result,
        out,
        ref=ref,
        tgt=tgt,
        max_bytes=PAGE_BYTES if max_bytes is None else max_bytes,
        open_page=open_page,
        overwrite=overwrite,
        progress=seen(),
    )
    note(f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)")
