from __future__ import annotations

from pathlib import Path

import pytest

from imatch.benchmark.detectors import DetectorResult
from imatch.benchmark.results import Result
from imatch.core.errors import InputError
from imatch.core.io.tables import Journal, mend, read_rows, write_rows

FULL = Result(
    "a",
    "s",
    "near",
    "snow/clear",
    "sift",
    "ok",
    answer=tuple(i + 0.123456789 for i in range(9)),
    corner_error_px=0.5,
    n_matches=7,
    reason='11 of 30 agree, "more or less"',
)


def test_rows_survive_the_table(tmp_path: Path) -> None:
    rows = [FULL, Result("b", "s", "unrelated", "", "sift", "error", error="x.tif: is empty")]
    write_rows(tmp_path / "r.csv", Result, rows)
    # By text, since NaN differs from itself.
    assert [r.row() for r in read_rows(tmp_path / "r.csv", Result)] == [r.row() for r in rows]
    assert read_rows(tmp_path / "r.csv", Result)[0].answer == pytest.approx(FULL.answer)


def test_the_columns_begin_as_documented() -> None:
    names = ",".join(Result.columns())
    assert names.startswith("case,source,variant,tag,matcher,status,h00,h01,h02,h10,h11,h12,h20,")
    assert "h22,corner_error_px,n_matches,n_inliers,seconds,peak_mb" in names


def test_a_journal_cut_within_a_line_goes_on_after_the_last_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    for times in range(2):
        journal = Journal(path, Result)
        journal.append(FULL)
        journal.append(FULL)
        content = path.read_bytes()
        path.write_bytes(content[:-20])  # Power failed in the last row.
        mend(path)
        assert len(read_rows(path, Result)) == times + 1


def test_a_header_cut_short_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("case,sour")
    mend(path)
    Journal(path, Result)
    assert read_rows(path, Result) == []


def test_another_table_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "r.csv", DetectorResult, [DetectorResult("a", "s", "near", "", "sift")])
    with pytest.raises(InputError, match="is no table of results of this version"):
        read_rows(tmp_path / "r.csv", Result)


@pytest.mark.parametrize(
    ("status", "variant", "error", "score", "false"),
    [
        ("ok", "near", 0.5, 0.5, False),
        ("ok", "near", 10.5, 10.5, True),
        ("ok", "unrelated", float("nan"), float("inf"), True),
        ("uncertain", "near", float("nan"), float("inf"), False),
        ("failed", "unrelated", float("nan"), float("inf"), False),
        ("error", "near", float("nan"), float("inf"), False),
    ],
)
def test_what_counts(status: str, variant: str, error: float, score: float, false: bool) -> None:
    row = Result("a", "s", variant, "", "m", status, corner_error_px=error)
    assert (row.score_px, row.false_accept) == (score, false)
