"""Manifest of an index: embedder, settings and format."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from imatch._version import __version__
from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json, to_json
from imatch.retrieval.chips import ChipGrid

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

SCHEMA: Literal["imatch.index/1"] = "imatch.index/1"
FILE = "manifest.json"
#: What to do where there is no index.
MAKE_ONE = "make one with imatch index IMAGES -o INDEX"
Structure: TypeAlias = Literal["flat", "ivf", "ivfpq"]


class ModelFacts(BaseModel):
    """The embedder of an index.

    Attributes:
        name: What it calls itself.
        source: Registry name or file, as `load_embedder` takes it.
        identity: sha256 of its weights and settings.
        dim: Length of a vector.
        bands: Bands it sees.
        chip_px: Side of what it sees, pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str
    identity: str
    dim: int = Field(ge=1)
    bands: int = Field(ge=1)
    chip_px: int = Field(ge=1)

    @classmethod
    def of(cls, embedder: Embedder, source: str | Path | None = None) -> ModelFacts:
        """The facts of a loaded embedder.

        Args:
            embedder: The embedder.
            source: What it was loaded by, its own name when None.
        """
        return cls(
            name=embedder.name,
            source=embedder.name if source is None else str(source),
            identity=embedder.identity,
            dim=embedder.dim,
            bands=embedder.bands,
            chip_px=embedder.chip_px,
        )


class IndexManifest(BaseModel):
    """Everything that must stay the same while an index grows.

    Attributes:
        schema_: ``"imatch.index/1"``, the member ``schema``.
        model: Its embedder.
        stride: See `ChipGrid`.
        gsd_m: See `ChipGrid`.
        levels: See `ChipGrid`.
        min_valid: See `ChipGrid`.
        band_list: Bands of the images that are embedded, by position or name; None for the usual.
        structure: How it is searched: every vector (``flat``), or the nearest of cells of vectors
            (``ivf``), these compressed (``ivfpq``).
        generation: Counts the times it was written anew.
        version: imatch's version that made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_: Literal["imatch.index/1"] = Field(default=SCHEMA, alias="schema")
    model: ModelFacts
    stride: float = Field(default=0.5, gt=0, le=4)
    gsd_m: float | None = Field(default=None, gt=0)
    levels: int = Field(default=1, ge=1, le=10)
    min_valid: float = Field(default=0.5, ge=0, le=1)
    band_list: tuple[int | str, ...] | None = None
    structure: Structure = "flat"
    generation: int = Field(default=1, ge=1)
    version: str = __version__

    @property
    def chip_grid(self) -> ChipGrid:
        """The chip grid of the index's images."""
        return ChipGrid(self.model.chip_px, self.stride, self.gsd_m, self.levels, self.min_valid)

    @property
    def settings(self) -> dict[str, Any]:
        """Returns the settings that an index is made with, without the embedder's."""
        return self.model_dump(exclude={"schema_", "model", "generation", "version"})

    def check(self, embedder: Embedder, subject: str | PathLike[str]) -> None:
        """Checks that an embedder is the index's.

        Args:
            embedder: The embedder at hand.
            subject: The index, for the message.

        Raises:
            InputError: It is another one, or of other weights or settings.
        """
        # What it is called, and by what it was loaded, changes no vector.
        names = {"name", "source"}
        if ModelFacts.of(embedder).model_dump(exclude=names) == self.model.model_dump(
            exclude=names
        ):
            return
        made, now = self.model.identity[:8], embedder.identity[:8]
        if embedder.name == self.model.name:
            raise InputError(
                f"was made with other weights or settings of {self.model.name} ({made}, now {now})",
                subject=subject,
                hint="index the images anew, or use the version of then",
            )
        raise InputError(
            f"was made with {self.model.name} ({made}), not with {embedder.name} ({now})",
            subject=subject,
            hint=f"pass --embedder {self.model.source}, or index the images anew",
        )


def new_manifest(model: ModelFacts, settings: Mapping[str, Any]) -> IndexManifest:
    """The manifest of a new index.

    Args:
        model: Its embedder.
        settings: What it is made with, where that is not the default.

    Raises:
        ConfigError: One of them makes no sense.
    """
    try:
        return IndexManifest.model_validate({"model": model, **settings})
    except ValidationError as error:
        first = error.errors()[0]
        cause = first["msg"][:1].lower() + first["msg"][1:]
        raise ConfigError(cause, subject=str(first["loc"][0])) from error


def read_manifest(index: Path) -> IndexManifest:
    """Read an index's manifest.

    Raises:
        InputError: It is no index, or of a version that this one does not know.
    """
    path = index / FILE
    if not path.is_file():
        cause = "is no index" if index.exists() else "does not exist"
        raise InputError(cause, subject=index, hint=MAKE_ONE)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error})", subject=path, hint="index anew") from error
    return parse_manifest(text, path)


def parse_manifest(text: str, subject: str | PathLike[str]) -> IndexManifest:
    """Reads the JSON document of a manifest.

    Args:
        text: The document.
        subject: Where it is from, for the message.

    Raises:
        InputError: It is damaged, or of a version that this one does not know.
    """
    try:
        data = parse_json(text)
    except ValueError as error:
        raise InputError(f"cannot be read ({error})", subject=subject, hint="index anew") from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"is an index of format {schema!r}, and this version reads {SCHEMA!r}",
            subject=subject,
            hint="index the images anew",
        )
    try:
        return IndexManifest.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"holds what makes no sense ({where}: {first['msg']})",
            subject=subject,
            hint="index the images anew",
        ) from error


def write_manifest(index: Path, manifest: IndexManifest) -> None:
    """Write a manifest; the one before stays until this one is whole.

    Raises:
        OutputError: The disk refused.
    """
    with atomic_path(index / FILE, overwrite=True) as path:
        path.write_text(
            to_json(manifest.model_dump(mode="json", by_alias=True)) + "\n", encoding="utf-8"
        )
