"""The tables of a benchmark, for the terminal, Markdown and HTML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from imatch.benchmark.metrics import AUC_PX, WITHIN_PX
from imatch.export.html import HtmlCell, HtmlTable


def overview(summary: dict[str, Any]) -> HtmlTable:
    """Returns the table of the matchers."""
    header = (
        "matcher",
        *(f"≤ {px:g} px" for px in WITHIN_PX),
        *(f"AUC@{px:g}" for px in AUC_PX),
        "refused",
        "false accepts",
        "95 % holds",
        "median s",
        "p95 s",
        "peak MB",
        *(("errors",) if any(f["status"]["error"] for f in summary["matchers"].values()) else ()),
    )
    rows = []
    for name, figures in summary["matchers"].items():
        overall, false, status = figures["overall"], figures["false_accepts"], figures["status"]
        rows.append(
            (
                HtmlCell(name),
                *_scores(overall),
                HtmlCell(str(status["uncertain"] + status["failed"])),
                HtmlCell(f"{false['count']} ({_percent(false['share'], 1)})"),
                HtmlCell(_percent(figures["calibration"]["observed"])),
                HtmlCell(_number(figures["seconds"]["median"], 2)),
                HtmlCell(_number(figures["seconds"]["p95"], 2)),
                HtmlCell(_number(figures["peak_mb"], 0)),
                *([HtmlCell(str(status["error"]))] if "errors" in header else []),
            )
        )
    if "oracle" in summary:
        blank = (HtmlCell(""),) * (len(header) - 1 - len(WITHIN_PX) - len(AUC_PX))
        rows.append(
            (HtmlCell(summary["oracle"]["name"]), *_scores(summary["oracle"]["overall"]), *blank)
        )
    n = max((figures["n"] for figures in summary["matchers"].values()), default=0)
    positive = max((f["overall"]["n"] for f in summary["matchers"].values()), default=0)
    return HtmlTable(
        "Matchers",
        f"{n} cases, {positive} of them positive. Shares and AUC in percent of the positives, a "
        "refusal counting as an infinite error. False accepts: `ok` with an error over "
        f"{summary['false_accept_px']:g} px, or `ok` on unrelated places, of all cases. Refused "
        f"includes the {n - positive} unrelated, where it is right. 95 % holds: how many of the "
        "stated 95 % intervals of the shift contain the truth. Seconds without start-up.",
        header,
        tuple(rows),
    )


def parts(summary: dict[str, Any], key: str, title: str, note: str = "") -> HtmlTable | None:
    """Returns a table of a row for each part of the cases and a column for each matcher.

    Args:
        summary: The document.
        key: ``groups``, ``robustness``, ``by_source``, ``by_variant`` or ``by_tag``.
        title: The table's.
        note: What to say beside how to read the cells.

    Returns:
        The table, or None where there is no such part.
    """
    columns = {name: figures[key] for name, figures in summary["matchers"].items()}
    if "oracle" in summary:
        columns[summary["oracle"]["name"]] = summary["oracle"][key]
    first: dict[str, Any] = next(iter(columns.values()), {})
    named = [(title, figures) for title, figures in first.items() if figures["n"]]
    if not named:
        return None
    rows = tuple(
        (
            HtmlCell(part),
            HtmlCell(str(figures["n"])),
            *(_within(column.get(part)) for column in columns.values()),
        )
        for part, figures in named
    )
    limits = " / ".join(f"{px:g}" for px in WITHIN_PX)
    legend = f"Percent of the cases within {limits} px, or what the truth is known to."
    return HtmlTable(title, f"{legend} {note}".strip(), ("", "cases", *columns), rows)


def areas(summary: dict[str, Any]) -> HtmlTable:
    """Returns the table of AUC by group and matcher."""
    columns = {name: figures["groups"] for name, figures in summary["matchers"].items()}
    first: dict[str, Any] = next(iter(columns.values()), {})
    rows = tuple(
        (
            HtmlCell(part),
            *(
                HtmlCell(
                    " / ".join(_points(column[part]["auc"][f"{px:g}"]) for px in AUC_PX),
                    column[part]["auc"]["3"],
                )
                for column in columns.values()
            ),
        )
        for part in first
    )
    legend = " / ".join(f"{px:g}" for px in AUC_PX)
    return HtmlTable(
        "Area under the recall curve", f"AUC@{legend} px, percent.", ("", *columns), rows
    )


def reliability(summary: dict[str, Any]) -> HtmlTable:
    """Returns the table of how often stated intervals contain the truth."""
    rows = []
    for name, figures in summary["matchers"].items():
        found = figures["calibration"]
        rows.append(
            (
                HtmlCell(name),
                HtmlCell(str(found["intervals"])),
                HtmlCell(_percent(found["observed"], 1)),
                HtmlCell(_percent(found["both_axes"], 1)),
                HtmlCell(_number(found["median_half_width_px"], 2)),
                *(HtmlCell(_percent(level["observed"])) for level in found["levels"]),
            )
        )
    levels = next(iter(summary["matchers"].values()))["calibration"]["levels"]
    return HtmlTable(
        "Do the stated intervals hold?",
        "Of the `ok` answers to positive cases. One interval an axis; the levels other than 95 % "
        "rescale the stated interval as a normal distribution would. On real pairs the truth "
        "itself is uncertain by some tenths of a pixel, which narrow intervals cannot contain.",
        (
            "matcher",
            "intervals",
            "95 % holds",
            "in both axes",
            "median ± px",
            *(f"{level['stated']:.0%}".replace("%", " %") for level in levels),
        ),
        tuple(rows),
    )


def stages(summary: dict[str, Any]) -> HtmlTable | None:
    """Returns the table of the stages of cascades; None where no matcher has more than one."""
    rows = tuple(
        (
            HtmlCell(name),
            HtmlCell(stage),
            HtmlCell(str(found["n"])),
            HtmlCell(str(found["ok"])),
            HtmlCell(str(found["false_accepts"])),
            HtmlCell(_number(found["median"], 2)),
            HtmlCell(_number(found["p95"], 2)),
        )
        for name, figures in summary["matchers"].items()
        if len(figures["stages"]) > 1
        for stage, found in figures["stages"].items()
    )
    if not rows:
        return None
    return HtmlTable(
        "Stages",
        "Which stage of a cascade gave its best answer; seconds of those that are `ok`.",
        ("matcher", "stage", "cases", "ok", "false accepts", "median s", "p95 s"),
        rows,
    )


def keypoints(summary: dict[str, Any]) -> HtmlTable | None:
    """Returns the table of keypoint metrics by matcher and source; None where there are none."""
    rows = []
    for name, figures in summary["matchers"].items():
        measured = figures["detectors"]
        if measured is None:
            continue
        for part, means in {"all": measured["overall"], **measured["by_source"]}.items():
            shares = [
                means[key] for key in ("repeatability", "mma_1", "mma_3", "mma_5", "matching_score")
            ]
            rows.append(
                (
                    HtmlCell(name),
                    HtmlCell(part),
                    HtmlCell(str(means["n"])),
                    HtmlCell(_number(means["n_ref"], 0)),
                    HtmlCell(_number(means["n_matches"], 0)),
                    *(HtmlCell(_points(share), share) for share in shares),
                )
            )
    if not rows:
        return None
    return HtmlTable(
        "Keypoints",
        "Means over the positive cases, percent. Repeatability and matching score at 3 px, both on "
        "the ground that the two images share; MMA: share of the raw matches within 1, 3 and 5 px.",
        (
            "matcher",
            "source",
            "cases",
            "keypoints",
            "matches",
            "repeatability",
            "MMA@1",
            "MMA@3",
            "MMA@5",
            "matching score",
        ),
        tuple(rows),
    )


def never_right(summary: dict[str, Any]) -> HtmlTable | None:
    """Returns the table of the cases that no matcher got right; None where there are none."""
    rows = tuple(
        tuple(HtmlCell(item[key]) for key in ("case", "source", "variant", "tag", "said"))
        for item in summary["never_right"]
    )
    header = ("case", "source", "variant", "tag", "what was said")
    if not rows:
        return None
    return HtmlTable("Cases that no matcher got right", "Within 10 px.", header, rows)


def errors(summary: dict[str, Any]) -> HtmlTable | None:
    """Returns the table of the cases that could not be run; None where there are none."""
    rows = tuple(
        tuple(HtmlCell(text) for text in (item["case"], name, item["error"]))
        for name, figures in summary["matchers"].items()
        for item in figures["errors"]
    )
    if not rows:
        return None
    return HtmlTable("Cases that could not be run", "", ("case", "matcher", "error"), rows)


def all_tables(summary: dict[str, Any]) -> list[HtmlTable]:
    """Returns every table that is not empty, the most telling first."""
    made: Sequence[HtmlTable | None] = (
        overview(summary),
        parts(summary, "groups", "Groups"),
        parts(
            summary,
            "robustness",
            "Seasonal robustness card",
            "What lies between the two dates.",
        ),
        areas(summary),
        parts(summary, "by_source", "By source"),
        parts(summary, "by_variant", "By variant"),
        parts(summary, "by_tag", "By tag"),
        reliability(summary),
        stages(summary),
        keypoints(summary),
        never_right(summary),
    )
    return [table for table in made if table is not None]


def _scores(figures: dict[str, Any]) -> list[HtmlCell]:
    within = [figures["within"][f"{px:g}"] for px in WITHIN_PX]
    area = [figures["auc"][f"{px:g}"] for px in AUC_PX]
    return [HtmlCell(_points(share), share) for share in (*within, *area)]


def _within(figures: dict[str, Any] | None) -> HtmlCell:
    if figures is None or not figures["n"]:
        return HtmlCell("–")
    shares = [figures["within"][f"{px:g}"] for px in WITHIN_PX]
    return HtmlCell(" / ".join(_points(share) for share in shares), shares[1])


def _points(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f}"


def _percent(share: float | None, digits: int = 0) -> str:
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
