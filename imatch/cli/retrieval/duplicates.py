"""``imatch duplicates``: which files are one picture?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    files_offline_option,
    format_option,
    overwrite_option,
    verbosity_options,
)

if TYPE_CHECKING:
    from imatch.retrieval.duplicates.find import Duplicates


@click.command(cls=Verb)
@click.argument("where", metavar="FOLDER|PAIRS.csv", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Where the pairs go, with probability, decision, figures and group.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Probability from which two are one picture.  [default: as learnt]",
)
@click.option(
    "--decision",
    "stored",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A stored decision.  [default: ours]",
)
@overwrite_option
@format_option
@files_offline_option
@verbosity_options
def duplicates(
    where: Path,
    *,
    out: Path | None,
    threshold: float | None,
    stored: Path | None,
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
    from dataclasses import replace

    from imatch.core.io.files import check_output
    from imatch.core.io.jsontext import to_json
    from imatch.core.progress import progress
    from imatch.core.redaction import redacted
    from imatch.retrieval.decision import decision_for
    from imatch.retrieval.duplicates.find import find_duplicates, judge_pairs, write_duplicates
    from imatch.retrieval.evaluate.pair_table import read_pairs
    from imatch.retrieval.index.build import find_images

    if out is not None:
        check_output(out, overwrite=overwrite)
    decision = decision_for("duplicates", None, file=stored)
    if threshold is not None:
        decision = replace(decision, threshold=threshold)
    with ExitStack() as shown:
        advance: list[Callable[[float], None]] = [lambda _step: None]

        def begin(label: str, count: int) -> None:
            shown.close()
            bar = progress(label, count, enabled=not is_quiet())
            advance[0] = shown.enter_context(bar)

        def step(done: float) -> None:
            advance[0](done)

        if where.is_file():
            pairs = [(pair.a, pair.b) for pair in read_pairs(where)]
            begin("reading", len({file for pair in pairs for file in pair}))
            found = judge_pairs(pairs, decision, on_file=step)
        else:
            files = find_images([where]) if where.is_dir() else _missing(where)
            begin("reading", len(files))
            found = find_duplicates(
                files,
                decision,
                on_file=step,
                on_start=lambda count: begin("comparing", count),
                on_pair=step,
            )
    for item in found.skipped:
        note(f"skipped {item.path}: {item.reason}")
    if out is not None:
        write_duplicates(found, out, overwrite=overwrite)
        note(f"wrote {out}")
    if fmt == "json":
        click.echo(to_json(_document(found, decision.threshold)))
    elif where.is_file():
        for pair in found.pairs:
            images = redacted(f"{pair.a}  {pair.b}")
            click.echo(f"{int(pair.duplicate)}  {pair.probability:.3f}  {images}")
    else:
        _show(found)


def _missing(where: Path) -> list[str]:
    from imatch.core.errors import InputError

    raise InputError("does not exist", subject=where, hint="name a folder, or a CSV of pairs")


def _document(found: Duplicates, threshold: float) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "files": len(found.files),
        "compared": found.compared,
        "threshold": threshold,
        "groups": [list(group) for group in found.groups],
        "pairs": [asdict(pair) for pair in found.pairs],
        "skipped": [asdict(item) for item in found.skipped],
    }


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
