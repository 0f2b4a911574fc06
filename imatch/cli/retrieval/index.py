"""``imatch index``: make images findable."""

from __future__ import annotations

from typing import Any

import click

from imatch.cli.console import print_json, seen
from imatch.cli.logs import Verb, note_skipped
from imatch.cli.options.common import format_option
from imatch.cli.options.embedder import bands_option, embedder_options, index_type
from imatch.cli.options.run import chosen_workers, workers_options


@click.command(cls=Verb)
@click.argument("images", nargs=-1, metavar="IMAGES...")
@click.option(
    "-o",
    "--output",
    "index",
    type=index_type,
    required=True,
    metavar="INDEX",
    help="Folder of the index; made, or added to. A path or URL that ends in .lance is a LanceDB"
    " database.",
)
@click.option("--remove", is_flag=True, help="Take IMAGES (files or folders) out of the index.")
@embedder_options
@bands_option
@click.option(
    "--stride",
    type=click.FloatRange(0, 4, min_open=True),
    metavar="SHARE",
    help="From one chip to the next, as a share of a chip.  [default: 0.5]",
)
@click.option(
    "--gsd",
    "gsd_m",
    type=click.FloatRange(0, min_open=True),
    metavar="M",
    help="Metres a pixel of a chip, for images that say how large theirs are.  [default: as each"
    " image has them]",
)
@click.option(
    "--levels",
    type=click.IntRange(1, 10),
    metavar="N",
    help="Sizes of chips, each spanning twice the ground of the one before.  [default: 1]",
)
@click.option(
    "--min-valid",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Least valid ground in a chip.  [default: 0.5]",
)
@click.option(
    "--structure",
    type=click.Choice(["flat", "ivf", "ivfpq"]),
    help="How to search: every vector (flat), or for millions the nearest cells (ivf), compressed"
    " (ivfpq; in a database IVF_RQ).  [default: flat]",
)
@workers_options
@format_option
def index(
    images: tuple[str, ...],
    *,
    index: str,
    remove: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Cut IMAGES (files and folders) into chips and keep what they look like in an INDEX.

    Run it again with more images to add them: those that are there are left, those whose file
    changed are done again, and an interrupted run goes on. The index has footprints.parquet with
    the place of every chip; a database has them in its table of chips.

    \b
    imatch index archive/*.tif -o archive.index
    imatch index new/ -o archive.index --jobs 4
    imatch index new/ -o s3://bucket/archive.lance --structure ivfpq --dask tcp://host:8786
    imatch index --remove archive/old.tif -o archive.index
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.retrieval.index.build import remove_images

    if not images:
        raise click.UsageError("name images or folders of images")
    if remove:
        gone, rows = remove_images(index, images)
        _print_result({"removed": gone, "chips": rows}, f"removed {gone} images, {rows} chips", fmt)
        return
    fetch = not given.pop("offline")
    jobs, dask = chosen_workers(given)
    growth = imatch.build_index(
        images, index, fetch=fetch, jobs=jobs, dask=dask, progress=seen(), **given
    )
    note_skipped(growth.skipped)
    parts = [f"added {growth.added}"]
    parts += [f"replaced {growth.replaced}"] if growth.replaced else []
    parts += [f"unchanged {growth.unchanged}"] if growth.unchanged else []
    parts += [f"skipped {len(growth.skipped)}"] if growth.skipped else []
    text = f"{', '.join(parts)}; {index} holds {growth.images} images, {growth.rows} chips"
    _print_result({"index": index, **growth.to_dict()}, text, fmt)


def _print_result(document: dict[str, object], text: str, fmt: str) -> None:
    if fmt == "json":
        print_json(document)
    else:
        click.echo(text)
