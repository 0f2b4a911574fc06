"""``imatch index``: make images findable."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imatch.cli.console import print_json
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import format_option, verbosity_options
from imatch.cli.options.embedder import bands_option, chosen_embedder, embedder_options

if TYPE_CHECKING:
    from imatch.retrieval.index.build import Growth

# Options that an index keeps: one that exists has its own.
_KEPT = ("stride", "gsd_m", "levels", "min_valid", "band_list", "structure")


@click.command(cls=Verb)
@click.argument("images", nargs=-1, metavar="IMAGES...")
@click.option(
    "-o",
    "--output",
    "index",
    type=click.Path(path_type=Path),
    required=True,
    metavar="INDEX",
    help="Folder of the index; made, or added to.",
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
    " (ivfpq).  [default: flat]",
)
@format_option
@verbosity_options
def index(
    images: tuple[str, ...],
    *,
    index: Path,
    remove: bool,
    embedder: str | None,
    device: str,
    offline: bool,
    bands: tuple[int | str, ...] | None,
    fmt: str,
    **given: object,
) -> None:
    """Cut IMAGES (files and folders) into chips and keep what they look like in an INDEX.

    Run it again with more images to add them: those that are there are left, those whose file
    changed are done again, and an interrupted run goes on. The index has footprints.parquet with
    the place of every chip.

    \b
    imatch index archive/*.tif -o archive.index
    imatch index new/ -o archive.index
    imatch index --remove archive/old.tif -o archive.index
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.progress import progress
    from imatch.retrieval.index.build import add_images, remove_images
    from imatch.retrieval.index.manifest import FILE, IndexManifest, ModelFacts, read_manifest

    if not images:
        raise click.UsageError("name images or folders of images")
    if remove:
        gone, rows = remove_images(index, images)
        _say({"removed": gone, "chips": rows}, f"removed {gone} images, {rows} chips", fmt)
        return
    settings = {name: value for name, value in given.items() if value is not None}
    if bands is not None:
        settings["band_list"] = bands
    kept = read_manifest(index) if (index / FILE).exists() else None
    if kept is not None:
        settings = {name: getattr(kept, name) for name in _KEPT} | settings
    source = embedder if embedder is not None or kept is None else kept.model.source
    loaded = chosen_embedder(source, device=device, offline=offline)
    facts = ModelFacts.of(loaded, source if embedder is not None else None)
    manifest = IndexManifest.model_validate({"model": facts, **settings})
    with ExitStack() as shown:
        advance: list[Callable[[float], None]] = [lambda _step: None]

        def begin(count: int) -> None:
            bar = progress("embedding", count, enabled=not is_quiet())
            advance[0] = shown.enter_context(bar)

        growth = add_images(
            index, images, loaded, manifest, on_start=begin, on_image=lambda step: advance[0](step)
        )
    _tell(growth, index, fmt)


def _tell(growth: Growth, index: Path, fmt: str) -> None:
    for item in growth.skipped:
        note(f"skipped {item.path}: {item.reason}")
    document = {
        "index": str(index),
        "added": growth.added,
        "replaced": growth.replaced,
        "unchanged": growth.unchanged,
        "skipped": [{"path": item.path, "reason": item.reason} for item in growth.skipped],
        "images": growth.images,
        "chips": growth.rows,
    }
    parts = [f"added {growth.added}"]
    parts += [f"replaced {growth.replaced}"] if growth.replaced else []
    parts += [f"unchanged {growth.unchanged}"] if growth.unchanged else []
    parts += [f"skipped {len(growth.skipped)}"] if growth.skipped else []
    text = f"{', '.join(parts)}; {index} holds {growth.images} images, {growth.rows} chips"
    _say(document, text, fmt)


def _say(document: dict[str, object], text: str, fmt: str) -> None:
    if fmt == "json":
        print_json(document)
    else:
        click.echo(text)
