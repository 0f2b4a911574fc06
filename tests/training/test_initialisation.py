from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from imatch.training.initialisation import UNKNOWN, ancestry, lineage_of


def file_that_tells(folder: Path, text: str | None) -> Path:
    path = folder / "a.safetensors"
    save_file({"a": np.zeros(1)}, path, None if text is None else {"imatch": text})
    return path


def generations(count: int) -> dict[str, Any]:
    start: dict[str, Any] = {"origin": "0", "sha256": ""}
    for number in range(1, count):
        start = {"origin": str(number), "sha256": "ab" * 32, "parent": start}
    return start


def test_generations_are_kept_up_to_a_number(tmp_path: Path) -> None:
    told = {"licence": "MIT", "start": generations(3)}
    assert lineage_of(file_that_tells(tmp_path, json.dumps(told))) == ("MIT", generations(3))
    told["start"] = generations(200)
    _, start = lineage_of(file_that_tells(tmp_path, json.dumps(told)))
    assert start is not None
    names = ancestry(start).split(", trained from ")
    assert names == [f"{number} abababababab" for number in range(199, 179, -1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, (UNKNOWN, None)),
        ("", (UNKNOWN, None)),
        ("no JSON", (UNKNOWN, None)),
        ("[" * 100_000, (UNKNOWN, None)),
        ("[1]", (UNKNOWN, None)),
        ('{"licence": null}', (UNKNOWN, None)),
        ('{"licence": "MIT"}', ("MIT", None)),
        ('{"licence": "MIT", "start": [1]}', ("MIT", None)),
        ('{"licence": "MIT", "start": {"origin": 1, "sha256": ""}}', ("MIT", None)),
        (
            '{"licence": "MIT", "start": {"origin": "x", "sha256": "", "parent": 7, "more": 1}}',
            ("MIT", {"origin": "x", "sha256": ""}),
        ),
    ],
)
def test_what_files_tell(
    text: str | None, expected: tuple[str, dict[str, Any] | None], tmp_path: Path
) -> None:
    assert lineage_of(file_that_tells(tmp_path, text)) == expected


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name in ("absent.safetensors", "broken.safetensors", "broken.pth"):
        if "broken" in name:
            (tmp_path / name).write_bytes(b"broken")
        assert lineage_of(tmp_path / name) == (UNKNOWN, None)
    (tmp_path / "about.json").write_bytes(b"\xff\xfe")
    assert lineage_of(tmp_path / "broken.pth") == (UNKNOWN, None)
    (tmp_path / "about.json").write_text('{"licence": "MIT"}')
    assert lineage_of(tmp_path / "broken.pth") == ("MIT", None)
