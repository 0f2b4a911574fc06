"""The tables and the manifest of a prepared data set, and the hash that names its content."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import inside
from imatch.core.io.jsontext import parse_json
from imatch.core.io.tables import Plain, read_rows

SCHEMA = "imatch.chips/1"
MANIFEST, CHIPS, PAIRS, KEYPOINTS = "manifest.json", "chips.csv", "pairs.csv", "keypoints.csv"
SHEET, CARD = "sheet.png", "README.md"
_HINT = "run imatch data prepare, or name the folder that it wrote"


@dataclass(frozen=True)
class ChipRow(Plain):
    """One chip: a place at a date.

    Attributes:
        site: The ground it shows; chips of one site show the same ground.
        split: ``train``, ``val`` or ``test``.
        source: The source it comes from.
        place: The place that the site is part of.
        date: ``YYYYMMDD``, ``YYYYMM``, another label, or empty.
        season: Quarter of the year, ``unknown`` where the date does not tell.
        tag: What was known of the image.
        path: The chip, below the data set's folder.
        width: Pixels.
        height: Pixels.
        bands: How many.
        dtype: ``uint8`` or ``uint16``.
        gsd_m: Metres a pixel, NaN where unknown.
        crs: Reference system, empty without a map.
        left: Map bounds, or pixels of the image where there is no map.
        bottom: Likewise.
        right: Likewise.
        top: Likewise.
        valid: Share of valid ground.
        cloud: Share of cloud.
        low: Stored number at 1 % of each band of the chip, by blanks.
        high: That at 99 %.
        scene_low: That at 1 % of the whole image.
        scene_high: That at 99 %.
        image: The image it was cut from.
    """

    site: str
    split: str
    source: str
    place: str
    date: str
    season: str
    tag: str
    path: str
    width: int
    height: int
    bands: int
    dtype: str
    gsd_m: float
    crs: str
    left: float
    bottom: float
    right: float
    top: float
    valid: float
    cloud: float
    low: str
    high: str
    scene_low: str
    scene_high: str
    image: str


@dataclass(frozen=True)
class PairRow(Plain):
    """Two chips of one site.

    Attributes:
        site: The site.
        split: Its split.
        source: Its source.
        a: The chip of one date.
        b: The chip of another.
        dx: Residual: ``p_b = p_a + (dx, dy)``; 0 where unknown.
        dy: Likewise.
        sigma_px: Its standard deviation, NaN where the residual is unknown.
        log_odds: Natural logarithm of the odds that the chip's own measurement is right.
        measured: ``chip`` where the pair itself told, ``scene`` where other chips of the same two
            images did, ``none``.
        given_dx: What the table of pairs said, NaN where it said nothing.
        given_dy: Likewise.
        apart: How far the dates are apart in season, 0 to 1.
        changed: Mask of changed ground in the frame of `a`; empty where nothing changed.
        changed_share: Share of the chip that changed.
        tag: What is known of the pair.
    """

    site: str
    split: str
    source: str
    a: str
    b: str
    dx: float
    dy: float
    sigma_px: float
    log_odds: float
    measured: str
    given_dx: float
    given_dy: float
    apart: float
    changed: str
    changed_share: float
    tag: str


@dataclass(frozen=True)
class KeypointRow(Plain):
    """A named place on every chip of a site.

    Attributes:
        site: The site.
        x: Pixels of the chips, the centre of the first being 0.
        y: Likewise.
        sigma_px: Standard deviation of both.
        kind: ``centroid``, ``vertex`` or ``corner``.
        date: When it was first seen, ``YYYYMMDD`` or empty.
        polygon: Number of the feature in its file.
    """

    site: str
    x: float
    y: float
    sigma_px: float
    kind: str
    date: str
    polygon: int


@dataclass(frozen=True)
class DatasetManifest:
    """A prepared data set.

    Attributes:
        folder: Where it is.
        document: What ``manifest.json`` holds.
        chips: All chips.
        pairs: All pairs.
        keypoints: All keypoints.
    """

    folder: Path
    document: Mapping[str, Any]
    chips: tuple[ChipRow, ...]
    pairs: tuple[PairRow, ...]
    keypoints: tuple[KeypointRow, ...]

    @property
    def sha256(self) -> str:
        """Hash of the content: chips, masks and tables, wherever the folder lies."""
        return str(self.document["sha256"])

    @property
    def chip(self) -> int:
        """Side of a chip, pixels."""
        return int(self.document["config"]["chip"])

    @property
    def remarks(self) -> list[str]:
        """Remarks on the preparation, a line each."""
        document, polygons = self.document, self.document["polygons"]
        lines = list(document["notes"])
        lines += [f"skipped {item['path']}: {item['reason']}" for item in document["skipped"]]
        if document["refused"]:
            reasons = ", ".join(f"{count} {why}" for why, count in document["refused"].items())
            lines.append(f"chips left out: {reasons}")
        if document["alone"]:
            lines.append(f"{document['alone']} chips are without a partner at another date")
        if polygons["features"]:
            named = ("polygons", "mended", "empty", "dropped", "outside", "undated")
            lines.append(", ".join(f"{polygons[name]} {name}" for name in named if polygons[name]))
        return lines

    def check_sources(self, names: Iterable[str] | None) -> None:
        """Checks that the data set has images of some sources.

        Raises:
            ConfigError: It has none of one.
        """
        known = list(self.document["sources"])
        for name in names or ():
            if name not in known:
                hint = f"it has {', '.join(known)}"
                raise ConfigError(f"has no source {name!r}", subject=self.folder, hint=hint)


def load_manifest(folder: Path) -> DatasetManifest:
    """Opens a prepared data set.

    Raises:
        InputError: The folder holds none, or one of another version.
    """
    path = folder / MANIFEST
    try:
        document = parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        cause = "holds no data set" if folder.is_dir() else "no such folder"
        raise InputError(cause, subject=folder, hint=_HINT) from error
    except ValueError as error:
        raise InputError("is not JSON", subject=path, hint=_HINT) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InputError(f"is no manifest of schema {SCHEMA}", subject=path, hint=_HINT)
    return DatasetManifest(
        folder,
        document,
        tuple(read_rows(folder / CHIPS, ChipRow)),
        tuple(read_rows(folder / PAIRS, PairRow)),
        tuple(read_rows(folder / KEYPOINTS, KeypointRow)),
    )


def content_hash(folder: Path, files: Iterable[str]) -> str:
    """Returns the sha256 over the names and contents of files, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(set(files)):
        digest.update(name.encode())
        digest.update(hashlib.sha256(inside(folder, name).read_bytes()).digest())
    return digest.hexdigest()


