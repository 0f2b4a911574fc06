"""Pairs by kind, and what the stages of matching take of them with the code of several commits."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.costs.checkouts import checkouts
from tests.support.geotiffs import write_geotiff
from tests.support.pairs.trust.kinds import make_pair
from tests.support.stage_seconds import of_tree

Row = dict[str, Any]
Pair = tuple[Path, Path]

# Answered at once, hard to answer, and two that have no answer.
KINDS = ("seasons", "clouded", "other", "mirrored")
# Side of a thumbnail, pixels.
_TINY = 48


def written_pairs(data: Path, seeds: Sequence[int], work: Path) -> dict[str, list[Pair]]:
    """Pairs of the training split as files, by kind; `tiny` are thumbnails of different ground."""
    found: dict[str, list[Pair]] = {kind: [] for kind in (*KINDS, "tiny")}
    for kind in KINDS:
        for seed in seeds:
            pair = make_pair(kind, "train", seed, data)
            for name, part in ((kind, slice(None)), ("tiny", slice(40, 40 + _TINY))):
                if name == kind or kind == "other":
                    paths = work / f"{name}_{seed}_a.tif", work / f"{name}_{seed}_b.tif"
                    for side, path in zip((pair.ref, pair.tgt), paths, strict=True):
                        pixels = side.pixels[:, part, part]
                        write_geotiff(path, pixels, crs=None, nodata=side.nodata)
                    found[name].append(paths)
    return found


def stage_rows(
    data: Path, seed: int, count: int, commits: Sequence[str]
) -> Iterator[tuple[list[Row], str]]:
    """Measures this checkout and older commits, kind by kind; yields rows and a line to print.

    Args:
        data: Folder of the real images.
        seed: Of the first pair of a kind.
        count: Pairs of a kind.
        commits: What else to measure, as git names it.
    """
    with tempfile.TemporaryDirectory() as folder, checkouts(commits) as trees:
        pairs = written_pairs(data, range(seed, seed + count), Path(folder))
        for kind, files in pairs.items():
            for name, tree in trees.items():
                rows = of_tree(tree, files)
                yield (
                    [{"kind": kind, "tree": name} | row for row in rows],
                    _line(kind, name, rows),
                )


def _line(kind: str, name: str, rows: Sequence[Row]) -> str:
    """Medians of one kind, the dearest stage first."""
    stages = {
        stage: statistics.median(row["stages"].get(stage, 0.0) for row in rows)
        for stage in {stage for row in rows for stage in row["stages"]}
    }
    dearest = sorted(stages, key=lambda stage: -stages[stage])
    parts = ", ".join(f"{stage} {stages[stage]:.2f}" for stage in dearest if stages[stage] >= 0.005)
    total = statistics.median(row["processor"] for row in rows)
    return f"{kind:10}{name:10}{total:6.2f} s of processor: {parts}"
