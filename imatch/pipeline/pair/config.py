"""Settings of a match, for the library, the command line and YAML files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from imatch.core.settings import Settings, load_settings, make_settings
from imatch.pipeline.registration.certificate import Tolerance

Band = int | str


class MatchConfig(Settings):
    """Settings of `imatch.match`.

    Attributes:
        matcher: A row of `imatch matchers`.
        max_keypoints: Keypoint budget an image.
        size: Working size: the longer side of what the matcher sees, pixels.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        seed: Seed of everything random; results on a CPU are a function of it.
        model: Transform kind, or ``auto`` for the simplest that explains the tie points.
        threshold_px: Largest residual of an inlier, working pixels.
        refine: Whether a single matcher's answer is pulled tight by local correlation, and judged
            by it; None leaves that to the matcher's row. ``auto`` always does.
        use_geocoding: Render geocoded pairs on one map grid; False compares bare pixels.
        margin: How far beyond the overlap to look in geocoded pairs, as a share of it.
        dem: Height of the ground for images that RPCs locate: a raster of heights, or metres above
            the ellipsoid; their own height offset when None.
        gsd_m: Metres per reference pixel, for images that do not say.
        tolerance: How far any place may be off at 95 % for the certificate to pass: ``0.3px``
            (native target pixels) or ``3m``; None asks nothing.
        ref_bands: Bands of the reference, 1-based numbers or names.
        tgt_bands: Bands of the target.
        ref_nodata: Value that marks no data in the reference, where the file does not say.
        tgt_nodata: The same for the target.
        ref_mask: Raster or polygons of ground to ignore in the reference.
        tgt_mask: The same for the target.
        weights: Checkpoint files by weight name, instead of the published ones.
        fetch: Download missing weights instead of raising.
    """

    matcher: str = "auto"
    max_keypoints: int = Field(default=2048, ge=16)
    size: int = Field(default=1024, ge=64)
    device: str = "auto"
    seed: int = Field(default=0, ge=0)
    model: Literal["auto", "translation", "similarity", "affine", "homography"] = "auto"
    threshold_px: float = Field(default=3.0, gt=0)
    refine: bool | None = None
    use_geocoding: bool = True
    margin: float = Field(default=0.1, ge=0, le=2)
    dem: float | Path | None = None
    gsd_m: float | None = Field(default=None, gt=0)
    tolerance: str | None = None
    ref_bands: tuple[Band, ...] | None = None
    tgt_bands: tuple[Band, ...] | None = None
    ref_nodata: float | None = None
    tgt_nodata: float | None = None
    ref_mask: Path | None = None
    tgt_mask: Path | None = None
    weights: dict[str, str] = Field(default_factory=dict)
    fetch: bool = False

    @field_validator("dem", mode="before")
    @classmethod
    def _read_dem(cls, value: Any) -> Any:
        try:
            return value if value is None else float(value)
        except (TypeError, ValueError):
            return Path(value) if isinstance(value, str) else value

    @field_validator("tolerance", mode="before")
    @classmethod
    def _check_tolerance(cls, value: Any) -> Any:
        if value is not None:
            Tolerance.parse(str(value))  # A bare number is refused in the same words.
        return value


def make_config(base: MatchConfig | None = None, /, **overrides: Any) -> MatchConfig:
    """A configuration with some fields replaced, every value checked.

    What neither says stays unsaid (``model_fields_set``), whatever its default.

    Args:
        base: What to begin from, and the kind of configuration wanted; the defaults when None.
        **overrides: Fields and their values.

    Raises:
        ConfigError: An unknown field or an impossible value.
    """
    kind = MatchConfig if base is None else type(base)
    values = {} if base is None else base.model_dump(exclude_unset=True)
    return make_settings(kind, {**values, **overrides})


def load_config(path: Path | None, overrides: Sequence[str] = ()) -> MatchConfig:
    """A configuration from a YAML file and ``key=value`` overrides; see `load_settings`."""
    return load_settings(MatchConfig, path, overrides)
