import configparser
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

from imatch.core import registry
from imatch.core.errors import ConfigError, MatcherError
from imatch.core.extras import EXTRAS
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


class Special(Row):
    """What this registry is made of."""


SPECIAL = Special("mine", "json:dumps")


def special_row() -> Special:
    """As the documentation has it."""
    return SPECIAL


def raises() -> Row:
    raise RuntimeError("its own trouble")


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Registry[Special]]:
    """A registry whose plug-ins are what real entry points name."""
    (tmp_path / "their_module.py").write_text("raise OSError('no such library')")
    (tmp_path / "their_syntax.py").write_text("def")
    theirs = ModuleType("their_rows")
    vars(theirs).update(
        SPECIAL=SPECIAL,
        special_row=special_row,
        raises=raises,
        Special=Special,
        text="mine",
        wrong=Row("mine", "json:dumps"),
        needs=lambda argument: argument,
    )
    monkeypatch.setitem(sys.modules, "their_rows", theirs)
    monkeypatch.syspath_prepend(tmp_path)

    def make(*values: str) -> Registry[Special]:
        points = [EntryPoint(f"p{i}", value, "imatch.tests") for i, value in enumerate(values)]
        monkeypatch.setattr(registry, "entry_points", lambda group: points)
        return Registry("thing", [Special("sift", "json:loads")], group="imatch.tests")

    return make


@pytest.mark.parametrize("value", ["their_rows:SPECIAL", "their_rows:special_row"])
def test_an_entry_point_is_a_row_or_a_function(
    plug_in: Callable[..., Registry[Special]], value: str
) -> None:
    table = plug_in(value)
    assert list(table) == ["sift", "mine"]
    assert table["mine"] is SPECIAL
    assert "mine" in table
    assert table.broken() == {}


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("their_absence:row", "ModuleNotFoundError: No module named 'their_absence'"),
        ("their_rows:absent", "AttributeError: module 'their_rows' has no attribute 'absent'"),
        ("their_module:row", "OSError: no such library"),
        ("their_syntax:row", "SyntaxError: "),
        ("their_rows:raises", "RuntimeError: its own trouble"),
        ("their_rows:needs", "TypeError: "),
        ("their_rows:text", "TypeError: their_rows:text gives a str, no Special"),
        ("their_rows:wrong", "TypeError: their_rows:wrong gives a Row, no Special"),
        ("their_rows:Special", "TypeError: "),
        ("their_rows", "TypeError: their_rows gives a module, no Special"),
    ],
)
def test_a_broken_plug_in_costs_only_itself(
    plug_in: Callable[..., Registry[Special]],
    value: str,
    cause: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = plug_in(value, "their_rows:special_row")
    # What is built in is found without a look at them.
    assert table["sift"].load()("[1]") == [1]
    assert caplog.messages == []
    for _ in range(2):
        assert list(table) == ["sift", "mine"]
        assert table["mine"] is SPECIAL
    assert list(table.broken()) == ["p0"]
    assert table.broken()["p0"].startswith(cause)
    assert caplog.messages == [f"the thing plug-in p0 is left out ({table.broken()['p0']})"]


def test_a_missing_extra_is_told_by_an_error_of_the_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(Row):
        error = ConfigError

    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigError) as caught:
        Usage("theirs", "faiss:Index").load()
    assert caught.value.subject == "theirs"
    assert caught.value.hint == "run pip install 'imatch[retrieval]'"
    with pytest.raises(ConfigError) as caught:
        Usage("theirs", "no_such_module:Index").load()
    assert caught.value.hint is None


def test_extras_bring_what_they_are_said_to() -> None:
    parsed = configparser.ConfigParser()
    parsed.read(Path(__file__).parents[2] / "setup.cfg")
    brings = {
        name: text.replace("-", "_") for name, text in parsed["options.extras_require"].items()
    }
    installed = packages_distributions()
    for module, extra in EXTRAS.items():
        names = installed.get(module, [module])
        # pystac comes with its client.
        assert any(name.lower().replace("-", "_") in brings[extra] for name in names), module
