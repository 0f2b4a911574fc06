"""Command lines of imatch from the values of a Processing dialog.

Like all of the plugin it needs nothing of imatch but the executable, and runs in QGIS's own Python,
which may be 3.9.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

#: Parameters that every matching verb has, and the option that each sets.
MATCHING = {
    "MATCHER": "--matcher",
    "MODEL": "--model",
    "REF_BANDS": "--ref-bands",
    "TGT_BANDS": "--tgt-bands",
    "REF_MASK": "--ref-mask",
    "TGT_MASK": "--tgt-mask",
    "TOLERANCE": "--tolerance",
    "GEOCODING_ERROR": "--geocoding-error",
    "DEM": "--dem",
    "NO_GEOCODING": "--no-geocoding",
    "POINTS_ONLY": "--points-only",
}
#: Where own tie points may come from: a layer that is drawn on, or a file.
POINTS = ("POINTS", "POINTS_FILE")
#: Parameters of what writes rasters.
WRITING = {
    "GRID": "--grid",
    "RESAMPLING": "--resampling",
    "GEOTRANSFORM_ONLY": "--geotransform-only",
    "FORCE": "--force",
}
#: What to do where a folder holds a run: the choices of `RUN`.
RUN_CHOICES = ("", "--resume", "--overwrite")


def match_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch match``.

    Args:
        values: Values by parameter. ``REFERENCE``, ``TARGET``, ``RESULT``, ``TIE_POINTS`` and
            those of `POINTS` are paths; those of `MATCHING` and ``OPTIONS`` may be missing.

    Raises:
        ValueError: ``OPTIONS`` cannot be read, or own tie points are given twice or not at all.
    """
    words = ["match", values["REFERENCE"], values["TARGET"], "--overwrite"]
    return [*words, *_documents(values), *_points(values), *_options(values, MATCHING)]


def register_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch register``; ``OUTPUT`` is a path, ``REPORT`` may be one."""
    words = ["register", values["REFERENCE"], values["TARGET"], values["OUTPUT"], "--overwrite"]
    known = {**MATCHING, **WRITING, "LOCAL": "--local", "REPORT": "--report"}
    return [*words, *_documents(values), *_points(values), *_options(values, known)]


def apply_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch apply``; ``FILES`` are paths, ``FOLDER`` is one."""
    words = ["apply", values["RESULT"], *values["FILES"], "--output", values["FOLDER"]]
    return [*words, "--overwrite", *_options(values, WRITING)]


def stack_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch stack``; ``IMAGES`` are paths, ``FOLDER`` is one."""
    words = ["stack", *values["IMAGES"], "--output", values["FOLDER"]]
    known = {
        **MATCHING,
        "REFERENCE": "--reference",
        "PAIRS": "--pairs",
        "JOBS": "--jobs",
        "WARP": "--warp",
    }
    return [*words, *_run(values), *_options(values, known)]


def batch_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch batch``; ``TABLE`` and ``FOLDER`` are paths."""
    words = ["batch", values["TABLE"], "--output", values["FOLDER"], "--export", "gpkg"]
    known = {**MATCHING, "JOBS": "--jobs", "WARP": "--register"}
    return [*words, *_run(values), *_options(values, known)]


def same_command(values: Mapping[str, Any]) -> list[str]:
    """Arguments of ``imatch same``, which answers as JSON."""
    words = ["same", values["REFERENCE"], values["TARGET"], "--format", "json"]
    known = {
        "MATCHER": "--matcher",
        "NO_GEOCODING": "--no-geocoding",
        "EMBEDDER": "--embedder",
        "NO_EMBEDDER": "--no-embedder",
    }
    return [*words, *_options(values, known)]


def _documents(values: Mapping[str, Any]) -> list[str]:
    words = []
    for name in ("RESULT", "TIE_POINTS"):
        if values.get(name):
            words += ["--output", values[name]]
    return words


def _points(values: Mapping[str, Any]) -> list[str]:
    """Own tie points, from one of the places they may come from."""
    given = [values[name] for name in POINTS if values.get(name)]
    if len(given) > 1:
        raise ValueError("Own tie points: choose a layer or a file, not both")
    if values.get("POINTS_ONLY") and not given:
        raise ValueError("Own tie points: none are given that could be fitted alone")
    return ["--points", given[0]] if given else []


def _run(values: Mapping[str, Any]) -> list[str]:
    choice = RUN_CHOICES[values.get("RUN") or 0]
    return [choice] if choice else []


def _options(values: Mapping[str, Any], known: Mapping[str, str]) -> Iterable[str]:
    """Options of the values that are given, then what was typed by hand."""
    words = []
    for name, option in known.items():
        value = values.get(name)
        if value is True:
            words.append(option)
        elif value not in (None, False, ""):
            words += [option, str(value)]
    if values.get("OFFLINE"):
        words.append("--offline")
    try:
        # Windows writes paths with the character that escapes elsewhere.
        return [*words, *shlex.split(values.get("OPTIONS") or "", posix=os.name != "nt")]
    except ValueError as error:
        raise ValueError(f"Further options: {error}; {values['OPTIONS']}") from None
