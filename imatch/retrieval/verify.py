"""Verifies a hit by matching the query with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imatch.core.errors import InputError
from imatch.geometry.transform import Transform
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import Registrar, load_registrar
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.raster import Source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.chips import ChipWindow
from imatch.retrieval.index.store import IndexedImage
from imatch.retrieval.search import Hit

# How far beyond a chip its image is matched, as a share of what the query should cover there: a
# chip lies up to half a stride beside the place.
_BEYOND = 0.35


@dataclass(frozen=True, eq=False)
class Verification:
    """Result of matching a query with a hit.

    Attributes:
        status: ``ok``, ``uncertain`` or ``failed``, that of the registration.
        reason: Why, in a sentence.
        evidence: How far the agreement is beyond chance (`Certificate.evidence`), None where there
            was too little to measure.
        coverage: Share of the overlap's cells with an agreeing tie point.
        window: (left, top, width, height) of the image that was matched, in its native pixels.
        registration: The hit's whole image as reference and the query as target; None where the
            image could not be read.
    """

    status: str
    reason: str
    evidence: float | None
    coverage: float
    window: tuple[int, int, int, int]
    registration: Registration | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; of the registration its whole document."""
        found = self.registration
        return {
            "status": self.status,
            "reason": self.reason,
            "evidence": self.evidence,
            "coverage": self.coverage,
            "window": list(self.window),
            "registration": None if found is None else found.to_dict(),
        }


def verify(
    query: Source,
    hits: Sequence[Hit],
    config: MatchConfig | Registrar,
    *,
    bands: Sequence[int | str] | None = None,
    on_hit: Callable[[float], None] = lambda _hits: None,
) -> list[Hit]:
    """Match a query with hits and rank them by what the matcher certifies.

    Those that are ``ok`` come first, by their evidence; the rest keeps its order: a
    match that is not certified says less than that. Geocoding is not used, since the question is
    where the query lies.

    Args:
        query: The query.
        hits: What a search found.
        config: Settings of the match, or a registrar that was loaded with them.
        bands: Bands of the images in the index.
        on_hit: Told of each hit that is done.

    Returns:
        The same hits, ranked anew, each with its verification.
    """
    registrar = config if isinstance(config, Registrar) else load_registrar(config)
    # Geocoding would answer what is asked.
    registrar = registrar.configured(make_config(registrar.config, use_geocoding=False))
    done = []
    for hit in hits:
        done.append(replace(hit, verification=verify_hit(query, hit, registrar, bands)))
        on_hit(1)
    done.sort(key=_rank)
    return [replace(hit, rank=rank) for rank, hit in enumerate(done, start=1)]


def _rank(hit: Hit) -> tuple[bool, float, int]:
    found = hit.verification
    if found is None or found.status != "ok":
        return True, 0.0, hit.rank
    evidence = -np.inf if found.evidence is None else found.evidence
    return False, -evidence, hit.rank


def verify_hit(
    query: Source,
    hit: Hit,
    registrar: Registrar,
    bands: Sequence[int | str] | None = None,
) -> Verification:
    """Match a query with the surroundings of one hit.

    Args:
        query: The query.
        hit: The hit.
        registrar: Matches them, with settings that use no geocoding.
        bands: Bands of the hit's image.
    """
    frame = surroundings(hit, query.info.size)
    window = frame.left, frame.top, frame.width, frame.height
    try:
        image = open_source(hit.image.path, bands=bands)
        part = WindowSource(image, *window)
        found = match(part, query, registrar)
    except InputError as error:
        return Verification("failed", str(error), None, 0.0, window)
    whole = onto_full_image(found, hit.image, (frame.left, frame.top))
    certificate = found.certificate
    return Verification(
        found.status, found.reason, certificate.evidence, found.coverage, window, whole
    )


def surroundings(hit: Hit, size: tuple[int, int]) -> ChipWindow:
    """The part of a hit's image in which the whole query should lie.

    Args:
        hit: The hit: the part of the query that found it is taken to lie on its chip.
        size: (width, height) of the query.

    Returns:
        A window with a margin, within the image.
    """
    scale = hit.cell.side / hit.query_cell.side
    # Both chips are centred on what they have of their image.
    centre = np.array([hit.cell.left + hit.cell.width / 2, hit.cell.top + hit.cell.height / 2])
    own = hit.query_cell
    there = np.array([own.left + own.width / 2, own.top + own.height / 2])
    span = np.array(size) * scale
    low = centre - there * scale
    pad = _BEYOND * np.maximum(span.max(), hit.cell.side)
    bounds = np.array([hit.image.width, hit.image.height])
    first = np.clip(np.floor(low - pad), 0, bounds - 1).astype(int)
    last = np.clip(np.ceil(low + span + pad), first + 1, bounds).astype(int)
    width, height = last - first
    return ChipWindow(
        int(first[0]), int(first[1]), int(width), int(height), float(max(width, height))
    )


def onto_full_image(
    found: Registration, image: IndexedImage, offset: tuple[int, int]
) -> Registration:
    """Converts a registration onto a window of an image to one onto the whole image.

    Args:
        found: With the window as reference.
        image: The whole image.
        offset: (left, top) of the window.
    """
    x, y = offset
    reference = ImageSummary(
        found.reference.path,
        image.width,
        image.height,
        found.reference.bands,
        found.reference.crs,
        image.transform,
        found.reference.gsd_m,
    )
    points = replace(found.tie_points, ref_xy=found.tie_points.ref_xy + np.array([x, y], float))
    transform = found.transform
    if transform is not None:
        back = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1]], dtype=np.float64)
        matrix = transform.matrix @ back
        transform = Transform(transform.kind, matrix / matrix[2, 2])
    shift = found.shift_px
    if shift is not None:
        shift = shift[0] - x, shift[1] - y
    window = [x, y, found.reference.width, found.reference.height]
    return replace(
        found,
        reference=reference,
        tie_points=points,
        transform=transform,
        shift_px=shift,
        provenance={**found.provenance, "window": window},
    )
