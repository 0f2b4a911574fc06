"""Registry of the trainers. Importing this module imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from imatch.core.errors import ConfigError, ImatchError
from imatch.core.registry import Registry, Row


class TrainingError(ImatchError):
    """A trainer that cannot be had, or a run that cannot go on as it is."""


@dataclass(frozen=True)
class TrainerRow(Row):
    """One trainer.

    Attributes:
        config: ``"module:Class"`` of its settings.
        export: ``"module:function"`` that makes a file for others of a run, taking the run's folder
            and the file.
        summary: What it trains, in a few words.
    """

    config: str
    export: str
    summary: str
    error = TrainingError

    def load_config(self) -> Any:
        """Import the model of its settings."""
        return self._import(self.config)

    def load_export(self) -> Any:
        """Import its exporter."""
        return self._import(self.export)


class Trainers(Registry[TrainerRow]):
    """Names to trainers; a wrong one is wrong usage."""

    error = ConfigError


TRAINERS = Trainers(
    "trainer",
    [
        TrainerRow(
            "superpoint",
            "imatch.training.superpoint.trainer:SuperPointTrainer",
            "imatch.training.superpoint.config:SuperPointConfig",
            "imatch.training.superpoint.export:export",
            "keypoints and descriptors that last through the seasons",
        ),
        TrainerRow(
            "loftr",
            "imatch.training.loftr.trainer:LoFTRTrainer",
            "imatch.training.loftr.config:LoFTRConfig",
            "imatch.training.loftr.export:export",
            "matches without keypoints, across the seasons",
        ),
        TrainerRow(
            "embedder",
            "imatch.training.embedder.trainer:EmbedderTrainer",
            "imatch.training.embedder.config:EmbedderConfig",
            "imatch.training.embedder.export:export",
            "one vector a chip, near for the same place in any season",
        ),
    ],
    group="imatch.trainers",
)
"""All trainers by name; other packages add rows with the entry-point group ``imatch.trainers``."""
