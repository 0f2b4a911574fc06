"""What was fetched, as a table for programs and a card for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from imatch.core.io.files import atomic_path
from imatch.core.io.tables import as_cell, write_csv


@dataclass(frozen=True)
class FetchedItem:
    """One image that was fetched.

    Attributes:
        item: Its name in the catalogue.
        path: The file, below the folder.
        datetime: When it was taken, ISO 8601.
        season: Quarter of the year.
        cloud: Cloud cover in percent, NaN where unknown.
        collection: Its collection.
        assets: Assets it is made of, by blanks.
        width: Pixels.
        height: Pixels.
    """

    item: str
    path: str
    datetime: str
    season: str
    cloud: float
    collection: str
    assets: str
    width: int
    height: int


def write_table(path: Path, items: Sequence[FetchedItem]) -> None:
    """Write ``items.csv``; one that is there is replaced."""
    names = [field.name for field in fields(FetchedItem)]
    with atomic_path(path, overwrite=True) as temporary:
        write_csv(temporary, names, (map(as_cell, asdict(item).values()) for item in items))


def write_card(
    path: Path, items: Sequence[FetchedItem], *, url: str, asked: str, licence: str
) -> None:
    """Write ``README.md``: where the images are from and whom to name.

    Args:
        path: The file; replaced where it is there.
        items: The images.
        url: The catalogue.
        asked: What was asked of it, in words.
        licence: What it says of the licence.
    """
    years = sorted({item.datetime[:4] for item in items})
    sentinel = any(
        "sentinel" in (item.collection + item.item).lower() or item.item[:2] == "S2"
        for item in items
    )
    lines = [
        f"# Images from {url}",
        "",
        f"{len(items)} images: {asked}.",
        "",
        f"Licence, as the catalogue says: {licence}.",
    ]
    if sentinel:
        lines += ["", f"Contains modified Copernicus Sentinel data ({', '.join(years)})."]
    lines += ["", "| image | taken | cloud | pixels |", "|---|---|---:|---:|"]
    for item in items:
        cloud = "" if item.cloud != item.cloud else f"{item.cloud:.0f} %"
        lines.append(
            f"| {item.path} | {item.datetime[:10]} | {cloud} | {item.width} × {item.height} |"
        )
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
