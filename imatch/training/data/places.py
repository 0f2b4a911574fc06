"""From images to sites: the windows of ground that become chips at every date."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo
from imatch.training.data.config import PrepareConfig, SourceConfig
from imatch.training.data.split import Box, Partition, allot, partition
from imatch.training.data.survey import Scene, Survey, tile_name

#: Images whose GSDs differ by less lie on one lattice.
_SAME_GSD = 1.1
#: Images whose GSDs differ by more share no pattern, even where they share ground.
_APART = 8.0
#: What is left of a place beyond the last whole chip gets one more, if it is this share of a chip.
_LEFTOVER = 0.25


@dataclass(frozen=True)
class Level:
    """Images of one place on one lattice of pixels.

    Attributes:
        source: Name of the source.
        place: Name of the place.
        name: Name of the lattice within source and place; empty where there is one only.
        scenes: The images, by date.
        transform: Corner-based pixel to map transform of the lattice.
        crs: Its reference system, None where pixels serve.
        extent: What the images cover, pixels of the lattice (top before bottom).
        gsd_m: Metres a pixel, NaN where unknown.
        residual: (dx, dy) given for the second scene against the first, or None.
        tag: What is known of the images together.
    """

    source: str
    place: str
    name: str
    scenes: tuple[Scene, ...]
    transform: Affine
    crs: CRS | None
    extent: Box
    gsd_m: float
    residual: tuple[float, float] | None = None
    tag: str = ""

    def window(self, column: int, row: int, width: int, height: int) -> Grid:
        """The grid of a window of the lattice.

        Raises:
            InputError: The lattice is not on a map.
        """
        if self.crs is None:
            raise InputError("is not geocoded", subject=self.place)
        return Grid(self.transform @ Affine.translation(column, row), self.crs, width, height)

    def box(self, window: tuple[int, int, int, int]) -> Box:
        """Map bounds of a window (column, row, width, height); pixels where there is no map."""
        column, row, width, height = window
        if self.crs is None:
            return float(column), float(row), float(column + width), float(row + height)
        return self.window(column, row, width, height).bounds


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
    level: Level
    window: tuple[int, int, int, int]
    split: str


@dataclass(frozen=True)
class Plan:
    """All sites of a data set.

    Attributes:
        sites: Level by level.
        notes: What the user should know: places that were not divided.
        lost: Chips that the guard between splits costs, about.
    """

    sites: tuple[Site, ...]
    notes: tuple[str, ...]
    lost: int


def plan_sites(found: Survey, config: PrepareConfig) -> Plan:
    """Lay chips over every place and deal the ground to the splits.

    Geocoded images that share ground are one place, whatever source or tile they come from, and
    each place large enough is divided on its map. Everything else is dealt as a whole: events,
    tiles, places with no room for a chip of each split.

    Raises:
        InputError: There is nothing to cut, or only one place that cannot be divided.
    """
    places = _geocoded_places(found.geocoded, config) + _aligned_places(found)
    if not places:
        raise InputError(
            "no image can be used", hint="; ".join(f"{s.path}: {s.reason}" for s in found.skipped)
        )
    shares = config.shares
    sites: list[Site] = []
    whole: dict[str, list[tuple[str, list[Level]]]] = {}
    notes: list[str] = []
    lost = 0
    for number, (place, levels) in enumerate(places):
        rng = np.random.default_rng([config.seed, 1, number])
        ground = _partition(levels, config, rng) if levels[0].crs is not None else None
        if ground is None:
            whole.setdefault(levels[0].source, []).append((place, levels))
            continue
        for level in levels:
            laid = _laid(level, levels[0], ground, config)
            lost += max(
                0, len(_windows(level.extent, config.chip, config.step(level.source))) - len(laid)
            )
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
    return Plan(tuple(sites), tuple(notes), lost)


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


def _site(level: Level, window: tuple[int, int, int, int], split: str) -> Site:
    parts = [level.source, _slug(level.place), _slug(level.name)]
    where = f"x{window[0]}_y{window[1]}"
    return Site("/".join([*(part for part in parts if part), where]), level, window, split)


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text)


def _laid(level: Level, first: Level, ground: Partition, config: PrepareConfig) -> list[Site]:
    """Chips of a level, laid out within each area of one split."""
    assert first.crs is not None
    assert level.crs is not None
    extent = _map_box(level.transform, level.crs, level.extent, first.crs)
    out: dict[tuple[int, int, int, int], Site] = {}
    for area, split in ground.areas(extent):
        if min(area[2] - area[0], area[3] - area[1]) <= 0:
            continue
        pixels = _pixel_box(area, first.crs, level)
        inside = (
            max(pixels[0], level.extent[0]),
            max(pixels[1], level.extent[1]),
            min(pixels[2], level.extent[2]),
            min(pixels[3], level.extent[3]),
        )
        for window in _windows(inside, config.chip, config.step(level.source)):
            # A chip cut short by a block's edge would be padded for nothing.
            if min(window[2:]) < min(config.chip, *_sides(level.extent)):
                continue
            grid = level.window(*window)
            box = _map_box(grid.transform, grid.crs, (0, 0, window[2], window[3]), first.crs)
            if _trusted(ground, box, extent) == split:
                out.setdefault(window, _site(level, window, split))
    return list(out.values())


def _trusted(ground: Partition, box: Box, extent: Box) -> str | None:
    """The split of a box, a hair smaller: its corners come from divisions that round."""
    hair = 1e-7 * max(extent[2] - extent[0], extent[3] - extent[1])
    return ground.of((box[0] + hair, box[1] + hair, box[2] - hair, box[3] - hair))


def _sides(extent: Box) -> tuple[int, int]:
    return int(extent[2] - extent[0]), int(extent[3] - extent[1])


def _partition(
    levels: Sequence[Level], config: PrepareConfig, rng: np.random.Generator
) -> Partition | None:
    first = levels[0]
    assert first.crs is not None
    boxes = []
    chip = 0.0
    for level in levels:
        assert level.crs is not None
        boxes.append(_map_box(level.transform, level.crs, level.extent, first.crs))
        width = level.extent[2] - level.extent[0]
        chip = max(chip, config.chip * (boxes[-1][2] - boxes[-1][0]) / width)
    extent = _union(boxes)
    return partition(
        extent, chip, config.shares, guard=config.guard_chips, block=config.block, rng=rng
    )


def _union(boxes: Sequence[Box]) -> Box:
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)


def _outline(box: Box, count: int = 16) -> NDArray[np.float64]:
    """(4 n, 2) points along the edges of a box, corners included."""
    x = np.linspace(box[0], box[2], count)
    y = np.linspace(box[1], box[3], count)
    return np.concatenate(
        [
            np.column_stack([x, np.full(count, box[1])]),
            np.column_stack([x, np.full(count, box[3])]),
            np.column_stack([np.full(count, box[0]), y]),
            np.column_stack([np.full(count, box[2]), y]),
        ]
    )


def _bounds(points: NDArray[np.float64]) -> Box:
    points = points[np.isfinite(points).all(axis=1)]
    if not len(points):
        return (np.inf, np.inf, -np.inf, -np.inf)
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _map_box(transform: Affine, crs: CRS, pixels: Box, wanted: CRS) -> Box:
    """Bounds in one system of a box of pixels on another's map."""
    return _bounds(reproject_points(apply_affine(transform, _outline(pixels)), crs, wanted))


