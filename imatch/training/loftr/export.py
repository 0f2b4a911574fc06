"""A trained LoFTR as one small file, and a card that says what it is."""

from __future__ import annotations

from pathlib import Path

from imatch.training.card import Log, card
from imatch.training.export import checkpoint_for, exporting, save_half
from imatch.training.loop.checkpoint import Checkpoint
from imatch.training.loop.tracking import LOG, read_log

LARGEST_BYTES = 12_000_000
"""Of the compact shape in half precision."""

_INPUT = {1: "luminance", 3: "three bands"}


def export(run: Path, path: Path, *, overwrite: bool = False, step: int | None = None) -> Path:
    """Write a checkpoint of a run in half precision, with a model card beside it.

    The file says what it is made of, so that ``--weights loftr-s2=FILE`` is all that the matcher
    needs.

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
    checkpoint, told_in = checkpoint_for(run, path, overwrite=overwrite, step=step)
    with exporting(run, checkpoint, path, told_in, overwrite=overwrite) as (file, text):
        save_half(checkpoint, file, overwrite=overwrite)
        text.write_text(_card(checkpoint, file, read_log(run / LOG)))
    return told_in


def _card(checkpoint: Checkpoint, path: Path, log: Log) -> str:
    config, shape = checkpoint.about["config"], checkpoint.about["architecture"]["shape"]
    loss, widths = config["loss"], "-".join(str(width) for width in shape["dims"])
    return card(
        checkpoint,
        path,
        log,
        what=(
            "A LoFTR (Sun et al. 2021) trained by imatch to match the same ground in other",
            "seasons.",
        ),
        rows={
            "input": f"{_INPUT[shape['channels']]} in [0, 1], any size",
            "network": f"{shape['backbone']}, channels {widths}, {shape['rounds']} rounds of"
            " attention",
            "refined": "within the cells" if shape["refined"] else "no, cells only",
            "losses": f"{loss['coarse']} {loss['coarse_weight']:g}, fine {loss['fine_weight']:g}",
        },
    )
