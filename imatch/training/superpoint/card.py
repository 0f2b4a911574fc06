"""The model card: what an exported network is, what it was made of, and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imatch.core.errors import ImatchError
from imatch.models.weights import sha256_of
from imatch.training.checkpoint import Checkpoint
from imatch.training.data.manifest import load_manifest


def model_card(checkpoint: Checkpoint, path: Path, log: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown.

    Args:
        checkpoint: What was exported.
        path: The file it was exported to.
        log: Of the run, as `imatch.training.tracking.read_log` gives it.
    """
    about = checkpoint.about
    config, shape, start = about["config"], about["architecture"], about["start"]
    weights = {name: weight for name, weight in config["objectives"].items() if weight}
    pairs = checkpoint.step * config["batch_size"]
    seconds = _seconds(log, checkpoint.step, config)
    made_on = about["environment"]
    machine = made_on["machine"]
    lines = [
        f"# {path.name}",
        "",
        "A SuperPoint (DeTone et al. 2018) trained by imatch to find the same ground in other",
        "seasons.",
        "",
        "| | |",
        "|---|---|",
        f"| sha256 | `{sha256_of(path)}` |",
        f"| input | {shape['in_channels']} band(s) in [0, 1], sides multiples of 8 |",
        f"| descriptors | {shape['descriptor_dim']} numbers, read at the true centres of cells |",
        f"| objectives | {', '.join(f'{name} {weight:g}' for name, weight in weights.items())} |",
        f"| start | {start['origin']} {start['sha256'][:12]} |",
        f"| licence of the start | {about['licence']} |",
        f"| steps | {checkpoint.step} of {config['steps']}, each of {config['batch_size']} pairs,"
        f" {pairs} in all |",
        f"| time | {'unknown' if seconds is None else f'{seconds / 3600:.1f} h'} of training, on"
        f" {machine['cpu']}, {machine['cores']} cores; torch {made_on['versions']['torch']} |",
        f"| views | {config['data']['size']} px |",
        f"| training pairs | {about['data']['pairs']} |",
        f"| chips | sha256 {about['data']['sha256'] or 'of none'} |",
        f"| commit | {_commit(made_on)} |",
        *_sources(about["data"]),
        "",
        "On the validation places, before the first step and now:",
        "",
        "| figure | before | now |",
        "|---|---:|---:|",
    ]
    before: Mapping[str, Any] = next((line for line in log if line["step"] == 0), {})
    lines += [
        f"| {name} | {_number(before.get(f'val/{name}'))} | {_number(value)} |"
        for name, value in sorted(about["figures"].items())
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _seconds(
    log: Sequence[Mapping[str, Any]], step: int, config: Mapping[str, Any]
) -> float | None:
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
    counts = manifest.document["counts"]["train"]["pairs_by_source"]
    for name, told in manifest.document["sources"].items():
        licence, attribution = (told[key] or "not stated" for key in ("licence", "attribution"))
        lines.append(f"| {name} | {counts.get(name, 0)} | {licence} | {attribution} |")
    return lines


def _commit(environment: Mapping[str, Any]) -> str:
    commit = environment.get("commit")
    if not commit:
        return "unknown"
    return str(commit["hash"]) + (", with changes" if commit["dirty"] else "")
