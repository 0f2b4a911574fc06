"""Export of a run: a checkpoint as one small file, with a model card that says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from imatch.core.errors import ImatchError
from imatch.core.io.files import atomic_path, check_output
from imatch.datasets.manifest import load_manifest
from imatch.models.weights import sha256_of
from imatch.training.checkpoint import CHECKPOINTS, Checkpoint, Checkpoints
from imatch.training.initialisation import ancestry
from imatch.training.tracking import LOG, read_log

Log = Sequence[Mapping[str, Any]]


def save_half(checkpoint: Checkpoint, path: Path) -> None:
    """Writes the averaged network in half precision, with what it is made of in the header."""
    about = checkpoint.about
    metadata = {
        "imatch": json.dumps({k: about[k] for k in ("architecture", "start", "licence", "step")})
    }
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in checkpoint.average.items()
    }
    save_file(state, path, metadata)


@dataclass(frozen=True)
class Exporter:
    """Writes a checkpoint of a run as one small file, with a model card beside it.

    Attributes:
        what: Lines of the card that say what the network is.
        rows: Rows of the card that are told of this kind of network alone; those that have the name
            of a common row replace it, None leaves it out.
        save: Writes the network into a file; in half precision by default.
        unit: What the training data consists of: ``pairs`` or ``chips``.
    """

    what: Sequence[str]
    rows: Callable[[Checkpoint], Mapping[str, str | None]]
    save: Callable[[Checkpoint, Path], None] = save_half
    unit: str = "pairs"

    def __call__(
        self, run: Path, path: Path, *, overwrite: bool = False, step: int | None = None
    ) -> Path:
        """Exports a checkpoint.

        Args:
            run: The run's folder.
            path: The file to write, ``.safetensors``; the card has the suffix ``.md``.
            overwrite: Whether existing files may be replaced.
            step: Which checkpoint, where more measuring has shown another to be the best; None for
                the one that was the best during the run.

        Returns:
            The card's path.

        Raises:
            InputError: The run has no checkpoint, or it does not say what an export has to tell.
            OutputError: A file exists, or cannot be written.
        """
        checkpoints = Checkpoints(run / CHECKPOINTS)
        best = checkpoints.best
        if step is None and best is not None and best[0] in checkpoints.steps():
            step = best[0]
        checkpoint = checkpoints.load(step)
        card = path.with_suffix(".md")
        for place in (path, card):
            check_output(place, overwrite=overwrite)
        # The network and its card appear together when both are written.
        with (
            atomic_path(card, overwrite=overwrite) as text,
            atomic_path(path, overwrite=overwrite) as file,
            checkpoints.damage_errors(checkpoint.step),
        ):
            self.save(checkpoint, file)
            text.write_text(self.card(checkpoint, file, read_log(run / LOG)))
        return card

    def card(self, checkpoint: Checkpoint, path: Path, log: Log) -> str:
        """Returns the model card as Markdown.

        Args:
            checkpoint: What was exported.
            path: The file it was exported to.
            log: Of the run, as `imatch.training.tracking.read_log` gives it.
        """
        about = checkpoint.about
        own = self.rows(checkpoint)
        table = {
            "sha256": f"`{sha256_of(path)}`",
            **own,
            **{k: v for k, v in _common_rows(checkpoint, log).items() if k not in own},
        }
        before: Mapping[str, Any] = next((line for line in log if line["step"] == 0), {})
        lines = [
            f"# {path.name}",
            "",
            *self.what,
            "",
            "| | |",
            "|---|---|",
            *(f"| {name} | {text} |" for name, text in table.items() if text is not None),
            *_sources(about["data"], about["config"]["data"].get("sources"), self.unit),
            "",
            "On the validation places, before the first step and now:",
            "",
            "| figure | before | now |",
            "|---|---:|---:|",
            *(
                f"| {name} | {_number(before.get(f'val/{name}'))} | {_number(value)} |"
                for name, value in sorted(about["figures"].items())
            ),
        ]
        return "\n".join(lines) + "\n"


def _common_rows(checkpoint: Checkpoint, log: Log) -> dict[str, str]:
    about = checkpoint.about
    config, made_on = about["config"], about["environment"]
    machine, pairs = made_on["machine"], checkpoint.step * config["batch_size"]
    seconds = _seconds(log, checkpoint.step, config)
    spent = "unknown" if seconds is None else f"{seconds / 3600:.1f} h"
    return {
        **_cases(config["data"]),
        "start": ancestry(about["start"]),
        "licence of the start": about["licence"],
        "steps": f"{checkpoint.step} of {config['steps']}, each of {config['batch_size']} pairs,"
        f" {pairs} in all",
        "time": f"{spent} of training, on {machine['cpu']}, {machine['cores']} cores; torch"
        f" {made_on['versions']['torch']}",
        "views": f"{config['data']['size']} px",
        "training pairs": _pairs(about["data"].get("pairs", 0)),
        "chips": f"sha256 {about['data']['sha256'] or 'of none'}",
        "commit": _commit(made_on),
    }


def _cases(data: Mapping[str, Any]) -> dict[str, str]:
    """A row that says which real pairs of two sensors taught, if any did."""
    if data.get("cases") is None:
        return {}
    sources = ", ".join(data["case_sources"] or ("all",))
    told = f"sources {sources} of the table of cases, one ground in {data['held_out']} held out"
    return {"pairs of two sensors": told}


def _pairs(pairs: int | Mapping[str, int]) -> str:
    """Formats one number of pairs, or one of each kind."""
    if isinstance(pairs, int):
        return str(pairs)
    return ", ".join(f"{count} {kind}" for kind, count in pairs.items())


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _seconds(log: Log, step: int, config: Mapping[str, Any]) -> float | None:
    """Returns the time that the steps took, measuring left out, by the speeds that were logged."""
    speeds = [line["train/pairs_per_s"] for line in log if "train/pairs_per_s" in line]
    if not speeds:
        return None
    mean = sum(1 / speed for speed in speeds) / len(speeds)
    return float(mean * step * config["batch_size"])


def _sources(data: Mapping[str, Any], used: Sequence[str] | None, unit: str) -> list[str]:
    """Lists where the chips that taught come from, if they are still there."""
    if data["chips"] is None:
        kinds = data.get("pairs")
        real = isinstance(kinds, Mapping) and "sensors" in kinds
        more = " and on real pairs of two sensors" if real else ""
        return ["", f"Trained on procedural landscapes{more}."]
    try:
        manifest = load_manifest(Path(data["chips"]))
    except ImatchError:
        return []
    if manifest.sha256 != data["sha256"]:
        return []
    lines = ["", f"| source | {unit} | licence | attribution |", "|---|---:|---|---|"]
    counts = manifest.document["counts"]["train"].get(f"{unit}_by_source", {})
    for name, source in manifest.document["sources"].items():
        if used is not None and name not in used:
            continue
        licence, attribution = (
            source.get(key) or "not stated" for key in ("licence", "attribution")
        )
        lines.append(f"| {name} | {counts.get(name, 0)} | {licence} | {attribution} |")
    return lines


def _commit(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    if not commit:
        return "unknown"
    return str(commit["hash"]) + (", with changes" if commit["dirty"] else "")
