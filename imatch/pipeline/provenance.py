"""Where an answer came from: enough to make it again."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from imatch._version import __version__
from imatch.core.jsontext import to_json
from imatch.pipeline.config import MatchConfig
from imatch.raster import RasterInfo, Source, WorkPair

_PACKAGES = ("torch", "kornia", "opencv-python-headless", "rasterio", "numpy")


def versions() -> dict[str, str]:
    """Versions of what computes the answer."""
    found = {"imatch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(
    config: MatchConfig,
    weights: Mapping[str, str],
    sources: tuple[Source, Source],
    pair: WorkPair,
) -> dict[str, Any]:
    """The JSON-ready record kept in every registration.

    Args:
        config: The settings, written whole.
        weights: sha256 of each checkpoint used, by weight name.
        sources: Reference and target.
        pair: The working pair.
    """
    grid = pair.grid
    return {
        "config": json.loads(to_json(config.model_dump(mode="json"))),
        "weights": dict(weights),
        "files": [_file(source.info) for source in sources],
        "working": {
            "reference_size": list(pair.ref.size),
            "target_size": list(pair.tgt.size),
            "common_grid": None
            if grid is None
            else {
                "crs": grid.crs.to_string(),
                "transform": list(grid.transform)[:6],
                "gsd_m": None if grid.gsd_m is None else list(grid.gsd_m),
            },
        },
        "versions": versions(),
    }


def _file(info: RasterInfo) -> dict[str, Any]:
    """What identifies an input: a file's facts; of an array or a URL, its name."""
    if info.path is None or not info.path.exists():
        return {"name": info.name}
    facts = info.path.stat()
    return {"path": str(info.path), "bytes": facts.st_size, "modified": int(facts.st_mtime)}
