"""Rates of wrong answers and of intervals that hold, with their own bounds, tables and curves."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import beta

from tests.support.pairs.trust.kinds import KINDS
from tests.support.trust.measure import WRONG_PX

Row = dict[str, str]
Counted = dict[str, Any]

# What tells pairs of one kind apart, by a key of their parameters.
GROUPS = {
    "lattices": "pattern",
    "other_fixed": "structure",
    "other_overlaid": "drawing",
    "overlaid": "drawing",
    "lattice_true": "pattern",
    "bent": "bend",
    "scene_smooth": "bend",
    "scene_bent": "bend",
    "seasons": "source",
    "pixel_fixed": "structure",
    "band_collars": "collars",
    "gaps_marked": "declared",
    "renderings": "sensor",
    "changed": "changes",
}
_REAL_DIFFERENT = ("other", "adjacent", "mirrored", "other_date", "other_strips")
_NORMAL_95 = 1.96
# Places that a bound has to hold at.
_SHARE = 0.95
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5d5d5d")


def upper_bound(count: int, total: int, level: float = 0.95) -> float:
    """One-sided Clopper-Pearson bound on a rate: 3 / n where nothing was seen (C. Clopper & E. S.
    Pearson, Biometrika 26, 1934).

    Example:
        >>> round(upper_bound(0, 3000), 6)
        0.000998
    """
    return 1.0 if count == total else float(beta.ppf(level, count + 1, total - count))


def interval(count: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided Clopper-Pearson interval of a rate.

    Example:
        >>> [round(v, 4) for v in interval(4, 20)]
        [0.0573, 0.4366]
    """
    tail = (1 - level) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, total - count + 1))
    return low, upper_bound(count, total, 1 - tail)


def read_rows(path: Path) -> list[Row]:
    """The rows of a run, a pair and matcher once."""
    with path.open(newline="") as file:
        rows = {(r["kind"], r["split"], r["seed"], r["matcher"]): r for r in csv.DictReader(file)}
    return list(rows.values())


def number(row: Row, name: str) -> float:
    """A figure; NaN where there is none."""
    return float(row[name]) if row.get(name) else float("nan")


