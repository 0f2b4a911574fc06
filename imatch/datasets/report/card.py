"""The data card: what a prepared data set holds and what may be done with it, in words."""

from __future__ import annotations

from pathlib import Path

from imatch.core.io.files import atomic_path
from imatch.datasets.manifest import DatasetManifest


def write_card(manifest: DatasetManifest, path: Path) -> None:
    """Write ``README.md`` beside the data.

    Args:
        manifest: The data set.
        path: The file; replaced where it is there.

    Raises:
        OutputError: The disk refused.
    """
    document = manifest.document
    lines = [
        "# Chips for training",
        "",
        f"Made by imatch {document['version']}, content sha256 `{document['sha256']}`.",
        "",
        "| split | sites | chips | pairs | with known residual | keypoints |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for split, row in document["counts"].items():
        figures = [row[name] for name in ("sites", "chips", "pairs", "pairs_known", "keypoints")]
        lines.append(f"| {split} | " + " | ".join(f"{value:,}" for value in figures) + " |")
    lines += [
        "",
        "No ground is in two splits: places are divided by blocks with a guard distance, and what",
        "has no map (flood events, tiles) goes to one split as a whole.",
        "",
        "| source | licence | attribution |",
        "|---|---|---|",
    ]
    for name, about in document["sources"].items():
        licence, attribution = (about[key] or "not stated" for key in ("licence", "attribution"))
        lines.append(f"| {name} | {licence} | {attribution} |")
    lines += [
        "",
        "- `chips/`: GeoTIFFs as the sensor's file has them, the name being the date.",
        "- `changed/`: ground of a pair that is not the same on both dates (255).",
        "- `chips.csv`, `pairs.csv` (`p_b = p_a + (dx, dy)`), `keypoints.csv`: pixel coordinates"
        " are (x, y) with the centre of the first pixel at (0, 0).",
        "- `manifest.json`: settings, counts, statistics of the bands, what was left out and why.",
    ]
    if document["notes"]:
        lines += ["", *(f"- {note}" for note in document["notes"])]
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
