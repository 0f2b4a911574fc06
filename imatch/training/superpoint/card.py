"""The model card of a SuperPoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imatch.training.card import card
from imatch.training.loop.checkpoint import Checkpoint


def model_card(checkpoint: Checkpoint, path: Path, log: Sequence[Mapping[str, Any]]) -> str:
    """The card as Markdown.

    Args:
        checkpoint: What was exported.
        path: The file it was exported to.
        log: Of the run, as `imatch.training.loop.tracking.read_log` gives it.
    """
    config, shape = checkpoint.about["config"], checkpoint.about["architecture"]
    weights = {name: weight for name, weight in config["objectives"].items() if weight}
    return card(
        checkpoint,
        path,
        log,
        what=(
            "A SuperPoint (DeTone et al. 2018) trained by imatch to find the same ground in other",
            "seasons.",
        ),
        rows={
            "input": f"{shape['in_channels']} band(s) in [0, 1], sides multiples of 8",
            "descriptors": f"{shape['descriptor_dim']} numbers, read at the true centres of cells",
            "objectives": ", ".join(f"{name} {weight:g}" for name, weight in weights.items()),
        },
    )