def counts(
    chips: Sequence[ChipRow], pairs: Sequence[PairRow], keypoints: Sequence[KeypointRow]
) -> dict[str, Any]:
    """Counts chips, pairs and keypoints by split, and in each by source, season and tag."""
    split_of = {chip.site: chip.split for chip in chips}
    out: dict[str, Any] = {}
    for split in dict.fromkeys(chip.split for chip in chips):
        own = [chip for chip in chips if chip.split == split]
        mine = [pair for pair in pairs if pair.split == split]
        out[split] = {
            "sites": len({chip.site for chip in own}),
            "chips": len(own),
            "pairs": len(mine),
            "pairs_known": sum(pair.measured != "none" for pair in mine),
            "keypoints": sum(split_of.get(point.site) == split for point in keypoints),
            "chips_by_source": dict(Counter(chip.source for chip in own)),
            "pairs_by_source": dict(Counter(pair.source for pair in mine)),
            "chips_by_season": dict(sorted(Counter(chip.season for chip in own).items())),
            "chips_by_tag": dict(sorted(Counter(chip.tag for chip in own if chip.tag).items())),
        }
    return out


def facts_of(chips: Path | None) -> dict[str, Any]:
    """Returns what a checkpoint keeps of its data set: the folder and the checksum.

    Args:
        chips: The folder; None for procedural landscapes.

    Raises:
        InputError: It holds no data set.
    """
    if chips is None:
        return {"chips": None, "sha256": None}
    return {"chips": str(chips), "sha256": load_manifest(chips).sha256}
