"""Whatever the command line can do, a function can."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest

import imatch
from imatch.cli import cli
from imatch.pipeline.pair.config import MatchConfig, MatchOptions
from imatch.pipeline.scene.config import SceneConfig, SceneOptions

MATCHING = {
    "bands": "pipeline.pair.config:MatchConfig.ref_bands",
    "modality": "pipeline.pair.config:MatchConfig.ref_modality",
    "nodata": "pipeline.pair.config:MatchConfig.ref_nodata",
    "product_mask": "pipeline.pair.config:MatchConfig.ref_product_mask",
    "no_geocoding": "pipeline.pair.config:MatchConfig.use_geocoding",
    "offline": "pipeline.pair.config:MatchConfig.fetch",
    "config_file": "pipeline.pair.config:load_config",
    "settings": "pipeline.pair.config:load_config",
}
PRINTING = {"fmt": "pipeline.registration.result:Registration.to_dict"}
DRAWING = {"plot": "pipeline.registration.result:Registration.plot"}
CACHE = dict.fromkeys(
    ("cache_folder", "cache_size", "no_cache"), "matchers.feature_cache:open_cache"
)
SAVING = {
    "outputs": "pipeline.registration.result:Registration.save",
    "overwrite": "pipeline.registration.result:Registration.save",
}
#: Verb -> the function it calls, and what stands for those of its options that are no arguments of
#: that function: another argument, or something else of the library.
VERBS: dict[str, tuple[str, dict[str, str]]] = {
    "match": ("imatch:match", {**MATCHING, **PRINTING, **DRAWING, **SAVING}),
    "register": ("imatch:register", {**MATCHING, **PRINTING, **DRAWING}),
    "stack": (
        "imatch:stack",
        {**MATCHING, **CACHE, "fmt": "pipeline.stack.result:Stack.to_dict"},
    ),
    "apply": (
        "imatch:apply",
        {"result": "registration", "folder": "out", "offline": "core.io.offline:offline"},
    ),
    "view": ("imatch:view", {"offline": "core.io.offline:offline"}),
    "batch": (
        "imatch:batch",
        {
            **MATCHING,
            **CACHE,
            "source": "pairs",
            "whole": "register",
            "fmt": "pipeline.batch.run:BatchRun.summary",
        },
    ),
    "index": (
        "imatch:build_index",
        {
            "index": "out",
            "remove": "retrieval.index.build:remove_images",
            "offline": "fetch",
            "fmt": "retrieval.index.build:Growth.to_dict",
        },
    ),
    "search": (
        "imatch:search",
        {
            **MATCHING,
            "check": "verify",
            "outputs": "retrieval.results:SearchResult.save",
            "overwrite": "retrieval.results:SearchResult.save",
            "registration": "retrieval.results:SearchResult.registration",
            "fmt": "retrieval.results:SearchResult.to_dict",
        },
    ),
    "same": (
        "imatch:same_ground",
        {
            **MATCHING,
            "registration": "retrieval.same:SameGround.registration",
            "overwrite": "pipeline.registration.result:Registration.save",
            "fmt": "retrieval.same:SameGround.to_dict",
        },
    ),
    "duplicates": (
        "imatch:find_duplicates",
        {
            "out": "retrieval.duplicates.find:Duplicates.save",
            "overwrite": "retrieval.duplicates.find:Duplicates.save",
            "fmt": "retrieval.duplicates.find:Duplicates.to_dict",
            "offline": "core.io.offline:offline",
        },
    ),
    "bench": ("imatch:bench", {**MATCHING, "fmt": "benchmark.runner:Run.summary"}),
    "data prepare": (
        "imatch.datasets.prepare.run:prepare",
        {
            **dict.fromkeys(
                ("images", "root", "polygons", "bands"), "datasets.config:load_prepare_config"
            ),
            "fmt": "datasets.manifest:DatasetManifest.document",
            "offline": "core.io.offline:offline",
        },
    ),
    "data fetch kaggle-deforestation": ("imatch.datasets.fetch.kaggle:fetch_kaggle", {}),
    "data fetch stac": ("imatch.datasets.fetch.stac:fetch_stac", {}),
    "data preview": ("imatch.training.preview:write_preview", {}),
    "train": (
        "imatch.training.registry:train",
        {
            "overfit_batch": "overfit",
            "device": "settings",
            "export": "training.registry:TrainerRow.load_export",
            "overwrite": "training.registry:TrainerRow.load_export",
            "listing": "training.registry:TRAINERS",
            "template": "core.settings:template",
            "offline": "core.io.offline:offline",
        },
    ),
    "eval pairs": (
        "imatch.retrieval.evaluate.score_pairs:evaluate_pairs",
        {
            "store": "fit",
            "matcher": "config",
            "settings": "config",
            "offline": "fetch",
            "out": "core.io.jsontext:to_json",
            "fmt": "retrieval.evaluate.score_pairs:PairEvaluation.to_dict",
        },
    ),
    "eval retrieval": (
        "imatch.training.evaluate.retrieval:evaluate_retrieval",
        {
            "offline": "fetch",
            **dict.fromkeys(("out", "overwrite", "fmt"), "core.io.jsontext:to_json"),
        },
    ),
    "eval embedding": (
        "imatch.training.evaluate.embedding:evaluate_embedding",
        {
            "label_map": "labels",
            "offline": "fetch",
            **dict.fromkeys(("out", "overwrite", "fmt"), "core.io.jsontext:to_json"),
        },
    ),
    "matchers": ("imatch.matchers.weights:list_matchers", {"fmt": "core.io.jsontext:to_json"}),
    "weights list": ("imatch.matchers.weights:list_weights", {"fmt": "core.io.jsontext:to_json"}),
    "weights fetch": ("imatch.matchers.weights:fetch_all", {}),
    "weights path": ("imatch.models.weights:require_weights", {}),
    "export onnx": ("imatch.matchers.onnx:export_onnx", {"offline": "fetch"}),
    "qgis install": ("imatch.qgis.install:install_plugin", {}),
    "qgis package": ("imatch.qgis.install:package_plugin", {}),
    "doctor": ("imatch.health:examine", {"fmt": "health:Report.to_dict"}),
    # It writes for the shell that types the verbs, which a program does not need.
    "completion": (
        "click.shell_completion:get_completion_class",
        {"shell": "cli.completion:completion"},
    ),
}
#: Fields of a settings object, which a verb has as options, by the argument that takes it.
FIELDS = {
    "data prepare": ("config", "imatch.datasets.config:PrepareConfig"),
    "data fetch stac": ("query", "imatch.datasets.fetch.stac:StacQuery"),
}
EVERYWHERE = {"verbose", "quiet", "debug"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every verb that does something, by its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(cli))


def found(target: str) -> Any:
    """What ``module:name.attribute`` points at; a field of a class counts as there."""
    module, _, names = target.partition(":")
    value: Any = import_module(module)
    for name in names.split("."):
        value = fields(value)[name] if name in fields(value) else getattr(value, name)
    return value


def fields(kind: Any) -> dict[str, Any]:
    """Fields of a dataclass or of a model."""
    return {**getattr(kind, "__dataclass_fields__", {}), **getattr(kind, "model_fields", {})}


def arguments(function: Callable[..., Any]) -> set[str]:
    """What a function takes, the members of typed keyword options among it."""
    parameters = inspect.signature(function).parameters
    taken = set(parameters)
    for name, parameter in parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            options = found(f"{function.__module__}:{parameter.annotation[7:-1]}")
            taken = (taken - {name}) | set(options.__annotations__)
    return taken


def test_every_verb_has_a_function() -> None:
    assert set(VERBS) == set(COMMANDS)


@pytest.mark.parametrize("verb", VERBS)
def test_a_function_takes_what_its_verb_takes(verb: str) -> None:
    target, elsewhere = VERBS[verb]
    function = found(target)
    taken = arguments(function)
    if verb in FIELDS:
        argument, kind = FIELDS[verb]
        assert argument in taken
        taken |= set(fields(found(kind)))
    options = {param.name for param in COMMANDS[verb].params} - EVERYWHERE
    for name in options - taken:
        assert name in elsewhere, f"{target} has nothing for {name}"
        stand_in = elsewhere[name]
        assert stand_in in taken or found(f"imatch.{stand_in}") is not None


@pytest.mark.parametrize("verb", sorted(set(VERBS) - {"completion"}))
def test_a_verb_calls_its_function(verb: str) -> None:
    module, _, name = VERBS[verb][0].partition(":")
    callback = COMMANDS[verb].callback
    assert callback is not None
    source = inspect.getsource(inspect.unwrap(callback))
    assert f"imatch.{name}(" in source if module == "imatch" else f"from {module} import" in source


@pytest.mark.parametrize("name", [n for n in imatch.__all__ if n[0].islower()])
def test_options_are_named(name: str) -> None:
    """After the third argument nobody remembers an order."""
    parameters = list(inspect.signature(getattr(imatch, name)).parameters.values())
    by_place = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert len(by_place) <= 3
    assert all(p.annotation is not p.empty for p in parameters)


@pytest.mark.parametrize("name", imatch.__all__)
def test_no_module_hides_a_function(name: str) -> None:
    """Importing ``imatch.x.y`` puts the module ``x`` where a function of that name would be."""
    folder = Path(imatch.__file__).parent
    assert not (folder / name).exists()
    assert not (folder / f"{name}.py").exists()


@pytest.mark.parametrize(
    ("options", "model"), [(MatchOptions, MatchConfig), (SceneOptions, SceneConfig)]
)
def test_keyword_options_are_the_fields_of_their_settings(options: Any, model: Any) -> None:
    assert set(get_type_hints(options)) == set(model.model_fields)
