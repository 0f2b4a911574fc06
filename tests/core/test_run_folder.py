from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imatch.core.errors import ConfigError, OutputError
from imatch.core.run_folder import RunFolder, lock_folder
from tests.support.kills import leave_half_made, made_by_the_dead

SETTINGS = {"seed": 0, "bands": (4, 3)}


def folder(path: Path) -> RunFolder:
    return RunFolder(
        path / "out", "walk", "walk.json", "walk/1", files=("steps.csv",), folders=("a",)
    )


def begin(
    run: RunFolder,
    identity: dict[str, Any] = SETTINGS,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> list[dict[str, Any]]:
    return run.open(identity, resume=resume, overwrite=overwrite, session={"n": 1})


def test_a_run_is_begun_gone_on_with_and_thrown_away(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert begin(run) == [{"n": 1}]
    record = json.loads((run.path / "walk.json").read_text())
    assert list(record) == ["schema", "identity", "sittings"]
    (run.path / "steps.csv").write_text("left\n")
    (run.path / "a").mkdir()
    leave_half_made(run.path / "steps.csv")
    leave_half_made(run.path / "a" / "more")
    assert len(begin(run, resume=True)) == 2
    assert made_by_the_dead(run.path) == made_by_the_dead(run.path / "a") == []
    assert (run.path / "steps.csv").read_text() == "left\n"
    with pytest.raises(OutputError, match="already holds a walk; pass --resume"):
        begin(run)
    (run.path / "notes.txt").write_text("mine")
    assert len(begin(run, overwrite=True)) == 1
    assert sorted(path.name for path in run.path.iterdir()) == ["notes.txt", "walk.json"]


def test_another_run_is_told_by_what_differs(tmp_path: Path) -> None:
    run = folder(tmp_path)
    begin(run)
    for identity, cause in (
        ({**SETTINGS, "seed": 3}, "cannot resume: seed was 0 and is 3; repeat the options"),
        ({"seed": 0}, "bands was \\[4, 3\\] and is None"),
    ):
        with pytest.raises(ConfigError, match=cause):
            begin(run, identity, resume=True)
    assert len(begin(run, {"seed": 3}, resume=True, overwrite=True)) == 1


@pytest.mark.parametrize(
    ("record", "cause"),
    [
        (b"{}", "is no record of a walk; pass --overwrite"),
        (b"[1", "is no record"),
        (b"\xff", "is no record"),
        (b'{"schema": "walk/1", "identity": 3}', "is no record"),
        (b'{"schema": "walk/1", "identity": {}, "sittings": [1]}', "is no record"),
        (b'{"schema": "walk/0", "identity": {}}', "is of another version"),
    ],
)
def test_damaged_records_are_kept_unless_told(tmp_path: Path, record: bytes, cause: str) -> None:
    run = folder(tmp_path)
    run.path.mkdir()
    (run.path / "walk.json").write_bytes(record)
    with pytest.raises(OutputError, match=cause):
        begin(run, resume=True)
    assert (run.path / "walk.json").read_bytes() == record


def test_other_things_and_others_at_work_are_left_alone(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.lock()
    with pytest.raises(OutputError, match="another walk is running in this folder; wait"):
        folder(tmp_path).lock()
    # Its own lock is nothing that the folder holds.
    begin(run)
    run.release()
    lock_folder(run.path, "in use").release()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="already exists and is not empty; choose"):
        begin(RunFolder(tmp_path, "walk", "walk.json", "walk/1"))
    with pytest.raises(OutputError, match=r"notes\.txt: .* exists|notes\.txt: Not a directory"):
        begin(RunFolder(tmp_path / "notes.txt", "walk", "walk.json", "walk/1"))
