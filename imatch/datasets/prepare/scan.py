"""Scan of the images: what there is, and what cannot be used."""

from __future__ import annotations

import csv
import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
from rasterio.crs import CRS
from rasterio.errors import CRSError

from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.core.io.tables import of_cell, text_rows
from imatch.datasets.config import PrepareConfig, SourceConfig
from imatch.raster import RasterInfo, Source, open_source

_TILE = re.compile(r"(?<![A-Z0-9])T?(\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V])(?![A-Z0-9])")
_HINT = "name images that share a place, or check the patterns"


@dataclass(frozen=True)
class Scene:
    """One image of a source, opened and found to be readable so far.

    Attributes:
        path: The file or product.
        source: Its source's name.
        date: ``YYYYMMDD``, ``YYYYMM``, another label of the date, or empty.
        tag: What is known of it, such as ``snow``.
        info: Its description, with the CRS that the configuration gives it.
        label: What its chips are called within a place.
        gsd_m: Metres a pixel, None where unknown.
    """

    path: str
    source: str
    date: str
    tag: str
    info: RasterInfo
    label: str
    gsd_m: float | None

    def open(self, bands: Sequence[int | str] | None) -> Source:
        """Opens the image as the scan did."""
        # Clouds are sorted out by their share; see `clouds`.
        source = open_source(self.path, bands=bands, product_mask="none")
        source.info = replace(source.info, crs=self.info.crs)
        return source


