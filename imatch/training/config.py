"""Settings of a training run: frozen models read from YAML, single settings overridable."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from imatch.core.settings import Settings


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


#: Most samples of a batch, pixels of a side, bands or dimensions: more is a slip of the pen.
MOST = 16_384


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

    example: ClassVar[str] = "batch_size=8"

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=10_000, ge=1)
    batch_size: int = Field(default=4, ge=1, le=MOST)
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
