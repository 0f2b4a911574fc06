"""The summary of a stack on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imatch.export.stack.tables import headline, images_table
from imatch.export.text import number, px_and_m
from imatch.geometry.acceptance import Status
from imatch.pipeline.stack.result import Stack

if TYPE_CHECKING:
    from rich.console import Console

_STYLES: dict[Status, str] = {"ok": "green", "uncertain": "yellow", "failed": "red"}
_ASCII = str.maketrans({"±": "+/-", "°": " deg", "…": "...", "–": "-"})


def print_stack(stack: Stack, console: Console) -> None:
    """Prints the table of the images and the summary, in ASCII on a console without Unicode."""
    from rich.table import Table
    from rich.text import Text

    plain = console.options.ascii_only

    def shown(text: str, style: str = "") -> Text:
        # Text, not markup: a file may be called "[red].tif".
        return Text(text.translate(_ASCII) if plain else text, style=style)

    console.print(shown(headline(stack), "bold"))
    console.print(shown(summary(stack), "dim"))
    source = images_table(stack)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, name in enumerate(source.header):
        words = index in (0, 1, 2, len(source.header) - 1)
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    for image, row in zip(stack.images, source.rows, strict=True):
        cells = [shown(cell.text) for cell in row]
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
