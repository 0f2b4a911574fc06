import sys

import pytest

from imatch.core import registry
from imatch.core.errors import MatcherError
from imatch.core.registry import Registry, Row

ROWS = [Row("sift", "json:loads"), Row("phase", "no_such_module:Thing")]


def test_names_keep_their_order() -> None:
    assert list(Registry("matcher", ROWS)) == ["sift", "phase"]


def test_loading_imports_what_the_row_points_at() -> None:
    loads = Registry("matcher", ROWS)["sift"].load()
    assert loads("[1]") == [1]


def test_listing_imports_nothing() -> None:
    row = Row("heavy", "this:s")
    assert list(Registry("matcher", [row])) == ["heavy"]
    assert "this" not in sys.modules


def test_an_unknown_name_is_answered_by_the_nearest() -> None:
    with pytest.raises(MatcherError, match=r"^sifft: unknown matcher; did you mean 'sift'\?$"):
        Registry("matcher", ROWS)["sifft"]


def test_a_name_near_to_none_is_answered_by_all() -> None:
    with pytest.raises(MatcherError, match=r"choose one of sift, phase"):
        Registry("matcher", ROWS)["qqqqqq"]


@pytest.mark.parametrize("target", ["no_such_module:Thing", "json:no_such_attribute"])
def test_a_row_that_cannot_be_loaded_says_so(target: str) -> None:
    with pytest.raises(MatcherError, match="broken: cannot be loaded"):
        Row("broken", target).load()


def test_plug_ins_come_last_and_replace_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = {"mine": Row("mine", "json:dumps"), "thief": Row("sift", "json:dumps")}

    class Point:
        def __init__(self, name: str) -> None:
            self.name = name

        def load(self) -> Row:
            return theirs[self.name]

    asked: list[str] = []

    def entry_points(*, group: str) -> list[Point]:
        asked.append(group)
        return [Point(name) for name in theirs]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    table = Registry("matcher", ROWS, group="imatch.matchers")
    assert list(table) == ["sift", "phase", "mine"]
    assert table["sift"].target == "json:loads"
    assert asked == ["imatch.matchers"], "entry points are read once"
