from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.raster import array_source, open_source
from imatch.retrieval.decision import Decision, decision_for
from imatch.retrieval.duplicates.find import (
    COLUMNS,
    duplicates_in,
    judge_pairs,
)
from imatch.retrieval.duplicates.normalisation import SIDE, form_of, inner
from imatch.retrieval.duplicates.similarity import FIGURES, compare

Picture = NDArray[np.uint8]
PLAIN = Decision("duplicates", None, None, FIGURES, ((0, 6),) * 2, (0.0, 5.0), -7.5, 0.5)


def picture(seed: int, side: int = 200) -> Picture:
    """(side, side, 3) of smooth ground in colours."""
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side, 3), np.float32)
    for sigma in (2, 6, 18):
        layer = cv2.GaussianBlur(rng.random((side, side, 3)).astype(np.float32), (0, 0), sigma)
        image += (layer - layer.mean()) / layer.std()
    image = image.mean(axis=2, keepdims=True) + 0.4 * image
    return np.asarray(np.clip(128 + 40 * image, 0, 255), dtype=np.uint8)


def framed(image: Picture) -> Picture:
    sides = (14, 9, 20, 11)
    return np.asarray(cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=(250, 250, 250)))


def marked(image: Picture) -> Picture:
    out = image.copy()
    cv2.putText(out, "SAMPLE", (10, 110), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (255, 255, 255), 3)
    return out


def rimmed(image: Picture) -> Picture:
    alpha = np.zeros(image.shape[:2], np.uint8)
    alpha[10:-10, 10:-10] = 255
    return np.dstack([image, alpha])


CHANGES: dict[str, Callable[[Picture], Any]] = {
    "same": lambda i: i,
    "smaller": lambda i: cv2.resize(i, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "stretched": lambda i: cv2.resize(i, None, fx=1.3, fy=0.9),
    "framed": framed,
    "marked": marked,
    "cropped": lambda i: i[8:-6, 5:-9],
    "grey": lambda i: cv2.cvtColor(i, cv2.COLOR_BGR2GRAY),
    "blue for red": lambda i: np.ascontiguousarray(i[..., ::-1]),
    "faint": lambda i: (0.4 * i + 60).astype(np.uint8),
    "transparent": rimmed,
}


def saved(path: Path, image: Any) -> str:
    cv2.imwrite(str(path), image)
    return str(path)


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_picture_is_known_again(tmp_path: Path, name: str) -> None:
    a = form_of(open_source(saved(tmp_path / "a.png", picture(0))))
    b = form_of(open_source(saved(tmp_path / "b.png", CHANGES[name](picture(0)))))
    other = form_of(open_source(saved(tmp_path / "c.png", CHANGES[name](picture(1)))))
    alike, unlike = compare(a, b), compare(a, other)
    assert min(alike.typical, alike.most) > 2
    assert max(unlike.typical, unlike.most) < 1
    decision = decision_for("duplicates", None)
    for told, expected in ((alike, True), (unlike, False)):
        assert (decision.probability(vars(told)) >= decision.threshold) is expected


def test_the_likeness_of_a_picture_with_itself() -> None:
    form = form_of(array_source(picture(3)))
    told = compare(form, form)
    assert min(told.typical, told.most) > 4
    assert form.grey.shape == (SIDE, SIDE)
    assert form.size == (200, 200)


def test_frames_are_found() -> None:
    pixels = np.random.default_rng(0).random((3, 60, 80)).astype(np.float32)
    pixels[:, :6] = pixels[:, -4:] = 0.9
    pixels[:, :, :10] = 0.9
    valid = np.ones((60, 80), bool)
    valid[:, -5:] = False
    # Two lines more, where frame and picture mix.
    assert inner(pixels, valid) == (12, 8, 73, 54)
    plain = np.full((3, 40, 40), 0.5, np.float32)
    assert inner(plain, np.ones((40, 40), bool)) == (0, 0, 40, 40)
    assert inner(pixels[:, 10:50, 20:70], valid[10:50, 20:70]) == (0, 0, 50, 40)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Two pictures with copies and one alone."""
    first, second = picture(0), picture(1)
    return {
        "a": saved(tmp_path / "a.png", first),
        "b": saved(tmp_path / "b.jpg", CHANGES["smaller"](first)),
        "c": saved(tmp_path / "c.png", marked(first)),
        "d": saved(tmp_path / "d.png", second),
        "e": saved(tmp_path / "e.png", CHANGES["grey"](second)),
        "f": saved(tmp_path / "f.png", picture(2)),
    }


def test_groups_are_found_and_the_rest_is_left_alone(files: dict[str, str], tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    blank = saved(tmp_path / "blank.png", np.full((50, 50, 3), 9, np.uint8))
    started: list[int] = []
    done: list[float] = []
    found = duplicates_in(
        [*files.values(), str(broken), blank],
        PLAIN,
        on_start=started.append,
        on_pair=done.append,
    )
    assert found.files == tuple(files.values())
    # The one with most pixels stands for its group.
    assert found.groups == (
        (files["a"], files["c"], files["b"]),
        (files["d"], files["e"]),
    )
    assert (found.compared, started, len(done)) == (15, [15], 15)
    assert [Path(item.path).name for item in found.skipped] == ["broken.png", "blank.png"]
    assert {(pair.a, pair.b) for pair in found.pairs} == {
        (files[a], files[b]) for a, b in ("ab", "ac", "bc", "de")
    }
    probabilities = [pair.probability for pair in found.pairs]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {pair.group for pair in found.pairs} == {1, 2}
    table = tmp_path / "out.csv"
    found.save(table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert {row["duplicate"] for row in rows} == {"1"}


def test_given_pairs_are_all_answered(files: dict[str, str], tmp_path: Path) -> None:
    wanted = [(files["a"], files["b"]), (files["a"], files["d"]), (files["a"], "gone.png")]
    found = judge_pairs(wanted, PLAIN)
    assert [(pair.duplicate, pair.group) for pair in found.pairs] == [(True, 1), (False, 0)]
    assert [item.path for item in found.skipped] == ["gone.png"]
    strict = judge_pairs(wanted[:1], replace(PLAIN, threshold=1.0))
    assert strict.groups == ()
    strict.save(tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith(f"{files['a']},")


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 1 images could be used"):
        duplicates_in([str(tmp_path / "gone.png")], PLAIN)
    with pytest.raises(InputError, match="none of 1 pairs could be used"):
        judge_pairs([("x.png", "y.png")], PLAIN)
    one = saved(tmp_path / "one.png", picture(0))
    found = duplicates_in([one], PLAIN)
    assert (found.compared, found.groups, found.pairs) == (0, (), ())


def test_of_many_files_only_likely_pairs_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.retrieval.duplicates.find._NEAREST", 3)
    names = [saved(tmp_path / f"{i}.png", picture(i, 64)) for i in range(12)]
    names.append(saved(tmp_path / "copy.png", marked(picture(5, 64))))
    found = duplicates_in(names, PLAIN)
    assert found.compared < 30
    assert found.groups == ((names[5], names[12]),)
