"""``imatch data``: what networks are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import command_line, print_json, stdout_console
from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    files_offline_option,
    format_option,
    overwrite_option,
    verbosity_options,
)
from imatch.cli.options.values import parse_bands

if TYPE_CHECKING:
    from imatch.datasets.manifest import DatasetManifest

_PATH = click.Path(path_type=Path)


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Prepare, fetch and look at training data."""


def parse_split(
    _ctx: click.Context, _param: click.Parameter, value: str | None
) -> tuple[float, ...] | None:
    """``0.8/0.2``: shares of train and val, and of test where there is a third."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in value.split("/"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not of the form 0.8/0.2") from error


def parse_box(
    _ctx: click.Context, _param: click.Parameter, value: str
) -> tuple[float, float, float, float]:
    """``west,south,east,north`` in degrees."""
    try:
        west, south, east, north = (float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not west,south,east,north") from error
    return west, south, east, north


@data.command(cls=Verb)
@click.argument("images", nargs=-1, type=_PATH)
@click.option("--config", type=_PATH, metavar="FILE", help="Settings and sources, as YAML.")
@click.option(
    "-o", "--output", "out", type=_PATH, required=True, metavar="DIR", help="Folder to write."
)
@click.option("--root", type=_PATH, metavar="DIR", help="Folder that paths of --config start from.")
@click.option(
    "--polygons",
    type=_PATH,
    multiple=True,
    metavar="FILE",
    help="Polygons whose centroids become keypoints, in any CRS; may be repeated.",
)
@click.option("--chip", type=int, metavar="PX", help="Side of a chip.  [default: 256]")
@click.option(
    "--stride", type=int, metavar="PX", help="From one chip to the next.  [default: the chip]"
)
@click.option(
    "--bands", metavar="LIST", callback=parse_bands, help="Bands to keep, as 4,3,2 or B04,B03,B02."
)
@click.option(
    "--min-valid",
    type=float,
    metavar="SHARE",
    help="Least valid ground in a chip.  [default: 0.9]",
)
@click.option(
    "--max-cloud", type=float, metavar="SHARE", help="Most cloud in a chip.  [default: 0.3]"
)
@click.option(
    "--min-texture",
    type=float,
    metavar="SHARE",
    help="Least of a chip that shows anything.  [default: 0.3]",
)
@click.option(
    "--split",
    metavar="SHARES",
    callback=parse_split,
    help="Shares of train and val, as 0.8/0.2, and of test if there are three.",
)
@click.option(
    "--block",
    type=float,
    metavar="CHIPS",
    help="Side of the blocks of ground dealt to the splits.  [default: by the size of a place]",
)
@click.option(
    "--guard",
    type=float,
    metavar="CHIPS",
    help="Least distance between chips of different splits.  [default: 0.25]",
)
@click.option(
    "--max-pairs", type=int, metavar="N", help="Most pairs of dates at a place.  [default: 8]"
)
@click.option("--vertices", is_flag=True, help="Make the polygons' vertices keypoints too.")
@click.option("--corners", is_flag=True, help="Make the polygons' corners keypoints too.")
@click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Worker processes.",
)
@click.option("--resume", is_flag=True, help="Go on where a run into DIR broke off.")
@click.option("--overwrite", is_flag=True, help="Throw away the data set that DIR holds.")
@format_option
@files_offline_option
@verbosity_options
def prepare(
    images: tuple[Path, ...],
    *,
    config: Path | None,
    out: Path,
    polygons: tuple[Path, ...],
    jobs: int,
    resume: bool,
    overwrite: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Cut IMAGES into chips of the same ground at several dates.

    Geocoded images that share ground are put on one grid; polygons become keypoints; pairs of
    dates get their measured residual; the ground is divided into splits by place, with a guard
    distance. An interrupted run goes on with --resume.

    \b
    imatch data prepare 2018/*.jp2 --polygons clearings.geojson -o chips
    imatch data prepare --config experiments/data/shared_train.yaml -o chips
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.datasets.config import load_prepare_config
    from imatch.datasets.prepare.run import prepare as run

    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite contradict each other")
    if not images and config is None:
        raise click.UsageError("name images, or a --config with sources")
    values = {name: value for name, value in given.items() if value not in (None, False)}
    if polygons:
        values["polygons"] = tuple(str(path.absolute()) for path in polygons)
    settings = load_prepare_config(config, values, images=[str(path) for path in images])
    with _staged() as (on_stage, on_progress):
        manifest = run(
            settings,
            out,
            jobs=jobs,
            resume=resume,
            overwrite=overwrite,
            command=command_line(),
            on_stage=on_stage,
            on_progress=on_progress,
        )
    if fmt == "json":
        print_json(dict(manifest.document))
    else:
        _print_counts(manifest)
    _tell(manifest)
    note(f"wrote {out / 'manifest.json'}; look at {out / 'sheet.png'}")


@data.group(cls=SuggestingGroup)
def fetch() -> None:
    """Fetch images to prepare data sets from."""


@fetch.command("kaggle-deforestation", cls=Verb)
@click.option(
    "-o", "--output", "out", type=_PATH, required=True, metavar="DIR", help="Folder to write."
)
@overwrite_option
@verbosity_options
def kaggle_deforestation(*, out: Path, overwrite: bool) -> None:
    """Fetch Sentinel-2 images of two Ukrainian tiles and their polygons of clearings.

    Then: imatch data prepare --config experiments/data/kaggle.yaml --root DIR -o chips
    """
    from imatch.datasets.fetch.kaggle import fetch_kaggle

    images = fetch_kaggle("kaggle-deforestation", out, overwrite=overwrite)
    click.echo(f"{len(images)} images in {out}")


@fetch.command(cls=Verb)
@click.option(
    "--url", required=True, metavar="URL", help="A STAC API, or a static catalogue's JSON."
)
@click.option("--collection", metavar="NAME", help="Collection to search.  [default: all]")
@click.option(
    "--bbox",
    required=True,
    metavar="BOX",
    callback=parse_box,
    help="Ground to fetch, as west,south,east,north in degrees.",
)
@click.option(
    "--dates", required=True, metavar="RANGE", help="As 2018-01-01/2019-12-31, or a year or month."
)
@click.option(
    "--max-cloud",
    type=float,
    default=20.0,
    show_default=True,
    metavar="PERCENT",
    help="Most cloud in an image.",
)
@click.option(
    "--per-season",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    metavar="N",
    help="Images of each quarter of the year, the clearest.",
)
@click.option(
    "--assets",
    metavar="LIST",
    help="Assets to stack into one image, as red,green,blue.  [default: the natural colours]",
)
@click.option(
    "-o", "--output", "out", type=_PATH, required=True, metavar="DIR", help="Folder to write."
)
@overwrite_option
@verbosity_options
def stac(
    *,
    url: str,
    collection: str | None,
    bbox: tuple[float, float, float, float],
    dates: str,
    max_cloud: float,
    per_season: int,
    assets: str | None,
    out: Path,
    overwrite: bool,
) -> None:
    """Fetch a few dates of every season from a SpatioTemporal Asset Catalogue.

    Only the tiles under the box travel. Images that DIR has already are kept.

    \b
    imatch data fetch stac --url https://earth-search.aws.element84.com/v1 \\
        --collection sentinel-2-l2a --bbox 35.2,50.0,35.4,50.15 --dates 2018/2020 -o images
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.datasets.fetch.stac import StacQuery, fetch_stac

    wanted = tuple(name.strip() for name in assets.split(",")) if assets else ()
    query = StacQuery(url, bbox, dates, collection, max_cloud, per_season, wanted)
    with _staged() as (on_stage, on_progress):
        done = fetch_stac(
            query, out, overwrite=overwrite, on_stage=on_stage, on_progress=on_progress
        )
    click.echo(f"{len(done.items)} of {done.found} images in {out}")
    for item in done.skipped:
        note(f"skipped {item.path}: {item.reason}")


