from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

Run = Callable[..., Result]
WriteImage = Callable[..., Path]
SMALL = ("--chip", 64, "--min-texture", 0, "--max-pairs", 1, "--max-cloud", 1)


@pytest.fixture
def images(write_image: WriteImage, ground: NDArray[np.uint16]) -> list[Path]:
    """Two dates of one ground."""
    return [write_image(f"{date}.tif", ground[:256, :200]) for date in (20180105, 20180705)]


def test_images_become_a_data_set(run: Run, images: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("data", "prepare", *images, "-o", out, *SMALL)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["split", "sites", "chips", "pairs", "pairs", "known", "keypoints"]
    assert [line.split()[0] for line in lines[1:]] == ["train", "val"]
    assert result.stderr.endswith(f"wrote {out / 'manifest.json'}; look at {out / 'sheet.png'}\n")
    sheet = tmp_path / "sheet.png"
    shown = run("data", "preview", out, "-o", sheet, "--split", "val", "--count", 1)
    assert (shown.exit_code, shown.stderr) == (0, f"wrote {sheet}\n")
    assert sheet.read_bytes().startswith(b"\x89PNG")
    refused = run("data", "preview", out, "-o", sheet)
    assert refused.stderr == (
        f"imatch: error: {sheet}: already exists; pass --overwrite to replace it\n"
    )
    again = run("data", "prepare", *images, "-o", out, *SMALL, "--resume", "--format", "json", "-q")
    assert again.exit_code == 0, again.stderr
    assert json.loads(again.stdout) == json.loads((out / "manifest.json").read_text())
    refused = run("data", "prepare", *images, "-o", out, *SMALL)
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"imatch: error: {out}: already holds a data set; pass")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["prepare", "-o", "x"], 2, "name images, or a --config with sources"),
        (["prepare", "gone.tif", "-o", "x"], 1, "gone.tif: no such file"),
        (["prepare", "a.tif", "-o", "x", "--split", "most"], 2, "is not of the form 0.8/0.2"),
        (["prepare", "a.tif", "-o", "x", "--chip", "4"], 2, "chip: input should be"),
        (["prepare", "a.tif", "-o", "x", "--resume", "--overwrite"], 2, "contradict each other"),
        (["prepare", "--config", "c.yaml", "-o", "x"], 1, "c.yaml: No such file"),
        (["preview", "gone", "-o", "x.png"], 1, "gone: no such folder"),
        (
            ["fetch", "stac", "--url", "u", "--bbox", "1,2", "--dates", "2018", "-o", "x"],
            2,
            "north",
        ),
        (["fetch", "kaggle-cats"], 2, "no such command 'kaggle-cats'; did you mean"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[Any],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("data", *arguments)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_one_place_is_said_to_be_one(
    run: Run, write_image: WriteImage, ground: NDArray[np.uint16], tmp_path: Path
) -> None:
    path = write_image("20180101.tif", ground[:70, :70])
    result = run("data", "prepare", path, "-o", tmp_path / "out", *SMALL)
    assert result.exit_code == 1
    assert "is not large enough to be divided" in result.stderr
    assert "--split 1/0" in result.stderr
    whole = run("data", "prepare", path, "-o", tmp_path / "two", *SMALL, "--split", "1/0")
    assert whole.exit_code == 0, whole.stderr
    assert "chips are without a partner at another date" in whole.stderr
