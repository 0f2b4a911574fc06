"""Settings of `prepare`, for the library, the command line and YAML files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from imatch.core.errors import ConfigError
from imatch.core.settings import Settings, make_settings, read_mapping

Band: TypeAlias = int | str
#: Names of the splits, in the order in which their shares are given.
SPLITS = ("train", "val", "test")


class SourceConfig(Settings):
    """Images of one kind.

    Attributes:
        name: What to call it; part of every chip's path.
        images: Files, Sentinel-2 products or patterns (``train/*/*.tif``) below the root.
        exclude: Patterns of paths to leave out.
        table: Instead of `images`: a CSV table of aligned pairs without geocoding. Its columns are
            ``ref`` and ``tgt`` (paths below the table's folder) and, where there are any,
            ``place``, ``tag``, ``dx`` and ``dy`` (``p_target = p_reference + (dx, dy)``).
        where: Column -> value that a row of the table must have.
        place: Pattern whose first group (or whole match), found in the table's place or in a path,
            names what is never split; for geocoded images the map decides instead.
        date: Pattern that finds the date in a path; its first group is ``YYYYMMDD`` or
            ``YYYYMM``.
        bands: Bands to keep, by number or name; at most three sensible ones by default.
        crs: Reference system of images that have a world file only.
        gsd_m: Metres a pixel, of images without geocoding.
        bounds: (left, bottom, right, top) of the ground to use.
        bounds_crs: Reference system of `bounds`.
        clouds: ``colour`` to estimate clouds by brightness and whiteness where no scene
            classification is at hand; ``none`` for images that have none (composites).
        polygons: Vector files whose polygons become keypoints.
        stride: Instead of the data set's.
        min_texture: Instead of the data set's.
        licence: What the images may be used for.
        attribution: Whom to name.
    """

    name: str = Field(default="images", pattern=r"^[\w.-]+$")
    images: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    table: str | None = None
    where: dict[str, str] = Field(default_factory=dict)
    place: str | None = None
    date: str = r"(?<!\d)((?:19|20)\d{6})(?!\d)"
    bands: tuple[Band, ...] | None = None
    crs: str | None = None
    gsd_m: float | None = Field(default=None, gt=0)
    bounds: tuple[float, float, float, float] | None = None
    bounds_crs: str = "EPSG:4326"
    clouds: Literal["colour", "none"] = "colour"
    polygons: tuple[str, ...] = ()
    stride: int | None = Field(default=None, ge=8)
    min_texture: float | None = Field(default=None, ge=0, le=1)
    licence: str = ""
    attribution: str = ""

    @field_validator("place", "date")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression ({error})") from error
        return value

    @field_validator("bounds")
    @classmethod
    def _check_bounds(
        cls, value: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if value is not None and not (value[0] < value[2] and value[1] < value[3]):
            raise ValueError("bounds are left, bottom, right, top, ascending")
        return value

    @model_validator(mode="after")
    def _check_inputs(self) -> SourceConfig:
        if bool(self.images) == (self.table is not None):
            raise ValueError("a source has either images or a table")
        return self


class PrepareConfig(Settings):
    """Settings of `prepare`.

    Attributes:
        root: Folder that relative paths start from.
        index: CSV table with a column ``path`` and any of ``date``, ``tag``, ``crs`` and ``gsd_m``
            that describes images better than their names do.
        sources: What to cut.
        chip: Side of a chip, pixels.
        stride: Distance between neighbouring chips, pixels; `chip` when None.
        min_valid: Least share of valid ground in a chip.
        max_cloud: Largest share of cloud in a chip.
        min_texture: Least share of a chip's 16 px cells that show anything.
        split: Shares of ``train``, ``val`` and, if there are three, ``test``.
        block: Side of the blocks of ground that are dealt to the splits, in chips; chosen by the
            size of a place when None.
        guard: Least distance between chips of different splits, in chips; never less than chips
            overlap.
        max_pairs: Most pairs of dates at one place, those furthest apart in season first.
        vertices: Whether polygons' vertices become keypoints too.
        corners: Whether only their corners (turns of 30 degrees or more) do.
        label_error_m: Standard deviation of a digitised vertex, metres.
        seed: Of everything random.
    """

    root: Path = Path()
    index: str | None = None
    sources: tuple[SourceConfig, ...] = ()
    chip: int = Field(default=256, ge=32, le=4096)
    stride: int | None = Field(default=None, ge=8)
    min_valid: float = Field(default=0.9, ge=0, le=1)
    max_cloud: float = Field(default=0.3, ge=0, le=1)
    min_texture: float = Field(default=0.3, ge=0, le=1)
    split: tuple[float, ...] = (0.8, 0.2)
    block: float | None = Field(default=None, ge=1)
    guard: float | None = Field(default=None, ge=0)
    max_pairs: int = Field(default=8, ge=0)
    vertices: bool = False
    corners: bool = False
    label_error_m: float = Field(default=10.0, gt=0)
    seed: int = Field(default=0, ge=0)

    @field_validator("split", mode="before")
    @classmethod
    def _parse_split(cls, value: Any) -> Any:
        return tuple(value.split("/")) if isinstance(value, str) else value

    @field_validator("split")
    @classmethod
    def _check_split(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not (1 <= len(value) <= len(SPLITS) and min(value) >= 0 and sum(value) > 0):
            raise ValueError("a split is two or three shares such as 0.8/0.2")
        return tuple(share / sum(value) for share in value)

    @model_validator(mode="after")
    def _check_guard(self) -> PrepareConfig:
        if max(self._steps) > self.chip:
            raise ValueError("the stride is larger than the chip: ground would be left out")
        if self.guard is not None and self.guard < self.overlap:
            raise ValueError(
                f"a guard of {self.guard:g} chips is less than chips overlap ({self.overlap:g})"
            )
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("two sources have one name")
        return self

    @property
    def _steps(self) -> list[int]:
        return [self.step(source.name) for source in self.sources] or [self.stride or self.chip]

    def step(self, source: str) -> int:
        """Returns the pixels from one chip of a source to the next."""
        own = {item.name: item.stride for item in self.sources}.get(source)
        return own or self.stride or self.chip

    @property
    def overlap(self) -> float:
        """Largest share of a chip's side that its neighbour also shows."""
        return 1 - min(self._steps) / self.chip

    @property
    def guard_chips(self) -> float:
        """The guard in chips, a quarter of one by default."""
        return max(0.25, self.overlap) if self.guard is None else self.guard

    @property
    def shares(self) -> dict[str, float]:
        """Split -> share, without those that get nothing."""
        return {name: share for name, share in zip(SPLITS, self.split, strict=False) if share > 0}


def load_prepare_config(
    path: Path | None, overrides: Mapping[str, Any] | None = None, *, images: Sequence[str] = ()
) -> PrepareConfig:
    """Reads a configuration from YAML.

    Args:
        path: YAML file, or None for the defaults.
        overrides: Fields to replace; those of a source (`bands`, `polygons`) go to every source.
        images: Images of one more source, named ``images``.

    Raises:
        InputError: The file is missing or is not YAML.
        ConfigError: An unknown field or an impossible value, or nothing to cut.
    """
    values = {} if path is None else read_mapping(path)
    given = dict(overrides or {})
    sources = [dict(item) for item in values.get("sources", ()) if isinstance(item, Mapping)]
    if len(sources) != len(values.get("sources", ())):
        raise ConfigError("each is a mapping", subject=f"{path}: sources")
    if images:
        # Files named on the command line start from here, wherever the configuration's root is.
        sources.append({"images": tuple(str(Path(image).absolute()) for image in images)})
    for field in ("bands", "polygons"):
        value = given.pop(field, None)
        if value:
            for source in sources:
                source[field] = value
    if not sources:
        raise ConfigError("no images were given", hint="name images, or a --config with sources")
    return make_settings(PrepareConfig, {**values, **given, "sources": sources}, path)
