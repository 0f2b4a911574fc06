"""Correct a scene with AROSICS; for the interpreter of AROSICS's own environment.

Knows nothing of imatch: reads a JSON request on stdin, writes the corrected file, and a JSON answer
on the file named by its only argument. What AROSICS does to each place is told exactly, by the
transformation with which it warps: a shift, or GDAL's thin-plate spline through its tie points.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from arosics import COREG, COREG_LOCAL
from osgeo import gdal  # type: ignore[import-not-found]

gdal.UseExceptions()


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
    request = json.load(sys.stdin)
    try:
        answer = correct(request)
    except Exception as failure:
        answer = {"ok": False, "error": f"{type(failure).__name__}: {failure}"}
    Path(sys.argv[1]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
