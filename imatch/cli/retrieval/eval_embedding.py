"""``imatch eval embedding``: what frozen embeddings know of the ground."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    offline_option,
    overwrite_option,
    verbosity_options,
)
from imatch.cli.options.embedder import DEFAULT_EMBEDDER, chosen_embedder, device_option
from imatch.cli.retrieval.eval_retrieval import (
    crop_option,
    embed_all,
    embedders_option,
    open_chips,
    output_option,
    show_table,
    source_option,
    split_option,
)


@click.command(cls=Verb)
@click.argument("chips", type=click.Path(path_type=Path))
@click.option(
    "--labels",
    "label_map",
    type=click.Path(path_type=Path),
    required=True,
    metavar="MAP",
    help="Categorical raster, or polygons (GeoJSON, GeoPackage, shapefile).",
)
@click.option("--column", metavar="NAME", help="Column of the polygons that names the class.")
@click.option(
    "--multi", is_flag=True, help="Tell mixtures of classes, instead of the one that dominates."
)
@click.option(
    "--dominance",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.6,
    show_default=True,
    metavar="SHARE",
    help="Least share of a chip's ground that its class covers; others are left out.",
)
@click.option(
    "--classifier",
    "classifiers",
    multiple=True,
    metavar="NAME",
    help="knn, svc, forest, mlp or tree; may be repeated.  [default: all]",
)
@click.option(
    "--draws",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    metavar="N",
    help="How often places are divided anew into some to learn from and some to ask about.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the draws.")
@embedders_option
@split_option
@source_option
@crop_option
@output_option
@device_option
@offline_option
@overwrite_option
@format_option
@verbosity_options
def embedding(
    chips: Path,
    *,
    label_map: Path,
    column: str | None,
    multi: bool,
    dominance: float,
    classifiers: tuple[str, ...],
    draws: int,
    seed: int,
    embedders: tuple[str, ...],
    split: str,
    sources: tuple[str, ...],
    crop: float,
    out: Path | None,
    device: str,
    offline: bool,
    overwrite: bool,
    fmt: str,
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
    import numpy as np

    from imatch.core.errors import ConfigError
    from imatch.core.io.files import atomic_path, check_output
    from imatch.core.io.jsontext import to_json
    from imatch.core.progress import progress
    from imatch.datasets.manifest import load_manifest
    from imatch.retrieval.evaluate.linear_probe import (
        CLASSIFIERS,
        multi_label,
        single_label,
        summary,
    )
    from imatch.training.embedder.config import EmbedderLabelConfig
    from imatch.training.embedder.label_map import LabelMap

    if out is not None:
        check_output(out, overwrite=overwrite)
    manifest = load_manifest(chips)
    ground = LabelMap(EmbedderLabelConfig(path=label_map, column=column))
    chosen = classifiers or CLASSIFIERS
    options: dict[str, Any] = {"classifiers": chosen, "draws": draws, "seed": seed}
    found: dict[str, dict[str, Any]] = {}
    for name in embedders or (DEFAULT_EMBEDDER,):
        loaded = chosen_embedder(name, device=device, offline=offline)
        seen = open_chips(manifest, split, loaded, crop, sources)
        shares = ground.shares(seen.rows)
        known = np.flatnonzero(shares.max(axis=1) >= (1e-6 if multi else dominance))
        if not len(known):
            raise ConfigError(
                "no chip is dominated by one class",
                subject="--dominance",
                hint="lower it, or pass --multi",
            )
        vectors, _ = embed_all(seen, loaded)
        places = seen.layout.place[known]
        steps = len(chosen) * draws
        with progress(f"classifying by {name}", steps, enabled=not is_quiet()) as advance:
            if multi:
                values = multi_label(
                    vectors[known], shares[known], places, on_fit=advance, **options
                )
            else:
                labels = shares[known].argmax(axis=1).astype(np.int64)
                values = single_label(vectors[known], labels, places, on_fit=advance, **options)
        found[name] = {
            "identity": loaded.identity,
            "chips": len(known),
            "figures": summary(values),
            "draws": values,
        }
    document = {
        "chips": str(chips),
        "sha256": manifest.sha256,
        "split": split,
        "sources": list(sources) or None,
        "labels": str(label_map),
        "classes": list(ground.classes),
        "multi": multi,
        "dominance": None if multi else dominance,
        "seed": seed,
        "embedders": found,
    }
    if out is not None:
        with atomic_path(out, overwrite=overwrite) as temporary:
            temporary.write_text(to_json(document) + "\n", encoding="utf-8")
        note(f"wrote {out}")
    if fmt == "json":
        click.echo(to_json(document))
        return
    show_table(
        {
            name: {
                figure: f"{value['mean']:.3f} ± {value['spread']:.3f}"
                for figure, value in told["figures"].items()
            }
            for name, told in found.items()
        }
    )
