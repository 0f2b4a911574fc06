"""Export of a trained field network."""

from __future__ import annotations

from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter


def _rows(checkpoint: Checkpoint) -> dict[str, str]:
    config, shape = checkpoint.about["config"], checkpoint.about["architecture"]["shape"]
    return {
        "input": "three bands in [0, 1] and their doubled directions, any size",
        "network": f"{shape['width']} channels at half size, dilations"
        f" {', '.join(map(str, shape['dilations']))}; {shape['maps']} maps beside the directions",
        "tolerance": f"{config['loss']['tolerance_px']:g} px",
    }


export = Exporter(
    what=(
        "A network trained by imatch whose maps of one ground correlate across sensors: doubled",
        "gradient directions weighed by what is around them, and maps of its own.",
    ),
    rows=_rows,
)
