"""Run AROSICS on pairs of files; for the interpreter of AROSICS's own environment.

Knows nothing of imatch: reads a JSON request on stdin and writes its answer on the file named by
its only argument. A list of ``[case, reference, target]`` is answered by a JSON object a line, the
shift of each. An object asks for a whole scene to be corrected: it writes the corrected file, and
what AROSICS does to each place is told exactly, by the transformation with which it warps: a shift,
or GDAL's thin-plate spline through its tie points.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from arosics import COREG, COREG_LOCAL
from geoarray import GeoArray
from osgeo import gdal

gdal.UseExceptions()

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


def correct(request: dict[str, Any]) -> dict[str, Any]:
    """Run COREG or COREG_LOCAL and write the corrected target.

    Args:
        request: ``ref``, ``tgt``, ``out`` (paths), ``mode`` (``global`` or ``local``),
            ``grid_px`` (distance of tie points), ``max_shift_px``, ``cpus``, and ``map_xy`` (places
            in the reference's CRS).

    Returns:
        ``tgt_xy``: target pixels, centre of the first at (0, 0), that the correction brings to each
        place; ``tie_points`` and ``seconds``.
    """
    started = time.perf_counter()
    common = {
        "path_out": request["out"],
        "fmt_out": "GTIFF",
        "out_crea_options": ["COMPRESS=DEFLATE", "PREDICTOR=2", "TILED=YES"],
        "max_shift": request["max_shift_px"],
        "align_grids": True,
        "nodata": (0, 0),
        "CPUs": request["cpus"],
        "progress": False,
        "q": True,
    }
    map_xy = np.array(request["map_xy"])
    place = gdal.Open(request["tgt"]).GetGeoTransform()
    if request["mode"] == "global":
        coreg = COREG(request["ref"], request["tgt"], ignore_errors=False, **common)
        coreg.calculate_spatial_shifts()
        coreg.correct_shifts()
        moved = [
            place[0] + coreg.x_shift_map,
            *place[1:3],
            place[3] + coreg.y_shift_map,
            *place[4:],
        ]
        inverse = gdal.InvGeoTransform(moved)
        pixels = np.array([gdal.ApplyGeoTransform(inverse, x, y) for x, y in map_xy])
        points = 1
    else:
        local = COREG_LOCAL(request["ref"], request["tgt"], request["grid_px"], **common)
        local.correct_shifts()
        gcps = local.coreg_info["GCPList"]
        if not gcps:
            raise RuntimeError("no tie points")
        memory = gdal.GetDriverByName("MEM").Create("", 1, 1)
        memory.SetGCPs(gcps, gdal.Open(request["tgt"]).GetProjection())
        spline = gdal.Transformer(memory, None, ["METHOD=GCP_TPS"])
        back, _ = spline.TransformPoints(1, [(x, y, 0.0) for x, y in map_xy])
        pixels = np.array(back)[:, :2]
        points = len(gcps)
    return {
        "ok": True,
        "tgt_xy": (pixels - 0.5).tolist(),
        "tie_points": points,
        "seconds": time.perf_counter() - started,
    }


def main() -> None:
    """Answer one request; what AROSICS raises is an answer too."""
    request, out = json.load(sys.stdin), Path(sys.argv[1])
    if isinstance(request, list):
        if request:
            shift(*request[0][1:])  # Imports and plans of the first call are start-up.
        with out.open("w", encoding="utf-8") as file:
            for case, reference, target in request:
                file.write(json.dumps({"case": case, **shift(reference, target)}) + "\n")
                file.flush()
        return
    try:
        answer = correct(request)
    except Exception as failure:
        answer = {"ok": False, "error": f"{type(failure).__name__}: {failure}"}
    out.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
