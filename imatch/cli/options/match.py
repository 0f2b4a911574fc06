"""Options of the verbs that match: the settings of `imatch.pipeline.pair.config`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.options.common import (
    PATH,
    CommandT,
    added,
    offline_option,
    setting_option,
    settings_option,
)
from imatch.cli.options.values import (
    complete_matcher,
    known_matcher,
    known_matchers,
    parse_bands,
    parse_named_files,
)

if TYPE_CHECKING:
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.scene.config import SceneConfig


no_geocoding_option = click.option(
    "--no-geocoding", is_flag=True, help="Ignore where the files say they lie; compare pixels."
)


def config_option(field: str, flag: str | None = None, **attrs: Any) -> Callable[[Any], Any]:
    """An option that sets a field of `MatchConfig`; see `setting_option`."""
    from imatch.pipeline.pair.config import MatchConfig

    return setting_option(MatchConfig, field, flag, **attrs)


def config_options(command: CommandT) -> CommandT:
    """Everything that makes a `MatchConfig`: its fields, a file, and ``KEY=VALUE``."""
    bands: dict[str, Any] = {"metavar": "LIST", "callback": parse_bands}
    return added(
        command,
        (
            matcher_option(),
            config_option("model"),
            click.option(
                "--bands", help="Bands to match in both images, as 4,3,2 or B04,B03,B02.", **bands
            ),
            config_option("ref_bands", help="Those of the reference.", **bands),
            config_option("tgt_bands", help="Those of the target.", **bands),
            click.option(
                "--nodata",
                type=float,
                metavar="VALUE",
                help="What marks no ground in both images where the files do not say.",
            ),
            config_option("ref_nodata", metavar="VALUE", help="That of the reference."),
            config_option("tgt_nodata", metavar="VALUE", help="That of the target."),
            click.option(
                "--modality",
                type=click.Choice(["auto", "optical", "sar", "ir", "map"]),
                help="Sensor of both images, where names and pixels do not tell.",
            ),
            config_option("ref_modality", help="That of the reference."),
            config_option("tgt_modality", help="That of the target."),
            config_option("ref_mask"),
            config_option("tgt_mask"),
            click.option(
                "--product-mask",
                type=click.Choice(["auto", "none"]),
                help="Masks that come with products (SCL, QA_PIXEL, Fmask, udm2): auto leaves out"
                " clouds, shadows and fill, none ignores them.  [default: auto]",
            ),
            config_option("ref_product_mask", help="Those of the reference."),
            config_option("tgt_product_mask", help="Those of the target."),
            config_option("size", metavar="PX"),
            config_option("max_keypoints", metavar="N"),
            config_option("threshold_px", "--threshold", metavar="PX"),
            config_option("refine", "--refine/--no-refine", default="as the matcher's row has it"),
            config_option("margin", metavar="SHARE"),
            no_geocoding_option,
            config_option("geocoding_error", metavar="LENGTH"),
            config_option(
                "dem", metavar="FILE|HEIGHT", type=str, default="the RPCs' own height offset"
            ),
            config_option("gsd_m", "--gsd", metavar="M"),
            config_option("tolerance", metavar="TOL", more="; exits with 3 if that is not met."),
            config_option("points", metavar="FILE"),
            config_option("points_only", is_flag=True, flag_value=True, type=None),
            config_option("device", metavar="NAME"),
            config_option("seed", metavar="N"),
            config_option(
                "weights",
                multiple=True,
                metavar="NAME=FILE",
                callback=parse_named_files,
                help="A checkpoint of your own; may be repeated.",
            ),
            offline_option,
            click.option(
                "--config",
                "config_file",
                type=PATH,
                help="Settings from a YAML file; options given here override it.",
            ),
            settings_option,
        ),
    )


def scene_options(command: CommandT) -> CommandT:
    """What only a `SceneConfig` has: ``local`` and ``spacing``."""
    from imatch.pipeline.scene.config import SceneConfig

    setting = partial(setting_option, SceneConfig)
    return added(
        command,
        (setting("local"), setting("spacing", metavar="PX", default="about 3000 tie points")),
    )


def chosen_config(params: dict[str, Any]) -> MatchConfig:
    """Returns the `MatchConfig` that the command line and its file ask for.

    Args:
        params: The values of `config_options`; it is emptied of them.

    Raises:
        ConfigError: They make no configuration.
    """
    from imatch.pipeline.pair.config import load_config, make_config

    base = load_config(params.pop("config_file"), params.pop("settings"))
    return make_config(base, **_fields(params, base))


def chosen_scene_config(params: dict[str, Any]) -> SceneConfig:
    """Returns the `SceneConfig` that is asked for; else as `chosen_config`."""
    from imatch.pipeline.scene.config import load_scene_config, make_scene_config

    base = load_scene_config(params.pop("config_file"), params.pop("settings"))
    return make_scene_config(base, **_fields(params, base))


def matcher_config(
    matcher: str | None, settings: tuple[str, ...], *, offline: bool, **given: Any
) -> MatchConfig:
    """Returns the `MatchConfig` of verbs that match on the way to something else.

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


def matchers_option(text: str, *, required: bool = False) -> Callable[[Any], Any]:
    """``--matcher``, rows of the registry: ``matchers``.

    Args:
        text: Its help.
        required: Whether one has to be named.
    """
    return click.option(
        "-m",
        "--matcher",
        "matchers",
        metavar="NAME",
        multiple=True,
        required=required,
        callback=known_matchers,
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

    Those of ``bands``, ``nodata``, ``modality`` and ``product_mask`` stand for both images unless
    one has its own.
    """
    for both in ("bands", "nodata", "modality", "product_mask"):
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
