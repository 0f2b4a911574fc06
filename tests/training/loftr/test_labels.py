from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import MatcherError
from imatch.training.loftr import labels
from imatch.training.loftr.config import LoFTRDistilConfig
from imatch.training.loftr.labels import AlignedTargets, Alignments, align, with_alignment


def answer(shift: float, bound: float | None, status: str = "ok") -> Any:
    """As much of a registration as matters here."""
    xy = np.array([[10.0, 10.0], [40.0, 40.0], [60.0, 60.0]])
    return SimpleNamespace(
        status=status,
        certificate=SimpleNamespace(corner_ci95_px=bound),
        transform=SimpleNamespace(matrix=2 * np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1.0]])),
        tie_points=SimpleNamespace(ref_xy=xy, inlier=np.array([True, True, False])),
    )


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each matcher says."""
    answers: dict[str, Any] = {}
    monkeypatch.setattr(labels, "match", lambda _a, _b, *, matcher, **_: answers[matcher])
    return answers


def config(count: int, agree: int = 1) -> LoFTRDistilConfig:
    return LoFTRDistilConfig(
        matchers=tuple("abc"[:count]), agree=agree, apart_px=1.0, max_ci_px=1.5
    )


class TestEnsemble:
    def test_the_most_certain_of_those_that_agree(self, pairs: Any, said: dict[str, Any]) -> None:
        said |= {"a": answer(5.0, 0.8), "b": answer(5.3, 0.4), "c": answer(30.0, 0.2)}
        known = align(pairs[0], config(3, agree=2))
        assert known is not None
        assert known.homography.tolist() == [[1, 0, 5.3], [0, 1, 0], [0, 0, 1]]
        assert known.sigma_px == pytest.approx(0.4 / 1.96)
        assert len(known.tie_points) == 4
        alone = align(pairs[0], config(3, agree=1))
        assert alone is not None
        assert alone.homography[0, 2] == 30

    @pytest.mark.parametrize(
        "wrong",
        [answer(5, 0.2, "uncertain"), answer(5, 0.2, "failed"), answer(5, 2.0), answer(5, None)],
    )
    def test_only_the_certain_are_heard(self, pairs: Any, said: dict[str, Any], wrong: Any) -> None:
        said |= {"a": wrong, "b": wrong}
        assert align(pairs[0], config(1)) is None
        said["b"] = answer(9, 0.3)
        assert align(pairs[0], config(2)) is not None
        assert align(pairs[0], config(2, agree=2)) is None

    def test_those_that_disagree_are_not_believed(self, pairs: Any, said: dict[str, Any]) -> None:
        said |= {"a": answer(5, 0.3), "b": answer(7, 0.3)}
        assert align(pairs[0], config(2, agree=2)) is None


def test_a_real_matcher_finds_the_shift(pairs: Any) -> None:
    hidden = replace(pairs[2], homography=np.eye(3), sigma_px=float("nan"))
    known = align(hidden, LoFTRDistilConfig(matchers=("sift",), max_ci_px=3))
    assert known is not None
    corner = known.homography @ [48, 48, 1]
    assert np.abs(corner[:2] / corner[2] - [54, 46]).max() < 0.5
    assert 0 < known.sigma_px < 1.6
    assert len(known.tie_points) > 10


def test_no_such_matcher(pairs: Any) -> None:
    with pytest.raises(MatcherError, match="siftt"):
        align(pairs[0], LoFTRDistilConfig(matchers=("siftt",)))


def test_ground_far_from_tie_points_is_not_vouched_for(pairs: Any) -> None:
    changed = np.zeros((96, 96), bool)
    changed[50, 50] = True
    known = AlignedTargets(np.eye(3), 0.3, np.array([[20.0, 30.0], [99.0, 30.0]], np.float32))
    pair = with_alignment(replace(pairs[1], changed=changed), known, 10.0)
    assert pair.sigma_px == 0.3
    assert (pair.homography == np.eye(3)).all()
    assert not pair.changed[30, [10, 20, 30, 95]].any()
    assert pair.changed[30, [5, 40, 80]].all()
    assert pair.changed[50, 50]
    nowhere = with_alignment(
        pairs[1], replace(known, tie_points=np.zeros((0, 2), np.float32)), 10.0
    )
    assert nowhere.changed.all()


class TestKept:
    def test_made_once(
        self, pairs: Any, said: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said["a"] = answer(5, 0.3)
        made: list[int] = []
        align_one = labels.align

        def counted(sample: Any, how: LoFTRDistilConfig) -> AlignedTargets | None:
            made.append(1)
            return None if len(made) == 2 else align_one(sample, how)

        monkeypatch.setattr(labels, "align", counted)
        wanted: Sequence[int] = [0, 2, 3]
        first = Alignments(config(1), tmp_path / "labels").of_all(pairs, wanted)
        again = Alignments(config(1), tmp_path / "labels").of_all(pairs, wanted)
        # That there is none is remembered too.
        assert len(made) == 3
        assert list(first) == list(again) == [0, 3]
        for index in first:
            assert np.array_equal(first[index].homography, again[index].homography)
            assert first[index].sigma_px == again[index].sigma_px
            assert np.array_equal(first[index].tie_points, again[index].tie_points)