@data.command(cls=Verb)
@click.argument("path", metavar="DIR_OR_CONFIG", type=_PATH)
@click.option(
    "-o", "--output", "out", type=_PATH, required=True, metavar="FILE.png", help="Picture to write."
)
@click.option("--split", metavar="NAME", help="Only train, val or test.")
@click.option(
    "--count",
    type=click.IntRange(1, 200),
    default=12,
    show_default=True,
    metavar="N",
    help="Pairs to show, of each split.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the draws.")
@overwrite_option
@verbosity_options
def preview(
    path: Path, *, out: Path, split: str | None, count: int, seed: int, overwrite: bool
) -> None:
    """Draw pairs of a prepared data set, or as a training configuration varies them.

    Changed ground is red, what is not valid blue, keypoints are yellow circles.
    """
    from imatch.core.io.files import atomic_path, check_output
    from imatch.datasets.report import write_sheet
    from imatch.training.preview import preview as pairs

    check_output(out, overwrite=overwrite)
    samples = pairs(path, split=split, count=count, seed=seed)
    with atomic_path(out, overwrite=overwrite) as temporary:
        write_sheet(samples, temporary)
    note(f"wrote {out}")


@contextmanager
def _staged() -> Iterator[tuple[Any, Any]]:
    """Callbacks that show one stage after another, each with a bar of its own."""
    from imatch.core.progress import progress

    with ExitStack() as stack:
        advance: list[Any] = [lambda _step: None]

        def stage(text: str, steps: int) -> None:
            stack.close()
            bar = progress(text, steps or None, enabled=not is_quiet())
            advance[0] = stack.enter_context(bar)

        yield stage, lambda step: advance[0](step)


def _print_counts(manifest: DatasetManifest) -> None:
    from rich.table import Table

    columns = ("sites", "chips", "pairs", "pairs_known", "keypoints")
    table = Table("split", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.replace("_", " "), justify="right")
    for split, row in manifest.document["counts"].items():
        table.add_row(split, *(f"{row[column]:,}" for column in columns))
    with stdout_console() as console:
        console.print(table)


def _tell(manifest: DatasetManifest) -> None:
    """What went otherwise than one might think, a line each."""
    document = manifest.document
    for text in document["notes"]:
        note(text)
    for item in document["skipped"]:
        note(f"skipped {item['path']}: {item['reason']}")
    if document["refused"]:
        reasons = ", ".join(f"{count} {why}" for why, count in document["refused"].items())
        note(f"chips left out: {reasons}")
    if document["alone"]:
        note(f"{document['alone']} chips are without a partner at another date")
    polygons = document["polygons"]
    if polygons["features"]:
        told = ("polygons", "mended", "empty", "dropped", "outside", "undated")
        note(", ".join(f"{polygons[name]} {name}" for name in told if polygons[name]))
