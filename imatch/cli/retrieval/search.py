"""``imatch search``: where was this taken?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.console import seen, stdout_console
from imatch.cli.errors import NOT_REGISTERED
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    PATH,
    format_option,
    number_option,
    overwrite_option,
    registration_option,
    settings_option,
)
from imatch.cli.options.embedder import bands_option, embedder_options, index_type
from imatch.cli.options.match import matcher_config, matcher_option
from imatch.cli.options.output import by_suffix
from imatch.retrieval.formats import FORMATS


@click.command(cls=Verb)
@click.argument("index", type=index_type)
@click.argument("query")
@number_option("-k", click.IntRange(1), 10, "N", "Hits to give.")
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
    type=PATH,
    multiple=True,
    metavar="FILE",
    help=f"A file to write; {by_suffix(FORMATS)}",
)
@registration_option("With --verify: write the best hit's registration, as imatch match -o does.")
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
@click.option(
    "--chips",
    is_flag=True,
    help="List several places of one image, too, not of each image the best.",
)
@embedder_options
@bands_option
@overwrite_option
@format_option
def search(
    index: str,
    query: str,
    *,
    check: bool,
    matcher: str | None,
    settings: tuple[str, ...],
    outputs: tuple[Path, ...],
    registration: Path | None,
    device: str,
    offline: bool,
    overwrite: bool,
    fmt: str,
    **given: Any,
) -> None:
    """Find where QUERY, an image, lies among the images of INDEX.

    The query may be smaller or larger than the chips of the index. A .png shows each image with the
    chip that was found framed and, with --verify, the query's outline where it was registered.
    With --verify it exits with 0 if the best hit is certified, 3 if none is.

    \b
    imatch search archive.index unknown.jpg
    imatch search archive.index unknown.jpg --verify -o hits.geojson -o hits.png
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.core.io.jsontext import to_json
    from imatch.export import WriteLog, check_outputs
    from imatch.retrieval.formats import check_result_files
    from imatch.retrieval.results import print_hits

    if given["stand_out"] and given["probes"] is not None:
        raise click.UsageError("--stand-out looks at every chip, and so has no --probes")
    if registration is not None and not check:
        raise click.UsageError("--registration comes of --verify")
    config = matcher_config(matcher, settings, device=device, offline=offline)
    check_result_files(outputs, overwrite=overwrite)
    if registration is not None:
        check_outputs([registration], overwrite=overwrite, inputs=[Path(query)])
    result = imatch.search(index, query, verify=check, config=config, progress=seen(), **given)
    log, found = WriteLog(), result.registration
    for path in outputs:
        with log.attempt(path):
            result.save(path, overwrite=overwrite)
    if registration is not None and found is None:
        log.refused(registration, "no hit was registered")
    elif registration is not None and found is not None:
        with log.attempt(registration):
            found.save(registration, overwrite=overwrite)
    if fmt == "json":
        click.echo(to_json(result.to_dict()))
    else:
        with stdout_console() as console:
            print_hits(result, console)
    for line in log.lines:
        note(line)
    log.check()
    if check and (found is None or found.status != "ok"):
        click.echo("imatch: no hit is certified to show the query's ground", err=True)
        click.get_current_context().exit(NOT_REGISTERED)
