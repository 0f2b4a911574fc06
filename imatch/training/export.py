"""What every exporter does: take a run's best checkpoint, and write it small."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save_file

from imatch.core.files import atomic_path, check_output
from imatch.training.checkpoint import Checkpoint, Checkpoints
from imatch.training.folder import CHECKPOINTS


def checkpoint_for(
    run: Path, path: Path, *, overwrite: bool, step: int | None = None
) -> tuple[Checkpoint, Path]:
    """The checkpoint to be written to `path`, and where its model card goes.

    Args:
        run: The run's folder.
        path: The file to write.
        overwrite: Whether existing files may be replaced.
        step: Which checkpoint; None for the one that was the best during the run.

    Raises:
        InputError: The run has no checkpoint.
        OutputError: The file or its card exists, or cannot be written.
    """
    checkpoints = Checkpoints(run / CHECKPOINTS)
    if step is None and (best := checkpoints.best) is not None:
        step = best[0]
    checkpoint = checkpoints.load(step)
    card = path.with_suffix(".md")
    for file in (path, card):
        check_output(file, overwrite=overwrite)
    return checkpoint, card


def save_half(checkpoint: Checkpoint, path: Path, *, overwrite: bool) -> None:
    """Write the averaged network in half precision, with what it is made of in the header.

    Raises:
        OutputError: The file exists, or cannot be written.
    """
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
