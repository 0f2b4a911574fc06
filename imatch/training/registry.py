"""Registry of the trainers, and training by name. Importing this module imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imatch.core.errors import ConfigError, ImatchError
from imatch.core.progress import ProgressOption, shown
from imatch.core.registry import Registry, Row

if TYPE_CHECKING:
    from imatch.training.trainer import Outcome


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
        """Imports the model of its settings."""
        return self._import(self.config)

    def load_export(self) -> Any:
        """Imports its exporter."""
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
            "field",
            "imatch.training.fields.trainer:FieldTrainer",
            "imatch.training.fields.config:FieldConfig",
            "imatch.training.fields.export:export",
            "maps of whole images that correlate across sensors",
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


def train(
    trainer: str,
    run: Path,
    config: Path | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
    overfit: bool = False,
    on_licence: Callable[[str], None] | None = None,
    progress: ProgressOption = None,
) -> Outcome:
    """Trains a network.

    Args:
        trainer: A row of `TRAINERS`.
        run: Folder for the checkpoints, the log and the configuration.
        config: YAML file of settings; the defaults when None, of a run to resume its own.
        settings: ``key=value`` texts that override it.
        resume: Go on with the run that the folder holds.
        overfit: Learn a single batch, to see that it can be.
        on_licence: Called with the licence of what training starts from, where that has one.
        progress: Shows how many steps are done.

    Returns:
        How it ended, and the figures.

    Raises:
        ConfigError: There is no such trainer, or a setting makes no sense.
        ImatchError: The data or the folder cannot be used.
    """
    from imatch.core.settings import load_settings
    from imatch.training.checkpoint import CONFIG

    row = TRAINERS[trainer]
    if resume and config is None:
        config = run / CONFIG
    chosen = load_settings(row.load_config(), config, settings)
    work = row.load()(chosen, run)
    licence = work.about().get("licence")
    if licence and on_licence is not None:
        on_licence(licence)
    with shown(progress)(f"training {trainer}", chosen.steps) as advance:
        outcome: Outcome = work.fit(resume=resume, overfit=overfit, on_step=advance)
    return outcome
