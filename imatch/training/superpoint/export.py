"""A trained network as one small file, and a card that says what it is."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from imatch.core.files import atomic_path, check_output
from imatch.training.checkpoint import Checkpoints
from imatch.training.folder import CHECKPOINTS
from imatch.training.superpoint.card import model_card
from imatch.training.tracking import LOG, read_log

LARGEST_BYTES = 6_000_000


def export(run: Path, path: Path, *, overwrite: bool = False, step: int | None = None) -> Path:
    """Write a checkpoint of a run in half precision, with a model card beside it.

    Args:
        run: The run's folder.
        path: The file to write, ``.safetensors``; the card has the suffix ``.md``.
        overwrite: Whether existing files may be replaced.
        step: Which checkpoint, where more measuring has shown another to be the best; None for the
            one that was the best during the run.

    Returns:
        The card's path.

    Raises:
        InputError: The run has no checkpoint.
        OutputError: A file exists, or cannot be written.
    """
    checkpoints = Checkpoints(run / CHECKPOINTS)
    if step is None and (best := checkpoints.best) is not None:
        step = best[0]
    checkpoint = checkpoints.load(step)
    card = path.with_suffix(".md")
    for file in (path, card):
        check_output(file, overwrite=overwrite)
    about = dict(checkpoint.about)
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
        temporary.write_text(model_card(checkpoint, path, read_log(run / LOG)))
    return card
