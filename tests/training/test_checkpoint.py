from __future__ import annotations

import errno
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imatch.core.errors import InputError, OutputError
from imatch.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    random_state,
    restore_random,
)
from tests.support.kills import leave_half_made


def moment(step: int) -> Checkpoint:
    weights = {"w": torch.full((2, 3), float(step))}
    return Checkpoint(step, weights, weights, {"stale": step}, {"config": {"seed": 1}})


def test_round_trip(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c")
    kept.save(moment(7))
    loaded = kept.load()
    assert (loaded.step, loaded.state["stale"], loaded.about) == (7, 7, {"config": {"seed": 1}})
    assert torch.equal(loaded.weights["w"], torch.full((2, 3), 7.0))


def test_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c", keep=2)
    for step in (1, 2, 3, 4, 5):
        kept.save(moment(step))
        if step == 2:
            kept.mark_best(2, 0.7)
    assert kept.steps() == [2, 4, 5]
    assert kept.best == (2, 0.7)
    kept.mark_best(5, 0.8)
    assert kept.steps() == [4, 5]


def test_clears_what_a_crash_left(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    leave_half_made(tmp_path / "c" / "step-00000001")
    kept = Checkpoints(tmp_path / "c")
    assert kept.steps() == []
    kept.save(moment(2))
    assert [path.name for path in kept.folder.iterdir()] == ["step-00000002"]


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("No space left")]
)
def test_full_disk(failure: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Checkpoints(tmp_path / "c")
    kept.save(moment(1))

    def full(*_args: Any) -> None:
        raise failure

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"the disk is full.*--resume"):
        kept.save(moment(2))
    assert kept.steps() == [1]
    assert kept.load().step == 1
    assert not list((tmp_path / "c").glob(".*"))


def test_nothing_to_load(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no checkpoint"):
        Checkpoints(tmp_path).load()


def test_damaged(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    place = kept.save(moment(3))
    (place / "run.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match=r"step-00000003: is damaged"):
        kept.load()


def test_random_numbers_go_on(tmp_path: Path) -> None:
    def draw() -> list[float]:
        return [random.random(), np.random.rand(), float(torch.rand(1))]  # noqa: NPY002, S311

    before = random_state()
    try:
        random.gauss(0, 1)
        np.random.randn()  # noqa: NPY002
        torch.save(random_state(), tmp_path / "r.pt")
        wanted = draw()
        restore_random(torch.load(tmp_path / "r.pt", weights_only=True))
        assert draw() == wanted
    finally:
        restore_random(before)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"7", b"\xff\xfe", b'{"step": "a", "figure": 1}', b"[" * 100_000]
)
def test_a_damaged_best_does_not_block_the_run(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Checkpoints(tmp_path / "c")
    kept.save(moment(1))
    (tmp_path / "c" / "best.json").write_bytes(content)
    assert kept.best is None
    assert "best.json: is damaged" in caplog.text
    kept.save(moment(2))
    kept.mark_best(2, 0.5)
    assert kept.best == (2, 0.5)


def test_a_state_whose_checksums_do_not_agree_is_damaged(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c")
    state = {"numbers": torch.arange(1000.0)}
    kept.save(Checkpoint(1, {}, {}, state, {}))
    path = kept.path(1) / "state.pt"
    content = bytearray(path.read_bytes())
    content[content.index(torch.arange(1000.0).numpy().tobytes()) + 8] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"step-00000001: is damaged: the checksum of its part"):
        kept.load()


def test_what_a_checkpoint_lacks_is_its_damage(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "c")
    kept.save(moment(3))
    about = kept.load().about
    lacking = pytest.raises(InputError, match=r"step-00000003: is damaged: it lacks 'licence'")
    with lacking, kept.damage_errors(3):
        about["licence"]
