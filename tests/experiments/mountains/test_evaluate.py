from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from experiments.mountains.__main__ import main
from experiments.mountains.evaluate import errors, gallery, match_names, match_spacy
from experiments.mountains.gazetteer import gazetteer_names, load_gazetteer, shipped
from experiments.mountains.metrics import by_novelty, overlap, reliability, score, strict
from experiments.mountains.sentences import Sentence
from experiments.mountains.sources import convert, read_news
from experiments.mountains.tagger import Found
from imatch.core.errors import InputError
from tests.experiments.mountains.conftest import words

Spans = list[tuple[int, int]]


def random_spans(rng: np.random.Generator, length: int) -> Spans:
    cuts = sorted(rng.choice(length, 2 * int(rng.integers(0, 3)), replace=False).tolist())
    return list(zip(cuts[::2], cuts[1::2], strict=True))


def test_strict_figures_are_those_of_seqeval() -> None:
    rng = np.random.default_rng(0)
    truth = [random_spans(rng, 12) for _ in range(60)]
    found = [
        [span for span in spans if rng.random() < 0.7] or random_spans(rng, 12) for spans in truth
    ]
    tags = [
        [Sentence(("a",) * 12, tuple(spans)).tags for spans in which] for which in (truth, found)
    ]
    precision, recall, f1, _ = precision_recall_fscore_support(*tags, scheme=IOB2, average="micro")
    ours = score(truth, found, strict, rounds=200)
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx((precision, recall, f1))
    assert ours.low < ours.f1 < ours.high
    assert score(truth, found, overlap).f1 > ours.f1


def test_overlap_counts_what_touches() -> None:
    truth, found = [(0, 3), (5, 6)], [(1, 2), (2, 3), (6, 8)]
    assert strict(truth, found) == (0, 0)
    assert overlap(truth, found) == (2, 1)


def test_nothing_found_scores_zero_and_is_no_error() -> None:
    assert score([[(0, 1)]], [[]]).f1 == 0
    assert score([[]], [[]], rounds=10).names == 0


def test_names_seen_and_unseen_are_told_apart() -> None:
    one = Sentence(("Ben", "Nevis", "and", "Eiger", "or", "Rigi"), ((0, 2), (3, 4)))
    groups = by_novelty([one], [[(0, 2), (5, 6)]], ["ben nevis"])
    assert (groups["seen"].f1, groups["seen"].names) == (1, 1)
    assert (groups["unseen"].recall, groups["unseen"].precision) == (0, 0)
    assert groups["unseen"].found == 1


def test_calibration_compares_what_is_said_with_what_is() -> None:
    one = Sentence(("Eiger",) * 10, tuple((k, k + 1) for k in range(8)))
    found = [[Found((k, k + 1), 0.8) for k in range(10)]]
    figures = reliability([one], found)
    assert figures["ece"] == pytest.approx(0)
    assert figures["bins"] == [{"said": pytest.approx(0.8), "right": 0.8, "count": 10}]
    sure = [[Found((k, k + 1), 1.0) for k in range(10)]]
    assert reliability([one], sure)["ece"] == pytest.approx(0.2)


def test_names_are_looked_up_longest_first_and_with_a_capital() -> None:
    one = Sentence(words("The Mount Kenya Club saw Mt. Fuji , the dom and the alps ."))
    assert match_names([one], ["Kenya", "Mount Kenya", "Mount Fuji", "Dom"]) == [[(1, 3), (5, 7)]]
    assert "Alps" in gazetteer_names(shipped())


def test_spacy_is_a_baseline_where_it_is() -> None:
    sentence = Sentence(words("They crossed the Rocky Mountains in June ."))
    found = match_spacy([sentence])
    if found is None:
        pytest.skip("spaCy or its small English pipeline is not installed")
    assert found == [[(3, 5)]]


def test_errors_are_shown_by_kind() -> None:
    one = Sentence(words("from Ben Nevis to the Rigi and Bern"), ((1, 3), (5, 6)))
    text = gallery(errors([one], [[Found((2, 3), 0.9), Found((7, 8), 0.6)]], ["Rigi"]))
    assert "## other bounds: 1" in text
    assert "0.90 from Ben **Nevis** to" in text
    assert "(is Ben Nevis)" in text
    assert "0.60 Ben Nevis to the Rigi and **Bern**".removeprefix("0.60 Ben ") in text
    assert "- seen from Ben Nevis to the **Rigi** and Bern" in text


def test_news_are_read_from_articles_and_text(tmp_path: Path) -> None:
    xml, plain = tmp_path / "a.xml", tmp_path / "a.txt"
    xml.write_text("<articles><article><text>It rained. We left.</text></article></articles>")
    plain.write_text("It rained. We left.")
    assert len(read_news(xml)) == len(read_news(plain)) == 2
    xml.write_text("<articles>")
    with pytest.raises(InputError, match="cannot be read"):
        read_news(xml)
    plain.write_text(" ")
    with pytest.raises(InputError, match="holds no text"):
        read_news(plain)


def test_an_evaluation_becomes_figures_tables_and_pictures(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    news, out = tmp_path / "news.txt", tmp_path / "out"
    news.write_text("The city is far. We left in May.")
    arguments = ["evaluate", "--model", str(run), "--sentences", str(data), "--news", str(news)]
    assert main([*arguments, "--forerunner", str(run), "-o", str(out)]) == 0
    assert "| ours |" in capsys.readouterr().out
    facts = json.loads((out / "evaluation.json").read_text())
    rows = {row["name"]: row for row in facts["rows"]}
    assert len(rows) == 5
    assert rows["ours"]["strict"]["f1"] > 0.8
    assert rows["names of the gazetteer"]["strict"]["recall"] < 1
    assert rows["ours"]["news"]["words"] == 8
    assert (out / "calibration.png").stat().st_size > 0
    assert (out / "errors.md").read_text().startswith("# Errors")
    assert main([*arguments, "-o", str(out)]) == 1


def test_links_of_wikipedia_become_labels(tmp_path: Path) -> None:
    text = (
        'The <a href="Mount%20Fuji">mountain</a> is near <a href="Tokyo">Tokyo</a>.\n\n'
        'From Ben Xyz &amp; <a href="Ben%20Abc%20%28mountain%29#History">Ben Abc</a> it is far.'
        " Nothing here."
    )
    path = tmp_path / "extract.jsonl"
    path.write_text(json.dumps({"title": "Ben Xyz (hill)", "text": text}) + "\n")
    made = list(convert(path, load_gazetteer()))
    assert [one.names for one in made] == [("mountain",), ("Ben Xyz", "Ben Abc")]
    assert made[1].tokens[:6] == ("From", "Ben", "Xyz", "&", "Ben", "Abc")
    titled = list(convert(path, load_gazetteer(), ["Tokyo"]))
    assert titled[0].names == ("mountain", "Tokyo")
    out = tmp_path / "made.jsonl"
    assert main(["convert", str(path), "-o", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 2
    path.write_text('{"title": "a"}')
    with pytest.raises(InputError, match="no extract of articles"):
        list(convert(path, load_gazetteer()))
