"""The folder of a run: one configuration, one log, one row of checkpoints."""

from __future__ import annotations

from pathlib import Path

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.core.io.files import atomic_path, remove_leftovers
from imatch.core.settings import as_yaml, load_settings
from imatch.training.config import CHANGEABLE, TrainerConfig

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"


def open_run(folder: Path, config: TrainerConfig, *, resume: bool, again: bool = False) -> None:
    """Make the folder of a run, or check that it is the run that is to be resumed.

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
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
