"""Reports on a data set: its card in words, and contact sheets of its pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.core.io.files import atomic_path
from imatch.core.types import Rendered
from imatch.datasets.manifest import DatasetManifest
from imatch.datasets.sample import PairSample
from imatch.geometry.alignment.orientation import warp_image

_CHANGED, _INVALID = np.array([0.9, 0.1, 0.1]), np.array([0.2, 0.3, 0.9])
_SQUARE = 32
# Width of a picture.
_INCHES = 2.1


def spread(groups: Sequence[str], count: int) -> list[int]:
    """Chooses at most `count` indices, of every group about as many, evenly along each.

    Examples:
        >>> spread(["a", "a", "a", "b"], 2)
        [0, 3]
    """
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    share = dict.fromkeys(members, 0)
    for _ in range(min(count, len(groups))):
        open_ = [name for name in members if share[name] < len(members[name])]
        share[min(open_, key=lambda name: share[name])] += 1
    out: list[int] = []
    for name, own in members.items():
        wanted = share[name]
        out += [own[i * len(own) // wanted] for i in range(wanted)]
    return sorted(out)


def write_sheet(samples: Sequence[tuple[str, PairSample]], path: Path, *, columns: int = 2) -> None:
    """Draws pairs: first date, second date, and both in a checkerboard on the first's pixels.

    Changed ground is tinted red, what is not valid blue; keypoints are circles of two standard
    deviations.

    Args:
        samples: Pairs with a word on each.
        path: A ``.png`` to write.
        columns: Pairs side by side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Circle

    rows = -(-len(samples) // columns)
    # One picture on one axis: hundreds of axes take longer to lay out than the pairs to read.
    height = max(max(s.valid_a.shape[0], s.valid_b.shape[0]) for _, s in samples)
    width = max(max(s.valid_a.shape[1], s.valid_b.shape[1]) for _, s in samples)
    margin = max(2, width // 40)
    line = max(10, height // 11)
    step_x, step_y = width + margin, height + line + margin
    canvas = np.ones((rows * step_y, 3 * columns * step_x, 3), np.float32)
    scale = _INCHES / width
    figure = Figure(figsize=(canvas.shape[1] * scale, canvas.shape[0] * scale), dpi=110)
    FigureCanvasAgg(figure)
    axis = figure.add_axes((0, 0, 1, 1))
    axis.set_axis_off()
    for number, (word, sample) in enumerate(samples):
        row, place = divmod(number, columns)
        top = row * step_y + line
        known = f"± {sample.sigma_px:.2f} px" if sample.known else "residual unknown"
        shift = sample.homography[:2, 2]
        panels = (
            (
                _tinted(_rgb(sample.a), sample.changed, sample.valid_a),
                f"{word} · {sample.source} {sample.dates[0]}",
            ),
            (
                _tinted(_rgb(sample.b), np.zeros_like(sample.valid_b), sample.valid_b),
                f"{sample.dates[1]} · {known}",
            ),
            (_checkered(sample), f"dx {shift[0]:+.2f}, dy {shift[1]:+.2f}"),
        )
        for column, (panel, text) in enumerate(panels):
            left = (3 * place + column) * step_x
            canvas[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
            axis.text(left, top - 0.25 * line, text, fontsize=6.5, va="bottom")
        begin = 3 * place * step_x
        for (x, y), sigma in zip(sample.keypoints_a, sample.keypoint_sigma_a, strict=True):
            centre, radius = (begin + x, top + y), 2 * max(float(sigma), 0.5)
            axis.add_patch(Circle(centre, radius, fill=False, ec="yellow", lw=0.7))
    axis.imshow(canvas, interpolation="nearest", aspect="auto")
    figure.savefig(path, format="png")


def _rgb(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Converts any number of bands to (H, W, 3)."""
    if image.shape[0] < 3:
        image = np.repeat(image[:1], 3, axis=0)
    return np.asarray(np.clip(image[:3].transpose(1, 2, 0), 0, 1), dtype=np.float32)


def _tinted(
    image: NDArray[np.float32], changed: NDArray[np.bool_], valid: NDArray[np.bool_]
) -> NDArray[np.float32]:
    out = image.copy()
    out[changed] = 0.65 * out[changed] + 0.35 * _CHANGED
    out[~valid] = 0.5 * out[~valid] + 0.5 * _INVALID
    return np.asarray(out, dtype=np.float32)


def _checkered(sample: PairSample) -> NDArray[np.float32]:
    height, width = sample.valid_a.shape
    second = np.ascontiguousarray(_rgb(sample.b).transpose(2, 0, 1))
    moved = warp_image(Rendered(second, sample.valid_b), sample.homography, (width, height))
    y, x = np.mgrid[:height, :width]
    odd = ((x // _SQUARE + y // _SQUARE) % 2 == 1) & moved.valid
    out = _rgb(sample.a)
    out[odd] = np.clip(moved.pixels, 0, 1).transpose(1, 2, 0)[odd]
    return out


def write_card(manifest: DatasetManifest, path: Path) -> None:
    """Writes ``README.md`` beside the data.

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
