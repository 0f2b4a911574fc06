from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from imatch.benchmark.cases import Case
from imatch.benchmark.results import Result
from imatch.benchmark.runner import BenchPlan, Run
from imatch.benchmark.summary import (
    CLEAR,
    CLOUD,
    FLOOD,
    SNOW,
    SNOW_CLOUD,
    calibration,
    condition,
    false_accept_rate,
    scores,
    summarise,
)
from imatch.benchmark.tables import all_tables
from imatch.pipeline.pair.config import MatchConfig

Make = Callable[..., Result]


def test_scores_by_hand(result: Make) -> None:
    rows = [
        result(error=0.5),
        result(error=2.0),
        result(error=None),
        result(error=30.0),
        result(variant="unrelated"),
    ]
    figures = scores(rows)
    assert figures["n"] == 4
    assert figures["within"] == {"1": 0.25, "3": 0.5, "5": 0.5, "10": 0.5}
    assert figures["auc"]["1"] == pytest.approx(0.5 / 4)
    assert figures["auc"]["10"] == pytest.approx((0.95 + 0.8) / 4)
    assert figures["median_error_px"] == 2.0


def test_what_the_truth_is_not_known_to_is_not_held_against_an_answer(result: Make) -> None:
    rows = [replace(result(error=error), tol_px=4.0) for error in (3.5, 4.5, 10.5)]
    assert scores(rows)["within"] == pytest.approx(
        {"1": 1 / 3, "3": 1 / 3, "5": 2 / 3, "10": 2 / 3}
    )
    assert [row.false_accept for row in rows] == [False, False, True]
    assert not replace(rows[2], tol_px=11.0).false_accept
    stated = result(error=0.1, interval=(0.1, 0.2))
    assert calibration([replace(stated, tol_px=1.0)])["intervals"] == 0
    assert calibration([stated])["intervals"] == 2


def test_false_accepts_are_a_share_of_all_cases(result: Make) -> None:
    rows = [
        result("a", error=10.0),
        result("b", error=11.0),
        result("c", status="ok", variant="unrelated"),
        result("d", variant="unrelated"),
    ]
    found = false_accept_rate(rows)
    assert (found["count"], found["share"]) == (2, 0.5)
    assert (found["positive"], found["unrelated"], found["n_unrelated"]) == (1, 1, 2)
    assert found["cases"] == ["b", "c"]


def test_calibration_counts_ok_rows_with_an_interval(result: Make) -> None:
    rows = [
        result(error=0.1, interval=(0.1, 0.2)),
        result(error=0.3, interval=(-0.3, 0.2)),
        result(error=0.3),
        result(error=None, interval=(0.0, 5.0)),
    ]
    found = calibration(rows)
    assert (found["rows"], found["intervals"]) == (2, 4)
    assert found["observed"] == found["both_axes"] == 0.5
    # Rescaled to 50 % the first holds no more: 0.2 * 0.674 / 1.960 is under 0.1.
    assert [level["observed"] for level in found["levels"] if level["stated"] == 0.5] == [0.0]


@pytest.mark.parametrize(
    ("source", "tag", "expected"),
    [
        ("ua_overview", "clear/clear", CLEAR),
        ("ua_overview", "part_cloud/clear", CLOUD),
        ("ua_overview", "part_cloud/part_cloud", CLOUD),
        ("other", "snow/clear", SNOW),
        ("ua_overview", "snow/part_cloud", SNOW_CLOUD),
        ("ombria", "512", FLOOD),
        ("srif", "", None),
        ("made", "dry/wet", None),
    ],
)
def test_conditions(result: Make, source: str, tag: str, expected: str | None) -> None:
    assert condition(result(source=source, tag=tag)) == expected
    assert condition(result(source=source, tag=tag, variant="unrelated")) is None


def run_of(rows: list[Result], matchers: list[str]) -> tuple[Run, BenchPlan]:
    names = list(dict.fromkeys(row.case for row in rows))
    cases = tuple(Case(n, "made", "near", "", "r", "t", np.eye(3), np.eye(3)) for n in names)
    configs = tuple(MatchConfig(matcher=name) for name in matchers)
    return Run(rows, [], []), BenchPlan(cases, Path(), configs)


def test_the_oracle_is_right_where_any_is(result: Make) -> None:
    rows = [
        result("a", "one", 0.5),
        result("b", "one", 20.0),
        result("c", "one"),
        result("d", "one", variant="unrelated"),
        result("a", "two", 2.0),
        result("b", "two", 0.9),
        result("c", "two", 12.0),
        result("d", "two", status="ok", variant="unrelated"),
    ]
    document = summarise(*run_of(rows, ["one", "two"]))
    assert document["oracle"]["overall"]["n"] == 3
    assert document["oracle"]["overall"]["within"]["1"] == pytest.approx(2 / 3)
    assert document["matchers"]["one"]["overall"]["within"]["1"] == pytest.approx(1 / 3)
    assert document["matchers"]["two"]["false_accepts"]["count"] == 2
    assert [case["case"] for case in document["never_right"]] == ["c"]
    assert document["never_right"][0]["said"] == "one failed, two ok"


def test_groups_of_the_reference_benchmark(result: Make) -> None:
    rows = [
        result("a", error=0.5, source="ombria", tag="256"),
        result("b", error=2.0, source="ombria", variant="free", tag="256"),
        result("c", source="ua_overview", tag="snow/part_cloud"),
        result("d", error=0.2, source="alps_b08", tag=""),
        result("e", error=8.0, source="srif", variant="free", tag=""),
        result("f", source="ombria", variant="unrelated", tag="ombria/srif"),
    ]
    groups = summarise(*run_of(rows, ["m"]))["matchers"]["m"]["groups"]
    assert {title: figures["n"] for title, figures in groups.items()} == {
        "ombria near": 1,
        "ombria free": 1,
        "ua_overview near": 1,
        f"– of these {SNOW_CLOUD}": 1,
        "alps_b08 near + free": 1,
        "Sentinel-2 together": 4,
        "srif free": 1,
        "all positives": 5,
    }
    assert groups["Sentinel-2 together"]["within"] == {"1": 0.5, "3": 0.75, "5": 0.75, "10": 0.75}


def test_a_document_of_nothing_but_refusals_is_still_one(result: Make) -> None:
    rows = [result("a"), result("b", status="error"), result("c", variant="unrelated")]
    document = summarise(*run_of(rows, ["m"]))
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["matchers"]["m"]["status"] == {"ok": 0, "uncertain": 0, "failed": 2, "error": 1}
    tables = all_tables(document)
    assert {len(table.header) for table in tables} != set()
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.header)}, table.title
