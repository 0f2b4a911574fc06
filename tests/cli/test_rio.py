"""The same verbs as a plug-in of rasterio's command."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from imatch.cli import cli

Pair = tuple[Path, Path]
WriteImage = Callable[..., Path]


@click.group()
@click.option("-v", "--verbose", count=True)
@click.option("-q", "--quiet", count=True)
@click.pass_context
def rio(ctx: click.Context, verbose: int, quiet: int) -> None:
    """Stands in for rasterio's group: the same context object, the same options."""
    ctx.obj = {"verbosity": verbose - quiet, "aws_profile": None, "env": None}


rio.add_command(cli, "imatch")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(rio, [str(item) for item in arguments], prog_name="rio")


def test_the_entry_point_is_declared() -> None:
    found = entry_points(group="rasterio.rio_plugins", name="imatch")
    if not found:
        pytest.skip("imatch is not installed, only on the path")
    assert {point.value for point in found} == {"imatch.cli:cli"}
    assert next(iter(found)).load() is cli


def test_rasterio_s_own_command_offers_it() -> None:
    if not entry_points(group="rasterio.rio_plugins", name="imatch"):
        pytest.skip("imatch is not installed, only on the path")
    from rasterio.rio.main import main_group

    assert isinstance(main_group, click.Group)
    assert main_group.commands["imatch"] is cli
    result = CliRunner().invoke(main_group, ["imatch", "--help"])
    assert result.exit_code == 0
    assert "Register a target image to a reference image." in result.output


def test_help_and_answer(pair: Pair) -> None:
    assert "doctor" in run("imatch", "--help").output
    result = run("imatch", "match", *pair, "-m", "sift", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["status"] == "ok"


def test_exit_codes_hold(pair: Pair, write_image: WriteImage) -> None:
    missing = run("imatch", "match", pair[0], "nowhere.tif", "-m", "sift")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("imatch: error: nowhere.tif: ")
    unknown = run("imatch", "match", *pair, "-m", "sfit")
    assert unknown.exit_code == 2
    assert "did you mean 'sift'?" in unknown.stderr
    blank = write_image("blank.tif", np.full((256, 256), 900, np.uint16))
    assert run("imatch", "match", pair[0], blank, "-m", "sift").exit_code == 3


def test_rio_s_quiet_is_ours(pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert run("-q", "imatch", "match", *pair, "-m", "sift", "-o", path).stderr == ""
    told = run("imatch", "match", *pair, "-m", "sift", "-o", path, "--overwrite").stderr
    assert told == f"wrote {path}\n"
