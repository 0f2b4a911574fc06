"""The folder of a run: its configuration, and checkpoints from which it goes on bit for bit.

A checkpoint is a folder ``step-00001200`` with ``weights.safetensors`` (what is measured and kept:
the average where there is one), ``run.safetensors`` (the weights being trained), ``state.pt``
(optimiser, random numbers, counters) and ``about.json`` (configuration, data, licence, versions).
It is written beside its place and renamed into it, so that it is whole or absent.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import random
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from imatch.core.arrays import check_archive
from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.core.io.files import atomic_path, disk_errors, remove_leftovers, scratch
from imatch.core.io.jsontext import parse_json
from imatch.core.settings import as_yaml, load_settings
from imatch.training.config import CHANGEABLE, TrainerConfig

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
WEIGHTS, RUN, STATE, ABOUT = "weights.safetensors", "run.safetensors", "state.pt", "about.json"
_BEST = "best.json"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run after a number of steps.

    Attributes:
        step: Optimiser steps done.
        average: Weights that are measured and kept.
        weights: Weights being trained.
        state: Everything else, of tensors and plain values.
        about: Configuration, data, licence, versions; JSON-ready.
    """

    step: int
    average: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    state: Mapping[str, Any]
    about: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Where they lie; made when the first is saved.
        keep: How many of the newest stay, beside the best.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def steps(self) -> list[int]:
        """Returns the steps there are checkpoints of, oldest first."""
        names = (re.fullmatch(r"step-(\d+)", path.name) for path in self.folder.glob("step-*"))
        return sorted(int(match[1]) for match in names if match)

    def path(self, step: int) -> Path:
        """Returns the folder of one checkpoint."""
        return self.folder / f"step-{step:08d}"

    @property
    def best(self) -> tuple[int, float] | None:
        """The best step and its figure, None before the first measurement."""
        path = self.folder / _BEST
        try:
            content = parse_json(path.read_text(), finite=False)
            step, figure = int(content["step"]), float(content["figure"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            _warn_of_best(path)
            return None
        return (step, figure) if math.isfinite(figure) else None

    def save(self, checkpoint: Checkpoint) -> Path:
        """Writes a checkpoint and drops those that are neither new nor the best.

        Raises:
            OutputError: The disk is full or refuses; what was there is still there.
        """
        place = self.path(checkpoint.step)
        if place.exists():
            return place  # A run is a function of its configuration: it would be the same again.
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with scratch(place) as work:
                temporary = work / place.name
                temporary.mkdir()
                save_file(_plain(checkpoint.average), temporary / WEIGHTS, {"format": "pt"})
                save_file(_plain(checkpoint.weights), temporary / RUN, {"format": "pt"})
                torch.save(dict(checkpoint.state), temporary / STATE)
                (temporary / ABOUT).write_text(json.dumps(checkpoint.about, indent=2) + "\n")
                temporary.rename(place)
        # Torch and safetensors report a full disk as errors of their own.
        except (OSError, RuntimeError, SafetensorError) as error:
            raise OutputError(
                f"the checkpoint cannot be written: {_cause(error)}",
                subject=place,
                hint="make room, then go on with --resume",
            ) from error
        self._tidy()
        return place

    def mark_best(self, step: int, figure: float) -> None:
        """Remembers which step is the best; its checkpoint has to exist."""
        with atomic_path(self.folder / _BEST, overwrite=True) as temporary:
            temporary.write_text(json.dumps({"step": step, "figure": figure}) + "\n")
        self._tidy()

    def load(self, step: int | None = None) -> Checkpoint:
        """Reads a checkpoint.

        Args:
            step: Which one, None for the newest.

        Raises:
            InputError: There is none, or it is damaged.
        """
        there = self.steps()
        if not there:
            raise InputError(
                "holds no checkpoint", subject=self.folder, hint="train until there is one"
            )
        step = there[-1] if step is None else step
        place = self.path(step)
        # PyTorch does not look at the checksums of its own files.
        damage = check_archive(place / STATE) if (place / STATE).exists() else None
        if damage is not None:
            raise _damaged(place, damage)
        try:
            return Checkpoint(
                step,
                load_file(place / WEIGHTS),
                load_file(place / RUN),
                torch.load(place / STATE, map_location="cpu", weights_only=True),
                parse_json((place / ABOUT).read_text(), finite=False),
            )
        # Zip, unpickling and safetensors errors share no base class.
        except Exception as error:
            raise _damaged(place, error) from error

    def damage_errors(self, step: int) -> AbstractContextManager[None]:
        """Reports errors inside the block as damage of a checkpoint.

        Args:
            step: Which one.
        """
        return _damage_errors(self.path(step))

    def _tidy(self) -> None:
        best = self.best
        kept = set(self.steps()[-self.keep :]) | ({best[0]} if best else set())
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.path(step), ignore_errors=True)


def _damaged(place: Path, error: object) -> InputError:
    return InputError(
        f"is damaged: {str(error).strip().partition(chr(10))[0]}",
        subject=place,
        hint="delete it; the one before is used then",
    )


@contextmanager
def _damage_errors(place: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        message = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise _damaged(place, message) from error


@lru_cache
def _warn_of_best(path: Path) -> None:
    """Warns once: the best is asked for after every measurement."""
    _LOG.warning("%s: is damaged: the next measurement counts as the best so far", path)


def open_run(folder: Path, config: TrainerConfig, *, resume: bool, again: bool = False) -> None:
    """Makes the folder of a run, or checks that it is the run that is to be resumed.

    The configuration is written into it.

    Args:
        folder: The run's folder.
        config: What the run is to be.
        resume: Whether it is there already.
        again: Whether a run that is there may begin anew.

    Raises:
        OutputError: The folder cannot be made, or holds a run already.
        InputError: There is nothing to resume.
        ConfigError: The resumed run had other settings.
    """
    path = folder / CONFIG
    if resume:
        if not path.exists():
            raise InputError("holds no run", subject=folder, hint="leave --resume out")
        _check_same(path, config)
        remove_leftovers(folder, deep=True)
    elif path.exists() and not again:
        raise OutputError("holds a run already", subject=folder, hint="pass --resume or another -o")
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(as_yaml(config))


def _check_same(path: Path, config: TrainerConfig) -> None:
    before = load_settings(type(config), path)
    for name in type(config).model_fields:
        if name not in CHANGEABLE and getattr(before, name) != getattr(config, name):
            raise ConfigError(
                "differs from what the run began with",
                subject=name,
                hint=f"resume it with the settings in {path}, or begin another run",
            )


def random_state() -> dict[str, Any]:
    """Returns where all random number generators stand, in plain values and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    state = {
        "python": {"version": version, "words": list(words), "gauss": gauss},
        "numpy": {
            "name": name,
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": position,
            "has_gauss": has_gauss,
            "cached": cached,
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random(state: Mapping[str, Any]) -> None:
    """Sets all random number generators to where they stood."""
    python, numpy = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"]), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002 - other people's code draws from it
        (numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"])
    )
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in state.items()}


def _cause(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    return "the disk is full" if full or "No space left" in text else text.partition("\n")[0]
