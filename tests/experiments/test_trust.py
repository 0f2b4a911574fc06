from __future__ import annotations

from pathlib import Path

import pytest

from experiments.benchmarks import trust
from imatch.pipeline.pair.auto import Auto
from tests.support.trust import odds
from tests.support.trust.measure import Task
from tests.support.trust.report import interval, read_rows, summarise, tables, upper_bound


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of SIFT on four made pairs."""
    out: Path = tmp_path_factory.mktemp("trust")
    run(out, 2)
    return out


def run(out: Path, pairs: int) -> None:
    kinds = ["lattices", "small"]
    asked = ["run", str(out), "--split", "made", "--pairs", str(pairs), "--matchers", "sift"]
    trust.main([*asked, "--kinds", *kinds])


def test_a_run_goes_on_where_a_kill_cut_it(made: Path) -> None:
    table = made / "pairs.csv"
    whole = table.read_bytes()
    assert [(r["kind"], r["seed"]) for r in read_rows(table)] == [
        ("lattices", "0"),
        ("small", "0"),
        ("lattices", "1"),
        ("small", "1"),
    ]
    lines = whole.splitlines(keepends=True)
    table.write_bytes(b"".join(lines[:-1]) + lines[-1][:40])
    run(made, 2)
    again = table.read_bytes().splitlines(keepends=True)
    assert again[:-1] == lines[:-1]
    assert again[-1][:40] == lines[-1][:40]
    run(made, 2)
    assert table.read_bytes().splitlines(keepends=True) == again


def test_a_run_is_reported(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trust.main(["report", str(made)])
    assert capsys.readouterr().out.strip() == (made / "summary.md").read_text().strip()
    assert (made / "risk_coverage.png").read_bytes().startswith(b"\x89PNG")
    assert '"wrong_bound"' in (made / "summary.json").read_text()


# Of none or all of n the interval ends at 1 - 0.025^(1/n) or begins at 0.025^(1/n).
@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [
        (0, 10, 0.0, 1 - 0.025**0.1),
        (7, 7, 0.025 ** (1 / 7), 1.0),
        (4, 20, 0.0573, 0.4366),
        (1, 100, 0.00025, 0.05446),
    ],
)
def test_clopper_and_pearson(count: int, total: int, low: float, high: float) -> None:
    assert interval(count, total) == pytest.approx((low, high), abs=6e-5)


def test_nothing_wrong_of_n_is_at_most_three_of_n() -> None:
    for total in (100, 1000, 10_000):
        assert upper_bound(0, total) == pytest.approx(3 / total, rel=0.02)
    assert upper_bound(5, 5) == 1.0


ROW = {
    "kind": "warped",
    "split": "train",
    "params": "{}",
    "matcher": "auto",
    "status": "ok",
    "wrong": "0",
    "seconds": "1",
    "shift_x_px": "1.0",
    "shift_y_px": "2.0",
    "ci95_x_px": "0.1",
    "ci95_y_px": "0.1",
    "corner_ci95_px": "0.2",
    "truth_x_px": "1.05",
    "truth_y_px": "2.0",
    "truth_sd_px": "0",
    "error_95_px": "0.1",
    "bound_share": "1",
}


def test_counts_by_hand() -> None:
    off = {"shift_y_px": "2.25", "bound_share": "0.9"}
    changes = [{}, off, off | {"truth_sd_px": "0.12"}, {"status": "uncertain"}]
    rows = [ROW | {"seed": str(i)} | change for i, change in enumerate(changes)]
    different = {**ROW, "kind": "mirrored", "wrong": "1", "truth_x_px": "", "seed": "9"}
    told = summarise([*rows, different])["entries"]
    pooled, mirrored, warped = told
    assert (pooled["kind"], pooled["wrong"]) == ("all real different ground", 1)
    assert "intervals" not in mirrored
    assert (warped["pairs"], warped["statuses"]["ok"], warped["recall"]) == (4, 3, 0.75)
    assert warped["intervals"]["x"]["held"] == 1.0
    # 0.25 px off: beyond 0.10 px, within 0.10 and 1.96 times 0.12 px together.
    assert warped["intervals"]["y"]["held"] == pytest.approx(2 / 3)
    assert warped["intervals"]["bound"]["held"] == pytest.approx(1 / 3)
    lines = tables({"wrong_px": 3.0, "entries": told}).splitlines()
    assert "| `auto` | train | mirrored | 1 | 1 | 1 | 100.00% | 100.00% | 1.00 |" in lines
    assert sum(line.startswith("| `auto` | train | warped |") for line in lines) == 2


def test_odds_are_learnt_of_pairs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Networks propose as coarse searches do, and take longer.
    monkeypatch.setattr(Auto, "learnt", ())
    rows = [
        row
        for kind in ("lattices", "small")
        for row in odds.alignments((Task(kind, "made", 1, Path(), ()), Path()))
    ]
    right = [row for row in rows if float(row["error"]) < 3]
    assert {row["kind"] for row in right} == {"small"}
    assert all(float(row["begun"]) >= -30 for row in rows)
    # Other ground takes long to refuse: wrong alignments are these, weakened.
    rows += [row | {"agree": 0.1, "error": 50.0} for row in right]
    odds.weigh([{name: str(value) for name, value in row.items()} for row in rows])
    told = capsys.readouterr().out
    assert f"{len(right)} right and" in told
    assert "begun: the least of" in told