@dataclass(frozen=True)
class SkippedScene:
    """An image, or a pair, that is left out.

    Attributes:
        path: Which.
        reason: Why.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class AlignedScenes:
    """Images without geocoding whose pixels show the same ground but for a small residual.

    Attributes:
        scenes: The images, of one size.
        place: What is never split.
        name: What to call them within the place.
        residual: (dx, dy) given for the second against the first; None where nothing is known.
        tag: What is known of them.
    """

    scenes: tuple[Scene, ...]
    place: str
    name: str
    residual: tuple[float, float] | None = None
    tag: str = ""


@dataclass(frozen=True)
class SceneCatalogue:
    """Catalogue of the images to cut.

    Attributes:
        geocoded: Scenes that the map places, by source.
        aligned: Groups of images that only their pixels place.
        skipped: What is left out and why.
    """

    geocoded: tuple[Scene, ...]
    aligned: tuple[AlignedScenes, ...]
    skipped: tuple[SkippedScene, ...]


def scan(config: PrepareConfig) -> SceneCatalogue:
    """Opens every image of a configuration, and returns what can be used.

    Args:
        config: What to look at.

    Returns:
        What was found; images that cannot be opened are listed, not raised.

    Raises:
        InputError: A pattern finds nothing, a table is missing or lacks a column.
        ConfigError: A CRS that does not exist.
    """
    index = {} if config.index is None else _read_index(config.root / config.index)
    geocoded: list[Scene] = []
    aligned: list[AlignedScenes] = []
    skipped: list[SkippedScene] = []
    for source in config.sources:
        if source.table is not None:
            pairs, missing = _table(source, config.root, index)
            aligned += pairs
            skipped += missing
            continue
        loose: list[Scene] = []
        for path in _files(source, config.root):
            try:
                scene = _scene(path, source, index.get(path, {}))
            except ConfigError:
                raise
            except ImatchError as error:
                skipped.append(SkippedScene(path, error.cause))
                continue
            (geocoded if scene.info.geocoded else loose).append(scene)
        aligned += _group_by_place(loose, source)
    return SceneCatalogue(tuple(_unique_labels(geocoded)), tuple(aligned), tuple(skipped))


def _files(source: SourceConfig, root: Path) -> list[str]:
    found: dict[str, None] = {}
    for pattern in source.images:
        # Products are folders, so whatever matches counts; a pattern may also be absolute.
        paths = sorted(glob.glob(str(root / pattern), recursive=True))  # noqa: PTH207
        if not paths and not glob.has_magic(pattern):
            raise InputError("no such file", subject=root / pattern, hint="check the path")
        if not paths:
            raise InputError(
                "finds no image", subject=root / pattern, hint="check the pattern and the root"
            )
        found.update(dict.fromkeys(paths))
    return [
        path
        for path in found
        if not any(fnmatch(path, pattern) for pattern in source.exclude)
        and not re.search(r"_SCL\.(tif|jp2)$", path, re.IGNORECASE)
    ]


def _scene(path: str, source: SourceConfig, known: Mapping[str, str]) -> Scene:
    info = open_source(path, bands=source.bands, product_mask="none").info
    crs = known.get("crs") or source.crs
    if info.crs is None and crs and crs != "none":
        try:
            info = replace(info, crs=CRS.from_user_input(crs))
        except (CRSError, ValueError) as error:
            raise ConfigError(
                f"unknown CRS {crs!r}", subject=path, hint="give one like EPSG:32631"
            ) from error
    found = re.search(source.date, Path(path).name) or re.search(source.date, path)
    date = known.get("date") or (found[1 if found.re.groups else 0] if found else "")
    gsd = info.gsd_m
    metres = float(np.sqrt(gsd[0] * gsd[1])) if gsd else _number(known.get("gsd_m"), source.gsd_m)
    name = re.sub(r"[^\w.-]+", "_", Path(path.rstrip("/")).stem)
    label = date or name
    return Scene(path, source.name, date, known.get("tag", ""), info, label, metres)


def _number(text: str | None, otherwise: float | None) -> float | None:
    try:
        return float(text) if text else otherwise
    except ValueError:
        return otherwise


def _unique_labels(scenes: Sequence[Scene]) -> list[Scene]:
    """Tells scenes of one source and date, of two tiles or sensors, apart by their names."""
    seen: dict[tuple[str, str], int] = {}
    for scene in scenes:
        key = scene.source, scene.label
        seen[key] = seen.get(key, 0) + 1
    out = []
    used: set[tuple[str, str]] = set()
    for scene in scenes:
        label = scene.label
        if seen[scene.source, label] > 1:
            label = re.sub(r"[^\w.-]+", "_", Path(scene.path.rstrip("/")).stem)
        base, count = label, 1
        while (scene.source, label) in used:
            count += 1
            label = f"{base}-{count}"
        used.add((scene.source, label))
        out.append(replace(scene, label=label))
    return out


def _group_by_place(scenes: Sequence[Scene], source: SourceConfig) -> list[AlignedScenes]:
    """Groups scenes by place and size; one without partner is a group of its own."""
    groups: dict[tuple[str, tuple[int, int]], list[Scene]] = {}
    for scene in scenes:
        place = _first_match(source.place, scene.path)
        # Nothing says which pictures belong together: each is a place of its own.
        key = scene.label if place is None else place
        groups.setdefault((key, scene.info.size), []).append(scene)
    return [
        AlignedScenes(tuple(_unique_labels(group)), place, f"{size[0]}x{size[1]}")
        for (place, size), group in groups.items()
    ]


def _first_match(pattern: str | None, text: str) -> str | None:
    match = None if pattern is None else re.search(pattern, text)
    return None if match is None else match[1 if match.re.groups else 0]


def _table(
    source: SourceConfig, root: Path, index: Mapping[str, Mapping[str, str]]
) -> tuple[list[AlignedScenes], list[SkippedScene]]:
    assert source.table is not None
    path = root / source.table
    rows = _read(path, ("ref", "tgt"))
    unknown = [name for name in source.where if name not in rows[0]]
    if unknown:
        raise InputError(
            f"has no column {unknown[0]!r}", subject=path, hint=f"it has {', '.join(rows[0])}"
        )
    wanted = [r for r in rows if all(r[name] == value for name, value in source.where.items())]
    if not wanted:
        raise InputError(
            "has no row that fits", subject=path, hint=f"check where: {dict(source.where)}"
        )
    pairs, skipped = [], []
    for row in wanted:
        scenes = []
        for side in ("ref", "tgt"):
            file = str(path.parent / row[side])
            try:
                scenes.append(_scene(file, source, index.get(file, {})))
            except ConfigError:
                raise
            except ImatchError as error:
                skipped.append(SkippedScene(file, error.cause))
        if len(scenes) < 2:
            continue
        if scenes[0].info.size != scenes[1].info.size:
            sizes = " and ".join("{}x{}".format(*scene.info.size) for scene in scenes)
            skipped.append(SkippedScene(row["tgt"], f"the pair's sizes differ: {sizes}"))
            continue
        full = row.get("place") or row["ref"]
        place = _first_match(source.place, full) or full
        try:
            residual = float(row.get("dx", "")), float(row.get("dy", ""))
        except ValueError:
            residual = None
        name = re.sub(r"[^\w.-]+", "_", Path(row["ref"]).stem)
        scenes = [replace(s, label=s.date or f"{i}") for i, s in enumerate(scenes)]
        pairs.append(
            AlignedScenes(tuple(_unique_labels(scenes)), place, name, residual, row.get("tag", ""))
        )
    return pairs, skipped


def _read_index(path: Path) -> dict[str, dict[str, str]]:
    return {str(path.parent / row["path"]): row for row in _read(path, ("path",))}


def _read(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    try:
        table = csv.DictReader(text_rows(path))
        rows = [{k: of_cell(v or "") for k, v in row.items() if k} for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cause = getattr(error, "strerror", None) or "is not a CSV table"
        raise InputError(cause, subject=path, hint="name a CSV table") from error
    if not rows:
        raise InputError("holds no rows", subject=path, hint=_HINT)
    for name in needed:
        if name not in rows[0]:
            raise InputError(
                f"has no column {name!r}", subject=path, hint=f"it has {', '.join(rows[0])}"
            )
    return rows


def tile_name(path: str) -> str | None:
    """Returns the Sentinel-2 tile (``T36UXA``) that a path names, if any.

    Examples:
        >>> tile_name("S2A_MSIL1C_20180805T083601_N0206_R064_T36UXA_20180805T104432.SAFE")
        'T36UXA'
    """
    found = _TILE.findall(Path(path).name) or _TILE.findall(path)
    return f"T{found[-1]}" if found else None
