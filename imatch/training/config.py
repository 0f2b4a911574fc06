"""Settings of a training run: frozen models read from YAML, single settings overridable."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imatch.core.errors import ConfigError
from imatch.core.io.yamltext import parse_yaml, read_mapping

SettingsT = TypeVar("SettingsT", bound="Settings")


class Settings(BaseModel):
    """A group of settings: nothing in it can be changed, nor misspelt."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OptimiserConfig(Settings):
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101).

    Attributes:
        lr: Highest learning rate.
        weight_decay: On kernels; biases and normalisations have none.
        clip_norm: Largest norm of the gradient; longer ones are shortened to it.
    """

    lr: float = Field(default=3e-4, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    clip_norm: float = Field(default=10.0, gt=0)


class ScheduleConfig(Settings):
    """The learning rate over the run, as a share of its highest.

    Attributes:
        kind: ``cosine`` (Loshchilov and Hutter 2017), ``one-cycle`` (Smith 2018: rises over a third
            of the run) or ``constant``.
        warmup: Steps of linear rise at the start; ``one-cycle`` has its own.
        floor: What is left at the end.
    """

    kind: Literal["cosine", "one-cycle", "constant"] = "cosine"
    warmup: int = Field(default=100, ge=0)
    floor: float = Field(default=0.01, ge=0, le=1)


class TrainerConfig(Settings):
    """Settings that all trainers share.

    Attributes:
        seed: Of everything random.
        steps: Length of the run, optimiser steps.
        batch_size: Pairs in a step.
        workers: Processes that load data; 0 loads in the training process.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``bf16`` computes in bfloat16 where that is safe; ``auto`` does so where the
            processor is made for it.
        optimiser: The optimiser.
        schedule: The learning rate over the run.
        ema: Decay of the moving average of the weights, which is what is measured and kept; 0 for
            the weights themselves.
        validate_every: Steps between measurements on the validation places.
        checkpoint_every: Steps between checkpoints; what a crash can cost.
        keep: Checkpoints kept beside the best.
        patience: Measurements without a better one after which the run stops; None for never.
        max_minutes: Time after which this session stops, to be resumed; None for never.
        log_every: Steps between lines of the log.
        trackers: Where figures go beside the log: ``tensorboard``, ``mlflow``. TensorBoard is left
            out quietly where it is not installed.
    """

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=10_000, ge=1)
    batch_size: int = Field(default=4, ge=1)
    workers: int = Field(default=0, ge=0)
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: float = Field(default=0.995, ge=0, lt=1)
    validate_every: int = Field(default=500, ge=1)
    checkpoint_every: int = Field(default=100, ge=1)
    keep: int = Field(default=2, ge=1)
    patience: int | None = Field(default=None, ge=1)
    max_minutes: float | None = Field(default=None, gt=0)
    log_every: int = Field(default=10, ge=1)
    trackers: tuple[Literal["tensorboard", "mlflow"], ...] = ("tensorboard",)


CHANGEABLE = frozenset(
    {"steps", "workers", "device", "keep", "patience", "max_minutes", "log_every", "trackers"}
)
"""Settings that a resumed run may change: they do not touch what was computed so far.

(A longer run stretches the learning rate's schedule from here on.)
"""


def load_settings(
    kind: type[SettingsT], path: Path | None = None, overrides: Sequence[str] = ()
) -> SettingsT:
    """Read settings from YAML and replace single ones.

    Args:
        kind: The model to fill.
        path: YAML file, None for the defaults.
        overrides: ``key=value`` or ``group.key=value``; the value is read as YAML.

    Raises:
        InputError: The file is missing or is no YAML mapping.
        ConfigError: A setting that does not exist, or an impossible value.
    """
    values = {} if path is None else read_mapping(path)
    for text in overrides:
        _override(values, text)
    return checked(kind, values, path)


def checked(
    kind: type[SettingsT], values: Mapping[str, Any], path: Path | None = None
) -> SettingsT:
    """Returns settings made from plain values.

    Args:
        kind: The model to fill.
        values: The values.
        path: Where they come from, for the message.

    Raises:
        ConfigError: A setting that does not exist, or an impossible value.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise _explained(error, kind, path) from error


def as_yaml(settings: Settings) -> str:
    """Returns the settings as a YAML document that `load_settings` reads back.

    Example:
        >>> print(as_yaml(ScheduleConfig(warmup=5)))
        kind: cosine
        warmup: 5
        floor: 0.01
        <BLANKLINE>
    """
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def template(kind: type[Settings], indent: str = "") -> str:
    """Returns all settings with their defaults and what they mean, as YAML to start from.

    Args:
        kind: The model.
        indent: Before each line.
    """
    descriptions = _descriptions(kind)
    lines = []
    for name, field in kind.model_fields.items():
        key = field.alias or name
        lines += [f"{indent}# {text}" for text in textwrap.wrap(descriptions.get(name, ""), 88)]
        default = field.get_default(call_default_factory=True)
        if isinstance(default, Settings):
            lines += [f"{indent}{key}:", template(type(default), indent + "  ").rstrip()]
        else:
            plain = list(default) if isinstance(default, tuple) else default
            value = yaml.safe_dump(plain, default_flow_style=True, allow_unicode=True)
            lines.append(f"{indent}{key}: {value.removesuffix('...' + chr(10)).strip()}")
    return "\n".join(lines) + "\n"


def _descriptions(kind: type[Settings]) -> dict[str, str]:
    """What the docstrings of a model and its bases say of each attribute."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        section = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")[2]
        for entry in re.split(r"\n(?=    \w)", section):
            name, _, text = entry.strip().partition(":")
            found[name] = re.sub(r"\bNone\b", "null", " ".join(text.replace("``", "").split()))
    return found


def _override(values: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError("is not key=value", subject=text, hint="for example -s batch_size=8")
    *groups, last = name.strip().split(".")
    for group in groups:
        inner = values.get(group)
        # A copy: the mapping may be shared with whoever loaded it.
        values[group] = dict(inner) if isinstance(inner, Mapping) else {}
        values = values[group]
    try:
        values[last] = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f"the value {error}", subject=text) from error


def _explained(error: ValidationError, kind: type[Settings], path: Path | None) -> ConfigError:
    first = error.errors()[0]
    where = [str(part) for part in first["loc"]]
    name = ".".join(where) or "configuration"
    subject = name if path is None else f"{path}: {name}"
    if first["type"] == "extra_forbidden":
        known: Any = kind
        for part in where[:-1]:
            known = known.model_fields[part].annotation
        names = ", ".join(getattr(known, "model_fields", {}))
        return ConfigError("is no setting", subject=subject, hint=f"settings are {names}")
    message = first["msg"].removeprefix("Value error, ")
    return ConfigError(message[:1].lower() + message[1:], subject=subject)
