"""A trained LoFTR as one small file, and a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from imatch.core.files import atomic_path, check_output
from imatch.training.checkpoint import Checkpoint, Checkpoints
from imatch.training.folder import CHECKPOINTS

LARGEST_BYTES = 12_000_000
"""Of the compact shape in half precision."""


def export(run: Path, path: Path, *, overwrite: bool = False) -> Path:
    """Write the best checkpoint of a run in half precision, with a model card beside it.

    The file says what it is made of, so that ``--weights loftr-s2=FILE`` is all that the matcher
    needs.

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
    checkpoints = Checkpoints(run / CHECKPOINTS)
    best = checkpoints.best
    checkpoint = checkpoints.load(None if best is None else best[0])
    card = path.with_suffix(".md")
    for file in (path, card):
        check_output(file, overwrite=overwrite)
    about = checkpoint.about
    told = {
        "imatch": json.dumps({k: about[k] for k in ("architecture", "start", "licence", "step")})
    }
    state = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in checkpoint.average.items()
    }
    with atomic_path(path, overwrite=overwrite) as temporary:
        save_file(state, temporary, told)
    with atomic_path(card, overwrite=overwrite) as temporary:
        temporary.write_text(_card(checkpoint, path))
    return card


def _card(checkpoint: Checkpoint, path: Path) -> str:
    about = checkpoint.about
    config, shape = about["config"], about["architecture"]["shape"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in about["data"]["pairs"].items())
    loss = config["loss"]
    widths = "-".join(str(width) for width in shape["dims"])
    refined = "to a fraction of a pixel, both ways" if shape["refined"] else "no, cells only"
    lines = [
        f"# {path.name}",
        "",
        "A LoFTR (Sun et al. 2021) trained by imatch to match the same ground in other seasons.",
        "",
        "| | |",
        "|---|---|",
        "| input | luminance in [0, 1], any size |",
        f"| network | channels {widths}, {shape['rounds']} rounds of attention |",
        f"| refined | {refined} |",
        f"| losses | {loss['coarse']} {loss['coarse_weight']:g}, fine {loss['fine_weight']:g} |",
        f"| start | {about['start']['origin']} {about['start']['sha256'][:12]} |",
        f"| licence of the start | {about['licence']} |",
        f"| steps | {checkpoint.step}, each of {config['batch_size']} pairs |",
        f"| views | {config['data']['size']} px |",
        f"| training pairs | {kinds} |",
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
