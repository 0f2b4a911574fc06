"""The tables of a stack: its images, its pairs, its loops."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path

from imatch.core.io.tables import as_cell, write_csv
from imatch.export.html import HtmlCell, HtmlTable
from imatch.export.text import number, with_interval
from imatch.pipeline.stack.result import Stack, StackImage, StackPair

_LOOPS = 20


def images_table(stack: Stack) -> HtmlTable:
    """Returns the table of the images: status, shift and bound."""
    unit = "m" if any(image.registration.shift_m for image in stack.images) else "px"
    header = (
        "image",
        "date",
        "status",
        "pairs",
        "ways",
        f"shift x, {unit}" if unit == "px" else "east, m",
        f"shift y, {unit}" if unit == "px" else "north, m",
        "all within, px",
        "m",
        "why",
    )
    rows = tuple(_image_row(image, unit, stack.reference) for image in stack.images)
    note = (
        "`pairs`: those that count of those tried. `ways`: ways to the reference through sure pairs"
        " that share no pair. `all within`: 95 % bound on any place of the reference."
    )
    return HtmlTable("Images", note, header, rows, ("date", "status", "why"))


def pairs_table(stack: Stack) -> HtmlTable:
    """Returns the table of the pairs: rejected ones first, then by residual."""
    order = {"aside": 0, "counts": 1, "unconfirmed": 2, "unused": 3}
    pairs = sorted(
        stack.pairs,
        key=lambda p: (order[p.verdict], -p.residual_px if math.isfinite(p.residual_px) else 0.0),
    )
    rows = tuple(
        tuple(
            HtmlCell(text)
            for text in (
                f"{pair.reference} – {pair.target}",
                pair.status,
                pair.verdict,
                _number(pair.stated_px),
                _number(pair.residual_px),
                _number(pair.residual_m),
                _number(pair.misfit),
                _share(pair.checked),
            )
        )
        for pair in pairs
    )
    note = (
        "`stated`: standard deviation the pair states. `residual`: how far it lies from the"
        " solution. `misfit`: the same squared, over what is expected; about 1 for a right pair."
        " `checked`: share of it that other pairs check."
    )
    header = (
        "pair",
        "says of itself",
        "verdict",
        "stated, px",
        "residual, px",
        "m",
        "misfit",
        "checked",
    )
    return HtmlTable("Pairs", note, header, rows, ("says of itself", "verdict"))


def loops_table(stack: Stack) -> HtmlTable | None:
    """Returns the table of the loops that close worst; None where there are none."""
    if not stack.loops:
        return None
    rows = tuple(
        (
            HtmlCell(" → ".join((*loop.images, loop.images[0]))),
            HtmlCell(number(loop.closure_px)),
            HtmlCell(_number(loop.closure_m)),
            HtmlCell("yes" if loop.counts else "no"),
        )
        for loop in stack.loops[:_LOOPS]
    )
    shown = (
        f"The {len(rows)} that close worst of {len(stack.loops)}"
        if len(stack.loops) > len(rows)
        else f"All {len(rows)}"
    )
    note = (
        f"{shown} independent loops, before the adjustment: how far from the beginning the pairs"
        " lead. `counts`: all of its pairs do."
    )
    header = ("loop", "closure, px", "m", "counts")
    return HtmlTable("Loops", note, header, rows, ("counts",))


def headline(stack: Stack) -> str:
    """Summarises the stack: ``"16 of 17 images tied to T36UYA_20190611, 1 uncertain"``."""
    counts = dict.fromkeys(("ok", "uncertain", "failed"), 0)
    for image in stack.images:
        counts[image.status] += 1
    more = [f"{counts[kind]} {text}" for kind, text in _REST if counts[kind]]
    tied = f"{counts['ok']} of {len(stack.images)} images tied to {stack.reference}"
    return ", ".join([tied, *more])


def write_edges(stack: Stack, path: Path) -> None:
    """Writes the pairs as CSV, in full precision; what is not known is empty."""
    names = [field.name for field in fields(StackPair)]
    rows = ([getattr(pair, name) for name in names] for pair in stack.pairs)
    write_csv(path, names, (["" if _unknown(v) else as_cell(v) for v in row] for row in rows))


_REST = (("uncertain", "uncertain"), ("failed", "not tied"))


def _image_row(image: StackImage, unit: str, reference: str) -> tuple[HtmlCell, ...]:
    found = image.registration
    shift, half = (found.shift_px, found.ci95_px)
    if unit == "m":
        shift, half = (found.shift_m, found.ci95_m)
    own = image.name == reference
    if shift is None or own:
        where = ["", ""]
    else:
        halves = half or (None, None)
        where = [with_interval(v, h, sign=True) for v, h in zip(shift, halves, strict=True)]
    bound = found.certificate
    return (
        HtmlCell(image.name),
        HtmlCell("" if image.date is None else image.date.isoformat()),
        HtmlCell(image.status),
        HtmlCell(f"{image.counting}/{image.pairs}"),
        HtmlCell("" if own else f"{image.ways:g}"),
        *(HtmlCell(text) for text in where),
        HtmlCell("" if own else _number(bound.corner_ci95_px)),
        HtmlCell("" if own else _number(bound.corner_ci95_m)),
        HtmlCell(image.reason),
    )


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else number(value)


def _share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else ""


def _unknown(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
