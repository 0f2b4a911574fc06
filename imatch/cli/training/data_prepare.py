"""``imatch data prepare``: from images and polygons to chips, pairs and keypoints."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from imatch.cli.console import command_line, print_json, seen, show_figures
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    check_resume,
    files_offline_option,
    format_option,
    jobs_option,
    output_folder_option,
    setting_option,
)
from imatch.cli.options.values import parse_bands, parse_split
from imatch.datasets.config import PrepareConfig, load_prepare_config

_COUNTED = ("sites", "chips", "pairs", "pairs_known", "keypoints")
setting = partial(setting_option, PrepareConfig)

folder_option = output_folder_option("Folder to write.")


@click.command(cls=Verb)
@click.argument("images", nargs=-1, type=PATH)
@click.option("--config", type=PATH, metavar="FILE", help="Settings and sources, as YAML.")
@folder_option
@click.option("--root", type=PATH, metavar="DIR", help="Folder that paths of --config start from.")
@click.option(
    "--polygons",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="Polygons whose centroids become keypoints, in any CRS; may be repeated.",
)
@setting("chip", metavar="PX", help="Side of a chip.")
@setting("stride", metavar="PX", help="From one chip to the next.", default="the chip")
@click.option(
    "--bands",
    metavar="LIST",
    callback=parse_bands,
    help="Bands to keep, as 4,3,2 or B04,B03,B02.",
)
@setting("min_valid", metavar="SHARE", help="Least valid ground in a chip.")
@setting("max_cloud", metavar="SHARE", help="Most cloud in a chip.")
@setting("min_texture", metavar="SHARE", help="Least of a chip that shows anything.")
@click.option(
    "--split",
    metavar="SHARES",
    callback=parse_split,
    help="Shares of train and val, as 0.8/0.2, and of test if there are three.",
)
@setting(
    "block",
    metavar="CHIPS",
    help="Side of the blocks of ground dealt to the splits.",
    default="by the size of a place",
)
@setting(
    "guard",
    metavar="CHIPS",
    help="Least distance between chips of different splits.",
    default="0.25",
)
@setting("max_pairs", metavar="N", help="Most pairs of dates at a place.")
@click.option("--vertices", is_flag=True, help="Make the polygons' vertices keypoints too.")
@click.option("--corners", is_flag=True, help="Make the polygons' corners keypoints too.")
@setting("seed", metavar="N", help="Seed of everything random.")
@jobs_option()
@click.option("--resume", is_flag=True, help="Go on where a run into DIR broke off.")
@click.option("--overwrite", is_flag=True, help="Throw away the data set that DIR holds.")
@format_option
@files_offline_option
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
    from imatch.datasets.prepare.run import prepare as run

    check_resume(resume=resume, overwrite=overwrite)
    if not images and config is None:
        raise click.UsageError("name images, or a --config with sources")
    values = {name: value for name, value in given.items() if value not in (None, False)}
    if polygons:
        values["polygons"] = tuple(str(path.absolute()) for path in polygons)
    settings = load_prepare_config(config, values, images=[str(path) for path in images])
    manifest = run(
        settings,
        out,
        jobs=jobs,
        resume=resume,
        overwrite=overwrite,
        command=command_line(),
        progress=seen(),
    )
    if fmt == "json":
        print_json(dict(manifest.document))
    else:
        counts = {
            split: {column.replace("_", " "): f"{row[column]:,}" for column in _COUNTED}
            for split, row in manifest.document["counts"].items()
        }
        show_figures(counts, "split", "right")
    for text in manifest.remarks:
        note(text)
    note(f"wrote {out / 'manifest.json'}; look at {out / 'sheet.png'}")
