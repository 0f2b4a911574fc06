"""What every model card tells: how a network was trained, on what, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imatch.core.errors import ImatchError
from imatch.datasets.manifest import load_manifest
from imatch.models.weights import sha256_of
from imatch.training.lineage import ancestry
from imatch.training.loop.checkpoint import Checkpoint

Log = Sequence[Mapping[str, Any]]


def card(
    checkpoint: Checkpoint, path: Path, log: Log, *, what: Sequence[str], rows: Mapping[str, str]
) -> str:
    """A model card as Markdown.

    Args:
        checkpoint: What was exported.
        path: The file it was exported to.
        log: Of the run, as `imatch.training.loop.tracking.read_log` gives it.
        what: Lines that say what the network is.
        rows: What is told of this kind of network alone, by name.
    """
    about = checkpoint.about
    config, start, made_on = about["config"], about["start"], about["environment"]
    machine, pairs = made_on["machine"], checkpoint.step * config["batch_size"]
    seconds = _seconds(log, checkpoint.step, config)
    spent = "unknown" if seconds is None else f"{seconds / 3600:.1f} h"
    told = {
        "sha256": f"`{sha256_of(path)}`",
        **rows,
        "start": ancestry(start),
        "licence of the start": about["licence"],
        "steps": f"{checkpoint.step} of {config['steps']}, each of {config['batch_size']} pairs,"
        f" {pairs} in all",
        "time": f"{spent} of training, on {machine['cpu']}, {machine['cores']} cores; torch"
        f" {made_on['versions']['torch']}",
        "views": f"{config['data']['size']} px",
        "training pairs": _pairs(about["data"]["pairs"]),
        "chips": f"sha256 {about['data']['sha256'] or 'of none'}",
        "commit": _commit(made_on),
    }
    before: Mapping[str, Any] = next((line for line in log if line["step"] == 0), {})
    lines = [
        f"# {path.name}",
        "",
        *what,
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {text} |" for name, text in told.items()),
        *_sources(about["data"]),
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


def _pairs(pairs: int | Mapping[str, int]) -> str:
    """One number, or one of each kind."""
    if isinstance(pairs, int):
        return str(pairs)
    return ", ".join(f"{count} {kind}" for kind, count in pairs.items())


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _seconds(log: Log, step: int, config: Mapping[str, Any]) -> float | None:
    """Time that the steps took, measuring left out, by the speeds that were logged."""
    speeds = [line["train/pairs_per_s"] for line in log if "train/pairs_per_s" in line]
    if not speeds:
        return None
    mean = sum(1 / speed for speed in speeds) / len(speeds)
    return float(mean * step * config["batch_size"])


def _sources(data: Mapping[str, Any]) -> list[str]:
    """Where the chips come from, if they are still there."""
    if data["chips"] is None:
        return ["", "Trained on procedural landscapes."]
    try:
        manifest = load_manifest(Path(data["chips"]))
    except ImatchError:
        return []
    if manifest.sha256 != data["sha256"]:
        return []
    lines = ["", "| source | pairs | licence | attribution |", "|---|---:|---|---|"]
    counts = manifest.document["counts"]["train"].get("pairs_by_source", {})
    for name, told in manifest.document["sources"].items():
        licence, attribution = (told.get(key) or "not stated" for key in ("licence", "attribution"))
        lines.append(f"| {name} | {counts.get(name, 0)} | {licence} | {attribution} |")
    return lines


def _commit(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    if not commit:
        return "unknown"
    return str(commit["hash"]) + (", with changes" if commit["dirty"] else "")
