"""A trained network as one small file, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path

from imatch.training.export import checkpoint_for, exporting, save_half
from imatch.training.loop.tracking import LOG, read_log
from imatch.training.superpoint.card import model_card

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
    checkpoint, card = checkpoint_for(run, path, overwrite=overwrite, step=step)
    with exporting(run, checkpoint, path, card, overwrite=overwrite) as (file, text):
        save_half(checkpoint, file, overwrite=overwrite)
        text.write_text(model_card(checkpoint, file, read_log(run / LOG)))
    return card
