"""``imatch eval retrieval``: whether an embedder finds places again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.console import stdout_console
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    offline_option,
    overwrite_option,
    verbosity_options,
)
from imatch.cli.options.embedder import (
    DEFAULT_EMBEDDER,
    chosen_embedder,
    complete_embedder,
    device_option,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from imatch.retrieval.embedders import Embedder
    from imatch.training.embedder.chips import PlaceChips

embedders_option = click.option(
    "-e",
    "--embedder",
    "embedders",
    multiple=True,
    metavar="NAME",
    shell_complete=complete_embedder,
    help="An embedder by name, or a file that imatch train embedder --export wrote; may be"
    f" repeated.  [default: {DEFAULT_EMBEDDER}]",
)
split_option = click.option(
    "--split", default="val", show_default=True, metavar="NAME", help="Which split: val, test…"
)
source_option = click.option(
    "--source", "sources", multiple=True, metavar="NAME", help="Only this source; may be repeated."
)
crop_option = click.option(
    "--crop",
    type=click.FloatRange(0.3, 1),
    default=0.896,
    show_default=True,
    metavar="SHARE",
    help="What is seen of a chip, from its middle: 224 of 250 px.",
)
output_option = click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Where all figures go.",
)
_SHOWN = ("top_1", "top_5", "top_10", "top_20", "recall_5", "map", "map_5", "map_r")


@click.command(cls=Verb)
@click.argument("chips", type=click.Path(path_type=Path))
@embedders_option
@split_option
@source_option
@crop_option
@click.option(
    "--between",
    nargs=2,
    metavar="A B",
    help="Ask with the chips of one season or date for those of another, instead of with every"
    " chip for all others.",
)
@output_option
@device_option
@offline_option
@overwrite_option
@format_option
@verbosity_options
def retrieval(
    chips: Path,
    *,
    embedders: tuple[str, ...],
    split: str,
    sources: tuple[str, ...],
    crop: float,
    between: tuple[str, str] | None,
    out: Path | None,
    device: str,
    offline: bool,
    overwrite: bool,
    fmt: str,
) -> None:
    """Ask with each chip of CHIPS (a folder of imatch data prepare) for others of its place.

    Chips of other places in the same season are what it is to be told from. Figures: accuracy at
    1, 2, 3, 5, 10 and 20, recall, mAP (also at 5, for places with one answer, and at 10) and MAP@R.

    \b
    imatch eval retrieval chips -e efficientnet-lite0 -e model.safetensors
    imatch eval retrieval chips --split test --between dec-feb jun-aug
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.io.files import atomic_path, check_output
    from imatch.core.io.jsontext import to_json
    from imatch.datasets.manifest import load_manifest

    if out is not None:
        check_output(out, overwrite=overwrite)
    manifest = load_manifest(chips)
    found: dict[str, dict[str, Any]] = {}
    for name in embedders or (DEFAULT_EMBEDDER,):
        loaded = chosen_embedder(name, device=device, offline=offline)
        seen = open_chips(manifest, split, loaded, crop, sources)
        vectors, seconds = embed_all(seen, loaded)
        figures = _ranked(vectors, seen, between)
        found[name] = {
            "identity": loaded.identity,
            "dim": loaded.dim,
            "chip_px": loaded.chip_px,
            "chips": len(seen),
            "chips_per_s": len(seen) / max(seconds, 1e-9),
            **figures,
        }
    document = {
        "chips": str(chips),
        "sha256": manifest.sha256,
        "split": split,
        "sources": list(sources) or None,
        "crop": crop,
        "between": between,
        "embedders": found,
    }
    if out is not None:
        with atomic_path(out, overwrite=overwrite) as temporary:
            temporary.write_text(to_json(document) + "\n", encoding="utf-8")
        note(f"wrote {out}")
    if fmt == "json":
        click.echo(to_json(document))
    else:
        show_table({name: {key: told[key] for key in _SHOWN} for name, told in found.items()})


def open_chips(
    data: Any, split: str, embedder: Embedder, crop: float, sources: tuple[str, ...]
) -> PlaceChips:
    """The chips of a split as an embedder wants them.

    Args:
        data: Folder or manifest.
        split: Which split.
        embedder: Whose bands and size.
        crop: Share of a chip that is seen.
        sources: Only these; all where empty.

    Raises:
        InputError: The folder holds no data set.
        ConfigError: The split or a source does not exist.
    """
    from imatch.training.embedder.chips import PlaceChips

    return PlaceChips(
        data,
        split,
        bands=embedder.bands,
        size=embedder.chip_px,
        crop=crop,
        sources=sources or None,
        cache_mb=1,
    )


def embed_all(chips: PlaceChips, embedder: Embedder) -> tuple[NDArray[np.float32], float]:
    """(N, dim) embeddings of the middles of chips, and the seconds that embedding alone took."""
    import time

    import numpy as np

    from imatch.core.progress import progress

    found, seconds = [], 0.0
    with progress(f"embedding by {embedder.name}", len(chips), enabled=not is_quiet()) as advance:
        for start in range(0, len(chips), 32):
            few = [chips.read(i) for i in range(start, min(start + 32, len(chips)))]
            pixels, valid = (np.stack(part) for part in zip(*few, strict=True))
            began = time.perf_counter()
            found.append(embedder.embed(pixels, valid))
            seconds += time.perf_counter() - began
            advance(len(few))
    return np.concatenate(found), seconds


def show_table(rows: Mapping[str, Mapping[str, str | float | None]]) -> None:
    """A row an embedder, a column a figure."""
    from rich.table import Table

    names = list(next(iter(rows.values())))
    table = Table("embedder", *names, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name, told in rows.items():
        cells = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in told.values()]
        table.add_row(name, *cells)
    with stdout_console() as console:
        console.print(table)


def _ranked(
    vectors: NDArray[np.float32], chips: PlaceChips, between: tuple[str, str] | None
) -> dict[str, float]:
    """Figures of every chip among all others, or of one season or date among another."""
    import numpy as np

    from imatch.core.errors import InputError
    from imatch.retrieval.evaluate.metrics import figures, rank

    place = chips.layout.place
    if between is None:
        told = figures(rank(vectors, vectors, place, place, themselves=np.arange(len(place))))
    else:
        asked, kept = (
            np.array([when in (row.season, row.date) for row in chips.rows]) for when in between
        )
        for when, some in zip(between, (asked, kept), strict=True):
            if not some.any():
                known = sorted({row.season for row in chips.rows})
                raise InputError(
                    "no chip is of that season or date",
                    subject=when,
                    hint=f"seasons here: {', '.join(known)}",
                )
        told = figures(rank(vectors[asked], vectors[kept], place[asked], place[kept]))
    if not told["queries"]:
        raise InputError(
            "no place was seen twice", subject=chips.manifest.folder, hint="prepare more dates"
        )
    return told
