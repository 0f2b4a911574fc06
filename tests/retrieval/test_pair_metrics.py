from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import InputError
from imatch.retrieval.pair_metrics import best_threshold, measure
from imatch.retrieval.pair_table import ImagePair, read_pairs

LABELS = [True, True, True, False, True, False, False, False]
SCORES = [0.95, 0.9, 0.8, 0.7, 0.6, 0.3, 0.2, 0.1]


def test_figures_by_hand() -> None:
    told = measure(LABELS, SCORES, 0.65)
    assert (told.count, told.positives) == (8, 4)
    assert (told.precision, told.recall, told.f1) == (0.75, 0.75, 0.75)
    assert told.false_positive_rate == 0.25
    # Precision at each true one: 1, 1, 1 and 4/5.
    assert told.average_precision == pytest.approx((1 + 1 + 1 + 0.8) / 4)
    # Of the sixteen pairs of a true and an untrue one, one is in the wrong order.
    assert told.roc_auc == pytest.approx(15 / 16)
    assert told.brier == pytest.approx(np.mean((np.array(SCORES) - LABELS) ** 2))
    assert len(told.reliability) == 8
    assert told.curve[0] == (1.0, 0.25, 0.95)
    assert told.curve[-1][1] == 1.0
    assert "curve" not in told.to_dict(curves=False)


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    told = measure(LABELS, np.array(SCORES) * 10, 6.5)
    assert (told.brier, told.calibration_error, told.reliability) == (None, None, ())
    assert told.f1 == 0.75


def test_honest_probabilities_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    said = rng.random(20_000)
    true = rng.random(20_000) < said
    good, bad = measure(true, said, 0.5), measure(true, said**3, 0.5)
    assert good.calibration_error is not None
    assert bad.calibration_error is not None
    assert good.calibration_error < 0.02 < 0.2 < bad.calibration_error


def test_the_best_threshold_is_midway() -> None:
    # Four hits of five.
    assert best_threshold(LABELS, SCORES) == pytest.approx(0.45)
    assert best_threshold(LABELS, SCORES, least_precision=1.0) == pytest.approx(0.75)
    assert best_threshold([True, False], [1.0, 0.0]) == 0.5
    # Equal scores are not told apart.
    assert best_threshold([True, True, False], [0.5, 0.5, 0.5]) == 0.5
    # Where no threshold is as precise as asked, the best F1 serves.
    assert best_threshold([False, True], [0.9, 0.1], least_precision=0.9) == 0.1


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([True, True], [0.1, 0.2], "all 2 pairs are yes; give pairs of both kinds"),
        ([False], [0.1], "all 1 pairs are no"),
        ([True, False], [0.1, float("nan")], "a score is not finite"),
        ([True, False], [0.1], "answers for"),
    ],
)
def test_what_cannot_be_measured(labels: list[bool], scores: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        measure(labels, scores, 0.5)


def test_tables_of_pairs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("A,b,Label,group\nx.png,sub/y.png,1,here\nx.png,/vsimem/z.tif,no,there\n")
    assert read_pairs(path) == [
        ImagePair(str(tmp_path / "x.png"), str(tmp_path / "sub/y.png"), True, "here"),
        ImagePair(str(tmp_path / "x.png"), "/vsimem/z.tif", False, "there"),
    ]
    path.write_text("reference,target\nx.png,y.png\n")
    assert read_pairs(path)[0].label is None
    assert read_pairs(path)[0].group == str(tmp_path / "x.png")
    path.write_text("label,score\n1,0.5\n0,0.25\n")
    assert [(pair.label, pair.score, pair.a) for pair in read_pairs(path)] == [
        (True, 0.5, ""),
        (False, 0.25, ""),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no pairs"),
        ("a,b\n", "holds no pairs"),
        ("one,two\nx,y\n", "has the columns one, two; name the images in columns a and b"),
        ("a,b\nx,\n", "a pair lacks an image"),
        ("a,b,label\nx,y,maybe\n", "line 2: 'maybe' is no answer"),
        ("a,b,score\nx,y,much\n", "line 2: 'much' is no number"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_pairs(path)


def test_a_picture_is_no_table(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(InputError, match="is no CSV"):
        read_pairs(path)
    with pytest.raises(InputError, match="No such file"):
        read_pairs(tmp_path / "gone.csv")
