"""Export of a trained LoFTR.

The file says what it is made of, so that ``--weights loftr-s2=FILE`` is all that the matcher needs.
"""

from __future__ import annotations

from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter

_INPUT = {1: "luminance", 3: "three bands"}


def _rows(checkpoint: Checkpoint) -> dict[str, str]:
    loss, shape = checkpoint.about["config"]["loss"], checkpoint.about["architecture"]["shape"]
    widths = "-".join(str(width) for width in shape["dims"])
    return {
        "input": f"{_INPUT[shape['channels']]} in [0, 1], any size",
        "network": f"{shape['backbone']}, channels {widths}, {shape['rounds']} rounds of attention",
        "refined": "within the cells" if shape["refined"] else "no, cells only",
        "losses": f"{loss['coarse']} {loss['coarse_weight']:g}, fine {loss['fine_weight']:g}",
    }


export = Exporter(
    what=(
        "A LoFTR (Sun et al. 2021) trained by imatch to match the same ground in other",
        "seasons.",
    ),
    rows=_rows,
)
