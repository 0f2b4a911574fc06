from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.mountains.sentences import (
    Problem,
    Sentence,
    read_entries,
    read_sentences,
    sentences_of,
    spans_of,
    words_of,
    write_sentences,
)
from imatch.core.errors import InputError

EVEREST = Sentence(("Mount", "Everest", "is", "high", "."), ((0, 2),), "a")


def test_spans_and_tags_go_both_ways() -> None:
    assert EVEREST.tags == ["B-MOUNTAIN", "I-MOUNTAIN", "O", "O", "O"]
    assert spans_of(EVEREST.tags) == EVEREST.spans
    assert EVEREST.names == ("Mount Everest",)


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        (["I", "I", "O", "I"], ((0, 2), (3, 4))),
        (["B-MOUNTAIN", "B-MOUNTAIN"], ((0, 1), (1, 2))),
        (["S-MOUNTAIN", "B-MOUNTAIN", "E-MOUNTAIN", "I-MOUNTAIN"], ((0, 1), (1, 3), (3, 4))),
    ],
)
def test_other_schemes_are_read(tags: list[str], spans: object) -> None:
    assert spans_of(tags) == spans


@pytest.mark.parametrize("tag", ["B-PER", "X", "", "MOUNTAIN"])
def test_labels_of_other_sets_are_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is none of"):
        spans_of(["O", tag])


def test_words_cover_what_is_no_blank() -> None:
    text = "Mt. Cook's face (3,724 m) — U.S. hill-climb; K2."
    words = [text[a:b] for a, b in words_of(text)]
    assert "".join(words) == text.replace(" ", "")
    assert {"Mt.", "'s", "U.S.", "hill-climb", "K2"} <= set(words)


def test_sentences_end_at_marks_but_not_after_abbreviations() -> None:
    text = " We saw Mt. Fuji. It rained!\n\nThe end "
    assert [text[a:b] for a, b in sentences_of(text)] == [
        "We saw Mt. Fuji.",
        "It rained!",
        "The end",
    ]
    assert sentences_of(" \n\n ") == []


def test_formats_say_the_same(tmp_path: Path) -> None:
    text = "Mount Everest is high ."
    write_sentences(tmp_path / "a.jsonl", [EVEREST])
    spans = {"text": text, "spans": [[0, 13, "MOUNTAIN"]]}
    (tmp_path / "b.jsonl").write_text(json.dumps(spans) + "\n\n")
    lines = "\n".join(
        f"{token} _ {tag}" for token, tag in zip(EVEREST.tokens, EVEREST.tags, strict=True)
    )
    (tmp_path / "c.conll").write_text(f"-DOCSTART- O\n\n{lines}\n\n{lines}")
    (tmp_path / "d.json").write_text(json.dumps([[text, {"entities": [[0, 13, "MOUNTAIN"]]}]]))
    for name, count in (("a.jsonl", 1), ("b.jsonl", 1), ("c.conll", 2), ("d.json", 1)):
        found = read_sentences(tmp_path / name)
        assert [(one.tokens, one.spans) for one in found] == [
            (EVEREST.tokens, EVEREST.spans)
        ] * count, name


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 tokens and 1 labels"),
        ({"tokens": ["a"], "tags": ["B-PER"]}, "'B-PER'"),
        ({"text": "Mount Fuji", "spans": [[0, 8, "MOUNTAIN"]]}, "no whole words"),
        ({"text": "Mount Fuji", "spans": [[20, 30, "MOUNTAIN"]]}, "no whole words"),
        ({"text": "Mount Fuji", "spans": [[0, 10], [6, 10]]}, "overlap"),
        ({"words": []}, "neither tokens nor text"),
    ],
)
def test_a_wrong_entry_is_a_problem_and_one_line(
    entry: dict[str, object], detail: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(entry))
    (problem,) = read_entries(path)
    assert isinstance(problem, Problem)
    assert detail in problem.detail
    with pytest.raises(InputError, match="line 1: ") as error:
        read_sentences(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "cause"),
    [
        ("a.txt", "x", "no known format"),
        ("a.jsonl", "", "holds no sentence"),
        ("a.jsonl", "[1]", "line 1 is no object"),
        ("a.json", "{}", "no list"),
        ("a.jsonl", "{", "cannot be read"),
    ],
)
def test_a_file_of_another_kind_is_refused(
    name: str, content: str, cause: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=cause):
        read_sentences(tmp_path / name)
    with pytest.raises(InputError):
        read_sentences(tmp_path / "none.jsonl")
