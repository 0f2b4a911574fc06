"""From images to sites, the windows of ground that become chips, and to batches of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from imatch.core.errors import InputError
from imatch.datasets.chip_files import Coding
from imatch.datasets.config import PrepareConfig, SourceConfig
from imatch.datasets.polygons import Outline, Tally, indices_within, read_polygons, within
from imatch.datasets.prepare.scan import SceneCatalogue
from imatch.datasets.prepare.scene_groups import (
    SceneGroup,
    group_aligned,
    group_geocoded,
    map_box,
    map_boxes,
    pixel_box,
    union,
)
from imatch.datasets.prepare.split import Box, Partition, assign_groups, partition

#: What is left of a place beyond the last whole chip gets one more, if it is this share of a chip.
_LEFTOVER = 0.25
#: Room for a chip that is tried, in chips.
_LEEWAY = (1.0, 1.1, 1.3)


@dataclass(frozen=True)
class Site:
    """The ground of one chip, at whatever dates there are.

    Attributes:
        name: Unique in the data set; also the folder of its chips.
        group: The grid it lies on.
        window: (column, row, width, height), pixels of the grid.
        split: The split it belongs to.
    """

    name: str
    group: SceneGroup
    window: tuple[int, int, int, int]
    split: str


@dataclass(frozen=True)
class SitePlan:
    """All sites of a data set.

    Attributes:
        sites: Level by group.
        notes: What the user should know: places that were not divided.
        lost: Chips that the guard between splits costs, about.
    """

    sites: tuple[Site, ...]
    notes: tuple[str, ...]
    lost: int


@dataclass(frozen=True)
class SceneFacts:
    """Range and coding of an image, known from its overview.

    Attributes:
        low: Value at 1 % of each band.
        high: Value at 99 %.
        coding: How its values are stored.
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    coding: Coding


@dataclass(frozen=True)
class SiteBatch:
    """Sites of one group that lie together.

    Attributes:
        number: Its name among the batches.
        sites: The sites.
        source: Settings of their source.
        facts: Path of each image -> what is known of it.
        outlines: Polygons on this ground, in the group's CRS.
    """

    number: int
    sites: tuple[Site, ...]
    source: SourceConfig
    facts: Mapping[str, SceneFacts]
    outlines: tuple[Outline, ...] = ()


