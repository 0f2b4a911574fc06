from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from imatch.core.errors import ConfigError, InputError
from imatch.core.settings import (
    Settings,
    as_yaml,
    load_settings,
    make_settings,
    read_mapping,
    template,
)


def test_a_mapping_and_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("size: 512\nname: Übersee\n", encoding="utf-8")
    assert read_mapping(path) == {"size": 512, "name": "Übersee"}
    path.write_text("# nothing yet\n", encoding="utf-8")
    assert read_mapping(path) == {}


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (None, "No such file"),
        (b"a: [1", "is not YAML"),
        (b"\xff\xfe\x00a", "is not YAML"),
        (b"- 1\n- 2\n", "holds no mapping"),
        (b"[" * 3000, "is nested too deeply"),
        (b"a: " + b"{b: " * 3000, "is nested too deeply"),
        (b"a: &a\n  b: *a\n", "is nested too deeply"),
        (
            b"a: &a [x, x]\n"
            + b"".join(b"%c: &%c [*%c, *%c]\n" % (i + 1, i + 1, i, i) for i in range(97, 121)),
            "holds too many values",
        ),
        (b"2001-13-45: 1\nday: 2001-13-45\n", "month must be in"),
        (b"? {a: 1}\n: 2\n", "is not YAML"),
        (b"1: 2\n", "its key 1 is no name"),
        (b"!!python/object/apply:os.getcwd []\n", "is not YAML"),
        (b"size: 123456789012345678901234567890\n", "larger than that of any setting"),
    ],
)
def test_what_is_no_mapping(tmp_path: Path, content: bytes | None, cause: str) -> None:
    path = tmp_path / "settings.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=cause) as caught:
        read_mapping(path)
    assert caught.value.subject == str(path)
    assert caught.value.hint


class Part(Settings):
    """A part.

    Attributes:
        size: How large.
    """

    size: int = 1


class Whole(Settings):
    """A whole.

    Attributes:
        part: Its part.
        parts: More of them, None for none.
        names: By name.
    """

    part: Part = Part()
    parts: tuple[Part, ...] | None = None
    names: dict[str, str] = Field(default_factory=dict)


def test_overrides_reach_into_groups_of_json_too(tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text('{"part": {"size": 3}, "names": {"a": "x"}}')
    whole = load_settings(Whole, path, ["part.size = 4", "names.b=y"])
    assert whole == Whole(part=Part(size=4), names={"a": "x", "b": "y"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ports": 1}, "ports: is no setting; settings are part, parts, names"),
        ({"part": {"sise": 1}}, "part.sise: is no setting; settings are size"),
        (
            {"parts": [{}, {"sise": 1}]},
            "parts.1.sise: is no setting; settings of a part are size",
        ),
        ({"part": {"size": "big"}}, "part.size: input should be a valid integer, "),
    ],
)
def test_mistakes_are_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_settings(Whole, values)
    assert str(caught.value).startswith(message)


def test_a_template_explains_every_setting(tmp_path: Path) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(template(Whole))
    assert "# More of them, null for none.\nparts: null\n" in path.read_text()
    assert load_settings(Whole, path) == Whole()
    path.write_text(as_yaml(Whole(part=Part(size=2))))
    assert load_settings(Whole, path).part.size == 2
