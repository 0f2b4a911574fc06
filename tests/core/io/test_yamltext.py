from __future__ import annotations

from pathlib import Path

import pytest

from imatch.core.errors import InputError
from imatch.core.io.yamltext import read_mapping


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
