from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import ConfigError, OutputError
from imatch.training.tracking import LOG, JsonLines, make_trackers, read_log


def test_a_resumed_log_repeats_nothing(tmp_path: Path) -> None:
    path = tmp_path / LOG
    log = JsonLines(path)
    for step in (1, 2, 3):
        log.scalars(step, {"loss": 1 / step})
    log.close()
    with path.open("a") as file:
        file.write('{"step": 4, "lo')  # cut short by a crash
    log = JsonLines(path, after=2)
    log.scalars(3, {"loss": 0.25})
    log.close()
    assert [line["step"] for line in read_log(path)] == [1, 2, 3]
    assert read_log(path)[-1]["loss"] == 0.25


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / LOG)
    log.scalars(1, {"a": float("nan"), "b": float("inf"), "c": 1.0})
    log.close()
    assert read_log(tmp_path / LOG) == [{"step": 1, "a": None, "b": None, "c": 1.0}]


def test_log_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="none"):
        JsonLines(tmp_path / "none" / LOG)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed"
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard(tmp_path: Path) -> None:
    trackers = make_trackers(["tensorboard"], tmp_path, {})
    assert len(trackers) == 2
    for tracker in trackers:
        tracker.scalars(1, {"loss": 2.0})
        tracker.picture(1, "heat", np.zeros((4, 5, 3), np.uint8))
        tracker.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_tracker_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imatch.training.tracking.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"mlflow.*pip install"):
        make_trackers(["mlflow"], tmp_path, {})
    (log,) = make_trackers(["tensorboard"], tmp_path, {})
    log.close()
