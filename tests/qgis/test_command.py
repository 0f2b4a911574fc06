from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from typing import Any

import click
import pytest

from imatch.cli import cli
from imatch.qgis.plugin import command

PAIR = {"REFERENCE": "/a.tif", "TARGET": "/b.tif"}
MATCHED = {
    "MATCHER": "sift",
    "MODEL": "affine",
    "TOLERANCE": "3m",
    "GEOCODING_ERROR": "30m",
    "NO_GEOCODING": True,
    "DEM": "/dem.tif",
    "OPTIONS": "--seed 3",
}
WRITTEN = {"GRID": "target", "RESAMPLING": "cubic", "GEOTRANSFORM_ONLY": True, "FORCE": True}
BANDS = {"REF_BANDS": "4", "TGT_BANDS": "3,2", "REF_MASK": "/m.gpkg", "TGT_MASK": "/n.tif"}
POINTS = {"POINTS": "/p.gpkg", "POINTS_ONLY": True}
DOCUMENTS = {"RESULT": "/r.json", "TIE_POINTS": "/t.gpkg"}
ALL: list[tuple[Callable[[Mapping[str, Any]], list[str]], dict[str, Any]]] = [
    (command.match_command, {**PAIR, **DOCUMENTS, **MATCHED, **BANDS, **POINTS}),
    (
        command.register_command,
        {
            **PAIR,
            **DOCUMENTS,
            **MATCHED,
            **BANDS,
            **POINTS,
            **WRITTEN,
            "OUTPUT": "/o.tif",
            "LOCAL": "none",
            "REPORT": "/r.html",
        },
    ),
    (command.apply_command, {"RESULT": "/r.json", "FILES": ["/a"], "FOLDER": "/f", **WRITTEN}),
    (
        command.stack_command,
        {
            "IMAGES": ["/a.tif", "/b.tif"],
            "REFERENCE": "/a.tif",
            "FOLDER": "/f",
            "PAIRS": "all",
            "JOBS": 2,
            "WARP": True,
            "RUN": 1,
            **MATCHED,
        },
    ),
    (
        command.batch_command,
        {"TABLE": "/p.csv", "FOLDER": "/f", "JOBS": 2, "WARP": True, "RUN": 2, **MATCHED},
    ),
    (
        command.same_command,
        {**PAIR, "MATCHER": "sift", "NO_GEOCODING": True, "NO_EMBEDDER": True},
    ),
]


@pytest.mark.parametrize(("build", "values"), ALL, ids=lambda value: getattr(value, "__name__", ""))
def test_the_command_line_knows_all_that_is_built(
    build: Callable[[Mapping[str, Any]], list[str]], values: dict[str, Any]
) -> None:
    verb, *arguments = build({**values, "OFFLINE": True})
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    # Parsed as the command line does; an option that it lacks is an error.
    given = found.make_context(verb, list(arguments)).params
    assert arguments.count("--offline") == 1
    for name in set(values) & {"MATCHER", "TOLERANCE", "GEOCODING_ERROR", "LOCAL", "GRID", "DEM"}:
        assert given[name.lower()] == values[name]


def test_what_is_left_as_it_is_is_not_said() -> None:
    values = {**PAIR, "RESULT": "/r.json", "TIE_POINTS": "", "MATCHER": "", "DEM": None}
    told = command.match_command({**values, "NO_GEOCODING": False, "OPTIONS": "  "})
    assert told == ["match", "/a.tif", "/b.tif", "--overwrite", "--output", "/r.json"]


@pytest.mark.parametrize("name", command.POINTS)
def test_own_tie_points_are_a_layer_or_a_file(name: str) -> None:
    told = command.match_command({**PAIR, name: "/p.points", "POINTS_ONLY": True})
    assert told[4:] == ["--points", "/p.points", "--points-only"]
    with pytest.raises(ValueError, match="choose a layer or a file, not both"):
        command.match_command({**PAIR, **dict.fromkeys(command.POINTS, "/p.points")})
    with pytest.raises(ValueError, match="none are given that could be fitted alone"):
        command.match_command({**PAIR, "POINTS_ONLY": True})


def test_a_run_is_neither_resumed_nor_thrown_away_unasked() -> None:
    told = command.batch_command({"TABLE": "/p.csv", "FOLDER": "/f", "RUN": 0})
    assert not {"--resume", "--overwrite"} & set(told)


def test_further_options_may_be_quoted() -> None:
    told = command.match_command({**PAIR, "OPTIONS": shlex.join(["--weights", "sift=/a b.pt"])})
    assert told[-2:] == ["--weights", "sift=/a b.pt"]


def test_further_options_that_cannot_be_read_are_named() -> None:
    with pytest.raises(ValueError, match="Further options: No closing quotation"):
        command.match_command({**PAIR, "OPTIONS": "--seed '3"})
