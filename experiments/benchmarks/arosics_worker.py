"""Run AROSICS on pairs of files; for the interpreter of AROSICS's own environment.

Knows nothing of imatch: reads a JSON list of ``[case, reference, target]`` on stdin and writes a
JSON object a line on the file named by its only argument.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from arosics import COREG
from geoarray import GeoArray

# Twice the largest shift that occurs: enough room, yet no invitation to wild answers.
MAX_SHIFT_PX = 16


def shift(reference: str, target: str) -> dict[str, Any]:
    """The global shift of a target, by AROSICS's defaults.

    Args:
        reference: GeoTIFF of one band.
        target: GeoTIFF of one band on the same grid.

    Returns:
        ``ok``, ``x`` and ``y`` (position in the target less position in the reference, pixels),
        ``seconds`` (without reading the files) and ``error``.
    """
    images = [GeoArray(path).to_mem() for path in (reference, target)]
    started = time.perf_counter()
    error = ""
    x = y = None
    ok = False
    try:
        coreg = COREG(
            *images,
            max_shift=MAX_SHIFT_PX,
            nodata=(0, 0),
            CPUs=1,
            progress=False,
            q=True,
            ignore_errors=True,
        )
        coreg.calculate_spatial_shifts()
        ok = bool(coreg.success)
        if ok:
            # AROSICS gives the correction to be applied to the target.
            x, y = -float(coreg.x_shift_px), -float(coreg.y_shift_px)
        else:
            error = "; ".join(str(e) for e in coreg.tracked_errors)
    except Exception as failure:  # A peer's crash is a refusal, not the end of the comparison.
        error = f"{type(failure).__name__}: {failure}"
    seconds = time.perf_counter() - started
    return {"ok": ok, "x": x, "y": y, "seconds": seconds, "error": error}


def main() -> None:
    """Answer every pair."""
    pairs = json.load(sys.stdin)
    if pairs:
        shift(*pairs[0][1:])  # Imports and plans of the first call are start-up.
    with Path(sys.argv[1]).open("w", encoding="utf-8") as out:
        for case, reference, target in pairs:
            out.write(json.dumps({"case": case, **shift(reference, target)}) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
