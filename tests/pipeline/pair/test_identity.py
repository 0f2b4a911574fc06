from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.benchmark.runner import BenchPlan
from imatch.core.errors import ConfigError
from imatch.matchers.base import Matcher, MatcherOptions
from imatch.matchers.dense.phase import Phase
from imatch.pipeline.batch import worker as batch_worker
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.worker import BatchTask
from imatch.pipeline.pair import registrar as registrars
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.identity import NEUTRAL, settings_of
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import (
    MatcherRegistrar,
    load_registrar,
    refined,
    registrar_key,
    with_settings,
)
from imatch.pipeline.scene.checkpoint import identity_of
from imatch.pipeline.scene.config import SceneConfig
from imatch.raster import open_source

# Two values of each setting; one that is new has to be added here.
_BANDS, _FILE = ((1,), (2, "red")), (Path("a.tif"), Path("b.tif"))
VALUES: dict[str, tuple[Any, ...]] = {
    "matcher": ("sift", "phase"),
    "max_keypoints": (100, 200),
    "size": (512, 640),
    "device": ("auto", "cpu"),
    "seed": (0, 1),
    "model": ("auto", "affine"),
    "threshold_px": (2.0, 3.0),
    "refine": (None, True, False),
    "use_geocoding": (True, False),
    "geocoding_error": ("30m", "3px"),
    "margin": (0.1, 0.2),
    "dem": (None, 300.0, 310.0),
    "gsd_m": (None, 10.0),
    "tolerance": (None, "1px", "2px"),
    "ref_bands": (None, *_BANDS),
    "tgt_bands": (None, *_BANDS),
    "ref_modality": ("auto", "sar"),
    "tgt_modality": ("auto", "map"),
    "ref_nodata": (None, 0.0, 255.0),
    "tgt_nodata": (None, 0.0, 255.0),
    "ref_mask": (None, *_FILE),
    "tgt_mask": (None, *_FILE),
    "ref_product_mask": (None, "auto", "none"),
    "tgt_product_mask": (None, "auto", "none"),
    "points": (((1.0, 2.0, 3.0, 4.0),), *_FILE),
    "points_only": (False, True),
    "weights": ({}, {"net": "a.pt"}, {"net": "b.pt"}),
    "fetch": (False, True),
    "spacing": (None, 20.0),
    "max_points": (None, 100),
    "window": (32, 64),
    "tile": (512, 1024),
    "levels": (None, 1),
    "local": ("auto", "none"),
}
ONE = settings(derandomize=True, max_examples=150, deadline=None)


@st.composite
def changed(draw: st.DrawFn, kind: type[MatchConfig]) -> tuple[str, MatchConfig, MatchConfig]:
    """A setting, and two configurations that differ in it alone."""
    given_values = {name: draw(st.sampled_from(VALUES[name])) for name in kind.model_fields}
    name = draw(st.sampled_from(sorted(kind.model_fields)))
    others = [value for value in VALUES[name] if value != given_values[name]]
    other = {**given_values, name: draw(st.sampled_from(others))}
    return name, kind(**given_values), kind(**other)


def test_every_setting_is_tried() -> None:
    assert set(VALUES) == set(SceneConfig.model_fields)
    assert set(MatchConfig.model_fields) < set(VALUES)


@ONE
@given(changed(SceneConfig))
def test_any_setting_but_the_neutral_ones_makes_another_answer(
    case: tuple[str, MatchConfig, MatchConfig],
) -> None:
    name, one, other = case
    assert (settings_of(one) == settings_of(other)) == (name in NEUTRAL)
    assert json.loads(json.dumps(settings_of(one))) == settings_of(one)


@ONE
@given(changed(MatchConfig))
def test_the_key_of_a_pair_changes_with_any_setting(
    case: tuple[str, MatchConfig, MatchConfig],
) -> None:
    name, one, other = case
    keys = [BatchPair("p", "a", "b", {name: getattr(c, name)}).key for c in (one, other)]
    assert keys[0] != keys[1]


@ONE
@given(changed(MatchConfig))
def test_a_benchmark_is_another_with_any_setting(
    case: tuple[str, MatchConfig, MatchConfig],
) -> None:
    name, one, other = case
    plans = [BenchPlan((), Path(), (config,)).identity() for config in (one, other)]
    assert (plans[0] == plans[1]) == (name in NEUTRAL)


