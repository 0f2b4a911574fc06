"""Sites that lie together, with the polygons on their ground: what is cut at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imatch.core.errors import InputError
from imatch.datasets.config import PrepareConfig
from imatch.datasets.polygons import Outline, Tally, reaching, read_polygons, within
from imatch.datasets.prepare.scene_groups import SceneGroup
from imatch.datasets.prepare.sites import Site, SitePlan
from imatch.datasets.prepare.write_chips import SceneFacts, SiteBatch

# Chips along each side of what is read at once: JP2 and tiled files decode whole tiles anyway.
_ACROSS = 4


def outlines_of(
    plan: SitePlan, config: PrepareConfig, tally: Tally
) -> dict[tuple[str, str, str], list[Outline]]:
    """Polygons of every level on a map, in its CRS.

    Args:
        plan: The sites.
        config: Names the files of each source.
        tally: Counts what becomes of the polygons.

    Returns:
        Source, place and lattice -> polygons.

    Raises:
        InputError: A file cannot be read, has no polygon on any image, or no image is on a map.
    """
    levels: dict[tuple[str, str, str], SceneGroup] = {
        _key(site.level): site.level for site in plan.sites
    }
    out: dict[tuple[str, str, str], list[Outline]] = {}
    used: dict[str, set[int]] = {}
    known: dict[str, dict[str, list[Outline]]] = {}
    for source in config.sources:
        for name in source.polygons:
            path = config.root / name
            own = [level for level in levels.values() if level.source == source.name]
            mapped = [level for level in own if level.crs is not None]
            if not mapped:
                raise InputError(
                    f"cannot be placed: no image of {source.name} is geocoded",
                    subject=path,
                    hint="give geocoded images, or leave the polygons out",
                )
            for level in mapped:
                assert level.crs is not None
                system = level.crs.to_wkt()
                if system not in known.setdefault(str(path), {}):
                    # Counted once, however many systems it is needed in.
                    counter = Tally() if known[str(path)] else tally
                    known[str(path)][system] = read_polygons(path, level.crs, counter)
                outlines = known[str(path)][system]
                left, top, right, bottom = level.extent
                box = level.window(
                    int(left), int(top), int(np.ceil(right - left)), int(np.ceil(bottom - top))
                ).bounds
                inside = reaching(outlines, box)
                used.setdefault(str(path), set()).update(inside)
                out.setdefault(_key(level), []).extend(outlines[i] for i in inside)
            total = len(next(iter(known[str(path)].values())))
            if not used[str(path)]:
                raise InputError(
                    f"none of its {total} polygons lies on an image of {source.name}",
                    subject=path,
                    hint="check its CRS",
                )
            tally.outside += total - len(used[str(path)])
    return out


def _key(level: SceneGroup) -> tuple[str, str, str]:
    return level.source, level.place, level.name


def batches_of(
    sites: Sequence[Site],
    config: PrepareConfig,
    facts: dict[str, SceneFacts],
    outlines: dict[tuple[str, str, str], list[Outline]],
) -> list[SiteBatch]:
    """Neighbouring sites of one level together, in a fixed order.

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
        groups.setdefault((_key(site.level), row // side, column // side), []).append(site)
    batches = []
    for number, ((key, _, _), members) in enumerate(groups.items()):
        level = members[0].level
        near: tuple[Outline, ...] = ()
        if key in outlines:
            boxes = np.array([level.box(site.window) for site in members])
            low, high = boxes.min(axis=0), boxes.max(axis=0)
            near = tuple(within(outlines[key], (low[0], low[1], high[2], high[3])))
        own = {scene.path: facts[scene.path] for scene in level.scenes}
        batches.append(SiteBatch(number, tuple(members), sources[level.source], own, near))
    return batches
