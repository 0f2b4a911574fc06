"""Merges the results of all batches into tables, manifest, card and contact sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from imatch._version import __version__
from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path, inside
from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import write_rows
from imatch.datasets.config import PrepareConfig
from imatch.datasets.manifest import (
    CARD,
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    SHEET,
    ChipRow,
    DatasetManifest,
    KeypointRow,
    PairRow,
    content_hash,
    counts,
)
from imatch.datasets.pairs import ChipPairs
from imatch.datasets.polygons import Tally
from imatch.datasets.prepare.pairing import fill_residuals
from imatch.datasets.prepare.scan import SceneCatalogue, SkippedScene
from imatch.datasets.prepare.sites import SitePlan
from imatch.datasets.prepare.write_chips import WrittenChips, add_sums
from imatch.datasets.report import spread, write_card, write_sheet

# Pairs of each split on the contact sheet.
_ON_SHEET = 12


def merge_tables(
    config: PrepareConfig,
    out: Path,
    identity: str,
    found: SceneCatalogue,
    plan: SitePlan,
    tally: Tally,
    done: list[dict[str, Any]],
    command: str,
) -> DatasetManifest:
    """Merges the tables, drops what came of unreadable images, and writes the manifest last.

    Args:
        config: The settings.
        out: The data set's folder.
        identity: What must be the same for a run to go on here.
        found: What there was.
        plan: The sites.
        tally: What became of the polygons.
        done: Results of all batches, each with its number.
        command: What was typed.

    Returns:
        The manifest.

    Raises:
        InputError: No chip of some split is good enough.
        OutputError: The disk refused.
    """
    done.sort(key=lambda result: result["number"])
    results = [
        WrittenChips(**{k: v for k, v in result.items() if k != "number"}) for result in done
    ]
    unreadable = {path: why for result in results for path, why in result.unreadable.items()}
    rows = [ChipRow.from_row(row) for result in results for row in result.chips]
    lost = {row.path for row in rows if row.image in unreadable}
    chips = [row for row in rows if row.path not in lost]
    if not chips:
        raise InputError(
            "no chip is good enough",
            subject=out,
            hint="lower --min-valid, raise --max-cloud, or cut smaller chips",
        )
    all_pairs = [PairRow.from_row(row) for result in results for row in result.pairs]
    pairs = fill_residuals([pair for pair in all_pairs if not {pair.a, pair.b} & lost])
    sites = {chip.site for chip in chips}
    points = [KeypointRow.from_row(row) for result in results for row in result.keypoints]
    points = [point for point in points if point.site in sites]
    missing = [name for name in config.shares if not any(chip.split == name for chip in chips)]
    if missing:
        raise InputError(
            f"no chip of {' and '.join(missing)} is good enough",
            subject=out,
            hint="add images, lower --min-valid or raise --max-cloud, or change --seed",
        )
    for path in lost | ({p.changed for p in all_pairs} - {p.changed for p in pairs} - {""}):
        inside(out, path).unlink(missing_ok=True)
    for name, kind, table in (
        (CHIPS, ChipRow, chips),
        (PAIRS, PairRow, pairs),
        (KEYPOINTS, KeypointRow, points),
    ):
        with atomic_path(out / name, overwrite=True) as temporary:
            write_rows(temporary, kind, table)
    skipped = [
        *found.skipped,
        *(SkippedScene(path, why) for path, why in sorted(unreadable.items())),
    ]
    files = [row.path for row in chips] + [row.changed for row in pairs if row.changed]
    partners = Counter(pair.a for pair in pairs) + Counter(pair.b for pair in pairs)
    document = {
        "schema": SCHEMA,
        "sha256": content_hash(out, [*files, CHIPS, PAIRS, KEYPOINTS]),
        "version": __version__,
        "command": command,
        "identity": identity,
        "config": config.model_dump(mode="json"),
        "counts": counts(chips, pairs, points),
        "alone": sum(chip.path not in partners for chip in chips),
        "refused": dict(sum((Counter(result.refused) for result in results), Counter())),
        "guarded": plan.lost,
        "notes": list(plan.notes),
        "skipped": [asdict(item) for item in skipped],
        "polygons": asdict(tally),
        "bands": _statistics(results),
        "sources": {
            source.name: {"licence": source.licence, "attribution": source.attribution}
            for source in config.sources
        },
        "bytes": sum(inside(out, name).stat().st_size for name in set(files)),
    }
    manifest = DatasetManifest(out, document, tuple(chips), tuple(pairs), tuple(points))
    write_card(manifest, out / CARD)
    _write_sheet(manifest, out / SHEET)
    with atomic_path(out / MANIFEST, overwrite=True) as temporary:
        temporary.write_text(to_json(document) + "\n", encoding="utf-8")
    return manifest


def _statistics(results: Sequence[WrittenChips]) -> dict[str, Any]:
    """Returns mean and deviation of each source's bands, over the training split alone."""
    total: dict[str, list[list[float]]] = {}
    for result in results:
        for key, table in result.sums.items():
            split, _, source = key.partition("/")
            if split == "train":
                total[source] = add_sums(total.get(source), table)
    out = {}
    for source, table in total.items():
        count, sums, squares, low, high = np.array(table).T
        mean = sums / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        out[source] = {
            "mean": mean.round(4).tolist(),
            "std": deviation.round(4).tolist(),
            "min": low.tolist(),
            "max": high.tolist(),
        }
    return out


def _write_sheet(manifest: DatasetManifest, path: Path) -> None:
    samples = []
    for split in manifest.document["counts"]:
        pairs = ChipPairs(manifest, split, max_changed=1.0, singles="auto")
        samples += [
            (split, pairs[i]) for i in spread([row.source for row in pairs.rows], _ON_SHEET)
        ]
    with atomic_path(path, overwrite=True) as temporary:
        write_sheet(samples, temporary)
