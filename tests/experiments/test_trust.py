"""The benchmark of trust: its pairs, their truth, and what is counted of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import map_coordinates
from scipy.stats import binom

from experiments.benchmarks.trust import finished, main
from tests.support.pairs.trust.kinds import KINDS, make_pair
from tests.support.pairs.trust.pair import pixel_grid
from tests.support.trust.measure import COLUMNS, Task, measure
from tests.support.trust.report import interval, read_rows, summarise, upper_bound

MADE = [name for name, kind in KINDS.items() if "made" in kind.splits]
NOWHERE = Path("nowhere")


@pytest.mark.parametrize("kind", MADE)
def test_a_seed_makes_one_pair(kind: str) -> None:
    one, two, other = (make_pair(kind, "made", seed, NOWHERE) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.ref.pixels, two.ref.pixels)
    np.testing.assert_array_equal(one.tgt.pixels, two.tgt.pixels)
    assert one.params == two.params != other.params
    assert (one.truth is None) == (KINDS[kind].right == "refuse")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["warped", "bent"])
def test_the_truth_says_where_the_target_shows_the_reference(kind: str, seed: int) -> None:
    pair = make_pair(kind, "made", seed, NOWHERE)
    assert pair.truth is not None
    height, width = pair.tgt.known.shape
    at = pixel_grid((width, height))
    x, y = pair.truth.to_ref(at).T
    ref, tgt = pair.ref.pixels[0].astype(float), pair.tgt.pixels[0].astype(float)
    inside = (x > 2) & (y > 2) & (x < ref.shape[1] - 3) & (y < ref.shape[0] - 3)
    inside &= pair.tgt.known.ravel()
    seen = map_coordinates(ref, [y[inside], x[inside]], order=3)

    def likeness(shift: float) -> float:
        there = map_coordinates(ref, [y[inside], x[inside] + shift], order=3)
        return float(np.corrcoef(there, tgt.ravel()[inside])[0, 1])

    assert np.corrcoef(seen, tgt.ravel()[inside])[0, 1] > max(likeness(-3), likeness(3))
    there = pair.truth.to_tgt(pair.truth.to_ref(at))
    known = np.isfinite(there).all(axis=1)
    assert known.mean() > 0.5
    np.testing.assert_allclose(there[known], at[known], atol=0.01)


def test_bounds_of_rates_are_exact() -> None:
    assert upper_bound(0, 3000) == pytest.approx(1 - 0.05 ** (1 / 3000))
    low, high = interval(7, 50)
    assert binom.cdf(7, 50, high) == pytest.approx(0.025, rel=1e-6)
    assert binom.sf(6, 50, low) == pytest.approx(0.025, rel=1e-6)


def test_a_run_goes_on_and_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(tmp_path), "--split", "made", "--kinds", "warped", "lattices"]
    main([*run, "--pairs", "1", "--matchers", "phase"])
    first = (tmp_path / "pairs.csv").read_text()
    main([*run, "--pairs", "2", "--matchers", "phase"])
    assert (tmp_path / "pairs.csv").read_text().startswith(first)
    # A row that a kill cut is done again.
    with (tmp_path / "pairs.csv").open("a") as file:
        file.write("warped,made,99")
    assert ("warped", "made", 0, "phase") in finished(tmp_path / "pairs.csv")
    main(["report", str(tmp_path)])
    rows = read_rows(tmp_path / "pairs.csv")
    assert len(rows) == 4
    entries = summarise(rows)["entries"]
    assert {e["kind"]: e["pairs"] for e in entries if e["group"] is None} == {
        "warped": 2,
        "lattices": 2,
    }
    assert "| `phase` | made | warped | 2 |" in capsys.readouterr().out
    assert (tmp_path / "risk_coverage.png").stat().st_size > 1000


def test_wrong_is_ok_on_different_ground_or_beyond_the_bound() -> None:
    row = measure(Task("warped", "made", 1, NOWHERE, ("auto",)))[0]
    assert row["wrong"] == 0
    assert row["status"] == "ok"
    assert abs(row["shift_x_px"] - row["truth_x_px"]) < 0.1
    assert row["error_95_px"] < 0.3
    told = {name: str(row.get(name, "")) for name in COLUMNS}
    moved = told | {"seed": "2", "wrong": "1"}
    entry = next(e for e in summarise([told, moved])["entries"] if e["kind"] == "warped")
    assert (entry["pairs"], entry["wrong"], entry["recall"]) == (2, 1, 0.5)
