"""Trackers of a run's figures: a log of JSON lines always, TensorBoard and MLflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.extras import require_extra
from imatch.core.io.files import disk_errors
from imatch.core.io.jsontext import json_values, parse_json

LOG = "log.jsonl"
_MLFLOW_RUN = "mlflow-run.txt"


class Tracker(Protocol):
    """Tracker of figures and pictures by step."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records figures by name (``train/loss``)."""

    def add_image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """Records an image (H, W, 3)."""

    def close(self) -> None:
        """Writes what is not yet written."""


class JsonLines:
    """One line of JSON for each set of figures; pictures are left to others.

    A resumed run repeats no line: those after the checkpoint it goes on from are cut off.

    Args:
        path: The log.
        after: Keep lines up to this step; 0 begins anew.

    Raises:
        OutputError: The log cannot be written.
    """

    def __init__(self, path: Path, after: int = 0) -> None:
        with disk_errors(path):
            old = read_log(path) if after else []
            self._file = path.open("w")
        for line in old:
            if line["step"] <= after:
                self._write(line)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`; a figure that is not finite becomes null."""
        self._write({"step": step, **json_values(values)})

    def add_image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """See `Tracker`."""

    def close(self) -> None:
        """See `Tracker`."""
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        with disk_errors(self._file.name):
            self._file.write(json.dumps(line, allow_nan=False) + "\n")
            self._file.flush()


def read_log(path: Path) -> list[dict[str, Any]]:
    """Reads the lines of a log; damaged ones are left out."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_bytes().splitlines():
            try:
                line = parse_json(text)
            except ValueError:
                continue
            if isinstance(line, dict) and type(line.get("step")) is int:
                numbers = (int, float, type(None))
                lines.append({k: v for k, v in line.items() if isinstance(v, numbers)})
    return lines


class TensorBoard:
    """Figures and pictures for ``tensorboard --logdir RUN``.

    Args:
        folder: The run's folder.
        after: Step a resumed run goes on from.
    """

    def __init__(self, folder: Path, after: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=after + 1 or None)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def add_image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """See `Tracker`."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def close(self) -> None:
        """See `Tracker`."""
        self._writer.close()


class MLflow:
    """Figures in MLflow, at the address in ``$MLFLOW_TRACKING_URI`` or where MLflow keeps its own.

    A run that is resumed goes on as the same run there; its name is that of the folder.

    Args:
        folder: The run's folder.
        settings: The configuration, logged as parameters, ``optimiser.lr`` for a group's.
        after: Step a resumed run goes on from.

    Raises:
        ConfigError: The address refuses.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], after: int = 0) -> None:
        import mlflow

        self._mlflow = mlflow
        run_file = folder / _MLFLOW_RUN
        known = run_file.read_text().strip() if after and run_file.is_file() else None
        try:
            mlflow.set_experiment("imatch")
            run = mlflow.start_run(run_id=known, run_name=None if known else folder.name)
            if known is None:
                mlflow.log_params(_flat(settings))
        # Which error it is follows from the store: MLflow's own, SQLAlchemy's, the network's.
        except Exception as error:
            raise ConfigError(
                f"refuses: {str(error).strip().partition(chr(10))[0]}",
                subject=f"mlflow at {mlflow.get_tracking_uri()}",
                hint="set MLFLOW_TRACKING_URI, as to sqlite:///mlflow.db or a server's address",
            ) from error
        run_file.write_text(f"{run.info.run_id}\n")

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """See `Tracker`."""
        self._mlflow.log_metrics(dict(values), step=step)

    def add_image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """See `Tracker`."""
        self._mlflow.log_image(pixels, f"{name.replace('/', '-')}-{step:08d}.png")

    def close(self) -> None:
        """See `Tracker`."""
        self._mlflow.end_run()


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def make_trackers(
    names: Sequence[str], folder: Path, settings: Mapping[str, Any], after: int = 0
) -> list[Tracker]:
    """Opens the trackers of a run; the log comes first and always.

    Args:
        names: ``tensorboard``, ``mlflow``.
        folder: The run's folder.
        settings: The configuration.
        after: Step a resumed run goes on from.

    Raises:
        ConfigError: MLflow was asked for and is not installed, or refuses.
        OutputError: The log cannot be written.
    """
    if "mlflow" in names:
        require_extra("mlflow", "for trackers=mlflow")
    trackers: list[Tracker] = [JsonLines(folder / LOG, after)]
    try:
        if "tensorboard" in names and find_spec("tensorboard") is not None:
            trackers.append(TensorBoard(folder, after))
        if "mlflow" in names:
            trackers.append(MLflow(folder, settings, after))
    except BaseException:
        for tracker in trackers:
            tracker.close()
        raise
    return trackers