def column(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    """(N,) figures; NaN where there is none."""
    return np.array([number(row, name) for row in rows], dtype=np.float64)


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts by matcher, split and kind, and by what tells a kind's pairs apart."""
    entries = []
    for matcher in dict.fromkeys(row["matcher"] for row in rows):
        own = [row for row in rows if row["matcher"] == matcher]
        pooled = [r for r in own if r["kind"] in _REAL_DIFFERENT and r["split"] != "made"]
        for split in dict.fromkeys(r["split"] for r in pooled):
            part = [r for r in pooled if r["split"] == split]
            entries.append(_entry(matcher, split, "all real different ground", None, part))
        for split, kind, group, part in _parts(own):
            entries.append(_entry(matcher, split, kind, group, part))
    return {"wrong_px": WRONG_PX, "entries": entries}


def _parts(rows: Sequence[Row]) -> Iterator[tuple[str, str, str | None, list[Row]]]:
    for split in dict.fromkeys(row["split"] for row in rows):
        for kind in KINDS:
            part = [r for r in rows if r["split"] == split and r["kind"] == kind]
            if not part:
                continue
            yield split, kind, None, part
            if kind in GROUPS:
                names = [json.loads(r["params"]).get(GROUPS[kind]) for r in part]
                for name in sorted(set(map(str, names))):
                    mine = [r for r, n in zip(part, names, strict=True) if str(n) == name]
                    yield split, kind, name, mine


def _entry(matcher: str, split: str, kind: str, group: str | None, rows: Sequence[Row]) -> Counted:
    ok = [row for row in rows if row["status"] == "ok"]
    wrong = sum(row["wrong"] == "1" for row in ok)
    entry: Counted = {
        "matcher": matcher,
        "split": split,
        "kind": kind,
        "group": group,
        "pairs": len(rows),
        "statuses": {
            status: sum(row["status"] == status for row in rows)
            for status in ("ok", "uncertain", "failed", "error")
        },
        "wrong": wrong,
        "wrong_rate": wrong / len(rows),
        "wrong_bound": upper_bound(wrong, len(rows)),
        "median_seconds": float(np.median(column(rows, "seconds"))),
    }
    known = [row for row in ok if np.isfinite(number(row, "truth_x_px"))]
    if known:
        entry["recall"] = sum(row["wrong"] == "0" for row in known) / len(rows)
        entry["intervals"] = intervals(known)
    drawn = [row for row in ok if np.isfinite(number(row, "outlined_px"))]
    if drawn:
        entry["outlines"] = outlines(drawn)
    return entry


def outlines(rows: Sequence[Row]) -> Counted:
    """How much of the ground that changed is outlined, by area, and how much of that changed."""
    common, changed, told, outlined, hit = (
        float(column(rows, f"{name}_px").sum())
        for name in ("common", "changed", "told", "outlined", "hit")
    )
    return {
        "answers": len(rows),
        "changed": changed / common,
        "outlined": outlined / common,
        "precision": hit / outlined if outlined and changed else None,
        "recall": hit / changed if changed else None,
        "recall_of_told": hit / told if told else None,
    }


def intervals(rows: Sequence[Row]) -> Counted:
    """How often what `ok` answers state holds the truth, which may itself be off."""
    told: Counted = {"answers": len(rows)}
    for axis in "xy":
        error = np.abs(column(rows, f"shift_{axis}_px") - column(rows, f"truth_{axis}_px"))
        half = column(rows, f"ci95_{axis}_px")
        held = int((error <= np.hypot(half, _NORMAL_95 * column(rows, "truth_sd_px"))).sum())
        told[axis] = {
            "held": held / len(rows),
            "held_between": interval(held, len(rows)),
            "median_half_width_px": float(np.median(half)),
            "median_error_px": float(np.median(error)),
        }
    share = column(rows, "bound_share")
    bounded = share[np.isfinite(share)]
    if len(bounded):
        held = int((bounded >= _SHARE).sum())
        told["bound"] = {
            "held": held / len(bounded),
            "held_between": interval(held, len(bounded)),
            "median_px": float(np.nanmedian(column(rows, "corner_ci95_px"))),
            "median_error_95_px": float(np.nanmedian(column(rows, "error_95_px"))),
        }
    return told


def tables(summary: dict[str, Any]) -> str:
    """The summary as Markdown."""
    lines = [
        f"`wrong`: `ok` on different ground, or off by more than {summary['wrong_px']:g} px and"
        " the stated bound at 95 % of the overlap. The bound of its rate is Clopper and Pearson's,"
        " one-sided, 95 %.",
        "",
        "| matcher | split | kind | pairs | ok | wrong | rate | at most | seconds |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| `{entry['matcher']}` | {entry['split']} | {_name(entry)} | {entry['pairs']}"
        f" | {entry['statuses']['ok']} | {entry['wrong']} | {entry['wrong_rate']:.2%}"
        f" | {entry['wrong_bound']:.2%} | {entry['median_seconds']:.2f} |"
        for entry in summary["entries"]
    ]
    lines += [
        "",
        "Of the `ok` answers to pairs of one ground: how many 95 % intervals of the shift hold the"
        " truth, and in how many the bound holds at 95 % of the places (in brackets 95 %"
        " intervals; allowed is what the truth itself may be off). Recall: `ok` and not wrong.",
        "",
        "| matcher | split | kind | recall | x holds | y holds | ± x, px | ± y, px"
        " | error x, y, px | bound holds | bound, px |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for entry in summary["entries"]:
        told = entry.get("intervals")
        if told is None:
            continue
        x, y, bound = told["x"], told["y"], told.get("bound")
        lines.append(
            f"| `{entry['matcher']}` | {entry['split']} | {_name(entry)} | {entry['recall']:.1%}"
            f" | {_held(x)} | {_held(y)} | {x['median_half_width_px']:.2f}"
            f" | {y['median_half_width_px']:.2f}"
            f" | {x['median_error_px']:.2f}, {y['median_error_px']:.2f} | "
            + (f"{_held(bound)} | {bound['median_px']:.2f} |" if bound else "| |")
        )
    return "\n".join([*lines, *_outlines_table(summary["entries"])]) + "\n"


def _outlines_table(entries: Sequence[Counted]) -> list[str]:
    drawn = [entry for entry in entries if "outlines" in entry]
    if not drawn:
        return []
    lines = [
        "",
        "Of the `ok` answers, by area: the ground that changed, what a report outlines, how much of"
        " the outlined changed, and how much of what changed is outlined.",
        "",
        "| matcher | split | kind | answers | changed | outlined | precision | recall |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    for entry in drawn:
        told = entry["outlines"]
        precision, recall = (
            "–" if told[name] is None else f"{told[name]:.1%}" for name in ("precision", "recall")
        )
        lines.append(
            f"| `{entry['matcher']}` | {entry['split']} | {_name(entry)} | {told['answers']}"
            f" | {told['changed']:.1%} | {told['outlined']:.1%} | {precision} | {recall} |"
        )
    return lines


def _name(entry: Counted) -> str:
    return entry["kind"] if entry["group"] is None else f"– {entry['group']}"


def _held(told: Counted) -> str:
    low, high = told["held_between"]
    return f"{told['held']:.0%} ({low:.0%} to {high:.0%})"


def risk_coverage(rows: Sequence[Row], path: Path) -> None:
    """Draw the share of wrong answers against the share of pairs answered, PNG.

    Left, every pair with a transform in the order of its evidence: wrong is one of different
    ground, or one off by more than 3 px. Right, `ok` answers to pairs of one ground in the order
    of their stated bounds: too far is one off by more than 1 px at 95 % of the places.
    """
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    matchers = list(dict.fromkeys(row["matcher"] for row in rows))
    for index, matcher in enumerate(matchers):
        own = [row for row in rows if row["matcher"] == matcher]
        colour = _COLOURS[index % len(_COLOURS)]
        given = [r for r in own if np.isfinite(number(r, "evidence"))]
        off = [
            KINDS[r["kind"]].right == "refuse" or not number(r, "error_95_px") <= WRONG_PX
            for r in given
        ]
        _curve(left, -column(given, "evidence"), off, len(own), colour, matcher)
        same = [r for r in own if KINDS[r["kind"]].right != "refuse"]
        sure = [r for r in same if r["status"] == "ok" and r["corner_ci95_px"]]
        far = [not number(r, "error_95_px") <= 1 for r in sure]
        _curve(right, column(sure, "corner_ci95_px"), far, len(same), colour, matcher)
    left.set_title("by evidence: wrong (> 3 px, or different ground)")
    right.set_title("by stated bound: more than 1 px off")
    for axes, whole in ((left, "all pairs"), (right, "pairs of one ground")):
        axes.set_xlabel(f"answered, % of {whole}")
        axes.set_ylabel("of these wrong, %")
        axes.set_xlim(0, 100)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(path, format="png", dpi=130)


def _curve(
    axes: Any,
    order: NDArray[np.float64],
    wrong: Sequence[bool],
    total: int,
    colour: str,
    name: str,
) -> None:
    if not len(order):
        return
    ranked = np.array(wrong, dtype=np.float64)[np.argsort(order, kind="stable")]
    taken = np.arange(1, len(ranked) + 1)
    axes.plot(100 * taken / total, 100 * ranked.cumsum() / taken, color=colour, label=name)