def plan_sites(found: SceneCatalogue, config: PrepareConfig) -> SitePlan:
    """Lays chips over every place and deals the ground to the splits.

    Geocoded images that share ground are one place, whatever source or tile they come from, and
    each place large enough is divided on its map. Everything else is dealt as a whole: events,
    tiles, places with no room for a chip of each split.

    Raises:
        InputError: There is nothing to cut, or only one place that cannot be divided.
    """
    places = group_geocoded(found.geocoded, config) + group_aligned(found)
    if not places:
        raise InputError(
            "no image can be used", hint="; ".join(f"{s.path}: {s.reason}" for s in found.skipped)
        )
    shares = config.shares
    sites: list[Site] = []
    undivided_of: dict[str, list[tuple[str, list[SceneGroup]]]] = {}
    notes: list[str] = []
    lost = 0
    for number, (place, groups) in enumerate(places):
        rng = np.random.default_rng([config.seed, 1, number])
        laid = _divide_place(groups, config, rng) if groups[0].crs is not None else None
        if laid is None:
            undivided_of.setdefault(groups[0].source, []).append((place, groups))
            continue
        room = sum(
            len(_windows(group.extent, config.chip, config.step(group.source))) for group in groups
        )
        lost += max(0, room - len(laid))
        sites += laid
    for number, (source, undivided) in enumerate(undivided_of.items()):
        rng = np.random.default_rng([config.seed, 2, number])
        weights: dict[str, float] = {}
        for place, groups in undivided:
            weights[place] = weights.get(place, 0.0) + sum(
                len(_windows(group.extent, config.chip, config.step(group.source)))
                for group in groups
            )
        dealt = assign_groups(weights, shares, rng)
        if len(weights) < len(shares):
            names = ", ".join(weights)
            notes.append(
                f"{source}: {names} cannot be divided, all of it is in {dealt[next(iter(weights))]}"
            )
        for place, groups in undivided:
            for group in groups:
                sites += [
                    _site(group, window, dealt[place])
                    for window in _windows(group.extent, config.chip, config.step(group.source))
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
    """Lays chips over an extent, row by row; one of its own size if it is smaller."""
    left, top, right, bottom = (
        int(np.ceil(extent[0] - 1e-6)),
        int(np.ceil(extent[1] - 1e-6)),
        int(np.floor(extent[2] + 1e-6)),
        int(np.floor(extent[3] + 1e-6)),
    )
    columns = _chips_along(left, right, chip, step)
    rows = _chips_along(top, bottom, chip, step)
    return [(x, y, w, h) for y, h in rows for x, w in columns]


def _chips_along(begin: int, end: int, chip: int, step: int) -> list[tuple[int, int]]:
    """Returns (start, length) of the chips along one axis."""
    if end - begin <= chip:
        return [(begin, end - begin)] if end - begin >= chip // 2 else []
    starts = list(range(begin, end - chip + 1, step))
    if end - chip - starts[-1] >= _LEFTOVER * chip:
        starts.append(end - chip)
    return [(start, chip) for start in starts]


def _site(group: SceneGroup, window: tuple[int, int, int, int], split: str) -> Site:
    parts = [group.source, _slug(group.place), _slug(group.name)]
    where = f"x{window[0]}_y{window[1]}"
    return Site("/".join([*(part for part in parts if part), where]), group, window, split)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def _lay_out_chips(
    group: SceneGroup, first: SceneGroup, ground: Partition, config: PrepareConfig
) -> list[Site]:
    """Lays the chips of a group out within each area of one split."""
    assert first.crs is not None
    assert group.crs is not None
    extent = map_box(group.transform, group.crs, group.extent, first.crs)
    out: dict[tuple[int, int, int, int], Site] = {}
    for area, split in ground.areas(extent):
        if min(area[2] - area[0], area[3] - area[1]) <= 0:
            continue
        pixels = pixel_box(area, first.crs, group)
        inside = (
            max(pixels[0], group.extent[0]),
            max(pixels[1], group.extent[1]),
            min(pixels[2], group.extent[2]),
            min(pixels[3], group.extent[3]),
        )
        # A chip cut short by a block's edge would be padded for nothing.
        least = min(config.chip, *_sides(group.extent))
        windows = [
            window
            for window in _windows(inside, config.chip, config.step(group.source))
            if min(window[2:]) >= least
        ]
        boxes = [(x, y, x + w, y + h) for x, y, w, h in windows]
        mapped = map_boxes(group.transform, group.crs, boxes, first.crs)
        for window, box in zip(windows, mapped, strict=True):
            if _split_of(ground, box, extent) == split:
                out.setdefault(window, _site(group, window, split))
    return list(out.values())


def _split_of(ground: Partition, box: Box, extent: Box) -> str | None:
    """Returns the split of a box, a hair smaller: its corners come from divisions that round."""
    hair = 1e-7 * max(extent[2] - extent[0], extent[3] - extent[1])
    return ground.of((box[0] + hair, box[1] + hair, box[2] - hair, box[3] - hair))


def _sides(extent: Box) -> tuple[int, int]:
    return int(extent[2] - extent[0]), int(extent[3] - extent[1])


def _divide_place(
    groups: Sequence[SceneGroup], config: PrepareConfig, rng: np.random.Generator
) -> list[Site] | None:
    """Returns sites of a place that was divided; None where not every split would get one."""
    first = groups[0]
    assert first.crs is not None
    boxes = []
    chip = 0.0
    for group in groups:
        assert group.crs is not None
        boxes.append(map_box(group.transform, group.crs, group.extent, first.crs))
        width = group.extent[2] - group.extent[0]
        chip = max(chip, config.chip * (boxes[-1][2] - boxes[-1][0]) / width)
    extent = union(boxes)
    # Grids begin where they like, and those of the next zone are turned: areas that are a chip
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
        sites = [site for group in groups for site in _lay_out_chips(group, first, ground, config)]
        if {site.split for site in sites} == set(config.shares):
            return sites
    return None


# Chips along each side of what is read at once: JP2 and tiled files decode whole tiles anyway.
_ACROSS = 4


def outlines_of(
    plan: SitePlan, config: PrepareConfig, tally: Tally
) -> dict[tuple[str, str, str], list[Outline]]:
    """Reads the polygons of every group on a map, in its CRS.

    Args:
        plan: The sites.
        config: Names the files of each source.
        tally: Counts what becomes of the polygons.

    Returns:
        Source, place and grid -> polygons.

    Raises:
        InputError: A file cannot be read, has no polygon on any image, or no image is on a map.
    """
    groups: dict[tuple[str, str, str], SceneGroup] = {
        _key(site.group): site.group for site in plan.sites
    }
    out: dict[tuple[str, str, str], list[Outline]] = {}
    used: dict[str, set[int]] = {}
    known: dict[str, dict[str, list[Outline]]] = {}
    for source in config.sources:
        for name in source.polygons:
            path = config.root / name
            own = [group for group in groups.values() if group.source == source.name]
            mapped = [group for group in own if group.crs is not None]
            if not mapped:
                raise InputError(
                    f"cannot be placed: no image of {source.name} is geocoded",
                    subject=path,
                    hint="give geocoded images, or leave the polygons out",
                )
            for group in mapped:
                assert group.crs is not None
                system = group.crs.to_wkt()
                if system not in known.setdefault(str(path), {}):
                    # Counted once, however many systems it is needed in.
                    counter = Tally() if known[str(path)] else tally
                    known[str(path)][system] = read_polygons(path, group.crs, counter)
                outlines = known[str(path)][system]
                left, top, right, bottom = group.extent
                box = group.window(
                    int(left), int(top), int(np.ceil(right - left)), int(np.ceil(bottom - top))
                ).bounds
                inside = indices_within(outlines, box)
                used.setdefault(str(path), set()).update(inside)
                out.setdefault(_key(group), []).extend(outlines[i] for i in inside)
            total = len(next(iter(known[str(path)].values())))
            if not used[str(path)]:
                raise InputError(
                    f"none of its {total} polygons lies on an image of {source.name}",
                    subject=path,
                    hint="check its CRS",
                )
            tally.outside += total - len(used[str(path)])
    return out


def _key(group: SceneGroup) -> tuple[str, str, str]:
    return group.source, group.place, group.name


def batches_of(
    sites: Sequence[Site],
    config: PrepareConfig,
    facts: dict[str, SceneFacts],
    outlines: dict[tuple[str, str, str], list[Outline]],
) -> list[SiteBatch]:
    """Batches neighbouring sites of one group, in a fixed order.

    Args:
        sites: All sites.
        config: The settings.
        facts: Path of each image -> what is known of it.
        outlines: What `outlines_of` gave.
    """
    sources = {source.name: source for source in config.sources}
    side = _ACROSS * config.chip
    groups: dict[tuple[tuple[str, str, str], int, int], list[Site]] = {}
    for site in sites:
        column, row = site.window[:2]
        groups.setdefault((_key(site.group), row // side, column // side), []).append(site)
    batches = []
    for number, ((key, _, _), members) in enumerate(groups.items()):
        group = members[0].group
        near: tuple[Outline, ...] = ()
        if key in outlines:
            boxes = np.array([group.box(site.window) for site in members])
            low, high = boxes.min(axis=0), boxes.max(axis=0)
            near = tuple(within(outlines[key], (low[0], low[1], high[2], high[3])))
        own = {scene.path: facts[scene.path] for scene in group.scenes}
        batches.append(SiteBatch(number, tuple(members), sources[group.source], own, near))
    return batches
