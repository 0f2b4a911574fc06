"""Export of a trained field network."""

from __future__ import annotations

from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter


def _rows(checkpoint: Checkpoint) -> dict[str, str]:
    config, shape = checkpoint.about["config"], checkpoint.about["architecture"]["shape"]
    data = config["data"]
    sources = ", ".join(data["case_sources"] or ("all",))
    rows = {
        "input": "three bands in [0, 1] and their doubled directions, any size",
        "network": f"{shape['width']} channels at half size, dilations"
        f" {', '.join(map(str, shape['dilations']))}; {shape['maps']} maps beside the directions",
        "tolerance": f"{config['loss']['tolerance_px']:g} px",
    }
    if data["cases"] is not None:
        rows["pairs of two sensors"] = (
            f"sources {sources} of the table of cases, one ground in {data['held_out']} held out"
        )
    return rows


export = Exporter(
    what=(
        "A network trained by imatch whose maps of one ground correlate across sensors: doubled",
        "gradient directions weighed by what is around them, and maps of its own.",
    ),
    rows=_rows,
)
