"""``imatch search``: where was this taken?"""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.console import bars, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    format_option,
    overwrite_option,
    settings_option,
    verbosity_options,
)
from imatch.cli.options.embedder import bands_option, embedder_options
from imatch.cli.options.match import matcher_config, matcher_option
from imatch.cli.options.output import by_suffix
from imatch.retrieval.formats import FORMATS


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
@matcher_option("Which matcher verifies; see imatch matchers.  [default: auto]")
@settings_option
@click.option(
    "-o",
    "--output",
    "outputs",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="FILE",
    help=f"A file to write; {by_suffix(FORMATS)}",
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
    from imatch.retrieval.locate import locate_image
    from imatch.retrieval.results import print_hits

    if stand_out and probes is not None:
        raise click.UsageError("--stand-out looks at every chip, and so has no --probes")
    if registration is not None and not check:
        raise click.UsageError("--registration comes of --verify")
    result, log = locate_image(
        index,
        query,
        k,
        verify=check,
        config=matcher_config(matcher, settings, device=device, offline=offline),
        outputs=outputs,
        registration=registration,
        probes=probes,
        stand_out=stand_out,
        embedder=embedder,
        device=device,
        fetch=not offline,
        bands=bands,
        overwrite=overwrite,
        progress=bars(),
    )
    if fmt == "json":
        click.echo(to_json(result.to_dict()))
    else:
        with stdout_console() as console:
            print_hits(result, console)
    for line in log.lines:
        note(line)
    log.check()
    found = result.registration
    if check and (found is None or found.status != "ok"):
        click.echo("imatch: no hit is certified to show the query's ground", err=True)
        click.get_current_context().exit(NOT_REGISTERED)