def test_tiles_are_kept_under_settings_files_and_weights(scene: Any) -> None:
    source = open_source(scene("ref.tif").path)
    config = SceneConfig(seed=1)

    def identity(config: SceneConfig = config, **weights: str) -> dict[str, Any]:
        return identity_of(config, (source, source), weights)

    before = identity()
    for name, values in VALUES.items():
        value = next(value for value in values if value != getattr(config, name))
        same = identity(config.model_copy(update={name: value})) == before
        assert same == (name in {*NEUTRAL, "tolerance"}), name
    assert identity(net="00") != before
    path = scene("ref.tif").path
    path.write_bytes(path.read_bytes() + b"more")
    assert identity() != before


@dataclass(frozen=True)
class Made:
    """What a matcher was asked for."""

    name: str
    options: tuple[tuple[str, str], ...]


@ONE
@given(changed(SceneConfig))
def test_solvers_that_share_a_key_are_made_alike(
    case: tuple[str, MatchConfig, MatchConfig],
) -> None:
    def recorded(name: str, **options: Any) -> Matcher:
        made.append(Made(name, tuple((key, repr(value)) for key, value in options.items())))
        return Phase()

    made: list[Made] = []
    _, one, other = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registrars, "load_matcher", recorded)
        loaded = [load_registrar(config) for config in (one, other)]
    refine = [refined(registrar.config) for registrar in loaded]
    if registrar_key(one) == registrar_key(other):
        assert type(loaded[0]) is type(loaded[1])
        assert len(set(made)) <= 1
        assert refine[0] == refine[1]


def test_the_solver_of_a_pair_is_the_one_it_asks_for(tmp_path: Path) -> None:
    """What is loaded for one pair of a table does not answer for another."""
    task = BatchTask(MatchConfig(matcher="sift"), tmp_path)
    for asked in ({"refine": True}, {"max_keypoints": 99}, {"seed": 7}, {"refine": False}):
        config = BatchPair("p", "a", "b", asked).config(task.config)
        registrar, _ = batch_worker._model(task, config)
        assert isinstance(registrar, MatcherRegistrar)
        assert refined(registrar.config) == asked.get("refine", False)
        assert registrar.matcher.options.max_keypoints == asked.get("max_keypoints", 2048)
        assert registrar.matcher.options.seed == asked.get("seed", 0)
        assert registrar.config == config


class TestConfigured:
    @pytest.mark.parametrize(
        "asked",
        [{"seed": 1}, {"max_keypoints": 99}, {"device": "cuda"}, {"matcher": "phase"},
         {"weights": {"a": "b"}}, {"refine": True}],
    )  # fmt: skip
    def test_what_a_loaded_registrar_cannot_do_is_refused(self, asked: dict[str, Any]) -> None:
        registrar = load_registrar(MatchConfig(matcher="sift"))
        (name,) = asked
        with pytest.raises(ConfigError, match=f"{name}: is .* in the loaded registrar"):
            match("a.tif", "b.tif", registrar, **asked)

    def test_what_is_left_open_is_what_it_has(self) -> None:
        config = MatchConfig(matcher="sift", seed=4, max_keypoints=99, refine=True)
        registrar = load_registrar(config)
        other = with_settings(registrar, make_config, size=512)
        assert isinstance(other, MatcherRegistrar)
        assert isinstance(registrar, MatcherRegistrar)
        assert other.matcher is registrar.matcher
        assert other.config == make_config(config, size=512)
        assert registrar.config == config

    def test_of_a_matcher_made_elsewhere_its_options_count(self) -> None:
        made = MatcherRegistrar(Phase(MatcherOptions(seed=4)), MatchConfig(matcher="mine"))
        assert (made.name, made.config.seed) == ("mine", 4)


def test_options_of_matchers_are_all_known_here() -> None:
    """The registrar and the feature cache look at these: one that is new has to be thought of."""
    options = load_registrar(MatchConfig(matcher="phase"))
    assert isinstance(options, MatcherRegistrar)
    names = {field.name for field in fields(options.matcher.options)}
    assert names == {"max_keypoints", "device", "seed", "weights", "fetch", "max_side", "cache"}
    assert replace(options.matcher.options, seed=1) != options.matcher.options
