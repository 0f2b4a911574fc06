"""What every exporter does: take a run's best checkpoint, and write it small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import save_file

from imatch.core.io.files import atomic_path, check_output
from imatch.training.loop.checkpoint import Checkpoint, Checkpoints
from imatch.training.loop.run_folder import CHECKPOINTS


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
    best = checkpoints.best
    if step is None and best is not None and best[0] in checkpoints.steps():
        step = best[0]
    checkpoint = checkpoints.load(step)
    card = path.with_suffix(".md")
    for file in (path, card):
        check_output(file, overwrite=overwrite)
    return checkpoint, card


@contextmanager
def exporting(
    run: Path, checkpoint: Checkpoint, path: Path, card: Path, *, overwrite: bool
) -> Iterator[tuple[Path, Path]]:
    """Places for a network and its card, which appear together when the block ends well.

    Args:
        run: The run's folder.
        checkpoint: What is exported.
        path: The network's file.
        card: The card's.
        overwrite: Whether existing files may be replaced.

    Raises:
        InputError: The checkpoint does not say what an export has to tell.
        OutputError: A file exists, or cannot be written.
    """
    with (
        atomic_path(card, overwrite=overwrite) as text,
        atomic_path(path, overwrite=overwrite) as file,
        Checkpoints(run / CHECKPOINTS).believed(checkpoint.step),
    ):
        yield file, text


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