def _pixel_box(box: Box, crs: CRS, level: Level) -> Box:
    """Bounds in a level's pixels of a box on another map."""
    assert level.crs is not None
    points = reproject_points(_outline(box), crs, level.crs)
    return _bounds(apply_affine(~level.transform, points))


def _geocoded_places(
    scenes: Sequence[Scene], config: PrepareConfig
) -> list[tuple[str, list[Level]]]:
    """Scenes that share ground, put on lattices."""
    by_name = {source.name: source for source in config.sources}
    boxes = []
    for scene in scenes:
        assert scene.info.crs is not None
        full = (0.0, 0.0, float(scene.info.width), float(scene.info.height))
        boxes.append(_map_box(scene.info.transform, scene.info.crs, full, WGS84))
    out: list[tuple[str, list[Level]]] = []
    used: dict[str, int] = {}
    for group in _connected(scenes, boxes):
        members = [scenes[i] for i in group]
        name = _place_name(members, [boxes[i] for i in group], by_name)
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name}-{used[name]}"
        levels = [
            level
            for lattice in _lattices(members)
            if (level := _level(lattice, name, by_name[lattice[0].source])) is not None
        ]
        if levels:
            out.append((name, _told_apart(levels)))
    return out


def _connected(scenes: Sequence[Scene], boxes: Sequence[Box]) -> list[list[int]]:
    """Groups of scenes that share ground, directly or through others."""
    group = list(range(len(scenes)))

    def root(i: int) -> int:
        while group[i] != i:
            i = group[i]
        return i

    for i, (one, first) in enumerate(zip(scenes, boxes, strict=True)):
        for j in range(i):
            other, second = scenes[j], boxes[j]
            overlap = (
                first[0] < second[2]
                and second[0] < first[2]
                and first[1] < second[3]
                and second[1] < first[3]
            )
            gsds = one.gsd_m, other.gsd_m
            alike = None in gsds or 1 / _APART < (gsds[0] or 1) / (gsds[1] or 1) < _APART
            if overlap and alike:
                group[root(i)] = root(j)
    found: dict[int, list[int]] = {}
    for i in range(len(scenes)):
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def _place_name(
    scenes: Sequence[Scene], boxes: Sequence[Box], sources: dict[str, SourceConfig]
) -> str:
    pattern = sources[scenes[0].source].place
    match = None if pattern is None else re.search(pattern, scenes[0].path)
    if match is not None:
        return match[1 if match.re.groups else 0]
    tiles = sorted({tile_name(scene.path) or "" for scene in scenes} - {""})
    if tiles:
        return "+".join(tiles)
    box = _union(boxes)
    lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return f"{abs(lat):.2f}{'NS'[lat < 0]}_{abs(lon):.2f}{'EW'[lon < 0]}"


