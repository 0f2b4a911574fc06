"""Whole scenes on a server of ranges, and what it costs to match them there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio.shutil

import imatch
from tests.support.scenes.shifted import SHIFT
from tests.support.service import Service


def write_cog(source: Path, path: Path) -> None:
    """Write a scene as a COG, deflated, with averaged overviews."""
    options = {"COMPRESS": "DEFLATE", "PREDICTOR": "YES", "OVERVIEW_RESAMPLING": "AVERAGE"}
    rasterio.shutil.copy(source, path, driver="COG", BIGTIFF="IF_SAFER", **options)


def match_remotely(service: Service, ref: Path, tgt: Path, matcher: str) -> dict[str, Any]:
    """Match two files by their addresses; what it cost, beside the answer of the files."""
    for name in ("sent", "requests"):
        service.ask(name)
    found = imatch.match(f"{service.url}/{ref.name}", f"{service.url}/{tgt.name}", matcher=matcher)
    sent, asked = service.sent(), len(service.ask("requests"))
    local = imatch.match(ref, tgt, matcher=matcher)
    return {
        "matcher": matcher,
        "status": found.status,
        "requests": asked,
        "bytes": sent,
        "share_percent": {
            file.name: round(100 * sent[file.name] / file.stat().st_size, 2) for file in (ref, tgt)
        },
        "error_px": None if found.shift_px is None else np.subtract(found.shift_px, SHIFT).tolist(),
        "local_error_px": None
        if local.shift_px is None
        else np.subtract(local.shift_px, SHIFT).tolist(),
    }
