"""Settings of scene registration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from imatch.core.settings import load_settings, make_settings
from imatch.pipeline.pair.config import MatchConfig, MatchOptions

Local: TypeAlias = Literal["auto", "none", "polynomial2", "polynomial3", "spline", "tps"]


class SceneOptions(MatchOptions, total=False):
    """The fields of `SceneConfig` as keyword options."""

    spacing: float | None
    max_points: int | None
    window: int
    tile: int
    levels: int | None
    local: Local


class SceneConfig(MatchConfig):
    """Settings of `imatch.register`: those of `MatchConfig` for the rough answer, and these."""

    spacing: float | None = Field(
        default=None,
        gt=0,
        description="Distance of tie points in pixels of the reference.",
    )
    max_points: int | None = Field(
        default=None,
        ge=50,
        description="Most tie points, which are then spaced more widely; None for no limit.",
    )
    window: int = Field(
        default=64,
        ge=16,
        le=256,
        description="Side of the windows that are correlated, pixels of the finer level in use.",
    )
    tile: int = Field(
        default=1024,
        ge=128,
        le=8192,
        description="About how many pixels on each side are read at once.",
    )
    levels: int | None = Field(
        default=None,
        ge=1,
        le=5,
        description="How many times tie points are measured, from coarse to full resolution; None"
        " for as many as the size of the images asks for.",
    )
    local: Local = Field(
        default="auto",
        description="Smooth displacement on top of the global transform; auto takes the best"
        " family where it predicts held-out tie points better than none.",
    )


def make_scene_config(base: MatchConfig | None = None, /, **overrides: Any) -> SceneConfig:
    """A configuration with some fields replaced, every value checked.

    Args:
        base: What to begin from; a plain `MatchConfig` lends what it has.
        **overrides: Fields and their values.

    Raises:
        ConfigError: An unknown field or an impossible value.
    """
    known = {} if base is None else base.model_dump(exclude_unset=True)
    return make_settings(SceneConfig, {**known, **overrides})


def load_scene_config(path: Path | None, overrides: Sequence[str] = ()) -> SceneConfig:
    """A configuration from a YAML file and ``key=value`` overrides; see `load_settings`."""
    return load_settings(SceneConfig, path, overrides)
