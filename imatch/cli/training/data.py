"""``imatch data``: what networks are trained on."""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.console import seen
from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, note, note_skipped
from imatch.cli.options.common import PATH, number_option, overwrite_option
from imatch.cli.options.values import parse_box
from imatch.cli.training.data_prepare import folder_option, prepare


@click.group(cls=SuggestingGroup)
def data() -> None:
    """Prepare, fetch and look at training data."""


data.add_command(prepare)


@data.group(cls=SuggestingGroup)
def fetch() -> None:
    """Fetch images to prepare data sets from."""


@fetch.command("kaggle-deforestation", cls=Verb)
@folder_option
@overwrite_option
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
@number_option("--max-cloud", float, 20.0, "PERCENT", "Most cloud in an image.")
@number_option(
    "--per-season", click.IntRange(1), 2, "N", "Images of each quarter of the year, the clearest."
)
@click.option(
    "--assets",
    metavar="LIST",
    help="Assets to stack into one image, as red,green,blue.  [default: the natural colours]",
)
@folder_option
@overwrite_option
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
    done = fetch_stac(query, out, overwrite=overwrite, progress=seen())
    click.echo(f"{len(done.items)} of {done.found} images in {out}")
    note_skipped(done.skipped)


@data.command(cls=Verb)
@click.argument("path", metavar="DIR_OR_CONFIG", type=PATH)
@click.option(
    "-o", "--output", "out", type=PATH, required=True, metavar="FILE.png", help="Picture to write."
)
@click.option("--split", metavar="NAME", help="Only train, val or test.")
@number_option("--count", click.IntRange(1, 200), 12, "N", "Pairs to show, of each split.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the draws.")
@overwrite_option
def preview(
    path: Path, *, out: Path, split: str | None, count: int, seed: int, overwrite: bool
) -> None:
    """Draw pairs of a prepared data set, or as a training configuration varies them.

    Changed ground is red, what is not valid blue, keypoints are yellow circles.
    """
    from imatch.training.preview import write_preview

    write_preview(path, out, split=split, count=count, seed=seed, overwrite=overwrite)
    note(f"wrote {out}")
