"""``imatch eval embedding``: what frozen embeddings know of the ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.console import seen, show_figures, write_json
from imatch.cli.logs import Verb
from imatch.cli.options.common import PATH, number_option
from imatch.cli.options.embedder import chips_options, figures_options


@click.command(cls=Verb)
@click.argument("chips", type=PATH)
@click.option(
    "--labels",
    "label_map",
    type=PATH,
    required=True,
    metavar="MAP",
    help="Categorical raster, or polygons (GeoJSON, GeoPackage, shapefile).",
)
@click.option("--column", metavar="NAME", help="Column of the polygons that names the class.")
@click.option(
    "--multi", is_flag=True, help="Tell mixtures of classes, instead of the one that dominates."
)
@number_option(
    "--dominance",
    click.FloatRange(0, 1, min_open=True),
    0.6,
    "SHARE",
    "Least share of a chip's ground that its class covers; others are left out.",
)
@click.option(
    "--classifier",
    "classifiers",
    multiple=True,
    metavar="NAME",
    help="knn, svc, forest, mlp or tree; may be repeated.  [default: all]",
)
@number_option(
    "--draws",
    click.IntRange(1, 1000),
    5,
    "N",
    "How often places are divided anew into some to learn from and some to ask about.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the draws.")
@chips_options
@figures_options
def embedding(
    chips: Path,
    *,
    label_map: Path,
    out: Path | None,
    offline: bool,
    overwrite: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Tell what covers the ground of CHIPS (a folder of imatch data prepare) by their embeddings.

    Simple classifiers learn from the embeddings of some places and are asked about others, several
    times; the figures are means with their spread. With one class a chip: accuracy, MAP@R, mAP at 1
    and 10. With --multi: the summed error of the mixture (0 to 2, lower is better), the
    multi-label MAP@R and gSil.

    \b
    imatch eval embedding chips --labels worldcover.tif -e efficientnet-lite0 -e model.safetensors
    imatch eval embedding chips --labels clearings.geojson --multi
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.io.files import check_output
    from imatch.core.io.jsontext import to_json
    from imatch.training.evaluate.embedding import evaluate_embedding

    if out is not None:
        check_output(out, overwrite=overwrite)
    document = evaluate_embedding(chips, label_map, fetch=not offline, progress=seen(), **given)
    write_json(out, document, overwrite=overwrite)
    if fmt == "json":
        click.echo(to_json(document))
        return
    show_figures(
        {
            name: {
                figure: f"{value['mean']:.3f} ± {value['spread']:.3f}"
                for figure, value in result["figures"].items()
            }
            for name, result in document["embedders"].items()
        }
    )
