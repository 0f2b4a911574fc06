"""Settings of scene registration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from imatch.core.settings import load_settings, make_settings
from imatch.pipeline.pair.config import MatchConfig


class SceneConfig(MatchConfig):
    """Settings of `imatch.register`: those of `MatchConfig` for the rough answer, and these.

    Attributes:
        spacing: Distance of tie points, native pixels of the reference; None for about 3000 of
            them over the ground that both images show, half a window apart at least.
        max_points: Most tie points, which are then spaced more widely; None for no limit.
        window: Side of the windows that are correlated, pixels of the finer level in use.
        tile: About how many pixels on each side are read at once.
        levels: How many times tie points are measured, from coarse to full resolution; None for as
            many as the size of the images asks for.
        local: Smooth displacement on top of the global transform: ``auto`` for the best one where
            it predicts tie points it has not seen better than none does, ``none``, or a family.
    """

    spacing: float | None = Field(default=None, gt=0)
    max_points: int | None = Field(default=None, ge=50)
    window: int = Field(default=64, ge=16, le=256)
    tile: int = Field(default=1024, ge=128, le=8192)
    levels: int | None = Field(default=None, ge=1, le=5)
    local: Literal["auto", "none", "polynomial2", "polynomial3", "spline", "tps"] = "auto"


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
