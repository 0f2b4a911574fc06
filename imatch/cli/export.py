"""``imatch export``: networks for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import PATH, offline_option, overwrite_option
from imatch.cli.options.values import parse_named_files


@click.group(cls=SuggestingGroup)
def export() -> None:
    """Write networks for other programs."""


@export.command(cls=Verb)
@click.argument("name", metavar="superpoint-s2|loftr-s2|aliked")
@click.option(
    "-o", "--output", "out", type=PATH, required=True, metavar="FILE", help="The .onnx file."
)
@click.option(
    "--weights",
    multiple=True,
    metavar="NAME=FILE",
    callback=parse_named_files,
    help="A checkpoint of your own.",
)
@overwrite_option
@offline_option
def onnx(
    name: str, out: Path, weights: dict[str, str] | None, *, overwrite: bool, offline: bool
) -> None:
    """Write the network NAME as an ONNX file for images of any size.

    The file is checked before it appears: ONNX Runtime gives what torch gives, to 1e-4.

    imatch export onnx superpoint-s2 -o superpoint-s2.onnx
    """
    from imatch.matchers.onnx import export_onnx

    differs = export_onnx(name, out, weights=weights, fetch=not offline, overwrite=overwrite)
    note(f"wrote {out}, which differs from torch by {differs:.1g}")
