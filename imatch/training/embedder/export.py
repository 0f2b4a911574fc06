"""A trained embedder as one file that `load_embedder` takes, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imatch.models.embedding.network import Architecture, EmbeddingNetwork, save_network
from imatch.training.export import checkpoint_for, exporting
from imatch.training.lineage import ancestry
from imatch.training.loop.checkpoint import Checkpoint

_KEPT = ("licence", "start", "data", "classes", "figures", "step")


def export(run: Path, path: Path, *, overwrite: bool = False) -> Path:
    """Write the best checkpoint of a run, with a model card beside it.

    Args:
        run: The run's folder.
        path: The file to write, ``.safetensors``; the card has the suffix ``.md``.
        overwrite: Whether existing files may be replaced.

    Returns:
        The card's path.

    Raises:
        InputError: The run has no checkpoint.
        OutputError: A file exists, or cannot be written.
    """
    checkpoint, card = checkpoint_for(run, path, overwrite=overwrite)
    with exporting(run, checkpoint, path, card, overwrite=overwrite) as (file, text):
        about = checkpoint.about
        network = EmbeddingNetwork(Architecture(**about["architecture"]))
        network.load_state_dict(dict(checkpoint.average))
        # In half precision: the vectors differ by less than what neighbours are apart.
        told = {name: about.get(name) for name in _KEPT} | {"step": checkpoint.step}
        save_network(network.half(), file, told, overwrite=overwrite)
        text.write_text(_card(checkpoint, file, network.dim))
    return card


def _card(checkpoint: Checkpoint, path: Path, length: int) -> str:
    about = checkpoint.about
    config, shape = about["config"], about["architecture"]
    seen = f"{shape['bands']} band(s) in [0, 1], each stretched to its own 1 to 99 % range"
    if shape["classes"]:
        seen += f", and {shape['classes']} classes ({', '.join(map(str, about['classes']))})"
    lines = [
        f"# {path.name}",
        "",
        "An embedder trained by imatch: chips of one place lie near each other in any season.",
        "",
        "| | |",
        "|---|---|",
        f"| network | {shape['backbone']}, {shape['pool']} pooling |",
        f"| input | {seen}; chips of {shape['chip_px']} px |",
        f"| embedding | {length} numbers{', of unit length' if shape['normalise'] else ''} |",
        f"| loss | {config['loss']['kind']}, mined {config['mining']['kind']} |",
        f"| sampler | {config['sampler']['kind']} |",
        f"| start | {ancestry(about['start'])} |",
        f"| licence of the start | {about['licence']} |",
        f"| steps | {checkpoint.step}, batch size {config['batch_size']} |",
        f"| training chips | {about['data']['train']} of {about['data']['places']} places |",
        f"| chips | {about['data']['chips']} (sha256 {about['data']['sha256']}) |",
        f"| commit | {_commit(about['environment'])} |",
        "",
        "On the validation places:",
        "",
        "| figure | value |",
        "|---|---|",
    ]
    lines += [
        f"| {name} | {'unknown' if value is None else f'{value:.3f}'} |"
        for name, value in sorted(about["figures"].items())
    ]
    return "\n".join(lines) + "\n"


def _commit(environment: dict[str, Any]) -> str:
    commit = environment.get("commit")
    if not commit:
        return "unknown"
    return str(commit["hash"]) + (", with changes" if commit["dirty"] else "")
