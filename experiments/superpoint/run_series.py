"""Train SuperPoint by each objective from one start, and put what they reach side by side.

    imatch data prepare --config experiments/data/shared_train.yaml --root ../shared/data -o chips
    python experiments/superpoint/run_series.py chips -o runs -s steps=2000 --max-minutes 60

Every run is resumable: the same command goes on with those that were cut off and leaves those that
are done. The table holds the last and the best measurement on validation places, and the loss and
the figure over the steps, so that a run that memorises (the loss falls, the figure too) shows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from imatch.training.checkpoint import CONFIG
from imatch.training.config import load_settings
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.tracking import LOG, read_log

HERE = Path(__file__).parent
SERIES = ("start", "self", "polygon", "season", "distil", "combined")
FIGURES = (
    "repeatability",
    "mma_1",
    "mma_3",
    "auc_1",
    "auc_3",
    "lightglue_mma_3",
    "lightglue_auc_3",
)

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
"""One colour, as it is."""
_STILL = (
    "augment.views.rotation_deg=5",
    "augment.views.scale=1.05",
    "augment.views.shear=0",
    "augment.views.perspective=0",
    "augment.views.shift_px=4",
    "augment.views.zoom=1",
)
"""Views that hardly differ."""

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
        return f"| {name} | – |" + " – |" * (len(FIGURES) + 1)
    last = measured[-1]
    best = max(measured, key=lambda line: line["val/auc_3"])
    cells = [_cell(last.get(f"val/{figure}")) for figure in FIGURES]
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


def main() -> None:
    """Run the series and write ``table.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chips", type=Path, help="a folder of imatch data prepare")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    parser.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--max-minutes", type=float, help="of each run in this session")
    parser.add_argument("--only", nargs="+", default=[*SERIES], choices=[*SERIES, *VARIANTS])
    asked = parser.parse_args()
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
        f"| run | steps | {' | '.join(FIGURES)} | best auc_3 |",
        "|---|---:|" + "---:|" * (len(FIGURES) + 1),
        *(row(name, asked.output / name) for name in asked.only),
    ]
    for name in asked.only:
        lines += curves(name, asked.output / name)
    (asked.output / "table.md").write_text("\n".join(lines) + "\n")
    print(asked.output / "table.md")


if __name__ == "__main__":
    main()
