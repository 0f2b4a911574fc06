"""``imatch search``: where was this taken?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imatch.cli.console import stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    overwrite_option,
    settings_option,
    verbosity_options,
)
from imatch.cli.options.embedder import bands_option, chosen_embedder, embedder_options
from imatch.cli.options.values import complete_matcher, known_matcher

if TYPE_CHECKING:
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.raster import Source
    from imatch.retrieval.results import SearchResult
    from imatch.retrieval.search import Hit


@click.command(cls=Verb)
@click.argument("index", type=click.Path(path_type=Path))
@click.argument("query")
@click.option(
    "-k", type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Hits to give."
)
@click.option(
    "--verify",
    "check",
    is_flag=True,
    help="Match the query with each hit and rank by what the matcher certifies.",
)
@click.option(
    "-m",
    "--matcher",
    metavar="NAME",
    callback=known_matcher,
    shell_complete=complete_matcher,
    help="Which matcher verifies; see imatch matchers.  [default: auto]",
)
@settings_option
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help="A file to write; may be repeated. The suffix is the format: .json .geojson .csv .png",
)
@click.option(
    "--registration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --verify: write the best hit's registration, as imatch match -o does.",
)
@click.option(
    "--probes",
    type=click.IntRange(1),
    metavar="N",
    help="Cells to look into, where the index has a structure.  [default: one in 6]",
)
@click.option(
    "--stand-out",
    is_flag=True,
    help="Rank by how far a chip stands out among those of its own image: for few large images at"
    " several dates, of which one may be under snow.",
)
@embedder_options
@bands_option
@overwrite_option
@format_option
@verbosity_options
def search(
    index: Path,
    query: str,
    *,
    k: int,
    check: bool,
    matcher: str | None,
    settings: tuple[str, ...],
    outputs: tuple[Path, ...],
    registration: Path | None,
    probes: int | None,
    stand_out: bool,
    embedder: str | None,
    device: str,
    offline: bool,
    bands: tuple[int | str, ...] | None,
    overwrite: bool,
    fmt: str,
) -> None:
    """Find where QUERY, an image, lies among the images of INDEX.

    The query may be smaller or larger than the chips of the index. With --verify it exits with 0 if
    the best hit is certified, 3 if none is.

    \b
    imatch search archive.index unknown.jpg
    imatch search archive.index unknown.jpg --verify -o hits.geojson -o hits.png
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.io.jsontext import to_json
    from imatch.export import check_outputs
    from imatch.export import write as write_registration
    from imatch.pipeline.pair.config import load_config, make_config
    from imatch.raster import open_source
    from imatch.retrieval.index.manifest import read_manifest
    from imatch.retrieval.results import SearchResult, check_answers, write_answer
    from imatch.retrieval.search import Finder

    if stand_out and probes is not None:
        raise click.UsageError("--stand-out looks at every chip, and so has no --probes")
    if registration is not None and not check:
        raise click.UsageError("--registration comes of --verify")
    check_answers(outputs, overwrite=overwrite)
    if registration is not None:
        check_outputs([registration], overwrite=overwrite, inputs=[Path(query)])
    manifest = read_manifest(index)
    config = load_config(None, settings)
    wanted = bands or config.tgt_bands or manifest.band_list
    # The query is the target of what is matched when hits are verified.
    source = open_source(query, bands=wanted, nodata=config.tgt_nodata, mask=config.tgt_mask)
    config = make_config(config, tgt_bands=wanted)
    name = manifest.model.source if embedder is None else embedder
    loaded = chosen_embedder(name, device=device, offline=offline)
    hits = Finder(index, loaded, probes=probes).search(source, k, stand_out=stand_out)
    if check:
        hits = _verified(source, hits, manifest.band_list, matcher, config, device, offline)
    answer = SearchResult(query, index, manifest, hits)
    for path in outputs:
        write_answer(answer, source, path, overwrite=overwrite)
        note(f"wrote {path}")
    if fmt == "json":
        click.echo(to_json(answer.to_dict()))
    else:
        _show(answer)
    found = answer.registration
    if registration is not None:
        if found is None:
            note(f"not written: {registration}: no hit was registered")
        else:
            write_registration(found, registration, overwrite=overwrite)
            note(f"wrote {registration}")
    if check and (found is None or found.status != "ok"):
        click.echo("imatch: no hit is certified to show the query's ground", err=True)
        click.get_current_context().exit(NOT_REGISTERED)


def _verified(
    source: Source,
    hits: list[Hit],
    bands: tuple[int | str, ...] | None,
    matcher: str | None,
    base: MatchConfig,
    device: str,
    offline: bool,
) -> list[Hit]:
    from imatch.cli.options.match import may_fetch
    from imatch.core.progress import progress
    from imatch.pipeline.pair.config import make_config
    from imatch.retrieval.verify import verify

    given = {} if matcher is None else {"matcher": matcher}
    config = make_config(base, **given, device=device, fetch=may_fetch(base, offline=offline))
    with progress("verifying", len(hits), enabled=not is_quiet()) as advance:
        return verify(source, hits, config, bands=bands, on_hit=advance)


def _show(answer: SearchResult) -> None:
    from rich.markup import escape
    from rich.table import Table

    verified = any(hit.verification is not None for hit in answer.hits)
    located = any(hit.footprint is not None for hit in answer.hits)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    table.add_column("similarity", justify="right")
    if verified:
        table.add_column("status")
    table.add_column("image")
    table.add_column("x, y, width, height")
    if located:
        table.add_column("latitude", justify="right")
        table.add_column("longitude", justify="right")
    if verified:
        table.add_column("why")
    colours = {"ok": "green", "uncertain": "yellow", "failed": "red"}
    for hit, row in zip(answer.hits, answer.rows(), strict=True):
        window = ", ".join(row[name] for name in ("left", "top", "width", "height"))
        cells = [row["rank"], row["similarity"]]
        if verified:
            cells.append(f"[{colours[row['status']]}]{row['status']}[/]")
        cells += [escape(Path(row["image"]).name), window]
        if located:
            cells += [row["latitude"], row["longitude"]]
        if verified:
            found = hit.verification
            cells.append("" if found is None else escape(found.reason))
        table.add_row(*cells)
    with stdout_console() as console:
        console.print(table)
