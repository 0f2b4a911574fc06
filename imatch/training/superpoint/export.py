"""Export of a trained SuperPoint."""

from __future__ import annotations

from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter


def _rows(checkpoint: Checkpoint) -> dict[str, str]:
    config, shape = checkpoint.about["config"], checkpoint.about["architecture"]
    weights = {name: weight for name, weight in config["objectives"].items() if weight}
    return {
        "input": f"{shape['in_channels']} band(s) in [0, 1], sides multiples of 8",
        "descriptors": f"{shape['descriptor_dim']} numbers, read at the true centres of cells",
        "objectives": ", ".join(f"{name} {weight:g}" for name, weight in weights.items()),
    }


export = Exporter(
    what=(
        "A SuperPoint (DeTone et al. 2018) trained by imatch to find the same ground in other",
        "seasons.",
    ),
    rows=_rows,
)
