from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.retrieval.decision import (
    Decision,
    decision_for,
    decisions_path,
    fit,
    in_words,
    read_decisions,
    write_decisions,
)

EXAMPLE = Decision(
    "same", "m", "1" * 64, ("x", "y"), ((-1, 1), (0, 2)), (2.0, -1.0), 0.5, 0.6, {"source": "made"}
)


@pytest.fixture
def pairs() -> tuple[NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Two figures, the second of no use; forty places of five pairs."""
    rng = np.random.default_rng(0)
    labels = rng.random(200) < 0.5
    table = np.column_stack([labels + rng.normal(0, 0.35, 200), rng.normal(0, 1, 200)])
    return table, labels, [f"p{i // 5}" for i in range(200)]


def test_probabilities_follow_the_weights() -> None:
    assert EXAMPLE.probability({"x": 0.5, "y": 1.0}) == pytest.approx(1 / (1 + np.exp(-0.5)))
    # Beyond the limits nothing changes, and what is unknown counts as the least.
    assert EXAMPLE.probability({"x": 9, "y": 1}) == EXAMPLE.probability({"x": 1, "y": 1})
    unknown = EXAMPLE.probability({"x": float("nan"), "y": 1})
    assert unknown == EXAMPLE.probability({"x": -1, "y": 1})
    extreme = replace(EXAMPLE, weights=(1e6, 0.0))
    assert extreme.probabilities([[1, 0], [-1, 0]]).tolist() == pytest.approx([1, 0])


def test_a_decision_of_another_version_is_refused() -> None:
    with pytest.raises(InputError, match=r"weighs y, which this version .* fit it again"):
        EXAMPLE.probability({"x": 0.5, "z": 1.0})


def test_a_decision_is_learnt(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_], list[str]],
) -> None:
    table, labels, groups = pairs
    limits = [(-3, 3), (-3, 3)]
    decision, held = fit("same", ("x", "y"), limits, table, labels, groups, model="m", source="s")
    assert decision.weights[0] > 5 * abs(decision.weights[1])
    assert decision.probabilities(table)[labels].mean() > 0.8
    assert held.shape == (200,)
    told = decision.about["held_out"]
    assert told["f1"] == pytest.approx(decision.about["held_out"]["f1"])
    assert 0.85 < told["f1"] <= 1
    assert told["calibration_error"] < 0.1
    assert decision.about["groups"] == 40
    again, _ = fit("same", ("x", "y"), limits, table, labels, groups, model="m", source="s")
    assert again == decision
    strict, _ = fit("same", ("x", "y"), limits, table, labels, groups, least_precision=0.99)
    assert strict.threshold > decision.threshold
    assert strict.about["held_out"]["precision"] >= 0.99


def test_pairs_of_one_place_are_held_out_together() -> None:
    # The figure says which place it is, and nothing more: held out, it cannot help.
    rng = np.random.default_rng(1)
    places = np.repeat(np.arange(20), 4)
    answers = rng.permutation(np.arange(20) % 2 == 0)
    table = np.eye(20)[places]
    _, held = fit(
        "same",
        [str(i) for i in range(20)],
        [(0, 1)] * 20,
        table,
        answers[places],
        [str(p) for p in places],
    )
    assert np.ptp(held) < 0.5


def test_too_few_pairs_are_refused(
    pairs: tuple[NDArray[np.float64], NDArray[np.bool_], list[str]],
) -> None:
    table, labels, groups = pairs
    limits = [(-3, 3), (-3, 3)]
    with pytest.raises(InputError, match="are too few to learn from; give at least 10 of each"):
        fit("same", ("x", "y"), limits, table[:12], labels[:12], groups[:12])
    with pytest.raises(InputError, match="of 1 places"):
        fit("same", ("x", "y"), limits, table, labels, ["one"] * 200)


def test_decisions_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "m.decisions.json"
    other = replace(EXAMPLE, task="duplicates", identity=None, model=None)
    write_decisions(path, [EXAMPLE, other])
    assert read_decisions(path) == [EXAMPLE, other]
    with pytest.raises(OutputError, match="already exists"):
        write_decisions(path, [other])
    assert decisions_path(tmp_path / "m.safetensors") == path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "is no list of stored decisions"),
        ('[{"schema": "x"}]', "its schema is 'x'"),
        ('[{"schema": "imatch.decision/1"}]', "is no stored decision"),
        (
            json.dumps([{**EXAMPLE.to_dict(), "weights": [1]}]),
            "its columns differ in length",
        ),
        (json.dumps([{**EXAMPLE.to_dict(), "weights": [1.0, math.nan]}]), "NaN is not a JSON"),
        (json.dumps([{**EXAMPLE.to_dict(), "offset": math.inf}]), "Infinity is not a JSON"),
        *(
            (json.dumps([item]), "is no stored decision")
            for item in (
                ["x"],
                "text",
                {**EXAMPLE.to_dict(), "features": [[], "y"]},
                {**EXAMPLE.to_dict(), "limits": "wide"},
                {**EXAMPLE.to_dict(), "task": "guess"},
            )
        ),
    ],
)
def test_other_files_are_no_decisions(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "d.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_decisions(path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(InputError, match="No such file"):
        read_decisions(tmp_path / "gone.json")


def test_the_decision_of_the_very_model_comes_first(tmp_path: Path) -> None:
    ours = replace(EXAMPLE, identity="2" * 64, threshold=0.1)
    general = replace(EXAMPLE, identity=None, model=None, threshold=0.2)
    file = tmp_path / "own.json"
    write_decisions(file, [general, ours])
    assert decision_for("same", "2" * 64, file=file) == ours
    assert decision_for("same", "3" * 64, file=file) == general
    with pytest.raises(ConfigError, match="holds no decision 'duplicates' of this model"):
        decision_for("duplicates", None, file=file)
    # Beside a model's file it is found by itself.
    model = tmp_path / "net.safetensors"
    write_decisions(decisions_path(model), [ours])
    assert decision_for("same", "2" * 64, source=model) == ours


@pytest.mark.parametrize(("value", "text"), [(0.005, "0.5 %"), (0.995, "99.5 %"), (0.42, "42 %")])
def test_probabilities_in_words(value: float, text: str) -> None:
    assert in_words(value) == text
