from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

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


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / LOG
    lines = (b'{"step": 1, "a": 1.0, "b": "text", "c": [2]}', b"7", b"[]", b'{"a": 1}', b"\xff\0",
             b'{"step": "x"}', b"[" * 100_000, b'{"step": 2, "a": null}')  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    assert read_log(path) == [{"step": 1, "a": 1.0}, {"step": 2, "a": None}]
    JsonLines(path, after=1).close()
    assert read_log(path) == [{"step": 1, "a": 1.0}]


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999"])
def test_a_resumed_log_leaves_out_what_no_json_number_is(tmp_path: Path, value: str) -> None:
    path = tmp_path / LOG
    path.write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": ' + value + "}\n")
    log = JsonLines(path, after=2)
    log.scalars(3, {"loss": 0.25})
    log.close()
    assert [line["step"] for line in read_log(path)] == [1, 3]


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
        tracker.add_image(1, "heat", np.zeros((4, 5, 3), np.uint8))
        tracker.close()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_tracker_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imatch.training.tracking.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"mlflow.*pip install"):
        make_trackers(["mlflow"], tmp_path, {})
    (log,) = make_trackers(["tensorboard"], tmp_path, {})
    log.close()


SETTINGS = {"steps": 3, "optimiser": {"lr": 0.1}, "trackers": ["mlflow"]}


class RecordingMLflow(ModuleType):
    """What we call of MLflow, written down; a run id it did not give is refused, as there."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.runs: dict[str, dict[str, Any]] = {}
        self.open: dict[str, Any] | None = None

    def get_tracking_uri(self) -> str:
        return "memory"

    def set_experiment(self, name: str) -> None:
        assert name == "imatch"

    def start_run(self, run_id: str | None, run_name: str | None) -> Any:
        if run_id is None:
            run_id = f"run{len(self.runs)}"
            self.runs[run_id] = {"name": run_name, "params": {}, "metrics": [], "images": []}
        if run_id not in self.runs:
            raise LookupError(f"Run '{run_id}' not found\nand a traceback")
        self.open = self.runs[run_id]
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def log_params(self, params: dict[str, Any]) -> None:
        assert self.open is not None
        assert not self.open["params"]
        self.open["params"] = params

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        assert self.open is not None
        self.open["metrics"].append((step, metrics))

    def log_image(self, _pixels: Any, name: str) -> None:
        assert self.open is not None
        self.open["images"].append(name)

    def end_run(self) -> None:
        self.open = None


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> RecordingMLflow:
    module = RecordingMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr("imatch.training.tracking.find_spec", lambda _name: object())
    return module


def session(folder: Path, step: int, after: int = 0) -> None:
    for tracker in make_trackers(["mlflow"], folder, SETTINGS, after):
        tracker.scalars(step, {"train/loss": 1 / step})
        tracker.add_image(step, "val/heat", np.zeros((4, 5, 3), np.uint8))
        tracker.close()


def test_mlflow_goes_on_with_the_same_run(recording: RecordingMLflow, tmp_path: Path) -> None:
    session(tmp_path, 1)
    session(tmp_path, 2, after=1)
    (run,) = recording.runs.values()
    assert run["name"] == tmp_path.name
    assert run["params"] == {"steps": 3, "optimiser.lr": 0.1, "trackers": ["mlflow"]}
    assert [step for step, _ in run["metrics"]] == [1, 2]
    assert run["images"] == ["val-heat-00000001.png", "val-heat-00000002.png"]
    assert recording.open is None
    session(tmp_path, 1)  # begun anew
    assert len(recording.runs) == 2


@pytest.mark.usefixtures("recording")
def test_mlflow_that_refuses(tmp_path: Path) -> None:
    (tmp_path / "mlflow-run.txt").write_text("run9\n")
    with pytest.raises(ConfigError, match=r"mlflow at memory: refuses: Run 'run9' not found; set"):
        session(tmp_path, 2, after=1)


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")  # MLflow's own.
def test_mlflow_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri((tmp_path / "store").as_uri())
    try:
        (tmp_path / "season").mkdir()
        session(tmp_path / "season", 1)
        session(tmp_path / "season", 2, after=1)
        client = mlflow.MlflowClient()
        (experiment,) = client.search_experiments(filter_string="name = 'imatch'")
        (run,) = client.search_runs([experiment.experiment_id])
        assert run.info.run_name == "season"
        assert run.info.status == "FINISHED"
        assert run.data.params["optimiser.lr"] == "0.1"
        history = client.get_metric_history(run.info.run_id, "train/loss")
        assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]
        names = {file.path for file in client.list_artifacts(run.info.run_id)}
        assert names == {"val-heat-00000001.png", "val-heat-00000002.png"}
    finally:
        mlflow.set_tracking_uri(before)
