"""Provenance of a registration: settings, files, weights, versions."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from imatch._version import __version__
from imatch.core.io.fingerprint import Fingerprint
from imatch.core.io.jsontext import to_json
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.result import Registration
from imatch.raster import RasterInfo, Source, WorkPair

_PACKAGES = ("torch", "kornia", "opencv-python-headless", "rasterio", "numpy")


@cache
def _versions() -> Mapping[str, str]:
    # They are read from files, and stay as they are.
    found = {"imatch": __version__, "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def versions() -> dict[str, str]:
    """Versions of what computes the answer."""
    return dict(_versions())


def provenance(
    config: MatchConfig,
    weights: Mapping[str, str],
    sources: tuple[Source, Source],
    inputs: tuple[tuple[Fingerprint, ...], ...],
    pair: WorkPair,
) -> dict[str, Any]:
    """The JSON-ready record kept in every registration.

    Args:
        config: The settings, written whole.
        weights: sha256 of each checkpoint used, by weight name.
        sources: Reference and target.
        inputs: Of each, the fingerprints of its files.
        pair: The working pair.
    """
    grid = pair.grid
    return {
        "config": json.loads(to_json(config.model_dump(mode="json"))),
        "weights": dict(weights),
        "files": [_file(source.info, files) for source, files in zip(sources, inputs, strict=True)],
        "working": {
            "reference_size": list(pair.ref.size),
            "target_size": list(pair.tgt.size),
            "common_grid": None
            if grid is None or grid.crs is None
            else {
                "crs": grid.crs.to_string(),
                "transform": list(grid.transform)[:6],
                "gsd_m": None if grid.gsd_m is None else list(grid.gsd_m),
            },
        },
        "located_by": {
            side: _located(source.info)
            for side, source in zip(("reference", "target"), sources, strict=True)
        },
        "masked_by": {
            side: source.info.mask
            for side, source in zip(("reference", "target"), sources, strict=True)
        },
        "versions": versions(),
    }


def _located(info: RasterInfo) -> str | None:
    """Returns what geocodes an image, or why nothing does; None for a plain geotransform."""
    if info.unlocated is not None:
        return f"nothing: {info.unlocated}"
    return info.located_by


def _file(info: RasterInfo, files: tuple[Fingerprint, ...]) -> dict[str, Any]:
    """Returns what identifies an input: the fingerprints of its files, or its name."""
    if info.path is None:
        found: dict[str, Any] = {"name": info.name}
    else:
        found = {"path": str(info.path)}
        own = str(info.path.absolute())
        for main in (file for file in files if file.path == own):
            found = {**main.to_dict(), **found}
        files = tuple(file for file in files if file.path != own)
    return {**found, "files": [file.to_dict() for file in files]} if files else found


def inputs_of(registration: Registration) -> tuple[Fingerprint, ...]:
    """The fingerprints of the files that a registration was made from."""
    return tuple(
        Fingerprint.from_dict(file)
        for image in registration.provenance.get("files", ())
        for file in (*([image] if "bytes" in image else []), *image.get("files", ()))
    )
