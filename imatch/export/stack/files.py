"""Writes a stack: document, transforms, pairs and report."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from imatch.core.errors import OutputError
from imatch.core.io.files import atomic_path, inside, remove_leftovers
from imatch.core.io.jsontext import to_json
from imatch.export.html import render
from imatch.export.stack.figure import graph_svg
from imatch.export.stack.tables import (
    headline,
    images_table,
    loops_table,
    pairs_table,
    write_edges,
)
from imatch.export.text import px_and_m
from imatch.pipeline.batch.journal import RECORD
from imatch.pipeline.registration.io import write_json
from imatch.pipeline.registration.result import SCHEMA
from imatch.pipeline.stack.result import Stack

DOCUMENT, EDGES, REPORT, TRANSFORMS = "stack.json", "edges.csv", "report.html", "transforms"
#: Registered images, with ``--warp``.
REGISTERED = "registered"


def check_folder(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuses, before any work is done, a folder with other contents; clears one to overwrite.

    Args:
        out: The folder; it need not exist.
        resume: Whether a stack that is in it may be gone on with.
        overwrite: Whether what is in it may be replaced.

    Raises:
        OutputError: It is a file, or holds something and may not be used.
    """
    remove_leftovers(out)
    try:
        there = out.exists() and any(out.iterdir())
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    held = (out / DOCUMENT).exists() or (out / "pairs" / RECORD).exists()
    if held and overwrite and not resume:
        # In a folder of these names that no stack has made lies somebody else's work.
        for name in (TRANSFORMS, REGISTERED):
            shutil.rmtree(out / name, ignore_errors=True)
    if there and not (resume or overwrite):
        raise OutputError(
            "already holds a stack" if held else "already exists and is not empty",
            subject=out,
            hint="pass --resume to go on with it, or --overwrite to begin anew"
            if held
            else "choose another folder, or pass --overwrite",
        )


def write_stack(stack: Stack, out: Path) -> list[Path]:
    """Writes ``stack.json``, ``transforms/NAME.json``, ``edges.csv`` and ``report.html``.

    What is there of another stack is replaced. The document comes last: where it is, all is.

    Args:
        stack: The solved stack.
        out: Folder, made where it is missing.

    Returns:
        The files.

    Raises:
        OutputError: The disk refused.
    """
    try:
        (out / DOCUMENT).unlink(missing_ok=True)
        (out / TRANSFORMS).mkdir(parents=True, exist_ok=True)
        names = {f"{one.name}.json" for one in stack.images}
        for path in (out / TRANSFORMS).glob("*.json"):
            # Of images that are no longer in the stack.
            if path.name not in names and SCHEMA.encode() in path.read_bytes()[:200]:
                path.unlink()
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    written = []
    for one in stack.images:
        path = inside(out / TRANSFORMS, f"{one.name}.json")
        with atomic_path(path, overwrite=True) as temporary:
            write_json(one.registration, temporary)
        written.append(path)
    with atomic_path(out / EDGES, overwrite=True) as temporary:
        write_edges(stack, temporary)
    with atomic_path(out / REPORT, overwrite=True) as temporary:
        temporary.write_text(report_html(stack), encoding="utf-8")
    with atomic_path(out / DOCUMENT, overwrite=True) as temporary:
        temporary.write_text(to_json(stack.to_dict()) + "\n", encoding="utf-8")
    return [*written, out / EDGES, out / REPORT, out / DOCUMENT]


def report_html(stack: Stack) -> str:
    """Returns the network, the images, the pairs and the loops as one HTML page."""
    return render(
        "stack.html.j2",
        stack=stack,
        headline=headline(stack),
        graph=graph_svg(stack),
        images=images_table(stack),
        pairs=pairs_table(stack),
        loops=loops_table(stack),
        facts=facts(stack),
    )


def facts(stack: Stack) -> list[tuple[str, str]]:
    """Returns what a reader needs to judge or repeat the solution, as names and texts."""
    metres = stack.scatter_m if math.isfinite(stack.scatter_m) else None
    checks = (
        f"χ² {stack.chi_squared:.1f} with {stack.freedom} degrees of freedom"
        if stack.freedom
        else "no loop checks anything"
    )
    config = stack.provenance.get("config", {})
    return [
        ("Reference", f"{stack.reference} ({stack.provenance.get('reference', 'given')})"),
        ("Maps", f"{stack.model}, {'of the map' if stack.on_map else 'of pixels'}"),
        ("Pairs", str(stack.provenance.get("pairs", {}).get("choice", ""))),
        ("Matcher", str(config.get("matcher", ""))),
        ("Scatter between pairs", px_and_m(stack.scatter_px, metres) or ""),
        ("Fit", checks),
        ("Time", f"{stack.seconds:.0f} s"),
        ("Command", f"`{stack.provenance.get('command') or '-'}`"),
    ]
