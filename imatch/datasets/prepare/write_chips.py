"""Cut the chips of neighbouring sites: the unit of work that can be repeated or resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.core.io.files import inside
from imatch.core.types import BoolArray, Rendered
from imatch.datasets.chip_files import save_mask, write_chip
from imatch.datasets.config import PrepareConfig, SourceConfig
from imatch.datasets.manifest import ChipRow, KeypointRow, PairRow
from imatch.datasets.polygons import Outline, appeared_between, keypoints_of, rasterized, within
from imatch.datasets.prepare.clouds import classified, cloud_mask
from imatch.datasets.prepare.pairing import (
    Residual,
    changed_ground,
    choose_pairs,
    measure_residual,
    season,
    season_distance,
)
from imatch.datasets.prepare.scan import Scene
from imatch.datasets.prepare.scene_groups import SceneGroup
from imatch.datasets.prepare.sites import SceneFacts, Site, SiteBatch
from imatch.raster import GeoImage, render

# Side of the cells in which a chip must show something, and what shows: a deviation of this share
# of the image's range.
_CELL, _VARIES = 16, 0.012
# A changed patch smaller than this many pixels is noise.
_SPECK = 64


@dataclass
class WrittenChips:
    """Result of a batch; plain values, ready for JSON.

    Attributes:
        chips: Rows of the chips.
        pairs: Rows of the pairs.
        keypoints: Rows of the keypoints.
        refused: Reason -> number of chips left out.
        unreadable: Path of an image -> why it could not be read.
        sums: Split and source -> number, sums, sums of squares, least and largest of each band.
    """

    chips: list[dict[str, str]] = field(default_factory=list)
    pairs: list[dict[str, str]] = field(default_factory=list)
    keypoints: list[dict[str, str]] = field(default_factory=list)
    refused: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    sums: dict[str, list[list[float]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Chip:
    """A chip in memory."""

    scene: Scene
    path: str
    pixels: NDArray[np.float32]
    valid: BoolArray
    cloud: BoolArray
    rendered: Rendered


def write_chips(batch: SiteBatch, config: PrepareConfig, out: Path) -> WrittenChips:
    """Cuts every chip of a batch, measures its pairs and writes both.

    Args:
        batch: What to cut.
        config: How.
        out: The data set's folder.

    Returns:
        The rows of its tables. An image that cannot be read is listed and skipped.

    Raises:
        OutputError: The disk refused.
    """
    done = WrittenChips()
    group = batch.sites[0].group
    left = min(site.window[0] for site in batch.sites)
    top = min(site.window[1] for site in batch.sites)
    right = max(site.window[0] + site.window[2] for site in batch.sites)
    bottom = max(site.window[1] + site.window[3] for site in batch.sites)
    region = (left, top, right - left, bottom - top)
    chips: dict[str, list[_Chip]] = {site.name: [] for site in batch.sites}
    refused: Counter[str] = Counter()
    for scene in group.scenes:
        try:
            image, cloud = _read(scene, group, region, batch.source)
        except InputError as error:
            done.unreadable[scene.path] = error.cause
            continue
        for site in batch.sites:
            column, row, width, height = site.window
            part = np.s_[row - top : row - top + height, column - left : column - left + width]
            chip = _checked_chip(
                site, scene, image.pixels[:, *part], image.valid[part], cloud[part], batch, config
            )
            if isinstance(chip, str):
                refused[chip] += 1
            else:
                chips[site.name].append(chip)
    for site in batch.sites:
        transform = group.transform @ Affine.translation(*site.window[:2])
        _save_site(site, chips[site.name], batch, config, transform, out, done)
    done.refused = dict(refused)
    return done


def _read(
    scene: Scene, group: SceneGroup, region: tuple[int, int, int, int], source: SourceConfig
) -> tuple[GeoImage, BoolArray]:
    """Reads an image on a region of its group, and its clouds."""
    file = scene.open(source.bands)
    if group.crs is None:
        image = file.read(Window(*region))
        known = None
    else:
        grid = group.window(*region)
        image = file.read_on(grid)
        known = classified(scene.path, grid) if image.valid.any() else None
    if known is not None:
        return image, known & image.valid
    if source.clouds == "none":
        return image, np.zeros_like(image.valid)
    return image, cloud_mask(image.pixels, image.valid, scene.info.dtypes[0])


def _checked_chip(
    site: Site,
    scene: Scene,
    pixels: NDArray[np.float32],
    valid: BoolArray,
    cloud: BoolArray,
    batch: SiteBatch,
    config: PrepareConfig,
) -> _Chip | str:
    """Returns a chip that is good enough, else why it is not."""
    if not valid.any():
        return "no image"
    if valid.mean() < config.min_valid:
        return "too little valid ground"
    if cloud[valid].mean() > config.max_cloud:
        return "too much cloud"
    least = batch.source.min_texture
    if _textured_share(pixels, valid, batch.facts[scene.path]) < (
        config.min_texture if least is None else least
    ):
        return "shows too little"
    names = scene.info.band_names
    frame = GeoImage(pixels, valid, Affine.identity(), None, names)
    rendered = render(frame, 3 if len(pixels) == 3 else 1)
    path = f"chips/{site.name}/{scene.label}.tif"
    return _Chip(scene, path, pixels, valid, cloud, rendered)


def _textured_share(pixels: NDArray[np.float32], valid: BoolArray, facts: SceneFacts) -> float:
    """Returns the share of the cells in which some band varies."""
    height, width = (side // _CELL * _CELL for side in valid.shape)
    whole = valid[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
    full = whole.all(axis=(1, 3))
    if not full.any():
        return 0.0
    varies = np.zeros(full.shape, dtype=bool)
    for band, low, high in zip(pixels, facts.low, facts.high, strict=True):
        cells = band[:height, :width].reshape(height // _CELL, _CELL, width // _CELL, _CELL)
        varies |= cells.std(axis=(1, 3)) > _VARIES * max(high - low, 1e-9)
    return float(varies[full].mean())


def _save_site(
    site: Site,
    chips: Sequence[_Chip],
    batch: SiteBatch,
    config: PrepareConfig,
    transform: Affine,
    out: Path,
    done: WrittenChips,
) -> None:
    group = site.group
    width, height = site.window[2:]
    outlines: list[Outline] = []
    if group.crs is not None and batch.outlines:
        outlines = within(batch.outlines, group.box(site.window))
    for chip in chips:
        facts = batch.facts[chip.scene.path]
        stored = facts.coding.encode(chip.pixels)
        write_chip(
            inside(out, chip.path),
            stored,
            chip.valid,
            coding=facts.coding,
            bands=chip.scene.info.band_names,
            transform=transform,
            crs=group.crs,
        )
        done.chips.append(_chip_row(site, chip, stored, facts).row())
        _add_sums(done, f"{site.split}/{group.source}", chip)
    if not chips:
        return
    if outlines:
        points = keypoints_of(
            outlines,
            transform,
            (width, height),
            error_px=config.label_error_m / group.gsd_m,
            vertices=config.vertices,
            corners=config.corners,
        )
        done.keypoints += [
            KeypointRow(site.name, p.x, p.y, p.sigma, p.kind, p.date, p.polygon).row()
            for p in points
        ]
    for i, j in choose_pairs([chip.scene.date for chip in chips], config.max_pairs):
        done.pairs.append(_pair(site, chips[i], chips[j], outlines, transform, out).row())


def _chip_row(
    site: Site,
    chip: _Chip,
    stored: NDArray[np.uint8] | NDArray[np.uint16],
    facts: SceneFacts,
) -> ChipRow:
    group, scene = site.group, chip.scene
    left, bottom, right, top = group.box(site.window)
    low, high = np.percentile(stored[:, chip.valid], [1, 99], axis=1)
    coding = facts.coding
    scene_low, scene_high = (
        (np.array(values) - coding.offset) / coding.scale for values in (facts.low, facts.high)
    )
    return ChipRow(
        site=site.name,
        split=site.split,
        source=group.source,
        place=group.place,
        date=scene.date,
        season=season(scene.date),
        tag=scene.tag,
        path=chip.path,
        width=site.window[2],
        height=site.window[3],
        bands=len(stored),
        dtype=coding.dtype,
        gsd_m=group.gsd_m,
        crs="" if group.crs is None else group.crs.to_string(),
        left=left,
        bottom=bottom,
        right=right,
        top=top,
        valid=float(chip.valid.mean()),
        cloud=float(chip.cloud.mean()),
        low=_numbers(low),
        high=_numbers(high),
        scene_low=_numbers(scene_low),
        scene_high=_numbers(scene_high),
        image=scene.path,
    )


def _numbers(values: NDArray[np.float64]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _add_sums(done: WrittenChips, key: str, chip: _Chip) -> None:
    ground = chip.pixels[:, chip.valid].astype(np.float64)
    figures = (
        np.full(len(ground), ground.shape[1]),
        ground.sum(axis=1),
        (ground**2).sum(axis=1),
        ground.min(axis=1),
        ground.max(axis=1),
    )
    table = np.column_stack(figures).tolist()
    done.sums[key] = add_sums(done.sums.get(key), table)


def add_sums(one: list[list[float]] | None, other: list[list[float]]) -> list[list[float]]:
    """Adds two tables of band sums; images with fewer bands add to those they have."""
    if one is None:
        return other
    longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
    out = [list(row) for row in longer]
    for row, more in zip(out, shorter, strict=False):
        row[:3] = [a + b for a, b in zip(row[:3], more[:3], strict=True)]
        row[3:] = [min(row[3], more[3]), max(row[4], more[4])]
    return out


def _pair(
    site: Site,
    a: _Chip,
    b: _Chip,
    outlines: Sequence[Outline],
    transform: Affine,
    out: Path,
) -> PairRow:
    group = site.group
    given = group.residual or (float("nan"), float("nan"))
    found = measure_residual(a.rendered, b.rendered, group.residual or (0.0, 0.0))
    changed = _changed_mask(
        a, b, found, appeared_between(outlines, a.scene.date, b.scene.date), transform
    )
    name = ""
    if changed.any():
        name = f"changed/{site.name}/{a.scene.label}__{b.scene.label}.png"
        save_mask(inside(out, name), changed)
    return PairRow(
        site=site.name,
        split=site.split,
        source=group.source,
        a=a.path,
        b=b.path,
        dx=found.dx,
        dy=found.dy,
        sigma_px=found.sigma,
        log_odds=found.log_odds,
        measured="chip" if found.known else "none",
        given_dx=given[0],
        given_dy=given[1],
        apart=season_distance(a.scene.date, b.scene.date),
        changed=name,
        changed_share=float(changed.mean()),
        tag=group.tag or "/".join(tag for tag in (a.scene.tag, b.scene.tag) if tag),
    )


def _changed_mask(
    a: _Chip, b: _Chip, found: Residual, felled: Sequence[Outline], transform: Affine
) -> BoolArray:
    """Finds ground of `a` under cloud on either date, without similarity, or felled between."""
    height, width = a.valid.shape
    moved = cv2.warpAffine(
        b.cloud.astype(np.uint8),
        found.matrix[:2],
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    changed = changed_ground(a.rendered, b.rendered, found)
    changed |= a.cloud | (moved > 0)
    changed |= rasterized(felled, transform, (width, height))
    changed &= a.valid
    count, labels, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8))
    keep = np.zeros(count, dtype=bool)
    keep[1:] = stats[1:, cv2.CC_STAT_AREA] >= _SPECK
    # Small clearings are no noise: they were drawn.
    return np.asarray(keep[labels] | (rasterized(felled, transform, (width, height)) & a.valid))
