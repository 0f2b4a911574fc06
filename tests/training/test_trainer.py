from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.core.settings import load_settings
from imatch.training.checkpoint import Checkpoints
from imatch.training.config import TrainerConfig
from imatch.training.registry import TrainingError
from imatch.training.tracking import read_log


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("toy", Path(__file__).parent / "toy.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy"] = module
    spec.loader.exec_module(module)
    return module


make = _load().make


def last(folder: Path) -> dict[str, torch.Tensor]:
    kept = Checkpoints(folder / "checkpoints")
    place = kept.path(kept.steps()[-1])
    tensors = {f"run.{k}": v for k, v in load_file(place / "run.safetensors").items()}
    return tensors | {
        f"average.{k}": v for k, v in load_file(place / "weights.safetensors").items()
    }


def assert_same(one: Path, other: Path) -> None:
    first, second = last(one), last(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from start to end without a break."""
    folder: Path = tmp_path_factory.mktemp("runs") / "straight"
    make(folder).fit()
    return folder


def test_learns_and_measures(straight: Path) -> None:
    log = read_log(straight / "log.jsonl")
    measured = {line["step"]: line for line in log if "val/nearness" in line}
    assert list(measured) == [0, 7, 14, 20]
    assert measured[20]["val/nearness"] > measured[0]["val/nearness"]
    assert measured[0]["val/sometimes"] == 1.0  # the mean over the cases that know it
    steps = [line["step"] for line in log if "train/loss" in line]
    assert steps == list(range(1, 21))
    assert {"train/lr", "train/gradient_norm", "train/pairs_per_s"} <= log[-2].keys()


def test_every_checkpoint_tells_its_configuration(straight: Path) -> None:
    about = Checkpoints(straight / "checkpoints").load().about
    assert about["config"]["batch_size"] == 2
    assert about["step"] == 20
    assert load_settings(TrainerConfig, straight / "config.yaml").steps == 20


def test_best_is_the_best_measured(straight: Path) -> None:
    log = [line for line in read_log(straight / "log.jsonl") if "val/nearness" in line]
    best = max((line for line in log if line["step"]), key=lambda line: line["val/nearness"])
    assert Checkpoints(straight / "checkpoints").best == (best["step"], best["val/nearness"])


def test_equal_seeds_give_equal_weights(straight: Path, tmp_path: Path) -> None:
    make(tmp_path / "again").fit()
    assert_same(straight, tmp_path / "again")


class TestResumed:
    def test_after_the_time_is_up(self, straight: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        assert make(run, "max_minutes=1e-9").fit().ended == "time"
        steps = 1
        while make(run, "max_minutes=1e-9").fit(resume=True).ended == "time":
            steps += 1
        assert steps == 19  # A step a session.
        assert_same(straight, run)

    @pytest.mark.parametrize("sign", ["SIGINT", "SIGTERM"])
    def test_after_an_interruption(self, sign: str, straight: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        outcome = make(run, events={6: sign}).fit()
        assert (outcome.ended, outcome.step) == ("interrupted", 6)
        assert make(run).fit(resume=True).ended == "done"
        assert_same(straight, run)
        steps = [x["step"] for x in read_log(run / "log.jsonl") if "train/loss" in x]
        assert steps == list(range(1, 21))

    def test_its_speed_counts_what_it_did_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run, clock = tmp_path / "run", [0.0]
        monkeypatch.setattr("imatch.training.trainer.time.monotonic", lambda: clock[0])
        for resume in (False, True):
            work = make(run, "log_every=4", events={} if resume else {6: "SIGINT"})
            step = work.training_step

            def slow(*arguments: Any, step: Any = step) -> Any:
                clock[0] += 10
                return step(*arguments)

            work.training_step = slow
            work.fit(resume=resume)
        speeds = {
            line["step"]: line["train/pairs_per_s"]
            for line in read_log(run / "log.jsonl")
            if "train/pairs_per_s" in line
        }
        assert speeds == pytest.approx(dict.fromkeys((4, 8, 12, 16, 20), 0.2))

    def test_after_being_killed(self, straight: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        done = subprocess.run(
            [sys.executable, str(Path(__file__).parent / "toy.py"), str(run), "11"],
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == -9
        assert Checkpoints(run / "checkpoints").steps()[-1] == 8  # Every fourth was kept.
        make(run).fit(resume=True)
        assert_same(straight, run)

    def test_after_being_killed_before_the_first_checkpoint(
        self, straight: Path, tmp_path: Path
    ) -> None:
        run = tmp_path / "run"
        subprocess.run(
            [sys.executable, str(Path(__file__).parent / "toy.py"), str(run), "3"],
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert Checkpoints(run / "checkpoints").steps() == []
        make(run).fit(resume=True)
        assert_same(straight, run)

    def test_before_the_best_was_noted(
        self, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise SystemExit

        folder = tmp_path / "run"
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoints, "mark_best", killed)
            with pytest.raises(SystemExit):
                make(folder).fit()
        assert Checkpoints(folder / "checkpoints").best is None
        make(folder).fit(resume=True)
        assert Checkpoints(folder / "checkpoints").best == (
            Checkpoints(straight / "checkpoints").best
        )

    def test_to_a_longer_run(self, straight: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        make(run, "steps=5").fit()
        assert make(run, "steps=8").fit(resume=True).step == 8


class TestRefuses:
    def test_a_folder_in_use(self, straight: Path) -> None:
        with pytest.raises(OutputError, match=r"holds a run already.*--resume"):
            make(straight).fit()

    def test_other_settings(self, straight: Path) -> None:
        with pytest.raises(ConfigError, match=r"optimiser: differs from what the run began with"):
            make(straight, "optimiser.lr=0.5").fit(resume=True)

    def test_nothing_to_resume(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no run"):
            make(tmp_path / "none").fit(resume=True)

    def test_a_place_where_nothing_can_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="file"):
            make(tmp_path / "file" / "run").fit()


def test_nan_keeps_what_was_good(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"loss is not a number at step 10; step 8 is the last"):
        make(run, events={10: "nan"}).fit()
    kept = last(run)
    assert all(value.isfinite().all() for value in kept.values())
    assert Checkpoints(run / "checkpoints").steps()[-1] == 8


def test_stops_when_nothing_becomes_better(tmp_path: Path) -> None:
    toy = make(tmp_path / "run", "patience=2", "validate_every=1", "optimiser.lr=1e-12")
    toy.validation_step = lambda _model, _case: {"nearness": 0.5}
    outcome = toy.fit()
    assert (outcome.ended, outcome.step, outcome.best) == ("early", 3, (1, 0.5))


def test_learns_a_batch_by_heart(tmp_path: Path) -> None:
    run = tmp_path / "run"
    outcome = make(run, "steps=150", "schedule.kind=constant").fit(overfit=True)
    assert outcome.figures["last_loss"] < 0.5 * outcome.figures["first_loss"]
    assert not (run / "checkpoints").exists()
    assert len(read_log(run / "overfit" / "log.jsonl")) == 149
    assert make(run, "steps=1").fit().step == 1  # The folder is still free for a run.


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    toy = make(tmp_path / "run")
    toy.validation_step = lambda _model, _case: {"nearness": float("nan")}
    with pytest.raises(TrainingError, match=r"nearness could not be measured.*known positions"):
        toy.fit()


def test_handlers_come_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    make(tmp_path / "run", "steps=2").fit()
    assert signal.getsignal(signal.SIGINT) is before
