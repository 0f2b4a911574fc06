from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from experiments.mountains.checks import CheckConfig, check, check_file, repair
from experiments.mountains.gazetteer import Gazetteer, Place
from experiments.mountains.sentences import Problem, Sentence, read_sentences, write_sentences


def sentence(text: str, *spans: tuple[int, int], name: str = "") -> Sentence:
    return Sentence(tuple(text.split()), spans, name or text[:20])


GOOD = sentence("The road to Ben Nevis is steep and long .", (3, 5))


def reasons(*sentences: Sentence, **options: object) -> list[str]:
    config = CheckConfig.model_validate(options)
    return [problem.reason for problem in check([GOOD, *sentences], config).dropped]


def test_a_good_sentence_is_kept_as_it_is() -> None:
    report = check([GOOD])
    assert report.kept == [GOOD]
    assert report.dropped == []
    assert report.repaired == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Hi .", "too short or too long"),
        ("word " * 201, "too short or too long"),
        ("Гора Эльбрус находится на Кавказе .", "another script or language"),
        (
            "Der Berg liegt zwischen zwei Tälern und ragt hoch über alles hinaus",
            "another script or language",
        ),
        ("THE road to Ben Nevis is steep and long", "twice in this file"),
    ],
)
def test_what_would_harm_is_dropped_with_its_reason(text: str, reason: str) -> None:
    assert reasons(sentence(text)) == [reason]


def test_short_names_in_a_list_are_no_other_language() -> None:
    assert reasons(sentence("Eiger , Mönch , Jungfrau .", (0, 1))) == []
    assert reasons(sentence("Der Berg liegt zwischen zwei Tälern ."), english=False) == []


def test_sentences_of_other_splits_are_dropped() -> None:
    report = check([GOOD], against=[sentence("the road to ben nevis is steep and long")])
    assert [problem.reason for problem in report.dropped] == ["in another split as well"]


def test_problems_of_the_file_are_told() -> None:
    problem = Problem("line 3", "labels do not fit the tokens", "2 tokens and 1 labels")
    assert check([problem, GOOD]).dropped == [problem]


def test_templates_are_thinned_out() -> None:
    made = [
        sentence(f"I climbed {name} in {year} with my friends .", (2, 4))
        for name, year in (
            ("Mount Fuji", 1999),
            ("Ben Nevis", 2001),
            ("Pico Duarte", 1987),
            ("Monte Viso", 12),
            ("Piz Palü", 2020),
        )
    ]
    other = sentence("He drove to Mount Hood because the weather was fine .", (3, 5))
    report = check([*made, other], CheckConfig(most_alike=2))
    assert report.kept == [*made[:2], other]
    assert {problem.reason for problem in report.dropped} == {"of one template with others"}


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("Llama Peak , Alpaca Peak , Vicuña Peak", (0, 8), ((0, 2), (3, 5), (6, 8))),
        ("Cathedral and Clark Ranges ,", (0, 5), ((0, 1), (2, 4))),
        ("the Rhön Mountains", (0, 3), ((1, 3),)),
        ("`` Whitetop Mountain ''", (0, 4), ((1, 3),)),
        ("Ben Nevis Mount Snowdon", (0, 4), ((0, 2), (2, 4))),
        ("Bald Knob on Back Allegheny Mountain", (0, 6), ((0, 6),)),
        ("Rock and roll", (0, 3), ((0, 3),)),
        (", the", (0, 2), ((1, 2),)),
    ],
)
def test_labels_are_repaired(text: str, before: tuple[int, int], after: object) -> None:
    names = {"ben nevis", "mount snowdon"}
    assert repair(sentence(text, before), names).spans == after


def test_frequent_names_and_other_places_are_reported() -> None:
    gazetteer = Gazetteer([Place("Pleasant Hill", "other", 38.8, -94.3)])
    many = [
        sentence(f"{word} people went up to Ben Nevis again", (5, 7))
        for word in ("Five", "Some", "Many")
    ]
    town = sentence("They marched to Pleasant Hill before noon", (3, 5))
    config = CheckConfig(often=2, most_alike=9)
    report = check([*many, town], config, gazetteer=gazetteer)
    assert report.often == {"Ben Nevis": 3}
    assert report.others == {"Pleasant Hill": 1}
    assert town in report.kept
    strict = check([*many, town], CheckConfig(strict=True, most_alike=9), gazetteer=gazetteer)
    assert [problem.reason for problem in strict.dropped] == ["no mountain by the gazetteer"]


def test_marks_that_the_other_sentences_contradict_are_taken_off() -> None:
    plain = [
        sentence(f"The {word} army left San Francisco and Denali behind it")
        for word in ("first", "second", "third", "fourth")
    ]
    slip = sentence("He was seen on San Francisco and later on Denali", (4, 6), (9, 10))
    sentences = [*plain, slip]
    report = check(sentences, CheckConfig(most_alike=9))
    assert report.contradicted == {"san francisco": 1, "denali": 1}
    assert report.kept[-1].spans == ()
    gazetteer = Gazetteer([Place("Denali", "peak", 63.1, -151.0)])
    report = check(sentences, CheckConfig(most_alike=9), gazetteer=gazetteer)
    assert report.kept[-1].names == ("Denali",)
    assert check(sentences[1:], CheckConfig(most_alike=9, contradicted=4)).contradicted == {}
    assert check(sentences, CheckConfig(most_alike=9, contradicted=0)).kept == sentences


def test_a_file_becomes_a_folder(tmp_path: Path) -> None:
    path, out = tmp_path / "a.jsonl", tmp_path / "new" / "out"
    write_sentences(path, [GOOD, GOOD])
    check_file(path, out, CheckConfig())
    assert [one.tokens for one in read_sentences(out / "kept.jsonl")] == [GOOD.tokens]
    with (out / "dropped.csv").open() as file:
        assert [row["reason"] for row in csv.DictReader(file)] == ["twice in this file"]
    facts = json.loads((out / "report.json").read_text())
    assert (facts["kept"], facts["dropped"], facts["names"]) == (1, 1, 1)
