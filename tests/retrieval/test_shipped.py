from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imatch.retrieval.decision import (
    decision_for,
    decisions_path,
    packaged_decisions,
    write_decisions,
)


@pytest.mark.parametrize("task", ["same", "duplicates"])
def test_what_ships_decides_without_a_model(task: str) -> None:
    decisions = packaged_decisions(task)  # type: ignore[arg-type]
    assert {decision.task for decision in decisions} == {task}
    general = decision_for(task, None)  # type: ignore[arg-type]
    assert general.identity is None
    assert ("evidence" if task == "same" else "most") in general.features
    assert 0 < general.threshold < 1


def test_what_was_learnt_says_of_what() -> None:
    for decision in packaged_decisions("duplicates"):
        assert min(decision.about["positives"], decision.about["negatives"]) >= 100
        assert decision.about["held_out"]["f1"] > 0.95
    for decision in packaged_decisions("same"):
        assert "auto" in decision.about["evidence"]
        if decision.identity is not None:
            assert decision.about["similarity"]["held_out"]["roc_auc"] > 0.5


def test_the_more_a_match_is_sure_the_more_so_is_the_answer() -> None:
    general = decision_for("same", None)
    values = [general.probability({"evidence": value}) for value in (-9.0, -1.0, 0.0, 1.0, 9.0)]
    assert values == sorted(values)
    # What the matcher itself calls certain is the threshold; a refusal leaves a doubt.
    assert values[2] == pytest.approx(general.threshold)
    assert general.probability({"evidence": float("nan")}) == pytest.approx(0.03, abs=0.01)


def test_a_model_without_a_decision_of_its_own_gets_the_general_one(tmp_path: Path) -> None:
    general = decision_for("same", None)
    model = tmp_path / "net.safetensors"
    write_decisions(decisions_path(model), [replace(general, identity="2" * 64)])
    assert decision_for("same", "3" * 64, source=model) == general
    assert decision_for("same", "2" * 64, source=model).identity == "2" * 64
