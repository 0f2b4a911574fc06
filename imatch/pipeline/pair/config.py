"""Settings of a match, for the library, the command line and YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias, TypedDict

from pydantic import Field, field_validator, model_validator

from imatch.core.settings import Settings, load_settings, make_settings
from imatch.pipeline.registration.certificate import Tolerance

Band = int | str
AskedModality: TypeAlias = Literal["auto", "optical", "sar", "ir", "map"]
# The same as the rasters' `MaskUse`, which would bring all that reads them.
AskedMask: TypeAlias = Literal["auto", "none"]
Model: TypeAlias = Literal["auto", "translation", "similarity", "affine", "homography"]


class MatchOptions(TypedDict, total=False):
    """The fields of `MatchConfig` as keyword options."""

    matcher: str
    max_keypoints: int
    size: int
    device: str
    seed: int
    model: Model
    threshold_px: float
    refine: bool | None
    use_geocoding: bool
    geocoding_error: str | None
    margin: float
    dem: float | str | PathLike[str] | None
    gsd_m: float | None
    tolerance: str | None
    ref_bands: Sequence[Band] | None
    tgt_bands: Sequence[Band] | None
    ref_nodata: float | None
    tgt_nodata: float | None
    ref_modality: AskedModality
    tgt_modality: AskedModality
    ref_mask: str | PathLike[str] | None
    tgt_mask: str | PathLike[str] | None
    ref_product_mask: AskedMask | None
    tgt_product_mask: AskedMask | None
    points: str | PathLike[str] | Iterable[Iterable[float]] | None
    points_only: bool
    weights: Mapping[str, str]
    fetch: bool


class MatchConfig(Settings):
    """Settings of `imatch.match`; the description of each field is the help of its option."""

    matcher: str = Field(default="auto", description="Which matcher; see imatch matchers.")
    max_keypoints: int = Field(default=2048, ge=16, description="Keypoints an image.")
    size: int = Field(default=1024, ge=64, description="Longer side of what the matcher sees.")
    device: str = Field(default="auto", description="auto, cpu, cuda, cuda:1 or mps.")
    seed: int = Field(default=0, ge=0, description="Seed of everything random.")
    model: Model = Field(
        default="auto",
        description="Family of the transform; auto takes the simplest that explains the tie"
        " points.",
    )
    threshold_px: float = Field(
        default=3.0, gt=0, description="Largest residual of an inlier, in working pixels."
    )
    refine: bool | None = Field(
        default=None,
        description="Pull a single matcher's answer tight by the local correlation that judges it;"
        " auto always does.",
    )
    use_geocoding: bool = Field(
        default=True,
        description="Render geocoded pairs on one map grid, instead of comparing bare pixels.",
    )
    geocoding_error: str | None = Field(
        default=None,
        description="How far the images' geocodings may lie apart, as 30m or 3px (reference"
        " pixels): no answer lies further off, which decides where ground repeats itself.",
    )
    margin: float = Field(
        default=0.1,
        ge=0,
        le=2,
        description="How far beyond the overlap to look, as a share of it.",
    )
    dem: float | Path | None = Field(
        default=None,
        description="Height of the ground for images that RPCs locate: a raster of heights, or"
        " metres above the ellipsoid. Reports hold residuals against a raster.",
    )
    gsd_m: float | None = Field(
        default=None,
        gt=0,
        description="Metres a reference pixel, for images that do not say.",
    )
    tolerance: str | None = Field(
        default=None,
        description="How far any place may be off with 95 % confidence, as 0.3px (target pixels)"
        " or 3m.",
    )
    ref_bands: tuple[Band, ...] | None = Field(
        default=None, description="Bands of the reference, numbers from 1 or names."
    )
    tgt_bands: tuple[Band, ...] | None = Field(
        default=None, description="Bands of the target, numbers from 1 or names."
    )
    ref_nodata: float | None = Field(
        default=None, description="What marks no ground in the reference where it does not say."
    )
    tgt_nodata: float | None = Field(
        default=None, description="What marks no ground in the target where it does not say."
    )
    ref_modality: AskedModality = Field(
        default="auto",
        description="Sensor of the reference: optical, sar (radar), ir (infrared), map; auto asks"
        " names and pixels.",
    )
    tgt_modality: AskedModality = Field(default="auto", description="Sensor of the target.")
    ref_mask: Path | None = Field(
        default=None,
        description="Ground of the reference to ignore: a raster, or polygons (of clouds, say).",
    )
    tgt_mask: Path | None = Field(default=None, description="Ground of the target to ignore.")
    ref_product_mask: AskedMask | None = Field(
        default=None,
        description="What the masks of a product do: auto leaves out its clouds, shadows and fill,"
        " none ignores them.",
    )
    tgt_product_mask: AskedMask | None = Field(default=None, description="The same of the target.")
    points: Path | tuple[tuple[float, float, float, float], ...] | None = Field(
        default=None,
        description="Tie points of your own: of QGIS (.points), a table (.csv), a layer (.geojson,"
        " .gpkg) or an earlier result; proposed beside the matcher's.",
    )
    points_only: bool = Field(
        default=False,
        description="Fit your own tie points alone; the images only judge them.",
    )
    weights: dict[str, str] = Field(
        default_factory=dict,
        description="Checkpoint files by weight name, instead of the published ones.",
    )
    fetch: bool = Field(default=False, description="Download missing weights instead of raising.")

    @field_validator("dem", mode="before")
    @classmethod
    def _read_dem(cls, value: Any) -> Any:
        try:
            return value if value is None else float(value)
        except (TypeError, ValueError):
            return Path(value) if isinstance(value, str) else value

    @field_validator("points", mode="before")
    @classmethod
    def _read_point_rows(cls, value: Any) -> Any:
        if value is None or isinstance(value, str | PathLike):
            return value
        import numpy as np

        rows = np.asarray(value, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != 4 or not np.isfinite(rows).all():
            raise ValueError(
                "are a file, or finite rows of reference x, y and target x, y in pixels"
            )
        return tuple(map(tuple, rows.tolist()))

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        if self.points_only and self.points is None:
            raise ValueError("points_only needs points: a file of them, or rows")
        return self

    @field_validator("tolerance", "geocoding_error", mode="before")
    @classmethod
    def _check_length(cls, value: Any) -> Any:
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
