"""The script that chooses the keypoint stage of `auto` asks and counts as it should."""

from __future__ import annotations

from pathlib import Path

from experiments.auto.ablate import COLUMNS, NONE, Before, after, ask, reached
from experiments.auto.ablate import table as as_table
from imatch.benchmark.cases import read_cases
from imatch.pipeline.pair.auto import Auto


def test_only_cases_that_asked_the_keypoints_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(
        "case,matcher,status,found_by\n"
        "a,auto,ok,near\nb,auto,ok,loftr-s2\nc,auto,failed,wide\nd,sift,failed,sift\n"
    )
    assert reached(path) == {"b", "c"}


def test_the_table_counts_answers_and_mistakes() -> None:
    values = [
        ("a", "s", "near", "k", "ok", "0.5", "near", "1"),
        ("b", "s", "free", "k", "ok", "2.0", "near", "2"),
        ("c", "s", "free", "k", "ok", "40", "near", "3"),
        ("d", "s", "free", "k", "uncertain", "0.1", "near", "4"),
        ("e", "s", "unrelated", "k", "ok", "", "near", "5"),
        ("f", "s", "unrelated", "k", "failed", "", "near", "3"),
    ]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in values]
    assert as_table(rows)[-1] == "| `k` | 4 | 1 | 2 | 2 | 2 | 2 | 3.0 |"


def test_a_case_is_asked_without_and_with_keypoints(table: Path) -> None:
    cases = {case.name: case for case in read_cases(table)}
    before, others = Before(), {"sift": after("sift")}
    right = ask(cases["c2"], table.parent, before, others)
    assert [row["matcher"] for row in right] == [NONE, "sift"]
    assert [row["status"] for row in right] == ["ok", "ok"]
    assert max(float(row["error_px"]) for row in right) < 1
    assert float(right[1]["stage_s"]) > 0
    other = ask(cases["c3"], table.parent, before, others)
    assert all(row["status"] != "ok" for row in other)


def test_the_keypoints_are_those_asked_for() -> None:
    assert after("sift").learnt == ("sift",)
    assert "sift" not in Auto.learnt
