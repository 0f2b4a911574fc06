"""Groups of images that show one place, and the grids of pixels that they share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.datasets.config import PrepareConfig, SourceConfig
from imatch.datasets.prepare.scan import Scene, SceneCatalogue, tile_name
from imatch.datasets.prepare.split import Box
from imatch.raster.geodesy import WGS84, apply_affine, reproject_points
from imatch.raster.grid import Grid

#: Images whose GSDs differ by less lie on one grid.
_SAME_GSD = 1.1

#: Images whose GSDs differ by more share no pattern, even where they share ground.
_APART = 8.0


@dataclass(frozen=True)
class SceneGroup:
    """Images of one place on one grid of pixels.

    Attributes:
        source: Name of the source.
        place: Name of the place.
        name: Name of the grid within source and place; empty where there is one only.
        scenes: The images, by date.
        transform: Corner-based pixel to map transform of the grid.
        crs: Its reference system, None where pixels serve.
        extent: What the images cover, pixels of the grid (top before bottom).
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
        """Returns the grid of a window of the grid.

        Raises:
            InputError: The grid is not on a map.
        """
        if self.crs is None:
            raise InputError("is not geocoded", subject=self.place)
        return Grid(self.transform @ Affine.translation(column, row), self.crs, width, height)

    def box(self, window: tuple[int, int, int, int]) -> Box:
        """Returns map bounds of a window (column, row, width, height); pixels without a map."""
        column, row, width, height = window
        if self.crs is None:
            return float(column), float(row), float(column + width), float(row + height)
        return self.window(column, row, width, height).bounds


def _outline(box: Box, count: int = 16) -> NDArray[np.float64]:
    """Returns (4 n, 2) points along the edges of a box, corners included."""
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


def map_box(transform: Affine, crs: CRS, pixels: Box, wanted: CRS) -> Box:
    """Returns the bounds in one system of a box of pixels on another's map."""
    return map_boxes(transform, crs, [pixels], wanted)[0]


def map_boxes(transform: Affine, crs: CRS, boxes: Sequence[Box], wanted: CRS) -> list[Box]:
    """Returns `map_box` of many boxes at once: each call of GDAL's transformer is slow."""
    if not boxes:
        return []
    outlines = np.stack([_outline(box) for box in boxes])
    flat = apply_affine(transform, outlines.reshape(-1, 2))
    mapped = reproject_points(flat, crs, wanted).reshape(outlines.shape)
    return [_bounds(points) for points in mapped]


def union(boxes: Sequence[Box]) -> Box:
    """Returns the box round all boxes."""
    left, bottom, right, top = zip(*boxes, strict=True)
    return min(left), min(bottom), max(right), max(top)


def pixel_box(box: Box, crs: CRS, group: SceneGroup) -> Box:
    """Returns the bounds in a group's pixels of a box on another map."""
    assert group.crs is not None
    points = reproject_points(_outline(box), crs, group.crs)
    return _bounds(apply_affine(~group.transform, points))


def group_geocoded(
    scenes: Sequence[Scene], config: PrepareConfig
) -> list[tuple[str, list[SceneGroup]]]:
    """Groups scenes that share ground, and puts them on grids.

    Args:
        scenes: All geocoded scenes.
        config: Their sources' settings.

    Returns:
        Name and grids of each place. Two scenes are of one place if their bounds on the globe
        overlap, directly or through others; GSDs more than a factor of eight apart keep them
        separate, since no pattern of one can be recognised in the other.
    """
    by_name = {source.name: source for source in config.sources}
    boxes = []
    for scene in scenes:
        assert scene.info.crs is not None
        full = (0.0, 0.0, float(scene.info.width), float(scene.info.height))
        boxes.append(map_box(scene.info.transform, scene.info.crs, full, WGS84))
    out: list[tuple[str, list[SceneGroup]]] = []
    used: dict[str, int] = {}
    for indices in _overlapping_groups(scenes, boxes):
        members = [scenes[i] for i in indices]
        name = _place_name(members, [boxes[i] for i in indices], by_name)
        used[name] = used.get(name, 0) + 1
        if used[name] > 1:
            name = f"{name}-{used[name]}"
        groups = [
            group
            for alike in _group_by_grid(members)
            if (group := _scene_group(alike, name, by_name[alike[0].source])) is not None
        ]
        if groups:
            out.append((name, _name_grids(groups)))
    return out


def _overlapping_groups(scenes: Sequence[Scene], boxes: Sequence[Box]) -> list[list[int]]:
    """Groups scenes that share ground, directly or through others."""
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
    box = union(boxes)
    lon, lat = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return f"{abs(lat):.2f}{'NS'[lat < 0]}_{abs(lon):.2f}{'EW'[lon < 0]}"


def _group_by_grid(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Groups scenes of one source, GSD and number of bands, which share a grid."""
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


def _scene_group(scenes: Sequence[Scene], place: str, source: SourceConfig) -> SceneGroup | None:
    """Extends the first scene's grid over all; None where `bounds` leave nothing."""
    first = scenes[0].info
    assert first.crs is not None
    boxes = []
    for scene in scenes:
        info = scene.info
        full = (0.0, 0.0, float(info.width), float(info.height))
        assert info.crs is not None
        points = apply_affine(info.transform, _outline(full))
        mapped = reproject_points(points, info.crs, first.crs)
        boxes.append(_bounds(apply_affine(~first.transform, mapped)))
    extent = union(boxes)
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
    return SceneGroup(
        source.name,
        place,
        "",
        tuple(scenes),
        first.transform,
        first.crs,
        extent,
        float("nan") if gsd is None else gsd,
    )


def _name_grids(groups: list[SceneGroup]) -> list[SceneGroup]:
    """Names the grids of a source that has several at one place."""
    many = {group.source for group in groups}
    if len(many) == len(groups):
        return groups
    return [
        replace(group, name=f"{group.gsd_m:g}m{group.scenes[0].info.count}") for group in groups
    ]


def group_aligned(found: SceneCatalogue) -> list[tuple[str, list[SceneGroup]]]:
    """Groups images that only their pixels place, each group on a grid of its own."""
    places: dict[tuple[str, str], list[SceneGroup]] = {}
    for item in found.aligned:
        first = item.scenes[0]
        group = SceneGroup(
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
        places.setdefault((first.source, item.place), []).append(group)
    return [(place, groups) for (_, place), groups in places.items()]
