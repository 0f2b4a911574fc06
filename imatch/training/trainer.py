"""The loop of training that every trainer shares."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from imatch.core.io.jsontext import json_values
from imatch.models.device import resolve_device
from imatch.training.checkpoint import (
    CHECKPOINTS,
    Checkpoint,
    Checkpoints,
    open_run,
    random_state,
    restore_random,
)
from imatch.training.config import TrainerConfig
from imatch.training.optimisation import lr_factor, make_average, make_optimiser
from imatch.training.registry import TrainingError
from imatch.training.tracking import Tracker, make_trackers

ConfigT = TypeVar("ConfigT", bound=TrainerConfig)
BatchT = TypeVar("BatchT")
CaseT = TypeVar("CaseT")


@dataclass(frozen=True)
class Loaders(Generic[BatchT, CaseT]):
    """Training batches and validation cases.

    Attributes:
        train: Batches without end, from the step asked for.
        validation: Cases, the same each time.
    """

    train: Iterable[BatchT]
    validation: Iterable[CaseT]


@dataclass(frozen=True)
class Outcome:
    """Outcome of a session of training.

    Attributes:
        step: Steps done, in all sessions.
        ended: ``done``, ``early`` (no better for long), ``time`` (is up) or ``interrupted``.
        best: The best step and its figure.
        figures: The last measurement.
    """

    step: int
    ended: Literal["done", "early", "time", "interrupted"]
    best: tuple[int, float] | None = None
    figures: Mapping[str, float] = field(default_factory=dict)


class Trainer(ABC, Generic[ConfigT, BatchT, CaseT]):
    """Trains a network; a subclass says which, on what, and with what loss.

    Args:
        config: How.
        folder: The run's folder: configuration, log, checkpoints. It is made.

    Attributes:
        monitor: The validation figure that decides which checkpoint is the best; larger is better.
        unit: What a batch is made of, as speeds are logged (``pairs_per_s``).
    """

    monitor: ClassVar[str]
    unit: ClassVar[str] = "pairs"

    def __init__(self, config: ConfigT, folder: Path) -> None:
        self.config = config
        self.folder = folder
        self.device = resolve_device(config.device)
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, config.keep)
        self.trackers: list[Tracker] = []
        self.step = 0
        self._stop = False

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Builds the network with the weights it starts from."""

    @abstractmethod
    def build_loaders(self, start: int) -> Loaders[BatchT, CaseT]:
        """Opens the data, from batch number `start` on."""

    @abstractmethod
    def training_step(self, model: nn.Module, batch: BatchT) -> dict[str, Tensor]:
        """Returns scalars by name for one batch; ``loss`` is what is made smaller."""

    @abstractmethod
    def validation_step(self, model: nn.Module, case: CaseT) -> dict[str, float]:
        """Returns figures of one case by name; their means over the cases are the measurement."""

    def count(self, batch: BatchT) -> int:  # noqa: ARG002
        """Returns how many of `unit` a batch has."""
        return self.config.batch_size

    def about(self) -> dict[str, Any]:
        """Returns what a checkpoint says beyond the configuration: data, licence; JSON-ready."""
        return {}

    def example_images(self, model: nn.Module) -> Mapping[str, Any]:  # noqa: ARG002
        """Returns pictures (H, W, 3) uint8 by name for the trackers, after a measurement."""
        return {}

    def train_mode(self, model: nn.Module) -> None:
        """Puts the network into the mode in which it learns."""
        model.train()

    def fit(
        self,
        *,
        resume: bool = False,
        overfit: bool = False,
        on_step: Callable[[float], None] = lambda _steps: None,
    ) -> Outcome:
        """Trains until the run, the time or the patience is at its end.

        On a CPU a run that was cut off and resumed ends with the same weights as one that was not.

        Args:
            resume: Go on from the newest checkpoint.
            overfit: Learn one batch by heart, to see that the loss can be made small; nothing is
                measured or kept.
            on_step: Called with the number of steps done since the last call.

        Raises:
            TrainingError: The loss or its gradient is no number; the checkpoints are still good.
            OutputError: The folder holds a run already, or the disk is full.
            InputError: There is nothing to resume.
            ConfigError: The resumed run had other settings.
        """
        folder = self.folder / "overfit" if overfit else self.folder
        open_run(folder, self.config, resume=resume, again=overfit)
        # Without one the run was cut off before its first: it begins again.
        saved = self.checkpoints.load() if resume and self.checkpoints.steps() else None
        _seed(self.config.seed)
        model = self.build_model().to(self.device)
        optimiser = make_optimiser(model, self.config.optimiser)
        average = make_average(model, self.config.ema, 0 if saved is None else saved.step)
        stale = 0
        if saved is not None:
            with self.checkpoints.damage_errors(saved.step):
                model.load_state_dict(saved.weights)
                average.module.load_state_dict(saved.average)
                optimiser.load_state_dict(saved.state["optimiser"])
                self.step, stale = saved.step, int(saved.state["stale"])
                figure = saved.about["figures"].get(self.monitor)
                better = saved.state.get("better")
            if better and figure is not None:
                self.checkpoints.mark_best(saved.step, figure)  # Perhaps it was killed before that.
        loaders = self.build_loaders(self.step)
        batches = iter(loaders.train)
        settings = self.config.model_dump(mode="json")
        self.trackers = make_trackers(self.config.trackers, folder, settings, self.step)
        # Last, since making a loader's iterator draws a random number.
        if saved is None:
            _seed(self.config.seed + 1)
        else:
            with self.checkpoints.damage_errors(saved.step):
                restore_random(saved.state["random"])
        try:
            with self._interruptible():
                if overfit:
                    return self._overfit_batch(model, optimiser, next(batches), on_step)
                return self._loop(model, optimiser, average, batches, loaders, stale, on_step)
        finally:
            for tracker in self.trackers:
                tracker.close()

    def measure(self, model: nn.Module, cases: Iterable[CaseT]) -> dict[str, float]:
        """Measures mean figures over the validation cases; NaNs are left out."""
        model.eval()
        collected: dict[str, list[float]] = {}
        with torch.inference_mode(), torch.random.fork_rng():
            for case in cases:
                for name, value in self.validation_step(model, case).items():
                    collected.setdefault(name, []).append(value)
        means = {}
        for name, values in collected.items():
            known = [value for value in values if not math.isnan(value)]
            means[name] = float(np.mean(known)) if known else float("nan")
        return means

    def _loop(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        average: AveragedModel,
        batches: Iterator[BatchT],
        loaders: Loaders[BatchT, CaseT],
        stale: int,
        on_step: Callable[[float], None],
    ) -> Outcome:
        config, begun = self.config, time.monotonic()
        figures: dict[str, float] = {}
        if self.step == 0:
            figures = self._measured(average.module, loaders.validation)
        ended: Literal["done", "early", "time", "interrupted"] = "done"
        # A run that is resumed may begin anywhere between two lines of the log.
        mark, waited, seen = time.monotonic(), 0.0, 0
        while self.step < config.steps:
            asked = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - asked
            values = self.update(model, optimiser, batch)
            self.step += 1
            seen += self.count(batch)
            average.update_parameters(model)
            on_step(1)
            if self.step % config.log_every == 0:
                spent = time.monotonic() - mark
                values |= {f"{self.unit}_per_s": seen / spent, "loading_share": waited / spent}
                self._track({f"train/{name}": value for name, value in values.items()})
                mark, waited, seen = time.monotonic(), 0.0, 0
            last = self.step == config.steps
            measuring = last or self.step % config.validate_every == 0
            better = False
            if measuring:
                paused = time.monotonic()
                figures = self._measured(average.module, loaders.validation)
                best = self.checkpoints.best
                better = best is None or figures[self.monitor] > best[1]
                stale = 0 if better else stale + 1
                mark += time.monotonic() - paused
            if self._stop:
                ended = "interrupted"
            elif config.max_minutes and time.monotonic() - begun > 60 * config.max_minutes:
                ended = "time" if not last else "done"
            elif config.patience and stale >= config.patience:
                ended = "early"
            stopping = ended != "done" or last
            if measuring or stopping or self.step % config.checkpoint_every == 0:
                self._save(model, optimiser, average, {"stale": stale, "better": better}, figures)
            if better:
                self.checkpoints.mark_best(self.step, figures[self.monitor])
            if stopping:
                break
        return Outcome(self.step, ended, self.checkpoints.best, figures)

    def update(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: BatchT
    ) -> dict[str, float]:
        """Takes one step of the optimiser, only if everything about it is finite.

        Args:
            model: The network.
            optimiser: Over its parameters.
            batch: What it learns from.

        Returns:
            The losses by name, the norm of the gradient and the learning rate.

        Raises:
            TrainingError: The loss or its gradient is no number.
        """
        config = self.config
        share = lr_factor(config.schedule, self.step, config.steps)
        for group in optimiser.param_groups:
            group["lr"] = config.optimiser.lr * share
        self.train_mode(model)
        optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            losses = self.training_step(model, batch)
        if not bool(torch.isfinite(losses["loss"])):
            raise self._not_finite("loss")
        losses["loss"].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.optimiser.clip_norm)
        if not bool(torch.isfinite(norm)):
            raise self._not_finite("gradient")
        optimiser.step()
        values = {name: float(value.detach()) for name, value in losses.items()}
        return values | {"gradient_norm": float(norm), "lr": config.optimiser.lr * share}

    def _not_finite(self, what: str) -> TrainingError:
        steps = self.checkpoints.steps()
        good = f"step {steps[-1]} is the last good checkpoint" if steps else "nothing was kept yet"
        return TrainingError(
            f"the {what} is not a number at step {self.step + 1}; {good}",
            subject=self.folder,
            hint="try a smaller optimiser.lr, or precision=fp32",
        )

    def _overfit_batch(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        batch: BatchT,
        on_step: Callable[[float], None],
    ) -> Outcome:
        first = values = self.update(model, optimiser, batch)
        while self.step + 1 < self.config.steps and not self._stop:
            self.step += 1
            values = self.update(model, optimiser, batch)
            self._track({f"train/{name}": value for name, value in values.items()})
            on_step(1)
        figures = {"first_loss": first["loss"], "last_loss": values["loss"]}
        return Outcome(self.step + 1, "interrupted" if self._stop else "done", None, figures)

    def _measured(self, model: nn.Module, cases: Iterable[CaseT]) -> dict[str, float]:
        figures = self.measure(model, cases)
        example_images = self.example_images(model)
        if self.monitor not in figures or math.isnan(figures[self.monitor]):
            raise TrainingError(
                f"{self.monitor} could not be measured",
                subject=self.folder,
                hint="are there validation places with known positions?",
            )
        self._track({f"val/{name}": value for name, value in figures.items()})
        for name, pixels in example_images.items():
            for tracker in self.trackers:
                tracker.add_image(self.step, name, pixels)
        return figures

    def _save(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        average: AveragedModel,
        course: Mapping[str, int],
        figures: Mapping[str, float],
    ) -> None:
        state = {"optimiser": optimiser.state_dict(), **course, "random": random_state()}
        about = {
            "step": self.step,
            "config": self.config.model_dump(mode="json"),
            "figures": json_values(figures),
            **self.about(),
        }
        kept, weights = average.module.state_dict(), model.state_dict()
        self.checkpoints.save(Checkpoint(self.step, kept, weights, state, about))

    def _track(self, values: Mapping[str, float]) -> None:
        for tracker in self.trackers:
            tracker.scalars(self.step, values)

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """The precision in which the network computes."""
        wanted = self.config.precision
        if wanted == "auto":
            return "bf16" if supports_bf16(self.device) else "fp32"
        return wanted

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Lets Ctrl-C end the step at hand, so that what is kept is the state between two steps."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: object) -> None:
            if self._stop:  # The second time it is meant at once.
                raise KeyboardInterrupt
            self._stop = True

        before = {sign: signal.signal(sign, stop) for sign in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sign, handler in before.items():
                signal.signal(sign, handler)


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - other people's code draws from it
    torch.manual_seed(seed)


def supports_bf16(device: torch.device) -> bool:
    """Whether a device is made for computing in bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
