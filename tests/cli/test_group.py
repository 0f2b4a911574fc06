from __future__ import annotations

import sys

import click
from click.testing import CliRunner

from imatch.cli.group import LazyGroup

group = LazyGroup(
    name="group",
    verbs={
        "bench": ("imatch.cli.registration.bench:bench", "Measure."),
        "missing": ("imatch.cli.nowhere:nothing", "Is listed all the same."),
    },
)


def test_verbs_are_listed_without_being_imported() -> None:
    result = CliRunner().invoke(group, ["--help"])
    assert result.exit_code == 0
    lines = [line.split(None, 1) for line in result.output.splitlines()[-2:]]
    assert lines == [["bench", "Measure."], ["missing", "Is listed all the same."]]
    assert "imatch.cli.nowhere" not in sys.modules


def test_a_verb_is_imported_when_used() -> None:
    result = CliRunner().invoke(group, ["bench", "--help"])
    assert result.exit_code == 0
    assert "table of image pairs" in result.output


def test_an_unknown_verb_is_answered_by_the_nearest() -> None:
    result = CliRunner().invoke(group, ["bensh"])
    assert result.exit_code == 2
    assert "did you mean 'bench'?" in result.output


def test_verbs_are_completed_without_being_imported() -> None:
    with click.Context(group) as context:
        words = group.shell_complete(context, "mi")
    assert [(word.value, word.help) for word in words] == [("missing", "Is listed all the same.")]
