"""Prepared data sets for tests: rows of their tables, and the files that make one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import write_rows
from imatch.datasets.manifest import (
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    ChipRow,
    KeypointRow,
    PairRow,
)


def chip_row(site: int, date: str, side: int, *, source: str = "s", **values: Any) -> ChipRow:
    """A chip of three bands without geocoding, seen whole.

    Args:
        site: Number of its site.
        date: ``YYYYMMDD``.
        side: Pixels.
        source: Name of its source.
        **values: Columns, instead of those of a plain chip.
    """
    plain: dict[str, Any] = {
        "split": "train",
        "place": "p",
        "season": "unknown",
        "tag": "",
        "path": f"chips/{source}/p/x{site}/{date}.tif",
        "width": side,
        "height": side,
        "bands": 3,
        "dtype": "uint8",
        "gsd_m": 10.0,
        "crs": "",
        "left": 0.0,
        "bottom": 0.0,
        "right": 0.0,
        "top": 0.0,
        "valid": 1.0,
        "cloud": 0.0,
        "low": "0 0 0",
        "high": "255 255 255",
        "scene_low": "0 0 0",
        "scene_high": "255 255 255",
        "image": "i.tif",
    }
    return ChipRow(site=f"{source}/p/x{site}", source=source, date=date, **(plain | values))


def pair_row(a: ChipRow, b: ChipRow, **values: Any) -> PairRow:
    """Two chips of a site, measured to 0.1 px.

    Args:
        a: The first.
        b: The second.
        **values: Columns, instead of those of a plain pair.
    """
    nothing = float("nan")
    plain: dict[str, Any] = {
        "dx": 0.0,
        "dy": 0.0,
        "sigma_px": 0.1,
        "log_odds": 2.0,
        "measured": "chip",
        "given_dx": nothing,
        "given_dy": nothing,
        "apart": 0.5,
        "changed": "",
        "changed_share": 0.0,
        "tag": "",
    }
    return PairRow(
        site=a.site, split=a.split, source=a.source, a=a.path, b=b.path, **(plain | values)
    )


def write_tables(
    folder: Path,
    side: int,
    chips: Sequence[ChipRow],
    pairs: Sequence[PairRow] = (),
    points: Sequence[KeypointRow] = (),
    *,
    sha256: str = "ab",
) -> None:
    """Writes the tables and the manifest of a data set whose chips are written already.

    Args:
        folder: The data set.
        side: Side of a chip, pixels.
        chips: Its chips.
        pairs: Its pairs.
        points: Its keypoints.
        sha256: What it calls itself.
    """
    write_rows(folder / CHIPS, ChipRow, chips)
    write_rows(folder / PAIRS, PairRow, pairs)
    write_rows(folder / KEYPOINTS, KeypointRow, points)
    document = {
        "schema": SCHEMA,
        "sha256": sha256,
        "config": {"chip": side},
        "counts": {"train": {}, "val": {}},
        "sources": {row.source: {} for row in chips},
    }
    (folder / MANIFEST).write_text(to_json(document))
