"""The result of a registration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.io.jsontext import json_values
from imatch.core.types import BoolArray
from imatch.geometry.acceptance import Status
from imatch.geometry.transform import DisplacementGrid, ModelKind, Transform
from imatch.pipeline.registration.actions import Actions
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.image_summary import ImageSummary as ImageSummary

SCHEMA = "imatch.registration/1"
_SHIFT = ("shift_px", "shift_m", "ci95_px", "ci95_m")
Pair: TypeAlias = tuple[float, float]


@dataclass(frozen=True, eq=False)
class TiePoints:
    """Tie points with residuals; all arrays have N rows.

    Attributes:
        ref_xy: (N, 2) native reference pixels.
        tgt_xy: (N, 2) native target pixels.
        scores: (N,) in [0, 1].
        inlier: (N,) bool, agrees with the transform.
        check: (N,) bool, was held out of the fit that gave the accuracy figures.
        residual_xy: (N, 2) ``tgt_xy - predicted``, target pixels; NaN when no transform was found.
        residual_m: (N,) length of the residual in metres; NaN where metres are unknown.
        map_xy: (N, 2) reference map coordinates, or None when the reference is not geocoded.
        held_out_xy: (N, 2) ``tgt_xy - predicted`` by a fit without the check point and its
            neighbours, target pixels: what the accuracy figures are made of. NaN elsewhere; None
            where that was not kept.
    """

    ref_xy: NDArray[np.float64]
    tgt_xy: NDArray[np.float64]
    scores: NDArray[np.float64]
    inlier: BoolArray
    check: BoolArray
    residual_xy: NDArray[np.float64]
    residual_m: NDArray[np.float64]
    map_xy: NDArray[np.float64] | None = None
    held_out_xy: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def residual_px(self) -> NDArray[np.float64]:
        """(N,) length of the residual in target pixels."""
        return np.asarray(np.hypot(self.residual_xy[:, 0], self.residual_xy[:, 1]))

    def to_dict(self) -> dict[str, Any]:
        """Columns of equal length; NaN becomes null."""
        columns: dict[str, NDArray[Any]] = {
            "ref_x": self.ref_xy[:, 0],
            "ref_y": self.ref_xy[:, 1],
            "tgt_x": self.tgt_xy[:, 0],
            "tgt_y": self.tgt_xy[:, 1],
            "score": self.scores,
            "inlier": self.inlier,
            "check": self.check,
            "residual_x_px": self.residual_xy[:, 0],
            "residual_y_px": self.residual_xy[:, 1],
            "residual_m": self.residual_m,
        }
        if self.map_xy is not None:
            columns |= {"map_x": self.map_xy[:, 0], "map_y": self.map_xy[:, 1]}
        if self.held_out_xy is not None:
            held = self.held_out_xy
            columns |= {"held_out_x_px": held[:, 0], "held_out_y_px": held[:, 1]}
        return {name: json_values(values) for name, values in columns.items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TiePoints:
        """The inverse of `to_dict`."""

        def column(name: str) -> NDArray[np.float64]:
            return np.array([np.nan if v is None else v for v in data[name]], dtype=np.float64)

        def points(x: str, y: str) -> NDArray[np.float64]:
            return np.column_stack([column(x), column(y)])

        return cls(
            points("ref_x", "ref_y"),
            points("tgt_x", "tgt_y"),
            column("score"),
            np.array(data["inlier"], dtype=bool),
            np.array(data["check"], dtype=bool),
            points("residual_x_px", "residual_y_px"),
            column("residual_m"),
            points("map_x", "map_y") if "map_x" in data else None,
            points("held_out_x_px", "held_out_y_px") if "held_out_x_px" in data else None,
        )


@dataclass(frozen=True, eq=False)
class Preview:
    """The rendered pair, for figures; kept in memory only.

    Attributes:
        ref: (H, W, C) uint8 rendering of the reference at working resolution; C is 1 or 3.
        tgt: (H', W', C) uint8 rendering of the target at working resolution.
        ref_valid: (H, W) bool.
        tgt_valid: (H', W') bool.
        ref_xy: (N, 2) tie points in working reference pixels, in the order of `TiePoints`.
        tgt_xy: (N, 2) tie points in working target pixels.
        matrix: (3, 3) working reference pixel to working target pixel, or None when none was found.
        gsd_m: (x, y) metres per working reference pixel, or None.
        common_grid: Both sides share one map grid, so "before" is simply pixel over pixel.
    """

    ref: NDArray[np.uint8]
    tgt: NDArray[np.uint8]
    ref_valid: BoolArray
    tgt_valid: BoolArray
    ref_xy: NDArray[np.float64]
    tgt_xy: NDArray[np.float64]
    matrix: NDArray[np.float64] | None
    gsd_m: Pair | None
    common_grid: bool


@dataclass(frozen=True, eq=False, repr=False)
class Registration(Actions):
    """The answer to "where does the target lie on the reference?".

    Figures in pixels are native target pixels, since `matrix` maps into them; figures in metres are
    ground distances, None where neither image says how large its pixels are.

    Attributes:
        status: ``ok``, ``uncertain`` (a transform is given, do not rely on it) or ``failed``.
        reason: One sentence saying why the status is what it is.
        reference: The reference image.
        target: The target image.
        matcher: Registry name.
        seconds: Wall time of the whole match.
        tie_points: Every match.
        transform: Native reference pixel to native target pixel; None when failed.
        map_matrix: (3, 3) true reference map coordinate to the coordinate at which the target's
            geocoding puts the same ground, in the reference's CRS; None unless both are geocoded.
            It does not depend on the GSD, so it applies to sibling products too.
        local: Smooth displacement added to what the transform gives, None without one: a function
            of reference map coordinates on top of `map_matrix` where that is known, else of
            reference pixels on top of `transform`.
        shift_px: (x, y) displacement of the target at the centre of the overlap, in target pixels:
            beyond its geocoding where both are geocoded, else between pixel positions.
        shift_m: (east, north) the same in metres; None unless both are geocoded.
        ci95_px: Half-width of the 95 % confidence interval of the shift, (x, y), target pixels.
        ci95_m: The same in metres.
        rmse_px: Root mean square residual at check points held out from the fit.
        rmse_m: The same in metres.
        ce90_px: 90th percentile of the residual length at check points (circular error, CE90).
        ce90_m: The same in metres.
        coverage: Share of the overlap's cells that hold an inlier, 0 to 1.
        n_matches: Putative matches.
        n_inliers: Matches that agree with the transform.
        n_check: Check points behind the accuracy figures.
        certificate: The 95 % bound on any position, the evidence and the threshold it had to
            reach, and whether the tolerance asked for is met.
        provenance: Files' sizes, configuration, weights' sha256, seed, versions.
        preview: The working images, or None when read back from a file.

    The JSON document, schema ``imatch.registration/1``, is the contract with other programs. Every
    key is always there; null is what is unknown or does not apply, and stands for NaN and
    infinities. Pairs are [x, y] or [east, north], matrices are lists of three rows.

    - ``schema``: ``"imatch.registration/1"``; a change that could break a reader changes it.
    - ``status``, ``reason``, ``matcher``, ``seconds``: as above.
    - ``model``: ``translation``, ``similarity``, ``affine`` or ``homography``; null when failed.
    - ``matrix``: `transform` as 3 x 3: native reference pixel (x, y, 1), the centre of the first
      pixel being (0, 0), to native target pixel, after division by the third component.
    - ``local``: null, or a cubic B-spline over a lattice: ``kind``, ``origin`` and ``step`` of the
      nodes as [x, y], and ``coefficients`` (rows of nodes, each [dx, dy]); in the units of
      ``map_matrix``, or of ``matrix`` where that is null.
    - ``map_matrix``, ``shift_px``, ``shift_m``, ``ci95_px``, ``ci95_m``, ``rmse_px``, ``rmse_m``,
      ``ce90_px``, ``ce90_m``, ``coverage``, ``n_matches``, ``n_inliers``, ``n_check``: as above.
    - ``certificate``: an object with the attributes of `Certificate`, and once more ``shift_px``,
      ``shift_m``, ``ci95_px``, ``ci95_m`` and ``coverage``.
    - ``reference``, ``target``: objects with ``path`` (file or URL; null for an array), ``width``
      and ``height`` in pixels, ``bands`` (names of those matched), ``crs`` (``"EPSG:32631"`` or
      WKT), ``transform`` (corner-based affine coefficients a, b, c, d, e, f, which without a
      ``crs`` lead to the plane of a world file), ``gsd_m``, ``geolocation`` (null; or the GCPs or
      RPCs that locate the image, ``transform`` then being the affine frame into which they bend
      its pixels), ``unlocated`` (null, or why GCPs or RPCs of the file are not used) and
      ``modality`` (``"optical"``, ``"sar"``, ``"ir"`` or ``"map"``, null where that is not known).
    - ``provenance``: ``config`` (every setting), ``weights`` (name to sha256), ``files`` (path,
      ``bytes``, ``modified_ns`` and ``sha256``, or ``sha256_of_parts`` of a large file, and in a
      member ``files`` the same of each other file it is read from; of what is no file, its name),
      ``working`` (sizes and grid of what the matcher saw), ``versions``, ``found_by`` (the stage
      that found the answer), ``matrix_error_px``: how far ``matrix`` strays from the exact map,
      which is curved between two CRSs and by GCPs and RPCs, else 0; ``located_by`` (``reference``
      and ``target``: in words, what geocodes each, or why nothing does); ``masked_by`` (the same
      two: which masks of a product left out what, or why none did); and of a whole scene
      ``scene``: its ``levels`` (factor, tiles by outcome, windows), the tiles that agree and those
      discarded, the ``rough`` answer it began from, what each candidate for the
      ``local`` displacement reached on held-out tie points, ``jobs`` and ``seconds``.
    - ``tie_points``: columns of equal length, a row a match: ``ref_x``, ``ref_y``, ``tgt_x``,
      ``tgt_y`` (native pixels), ``score`` (0 to 1), ``inlier``, ``check`` (held out of the fit),
      ``residual_x_px``, ``residual_y_px`` (target pixels, measured minus predicted),
      ``residual_m`` (length), where the reference is geocoded ``map_x``, ``map_y`` (its map
      coordinates), and of pairs ``held_out_x_px``, ``held_out_y_px`` (the residual of a check
      point by a fit without it).
    """

    status: Status
    reason: str
    reference: ImageSummary
    target: ImageSummary
    matcher: str
    seconds: float
    tie_points: TiePoints
    transform: Transform | None = None
    map_matrix: NDArray[np.float64] | None = None
    shift_px: Pair | None = None
    shift_m: Pair | None = None
    ci95_px: Pair | None = None
    ci95_m: Pair | None = None
    rmse_px: float | None = None
    rmse_m: float | None = None
    ce90_px: float | None = None
    ce90_m: float | None = None
    coverage: float = 0.0
    n_matches: int = 0
    n_inliers: int = 0
    n_check: int = 0
    certificate: Certificate = field(default_factory=Certificate)
    provenance: dict[str, Any] = field(default_factory=dict)
    preview: Preview | None = field(default=None, repr=False)
    local: DisplacementGrid | None = None

    @property
    def accepted(self) -> bool:
        """Whether the answer is to be relied on, and as near as was asked: it may be applied."""
        met = self.certificate.tolerance is None or self.certificate.passes is True
        return self.status == "ok" and met

    @property
    def model(self) -> ModelKind | None:
        """The kind of the transform, None when failed."""
        return None if self.transform is None else self.transform.kind

    @property
    def matrix(self) -> NDArray[np.float64] | None:
        """(3, 3) native reference pixel to native target pixel, None when failed."""
        return None if self.transform is None else self.transform.matrix

    def to_dict(self) -> dict[str, Any]:
        """The JSON document, schema `imatch.registration/1`; the class describes each key."""
        shift = {name: json_values(getattr(self, name)) for name in _SHIFT}
        coverage, bounds = {"coverage": json_values(self.coverage)}, self.certificate.to_dict()
        corner = {name: bounds.pop(name) for name in ("corner_ci95_px", "corner_ci95_m")}
        return {
            "schema": SCHEMA,
            "status": self.status,
            "reason": self.reason,
            "model": self.model,
            "matrix": json_values(self.matrix),
            "map_matrix": json_values(self.map_matrix),
            "local": None if self.local is None else self.local.to_dict(),
            **shift,
            "rmse_px": json_values(self.rmse_px),
            "rmse_m": json_values(self.rmse_m),
            "ce90_px": json_values(self.ce90_px),
            "ce90_m": json_values(self.ce90_m),
            **coverage,
            "n_matches": self.n_matches,
            "n_inliers": self.n_inliers,
            "n_check": self.n_check,
            "certificate": {**shift, **corner, **coverage, **bounds},
            "matcher": self.matcher,
            "seconds": json_values(self.seconds),
            "reference": self.reference.to_dict(),
            "target": self.target.to_dict(),
            "provenance": self.provenance,
            "tie_points": self.tie_points.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Registration:
        """Read a document written by `to_dict`.

        Raises:
            InputError: It is not a registration, or of a schema this version does not know.
        """
        schema = data.get("schema")
        if schema != SCHEMA:
            kind, _, version = str(schema).rpartition("/")
            newer = kind == SCHEMA.rpartition("/")[0] and version.isdigit() and int(version) > 1
            raise InputError(
                f"its schema is {schema!r}, not {SCHEMA!r}",
                hint="it is of a newer imatch: pip install --upgrade imatch"
                if newer
                else "it was not written by this version's match",
            )

        def array(name: str) -> NDArray[np.float64] | None:
            return None if data[name] is None else np.asarray(data[name], dtype=np.float64)

        matrix, model = array("matrix"), data["model"]
        return cls(
            status=data["status"],
            reason=data["reason"],
            reference=ImageSummary.from_dict(data["reference"]),
            target=ImageSummary.from_dict(data["target"]),
            matcher=data["matcher"],
            seconds=data["seconds"],
            tie_points=TiePoints.from_dict(data["tie_points"]),
            transform=None if matrix is None else Transform(model, matrix),
            map_matrix=array("map_matrix"),
            local=DisplacementGrid.from_dict(data["local"]) if data.get("local") else None,
            shift_px=_read_pair(data["shift_px"]),
            shift_m=_read_pair(data["shift_m"]),
            ci95_px=_read_pair(data["ci95_px"]),
            ci95_m=_read_pair(data["ci95_m"]),
            **{name: data[name] for name in ("rmse_px", "rmse_m", "ce90_px", "ce90_m", "coverage")},
            **{name: data[name] for name in ("n_matches", "n_inliers", "n_check")},
            certificate=Certificate.from_dict(data["certificate"]),
            provenance=data["provenance"],
        )


def _read_pair(values: Sequence[float | None] | None) -> Pair | None:
    """Two figures out of a document, which has null for what is not finite: it bounds nothing."""
    if values is None:
        return None
    x, y = (math.inf if value is None else value for value in values)
    return x, y
