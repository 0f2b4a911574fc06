"""What options offer, held against the library whose import would slow the help."""

from __future__ import annotations

from typing import Any, get_args

import click
import pytest

from imatch.cli import cli
from imatch.cli.options.values import RESAMPLINGS
from imatch.geometry.adjustment.equations import JOINT_MODELS
from imatch.pipeline.apply.geotransform import Inexact
from imatch.pipeline.apply.output_grid import GridKind
from imatch.pipeline.apply.raster import Method
from imatch.pipeline.batch.folders import PairBy
from imatch.pipeline.stack.run import Model
from imatch.retrieval.decision import Task
from imatch.retrieval.evaluate.linear_probe import CLASSIFIERS
from imatch.retrieval.formats import FORMATS
from imatch.retrieval.index.manifest import Structure


def parameter(command: str, name: str) -> click.Option:
    """An option of a verb."""
    found: click.Command | None = cli
    for verb in command.split():
        assert isinstance(found, click.Group)
        found = found.get_command(click.Context(found), verb)
    assert found is not None
    option = next(param for param in found.params if param.name == name)
    assert isinstance(option, click.Option)
    return option


@pytest.mark.parametrize(
    ("command", "name", "literal"),
    [
        ("apply", "grid", GridKind),
        ("apply", "inexact", Inexact),
        ("batch", "pair_by", PairBy),
        ("stack", "joint", Model),
        ("index", "structure", Structure),
        ("eval pairs", "task", Task),
    ],
)
def test_choices_are_those_of_the_library(command: str, name: str, literal: Any) -> None:
    choice = parameter(command, name).type
    assert isinstance(choice, click.Choice)
    assert set(choice.choices) == set(get_args(literal))


def test_a_stack_offers_the_families_of_an_adjustment() -> None:
    assert set(get_args(Model)) == {"auto", *JOINT_MODELS}


def test_resamplings_are_those_of_the_library() -> None:
    names = {name for part in get_args(Method) for name in get_args(part) or (part,)}
    assert set(RESAMPLINGS) == names
    text = parameter("apply", "resampling").help or ""
    assert all(name in text for name in names)


def test_the_help_names_every_classifier_and_format() -> None:
    classifiers = parameter("eval embedding", "classifiers").help or ""
    assert all(name in classifiers for name in CLASSIFIERS)
    outputs = parameter("search", "outputs").help or ""
    assert outputs.endswith(" ".join(FORMATS))
