"""``imatch duplicates``: which files are one picture?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from imatch.cli.console import seen
from imatch.cli.logs import Verb, note, note_skipped
from imatch.cli.options.common import (
    PATH,
    files_offline_option,
    format_option,
    output_file_option,
    overwrite_option,
)
from imatch.cli.options.embedder import decision_option

if TYPE_CHECKING:
    from imatch.retrieval.duplicates.find import Duplicates


@click.command(cls=Verb)
@click.argument("where", metavar="FOLDER|PAIRS.csv", type=PATH)
@output_file_option(
    "Where the pairs go, with probability, decision, figures and group.", "FILE.csv"
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Probability from which two are one picture.  [default: as learnt]",
)
@decision_option("A stored decision.  [default: ours]")
@overwrite_option
@format_option
@files_offline_option
def duplicates(
    where: Path,
    *,
    out: Path | None,
    threshold: float | None,
    decision: Path | None,
    overwrite: bool,
    fmt: str,
) -> None:
    """Find near-duplicates among the images of FOLDER, or answer for the pairs of a CSV.

    Two files are one picture if one is the other after a watermark, another size, aspect or frame,
    other colours or contrast, in grey, with an alpha band, or compressed. Another date of the same
    ground is another picture. A CSV names the pairs in columns a and b.

    \b
    imatch duplicates archive/ -o duplicates.csv
    imatch duplicates pairs.csv --format json
    """  # noqa: D301 - click wants the backspace itself.
    import imatch
    from imatch.core.io.files import check_output
    from imatch.core.io.jsontext import to_json
    from imatch.core.redaction import redacted

    if out is not None:
        check_output(out, overwrite=overwrite)
    found = imatch.find_duplicates(where, threshold=threshold, decision=decision, progress=seen())
    note_skipped(found.skipped)
    if out is not None:
        found.save(out, overwrite=overwrite)
        note(f"wrote {out}")
    if fmt == "json":
        click.echo(to_json(found.to_dict()))
    elif where.is_file():
        for pair in found.pairs:
            images = redacted(f"{pair.a}  {pair.b}")
            click.echo(f"{int(pair.duplicate)}  {pair.probability:.3f}  {images}")
    else:
        _show(found)


def _show(found: Duplicates) -> None:
    for number, group in enumerate(found.groups, start=1):
        click.echo(f"{number}  {group[0]}")
        for file in group[1:]:
            best = max(
                (pair.probability for pair in found.pairs if file in (pair.a, pair.b)), default=0.0
            )
            click.echo(f"   {file}  {best:.3f}")
    copies = sum(len(group) - 1 for group in found.groups)
    note(f"{len(found.files)} images, {copies} copies in {len(found.groups)} groups")
