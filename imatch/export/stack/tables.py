"""The tables of a stack, in files, pages and on the terminal: its images, its pairs, its loops."""

from __future__ import annotations

import math
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from imatch.core.io.tables import as_cell, write_csv
from imatch.export.html import HtmlCell, HtmlTable
from imatch.export.text import number, px_and_m, with_interval
from imatch.geometry.acceptance import Status
from imatch.pipeline.stack.result import Stack, StackImage, StackPair

if TYPE_CHECKING:
    from rich.console import Console

_LOOPS = 20
_STYLES: dict[Status, str] = {"ok": "green", "uncertain": "yellow", "failed": "red"}
_ASCII = str.maketrans({"±": "+/-", "°": " deg", "…": "...", "–": "-"})


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
                _number(pair.chance_px),
                _number(pair.residual_px),
                _number(pair.residual_m),
                _number(pair.misfit),
                _share(pair.checked),
            )
        )
        for pair in pairs
    )
    note = (
        "`stated`: standard deviation the pair states in all. `chance`: the part of it that other"
        " pairs check; the rest, appearance and bent ground, cancels round every loop. `residual`:"
        " how far it lies from the solution. `misfit`: the same squared, over what is expected;"
        " about 1 for a right pair."
        " `checked`: share of it that other pairs check."
    )
    header = (
        "pair",
        "says of itself",
        "verdict",
        "stated, px",
        "chance, px",
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
    styled = (
        f"The {len(rows)} that close worst of {len(stack.loops)}"
        if len(stack.loops) > len(rows)
        else f"All {len(rows)}"
    )
    note = (
        f"{styled} independent loops, before the adjustment: how far from the beginning the pairs"
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


def print_stack(stack: Stack, console: Console) -> None:
    """Prints the table of the images and the summary, in ASCII on a console without Unicode."""
    from rich.table import Table
    from rich.text import Text

    plain = console.options.ascii_only

    def styled(text: str, style: str = "") -> Text:
        # Text, not markup: a file may be called "[red].tif".
        return Text(text.translate(_ASCII) if plain else text, style=style)

    console.print(styled(headline(stack), "bold"))
    console.print(styled(summary(stack), "dim"))
    source = images_table(stack)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, name in enumerate(source.header):
        words = index in (0, 1, 2, len(source.header) - 1)
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for image, row in zip(stack.images, source.rows, strict=True):
        cells = [styled(cell.text) for cell in row]
        cells[2].stylize(_STYLES[image.status])
        table.add_row(*cells)
    console.print(table)


def summary(stack: Stack) -> str:
    """Summarises the pairs: ``"120 of 136 pairs count, 2 set aside | scatter 0.12 px | …"``."""
    verdicts = [pair.verdict for pair in stack.pairs]
    texts = [f"{verdicts.count('counts')} of {len(verdicts)} pairs count"]
    if "aside" in verdicts:
        texts[0] += f", {verdicts.count('aside')} set aside"
    texts.append(f"{stack.model} maps")
    if stack.freedom:
        texts.append(f"scatter {number(stack.scatter_px)} px")
    closing = [loop for loop in stack.loops if loop.counts]
    if closing:
        worst = closing[0]
        metres = None if worst.closure_m != worst.closure_m else worst.closure_m
        texts.append(f"worst loop that counts {px_and_m(worst.closure_px, metres)}")
    return " | ".join(texts)
