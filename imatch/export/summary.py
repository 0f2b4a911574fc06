"""The summary of a registration: on a terminal, as text, and as a notebook shows it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from imatch.export.text import (
    STATUS_COLOURS,
    accuracy_text,
    bands_text,
    certificate_text,
    counts_text,
    model_text,
    number,
    points_text,
    shift_text,
    with_interval,
)
from imatch.geometry.acceptance import Status
from imatch.pipeline.registration.result import ImageSummary, Pair, Registration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES: dict[Status, str] = {
    "ok": "bold green",
    "uncertain": "bold yellow",
    "failed": "bold red",
}
# Said of sensors that are not the usual one; pixels may have told it, which can be wrong.
_SENSORS = {"sar": "taken for radar", "ir": "taken for infrared", "map": "taken for a map"}
# Columns of the text, and of its labels.
_WIDTH, _LABEL = 96, 14
# Longest side of the picture, pixels, and its quality as JPEG.
_SIDE, _QUALITY = 320, 82
_ASCII = str.maketrans({"±": "+/-", "°": " deg", "×": "x", "·": "|", "…": "..."})


def summary_rows(registration: Registration) -> list[tuple[str, str]]:
    """Returns the summary as (label, text) rows; what is unknown is left out.

    Args:
        registration: The result of the match.

    Returns:
        The rows of the summary, the first of which is the status.
    """
    r = registration
    share = f" ({r.n_inliers / r.n_matches:.0%})" if r.n_matches else ""
    accuracy = accuracy_text(r)
    if accuracy is not None and r.n_check:
        accuracy += f" at {r.n_check} check points"
    found = r.transform is not None
    apart = r.reference.modality != r.target.modality
    lines = [
        (r.status, r.reason),
        ("reference", _image(r.reference, apart)),
        ("target", _image(r.target, apart)),
        *_masks(r),
        ("shift", shift_text(r)),
        ("", _components(r)),
        ("bands", bands_text(r)),
        ("accuracy", accuracy),
        ("certificate", certificate_text(r)),
        ("coverage", f"{r.coverage:.0%} of the overlap" if found else None),
        ("matches", f"{counts_text(r)} agree{share}" if found else f"{r.n_matches} tie points"),
        ("points", points_text(r)),
        ("model", model_text(r)),
        ("matcher", f"{r.matcher} · {number(r.seconds)} s"),
    ]
    return [(label, text) for label, text in lines if text is not None]


def summary(registration: Registration) -> Table:
    """Returns the summary as a table that rich prints.

    Args:
        registration: The result of the match.

    Returns:
        A table of two columns without rules: the status in colour and its reason, then the images,
        the shift with its 95 % interval, the accuracy, and how it was found.
    """
    return _table(registration, plain=False)


def print_summary(registration: Registration, console: Console) -> None:
    """Prints the summary, in ASCII on a console without Unicode."""
    console.print(_table(registration, plain=console.options.ascii_only))


def to_text(registration: Registration) -> str:
    """Writes a registration as a summary of one screen.

    Returns:
        The status and its reason, the images, the shift with its 95 % interval in pixels and
        metres, accuracy, certificate, and how it was found; what is unknown is left out.
    """
    (status, reason), *rows = summary_rows(registration)
    lines = _wrapped(f"Registration: {status}, ", reason, 2)
    for label, text in rows:
        lines += _wrapped(f"  {label}".ljust(_LABEL), text, _LABEL)
    return "\n".join(lines)


def to_html(registration: Registration) -> str:
    """Writes a registration as a fragment of HTML.

    Returns:
        The rows of `to_text` as a table, beside a checkerboard of both images as registered where
        the working images are at hand.
    """
    from imatch.export.html import data_url, templates

    (status, reason), *rows = summary_rows(registration)
    picture = _picture(registration)
    return (
        templates()
        .get_template("registration.html.j2")
        .render(
            status=status,
            reason=reason,
            rows=rows,
            colour=STATUS_COLOURS[registration.status],
            picture=None if picture is None else data_url(picture, "jpeg"),
        )
    )


def _table(registration: Registration, *, plain: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for index, (label, text) in enumerate(summary_rows(registration)):
        style = _STYLES[registration.status] if index == 0 else "dim"
        # Text, not markup: a file may be called "[red].tif".
        printable = text.translate(_ASCII) if plain else text
        table.add_row(Text(label, style=style), Text(printable, style="bold" if index == 0 else ""))
    return table


def _masks(registration: Registration) -> list[tuple[str, str]]:
    """Rows that say by which masks of products ground was left out."""
    masks = registration.provenance.get("masked_by", {})
    ref, tgt = masks.get("reference"), masks.get("target")
    if ref == tgt:
        return [] if ref is None else [("masks", ref)]
    sides = (("reference", ref), ("target", tgt))
    texts = [f"{side}: {text}" for side, text in sides if text is not None]
    return [("masks" if number == 0 else "", text) for number, text in enumerate(texts)]


def _image(image: ImageSummary, apart: bool) -> str:
    """Describes an image: ``"a.tif · 500 × 400 · EPSG:32631 · 10.0 m"``.

    Where the sensors lie `apart` it says what the image was taken for.
    """
    facts = [image.path or "array", f"{image.width} × {image.height}"]
    if image.crs is not None:
        # WKT fills a screen; its first quoted words are its name.
        quoted = image.crs.split('"')
        facts.append(quoted[1] if len(quoted) > 1 else image.crs)
    else:
        facts.append("not geocoded" if image.transform is None else "no CRS")
    if image.unlocated is not None:
        facts.append(image.unlocated)
    if image.geolocation is not None:
        facts.append(f"located by {image.geolocation.describe()}")
    if apart and image.modality in _SENSORS:
        facts.append(_SENSORS[image.modality])
    if image.gsd_m is not None:
        facts.append(f"{number(sum(image.gsd_m) / 2)} m")
    return " · ".join(facts)


def _components(registration: Registration) -> str | None:
    """Describes the shift's two components, with the 95 % interval of each."""

    def pair(
        value: Pair | None, interval: Pair | None, names: tuple[str, str], unit: str
    ) -> str | None:
        if value is None:
            return None
        halves = (None, None) if interval is None else interval
        parts = [
            f"{label} {with_interval(figure, half, sign=True)}"
            for label, figure, half in zip(names, value, halves, strict=True)
        ]
        return f"{', '.join(parts)} {unit}"

    r = registration
    texts = (
        pair(r.shift_px, r.ci95_px, ("x", "y"), "px"),
        pair(r.shift_m, r.ci95_m, ("east", "north"), "m"),
    )
    return " · ".join(text for text in texts if text is not None) or None


def _wrapped(label: str, text: str, indent: int) -> list[str]:
    return textwrap.wrap(
        f"{label}{text}",
        _WIDTH,
        initial_indent="",
        subsequent_indent=" " * indent,
        drop_whitespace=True,
        replace_whitespace=False,
        break_on_hyphens=False,
    )


def _picture(registration: Registration) -> bytes | None:
    """The checkerboard as a JPEG file; None without the working images."""
    from imatch.export.images import checkerboard, detail_window, jpeg, thumbnail

    preview = registration.preview
    if preview is None:
        return None
    matrix = np.eye(3) if preview.matrix is None else preview.matrix
    window = detail_window(preview, registration.tie_points.inlier)
    return jpeg(thumbnail(checkerboard(preview, matrix, window), _SIDE), _QUALITY)
