"""Options of the verbs that match: the settings of `imatch.pipeline.pair.config`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.options.common import CommandT, added, offline_option, settings_option
from imatch.cli.options.values import (
    complete_matcher,
    known_matcher,
    parse_bands,
    parse_named_files,
)

if TYPE_CHECKING:
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.scene.config import SceneConfig

MODELS = ("auto", "translation", "similarity", "affine", "homography")


def config_options(command: CommandT) -> CommandT:
    """Everything that makes a `MatchConfig`: its fields, a file, and ``KEY=VALUE``."""
    return added(command, _CONFIG_OPTIONS)


def chosen_config(params: dict[str, Any]) -> MatchConfig:
    """How to match, as the command line and its file say.

    Args:
        params: The values of `config_options`; it is emptied of them.

    Raises:
        ConfigError: They make no configuration.
    """
    from imatch.pipeline.pair.config import load_config, make_config

    base = load_config(params.pop("config_file"), params.pop("settings"))
    return make_config(base, **_fields(params, base))


def chosen_scene_config(params: dict[str, Any]) -> SceneConfig:
    """How to register whole scenes; else as `chosen_config`."""
    from imatch.pipeline.scene.config import load_scene_config, make_scene_config

    base = load_scene_config(params.pop("config_file"), params.pop("settings"))
    return make_scene_config(base, **_fields(params, base))


def matcher_config(
    matcher: str | None, settings: tuple[str, ...], *, offline: bool, **given: Any
) -> MatchConfig:
    """How to match, by verbs that match on the way to something else.

    Args:
        matcher: Value of `matcher_option`.
        settings: Values of ``--set``.
        offline: Whether ``--offline`` was given.
        **given: Other fields; those that are None say nothing.

    Raises:
        ConfigError: They make no configuration.
    """
    from imatch.pipeline.pair.config import load_config, make_config

    base = load_config(None, settings)
    fields = {"matcher": matcher, **given}
    known = {name: value for name, value in fields.items() if value is not None}
    return make_config(base, **known, fetch=may_fetch(base, offline=offline))


def matcher_option(
    text: str = "Which matcher; see imatch matchers.  [default: auto]",
) -> Callable[[Any], Any]:
    """``--matcher``, a row of the registry.

    Args:
        text: Its help.
    """
    return click.option(
        "-m",
        "--matcher",
        metavar="NAME",
        callback=known_matcher,
        shell_complete=complete_matcher,
        help=text,
    )


def may_fetch(base: MatchConfig, *, offline: bool) -> bool:
    """Whether weights may be downloaded: a person's command may, unless something says otherwise.

    Args:
        base: What a file and ``KEY=VALUE`` say.
        offline: Whether ``--offline`` was given.
    """
    return not offline and (base.fetch or "fetch" not in base.model_fields_set)


def _fields(params: dict[str, Any], base: MatchConfig) -> dict[str, Any]:
    """The fields that were given on the command line.

    ``bands`` and ``nodata`` stand for both images unless one has its own.
    """
    for both in ("bands", "nodata"):
        value = params.pop(both)
        for side in ("ref", "tgt"):
            if params[f"{side}_{both}"] is None:
                params[f"{side}_{both}"] = value
    if params.pop("no_geocoding"):
        params["use_geocoding"] = False
    params["fetch"] = may_fetch(base, offline=params.pop("offline"))
    given = {name: value for name, value in params.items() if value is not None}
    params.clear()
    return given


_FILE = click.Path(path_type=Path)
_CONFIG_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    matcher_option(),
    click.option(
        "--model",
        type=click.Choice(MODELS),
        help="Family of the transform; auto takes the simplest that explains the tie points."
        "  [default: auto]",
    ),
    click.option(
        "--bands",
        metavar="LIST",
        callback=parse_bands,
        help="Bands to match in both images, as 4,3,2 or B04,B03,B02.",
    ),
    click.option(
        "--ref-bands", metavar="LIST", callback=parse_bands, help="Those of the reference."
    ),
    click.option("--tgt-bands", metavar="LIST", callback=parse_bands, help="Those of the target."),
    click.option(
        "--nodata",
        type=float,
        metavar="VALUE",
        help="What marks no ground in both images where the files do not say.",
    ),
    click.option("--ref-nodata", type=float, metavar="VALUE", help="That of the reference."),
    click.option("--tgt-nodata", type=float, metavar="VALUE", help="That of the target."),
    click.option(
        "--ref-mask",
        type=_FILE,
        help="Ground of the reference to ignore: a raster, or polygons (of clouds, say).",
    ),
    click.option("--tgt-mask", type=_FILE, help="Ground of the target to ignore."),
    click.option(
        "--size",
        type=int,
        metavar="PX",
        help="Longer side of what the matcher sees.  [default: 1024]",
    ),
    click.option(
        "--max-keypoints", type=int, metavar="N", help="Keypoints an image.  [default: 2048]"
    ),
    click.option(
        "--threshold",
        "threshold_px",
        type=float,
        metavar="PX",
        help="Largest residual of an inlier, in working pixels.  [default: 3.0]",
    ),
    click.option(
        "--refine/--no-refine",
        default=None,
        help="Pull a single matcher's answer tight by local correlation, and judge it by that;"
        " auto always does.  [default: as the matcher's row has it]",
    ),
    click.option(
        "--margin",
        type=float,
        metavar="SHARE",
        help="How far beyond the overlap to look, as a share of it.  [default: 0.1]",
    ),
    click.option(
        "--no-geocoding", is_flag=True, help="Ignore where the files say they lie; compare pixels."
    ),
    click.option(
        "--dem",
        metavar="FILE|HEIGHT",
        help="Height of the ground for images that RPCs locate: a raster of heights, or metres"
        " above the ellipsoid.  [default: the RPCs' own height offset]",
    ),
    click.option(
        "--gsd",
        "gsd_m",
        type=float,
        metavar="M",
        help="Metres a reference pixel, for images that do not say.",
    ),
    click.option(
        "--tolerance",
        metavar="TOL",
        help="How far any place may be off with 95 % confidence, as 0.3px (target pixels) or 3m;"
        " exits with 3 if that is not met.",
    ),
    click.option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.  [default: auto]"
    ),
    click.option("--seed", type=int, metavar="N", help="Seed of everything random.  [default: 0]"),
    click.option(
        "--weights",
        multiple=True,
        metavar="NAME=FILE",
        callback=parse_named_files,
        help="A checkpoint of your own; may be repeated.",
    ),
    offline_option,
    click.option(
        "--config",
        "config_file",
        type=_FILE,
        help="Settings from a YAML file; options given here override it.",
    ),
    settings_option,
)
