"""From images to sites: the windows of ground that become chips at every date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imatch.core.errors import InputError
from imatch.datasets.config import PrepareConfig
from imatch.datasets.prepare.scan import SceneCatalogue
from imatch.datasets.prepare.scene_groups import (
    SceneGroup,
    aligned_places,
    geocoded_places,
    map_box,
    map_boxes,
    pixel_box,
    union,
)
from imatch.datasets.prepare.split import Box, Partition, allot, partition

#: What is left of a place beyond the last whole chip gets one more, if it is this share of a chip.
_LEFTOVER = 0.25
#: Room for a chip that is tried, in chips.
_LEEWAY = (1.0, 1.1, 1.3)


@dataclass(frozen=True)
class Site:
    """The ground of one chip, at whatever dates there are.

    Attributes:
        name: Unique in the data set; also the folder of its chips.
        level: The lattice it lies on.
        window: (column, row, width, height), pixels of the lattice.
        split: The split it belongs to.
    """

    name: str
    level: SceneGroup
    window: tuple[int, int, int, int]
    split: str


@dataclass(frozen=True)
class SitePlan:
    """All sites of a data set.

    Attributes:
        sites: Level by level.
        notes: What the user should know: places that were not divided.
        lost: Chips that the guard between splits costs, about.
    """

    sites: tuple[Site, ...]
    notes: tuple[str, ...]
    lost: int


def plan_sites(found: SceneCatalogue, config: PrepareConfig) -> SitePlan:
    """Lay chips over every place and deal the ground to the splits.

    Geocoded images that share ground are one place, whatever source or tile they come from, and
    each place large enough is divided on its map. Everything else is dealt as a whole: events,
    tiles, places with no room for a chip of each split.

    Raises:
        InputError: There is nothing to cut, or only one place that cannot be divided.
    """
    places = geocoded_places(found.geocoded, config) + aligned_places(found)
    if not places:
        raise InputError(
            "no image can be used", hint="; ".join(f"{s.path}: {s.reason}" for s in found.skipped)
        )
    shares = config.shares
    sites: list[Site] = []
    whole: dict[str, list[tuple[str, list[SceneGroup]]]] = {}
    notes: list[str] = []
    lost = 0
    for number, (place, levels) in enumerate(places):
        rng = np.random.default_rng([config.seed, 1, number])
        laid = _divided(levels, config, rng) if levels[0].crs is not None else None
        if laid is None:
            whole.setdefault(levels[0].source, []).append((place, levels))
            continue
        room = sum(
            len(_windows(level.extent, config.chip, config.step(level.source))) for level in levels
        )
        lost += max(0, room - len(laid))
        sites += laid
    for number, (source, group) in enumerate(whole.items()):
        rng = np.random.default_rng([config.seed, 2, number])
        weights: dict[str, float] = {}
        for place, levels in group:
            weights[place] = weights.get(place, 0.0) + sum(
                len(_windows(level.extent, config.chip, config.step(level.source)))
                for level in levels
            )
        dealt = allot(weights, shares, rng)
        if len(weights) < len(shares):
            names = ", ".join(weights)
            notes.append(
                f"{source}: {names} cannot be divided, all of it is in {dealt[next(iter(weights))]}"
            )
        for place, levels in group:
            for level in levels:
                sites += [
                    _site(level, window, dealt[place])
                    for window in _windows(level.extent, config.chip, config.step(level.source))
                ]
    missing = [name for name in shares if not any(site.split == name for site in sites)]
    if missing:
        count = len({place for place, _ in places})
        what = f"the only place, {places[0][0]}," if count == 1 else f"none of the {count} places"
        raise InputError(
            f"{what} {'is' if count > 1 else 'is not'} large enough to be divided,"
            f" so nothing is left for {' and '.join(missing)}",
            hint="add images of other places, cut smaller chips with --chip, or pass --split 1/0",
        )
    return SitePlan(tuple(sites), tuple(notes), lost)


def _windows(extent: Box, chip: int, step: int) -> list[tuple[int, int, int, int]]:
    """Chips over an extent of the lattice, row by row; one of its own size if it is smaller."""
    left, top, right, bottom = (
        int(np.ceil(extent[0] - 1e-6)),
        int(np.ceil(extent[1] - 1e-6)),
        int(np.floor(extent[2] + 1e-6)),
        int(np.floor(extent[3] + 1e-6)),
    )
    columns = _places_along(left, right, chip, step)
    rows = _places_along(top, bottom, chip, step)
    return [(x, y, w, h) for y, h in rows for x, w in columns]


def _places_along(begin: int, end: int, chip: int, step: int) -> list[tuple[int, int]]:
    """(start, length) of the chips along one axis."""
    if end - begin <= chip:
        return [(begin, end - begin)] if end - begin >= chip // 2 else []
    starts = list(range(begin, end - chip + 1, step))
    if end - chip - starts[-1] >= _LEFTOVER * chip:
        starts.append(end - chip)
    return [(start, chip) for start in starts]


def _site(level: SceneGroup, window: tuple[int, int, int, int], split: str) -> Site:
    parts = [level.source, _slug(level.place), _slug(level.name)]
    where = f"x{window[0]}_y{window[1]}"
    return Site("/".join([*(part for part in parts if part), where]), level, window, split)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def _laid(
    level: SceneGroup, first: SceneGroup, ground: Partition, config: PrepareConfig
) -> list[Site]:
    """Chips of a level, laid out within each area of one split."""
    assert first.crs is not None
    assert level.crs is not None
    extent = map_box(level.transform, level.crs, level.extent, first.crs)
    out: dict[tuple[int, int, int, int], Site] = {}
    for area, split in ground.areas(extent):
        if min(area[2] - area[0], area[3] - area[1]) <= 0:
            continue
        pixels = pixel_box(area, first.crs, level)
        inside = (
            max(pixels[0], level.extent[0]),
            max(pixels[1], level.extent[1]),
            min(pixels[2], level.extent[2]),
            min(pixels[3], level.extent[3]),
        )
        # A chip cut short by a block's edge would be padded for nothing.
        least = min(config.chip, *_sides(level.extent))
        windows = [
            window
            for window in _windows(inside, config.chip, config.step(level.source))
            if min(window[2:]) >= least
        ]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in windows]
        mapped = map_boxes(level.transform, level.crs, boxes, first.crs)
        for window, box in zip(windows, mapped, strict=True):
            if _trusted(ground, box, extent) == split:
                out.setdefault(window, _site(level, window, split))
    return list(out.values())


def _trusted(ground: Partition, box: Box, extent: Box) -> str | None:
    """The split of a box, a hair smaller: its corners come from divisions that round."""
    hair = 1e-7 * max(extent[2] - extent[0], extent[3] - extent[1])
    return ground.of((box[0] + hair, box[1] + hair, box[2] - hair, box[3] - hair))


def _sides(extent: Box) -> tuple[int, int]:
    return int(extent[2] - extent[0]), int(extent[3] - extent[1])


def _divided(
    levels: Sequence[SceneGroup], config: PrepareConfig, rng: np.random.Generator
) -> list[Site] | None:
    """Sites of a place that was divided; None where not every split would get one."""
    first = levels[0]
    assert first.crs is not None
    boxes = []
    chip = 0.0
    for level in levels:
        assert level.crs is not None
        boxes.append(map_box(level.transform, level.crs, level.extent, first.crs))
        width = level.extent[2] - level.extent[0]
        chip = max(chip, config.chip * (boxes[-1][2] - boxes[-1][0]) / width)
    extent = union(boxes)
    # Lattices begin where they like, and those of the next zone are turned: areas that are a chip
    # wide may hold none, those that are a little wider do.
    for leeway in _LEEWAY:
        ground = partition(
            extent,
            leeway * chip,
            config.shares,
            guard=config.guard_chips,
            block=config.block,
            rng=rng,
        )
        if ground is None:
            return None
        sites = [site for level in levels for site in _laid(level, first, ground, config)]
        if {site.split for site in sites} == set(config.shares):
            return sites
    return None
