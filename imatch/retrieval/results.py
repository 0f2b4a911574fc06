"""Search results as a table, JSON, GeoJSON, CSV and figure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import as_cell, write_csv
from imatch.core.redaction import redacted
from imatch.pipeline.pair.provenance import versions
from imatch.retrieval.formats import write_result
from imatch.retrieval.index.manifest import IndexManifest
from imatch.retrieval.search import Hit, centre

if TYPE_CHECKING:
    from rich.console import Console

    from imatch.pipeline.registration.result import Registration
    from imatch.raster import Source

SCHEMA = "imatch.search/1"
#: Columns of the table of hits.
COLUMNS: tuple[str, ...] = (
    "rank",
    "similarity",
    "status",
    "evidence",
    "image",
    "left",
    "top",
    "width",
    "height",
    "longitude",
    "latitude",
)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """A query and its hits.

    Attributes:
        query: The file.
        index: The index's folder or URL.
        manifest: What it was made with.
        hits: Best first.
        source: The query's pixels, for the picture.
    """

    query: str
    index: str
    manifest: IndexManifest
    hits: Sequence[Hit]
    source: Source

    @property
    def registration(self) -> Registration | None:
        """The best hit's registration onto its whole image; None unless verified and not failed."""
        best = self.hits[0].verification if self.hits else None
        return None if best is None or best.status == "failed" else best.registration

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, schema ``imatch.search/1``."""
        return {
            "schema": SCHEMA,
            "query": self.query,
            "index": self.index,
            "model": self.manifest.model.model_dump(mode="json"),
            "hits": [hit.to_dict() for hit in self.hits],
            "versions": versions(),
        }

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the hits in the format that the suffix of a path names (`FORMATS`).

        Args:
            path: Where to.
            overwrite: Whether an existing file may be replaced.

        Raises:
            ConfigError: Another suffix.
            OutputError: The place refuses.
        """
        write_result(self, self.source, Path(path), overwrite=overwrite)

    def rows(self) -> list[dict[str, str]]:
        """Returns one row of texts for each hit, by `COLUMNS`."""
        return [_row(hit) for hit in self.hits]


def _row(hit: Hit) -> dict[str, str]:
    found = hit.verification
    middle = centre(hit)
    return {
        "rank": str(hit.rank),
        "similarity": f"{hit.similarity:.4f}",
        "status": "" if found is None else found.status,
        "evidence": "" if found is None or found.evidence is None else f"{found.evidence:.2f}",
        "image": str(as_cell(hit.image.path)),
        "left": str(hit.cell.left),
        "top": str(hit.cell.top),
        "width": str(hit.cell.width),
        "height": str(hit.cell.height),
        "longitude": "" if middle is None else f"{middle[0]:.6f}",
        "latitude": "" if middle is None else f"{middle[1]:.6f}",
    }


def write_hits_json(result: SearchResult, path: Path) -> None:
    """Writes the JSON document."""
    path.write_text(to_json(result.to_dict()) + "\n", encoding="utf-8")


def write_hits_geojson(result: SearchResult, path: Path) -> None:
    """Writes the footprints as GeoJSON (RFC 7946), best first; a null geometry where unknown."""
    features = []
    for hit in result.hits:
        ring = None
        if hit.footprint is not None:
            # Counter-clockwise, and closed.
            ring = [[round(v, 7) for v in point] for point in reversed(hit.footprint)]
            ring.append(ring[0])
        found = hit.verification
        features.append(
            {
                "type": "Feature",
                "id": hit.rank,
                "geometry": None if ring is None else {"type": "Polygon", "coordinates": [ring]},
                "properties": {
                    "rank": hit.rank,
                    "similarity": round(hit.similarity, 6),
                    "image": hit.image.path,
                    "window": [hit.cell.left, hit.cell.top, hit.cell.width, hit.cell.height],
                    "status": None if found is None else found.status,
                    "evidence": None if found is None else found.evidence,
                    "reason": None if found is None else found.reason,
                },
            }
        )
    about = {"schema": SCHEMA, "query": redacted(result.query), "index": result.index}
    document = {"type": "FeatureCollection", "imatch": about, "features": features}
    path.write_text(json.dumps(document, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def write_hits_csv(result: SearchResult, path: Path) -> None:
    """Writes the table."""
    write_csv(path, COLUMNS, (row.values() for row in result.rows()))


def print_hits(result: SearchResult, console: Console) -> None:
    """Prints a table of the hits, best first."""
    from rich.markup import escape
    from rich.table import Table

    verified = any(hit.verification is not None for hit in result.hits)
    located = any(hit.footprint is not None for hit in result.hits)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", justify="right")
    table.add_column("similarity", justify="right")
    if verified:
        table.add_column("status")
    table.add_column("image")
    table.add_column("x, y, width, height")
    if located:
        table.add_column("latitude", justify="right")
        table.add_column("longitude", justify="right")
    if verified:
        table.add_column("why")
    colours = {"ok": "green", "uncertain": "yellow", "failed": "red"}
    for hit, row in zip(result.hits, result.rows(), strict=True):
        window = ", ".join(row[name] for name in ("left", "top", "width", "height"))
        cells = [row["rank"], row["similarity"]]
        if verified:
            cells.append(f"[{colours[row['status']]}]{row['status']}[/]")
        cells += [escape(Path(row["image"]).name), window]
        if located:
            cells += [row["latitude"], row["longitude"]]
        if verified:
            found = hit.verification
            cells.append("" if found is None else escape(found.reason))
        table.add_row(*cells)
    console.print(table)