def _lattices(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Scenes of one source, GSD and number of bands, which share a lattice."""
    out: list[list[Scene]] = []
    for scene in scenes:
        for group in out:
            first = group[0]
            ratio = (scene.gsd_m or 1) / (first.gsd_m or 1)
            if (
                first.source == scene.source
                and first.info.count == scene.info.count
                and 1 / _SAME_GSD < ratio < _SAME_GSD
            ):
                group.append(scene)
                break
        else:
            out.append([scene])
    return [sorted(group, key=lambda scene: (scene.date, scene.label)) for group in out]


def _level(scenes: Sequence[Scene], place: str, source: SourceConfig) -> Level | None:
    """The lattice of the first scene, over all of them; None where `bounds` leave nothing."""
    first = scenes[0].info
    assert first.crs is not None
    boxes = []
    for scene in scenes:
        info: RasterInfo = scene.info
        full = (0.0, 0.0, float(info.width), float(info.height))
        assert info.crs is not None
        points = apply_affine(info.transform, _outline(full))
        mapped = reproject_points(points, info.crs, first.crs)
        boxes.append(_bounds(apply_affine(~first.transform, mapped)))
    extent = _union(boxes)
    if source.bounds is not None:
        crs = CRS.from_user_input(source.bounds_crs)
        corners = reproject_points(_outline(source.bounds), crs, first.crs)
        bounds = _bounds(apply_affine(~first.transform, corners))
        extent = (
            max(extent[0], bounds[0]),
            max(extent[1], bounds[1]),
            min(extent[2], bounds[2]),
            min(extent[3], bounds[3]),
        )
        if extent[0] >= extent[2] or extent[1] >= extent[3]:
            return None
    gsd = scenes[0].gsd_m
    return Level(
        source.name,
        place,
        "",
        tuple(scenes),
        first.transform,
        first.crs,
        extent,
        float("nan") if gsd is None else gsd,
    )


def _told_apart(levels: list[Level]) -> list[Level]:
    """Names for the lattices of a source that has several at one place."""
    many = {level.source for level in levels}
    if len(many) == len(levels):
        return levels
    return [
        replace(level, name=f"{level.gsd_m:g}m{level.scenes[0].info.count}") for level in levels
    ]


def _aligned_places(found: Survey) -> list[tuple[str, list[Level]]]:
    places: dict[tuple[str, str], list[Level]] = {}
    for item in found.aligned:
        first = item.scenes[0]
        level = Level(
            first.source,
            item.place,
            item.name,
            item.scenes,
            Affine.identity(),
            None,
            (0.0, 0.0, float(first.info.width), float(first.info.height)),
            float("nan") if first.gsd_m is None else first.gsd_m,
            item.residual,
            item.tag,
        )
        places.setdefault((first.source, item.place), []).append(level)
    return [(place, levels) for (_, place), levels in places.items()]
