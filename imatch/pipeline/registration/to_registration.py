"""Converts an estimate in working pixels to a registration in native pixels and metres."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import FloatArray, Matches, Rendered
from imatch.geometry.acceptance import EVIDENCE, PointRules
from imatch.geometry.accuracy import overlap_mask
from imatch.geometry.estimate import Estimate
from imatch.geometry.fit import least_squares, residuals
from imatch.geometry.transform import DisplacementGrid, Transform, apply_matrix
from imatch.pipeline.registration.certificate import Certificate, Tolerance, verdict
from imatch.pipeline.registration.result import ImageSummary, Pair, Preview, Registration, TiePoints
from imatch.pipeline.registration.work import WorkModel
from imatch.raster import RasterInfo, Source, WorkPair
from imatch.raster.modality import Modality

# A nonlinear change of CRS is written as a matrix only this exactly, or the next richer kind.
_MATRIX_TOLERANCE_PX = 0.02
# Bands that differ by less are not worth a word, pixels.
_ALIKE_PX = 0.1


def to_registration(
    found: Estimate,
    pair: WorkPair,
    sources: tuple[Source, Source],
    rendered: tuple[Rendered, Rendered],
    *,
    matcher: str,
    gsd_m: float | None,
    tolerance: Tolerance | None,
    sensors: tuple[Modality | None, Modality | None] = (None, None),
    seconds: float,
    provenance: dict[str, Any],
    local: DisplacementGrid | None = None,
) -> Registration:
    """Express an estimate in native pixels, map units and metres.

    Args:
        found: The estimate in working pixels.
        pair: The working pair with its pixel maps.
        sources: Reference and target.
        rendered: What the matcher saw.
        matcher: Registry name.
        gsd_m: Metres per reference pixel given by the user, for images that do not say.
        tolerance: What the certificate has to reach, None for nothing.
        sensors: What kind of sensor made the reference and the target.
        seconds: Wall time.
        provenance: See `imatch.pipeline.pair.provenance`.
        local: Displacement on top of the estimate's transform, in the frame of the registration
            (`imatch.pipeline.registration.work.frames`).
    """
    matches = found.matches
    infos = sources[0].info, sources[1].info
    ref_gsd = _ground_size(infos[0], gsd_m)
    matrix = None if found.transform is None else found.transform.matrix
    work = None if matrix is None else WorkModel(matrix, pair, local)
    residual_xy, residual_m = _residuals(work, matches.ref_xy, matches.tgt_xy, pair, infos, ref_gsd)
    points = TiePoints(
        pair.ref_map.to_native(matches.ref_xy),
        pair.tgt_map.to_native(matches.tgt_xy),
        matches.scores,
        found.inlier,
        found.check,
        residual_xy,
        residual_m,
        _map_coordinates(pair.ref_map.to_native(matches.ref_xy), infos[0]),
    )
    common: dict[str, Any] = {
        "status": found.status,
        "reason": found.reason,
        "reference": ImageSummary.of(infos[0], gsd_m, sensors[0]),
        "target": ImageSummary.of(infos[1], modality=sensors[1]),
        "matcher": matcher,
        "seconds": seconds,
        "tie_points": points,
        "coverage": found.coverage,
        "n_matches": len(matches),
        "n_inliers": int(found.inlier.sum()),
        "n_check": int(found.check.sum()),
        "preview": preview_of(matrix, matches, pair, rendered, ref_gsd),
    }
    if work is None or found.transform is None:
        certificate = _certificate(found, tolerance, None, None)
        return Registration(**common, certificate=certificate, provenance=provenance)

    held = found.check
    predicted = matches.tgt_xy[held] - found.check_xy[held]
    check_px = points.tgt_xy[held] - pair.tgt_map.to_native(predicted)
    _, check_m = _residuals(
        work, work.inverse(predicted), matches.tgt_xy[held], pair, infos, ref_gsd
    )
    held_out = np.full((len(matches), 2), np.nan)
    held_out[held] = check_px
    common["tie_points"] = replace(points, held_out_xy=held_out)
    matrix, error = _native_matrix(work.matrix, pair, rendered)
    shift_px, ci95_px = _shift_px(work, found, pair)
    shift_m = ci95_m = map_matrix = None
    if pair.grid is not None:
        map_matrix = work.frame_matrix
        shift_m, ci95_m = _shift_m(work, found, pair)
    bounds = _corner_bounds(work, found, pair, infos, ref_gsd)
    return Registration(
        **common,
        shift_px=shift_px,
        shift_m=shift_m,
        ci95_px=ci95_px,
        ci95_m=ci95_m,
        transform=Transform(found.transform.kind, matrix),
        map_matrix=map_matrix,
        local=local,
        certificate=replace(
            _certificate(found, tolerance, *bounds), **_parts(work, found, pair, infos[0], shift_px)
        ),
        rmse_px=_rms(np.hypot(*check_px.T)),
        rmse_m=_rms(check_m),
        ce90_px=_percentile(np.hypot(*check_px.T)),
        ce90_m=_percentile(check_m),
        provenance={**provenance, "matrix_error_px": error},
    )


def _parts(
    work: WorkModel, found: Estimate, pair: WorkPair, info: RasterInfo, shift_px: Pair
) -> dict[str, Any]:
    """Returns the parts of the interval and the shift of each band, native target pixels."""
    middle = work.apply(np.array([found.centre]))
    at = pair.tgt_map.to_native(middle)

    def native(x: float, y: float) -> Pair:
        ends = pair.tgt_map.to_native(middle + np.diag([x, y])) - at
        return _pair(np.hypot(ends[0], ends[1]))

    bands = []
    for band in found.bands:
        moved = pair.tgt_map.to_native(middle + np.array([band.offset])) - at
        known = band.name.isdigit() and int(band.name) < len(info.band_names)
        name = info.band_names[int(band.name)] if known else band.name
        bands.append((name, shift_px[0] + float(moved[0, 0]), shift_px[1] + float(moved[0, 1])))
    parts: dict[str, Any] = {
        "statistical_ci95_px": native(*found.statistical),
        "misfit_px": native(*found.misfit),
        "appearance_px": native(*found.appearance),
    }
    if len(bands) > 1:
        spread = np.ptp([band[1:] for band in bands], axis=0)
        parts["bands"] = tuple(bands)
        # Two bands differ by the root of two more than either by chance.
        parts["bands_disagree"] = bool(
            (spread > np.sqrt(2) * np.maximum(parts["statistical_ci95_px"], _ALIKE_PX)).any()
        )
    return parts


def _certificate(
    found: Estimate,
    tolerance: Tolerance | None,
    bound_px: float | None,
    bound_m: float | None,
) -> Certificate:
    evidence: float | None = None
    kind: Any = None
    threshold: float | None = None
    if np.isfinite(found.evidence):
        evidence, kind, threshold = found.evidence, "log_odds", EVIDENCE.certain
    elif found.log10_nfa < 0:
        evidence, kind = -found.log10_nfa, "false_alarms"
        threshold = -PointRules().certain
    return Certificate(
        corner_ci95_px=bound_px,
        corner_ci95_m=bound_m,
        evidence=evidence,
        evidence_kind=kind,
        evidence_threshold=threshold,
        tolerance=None if tolerance is None else str(tolerance),
        passes=verdict(tolerance, ok=found.status == "ok", bound_px=bound_px, bound_m=bound_m),
    )


def _corner_bounds(
    work: WorkModel,
    found: Estimate,
    pair: WorkPair,
    infos: tuple[RasterInfo, RasterInfo],
    ref_gsd: Pair | None,
) -> tuple[float | None, float | None]:
    """The corner's 95 % uncertainty in native target pixels and in metres, None if unbounded."""
    turn = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    centre = np.tile(found.centre, (len(turn), 1))
    # One working pixel in every direction: the largest image of it serves, whatever the shape of
    # native pixels.
    moved = work.apply(centre) + np.column_stack([np.cos(turn), np.sin(turn)])
    pixels, metres = _residuals(work, centre, moved, pair, infos, ref_gsd)
    bounds = (
        found.corner_ci95 * float(np.hypot(*pixels.T).max()),
        found.corner_ci95 * float(metres.max()),
    )
    px, m = (bound if np.isfinite(bound) else None for bound in bounds)
    return px, m


def _residuals(
    work: WorkModel | None,
    ref_xy: NDArray[np.float64],
    tgt_xy: NDArray[np.float64],
    pair: WorkPair,
    infos: tuple[RasterInfo, RasterInfo],
    ref_gsd: Pair | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Residual vectors in native target pixels, and their lengths on the ground in metres."""
    if work is None:
        return np.full((len(ref_xy), 2), np.nan), np.full(len(ref_xy), np.nan)
    predicted = work.apply(ref_xy)
    pixels = pair.tgt_map.to_native(tgt_xy) - pair.tgt_map.to_native(predicted)
    if pair.grid is not None:
        metres = _lengths(tgt_xy - predicted, pair.grid.gsd_m)
    elif ref_gsd is not None:
        ground = pair.ref_map.to_native(work.inverse(tgt_xy)) - pair.ref_map.to_native(ref_xy)
        metres = _lengths(ground, ref_gsd)
    else:
        metres = _lengths(pixels, infos[1].gsd_m)
    return pixels, metres


def _lengths(xy: NDArray[np.float64], gsd: Pair | None) -> NDArray[np.float64]:
    if gsd is None:
        return np.full(len(xy), np.nan)
    return np.asarray(np.hypot(xy[:, 0] * gsd[0], xy[:, 1] * gsd[1]))


def _native_matrix(
    work: NDArray[np.float64], pair: WorkPair, rendered: tuple[Rendered, Rendered]
) -> tuple[NDArray[np.float64], float]:
    """Native reference pixel to native target pixel, and how exactly a matrix can say it.

    With one CRS (or none) the pixel maps are affine and the product is exact. Across CRSs, and by
    GCPs or RPCs, the map is curved: the matrix is then the least-squares affine or homography over
    the overlap.
    """
    to_ref, to_tgt = pair.ref_map.matrix, pair.tgt_map.matrix
    if to_ref is not None and to_tgt is not None:
        matrix = to_tgt @ work @ np.linalg.inv(to_ref)
        return matrix / matrix[2, 2], 0.0
    overlap = overlap_mask(work, rendered[0].valid, rendered[1].valid)
    rows, columns = np.nonzero(overlap)
    if len(rows) == 0:
        rows, columns = np.nonzero(rendered[0].valid)
    pick = np.linspace(0, len(rows) - 1, min(len(rows), 2500)).astype(np.int64)
    grid = np.column_stack([columns[pick], rows[pick]]).astype(np.float64)
    ref = pair.ref_map.to_native(grid)
    tgt = pair.tgt_map.to_native(apply_matrix(work, grid))
    matrix = least_squares("affine", ref, tgt)
    error = float(residuals(matrix, ref, tgt).max())
    if error > _MATRIX_TOLERANCE_PX:
        matrix = least_squares("homography", ref, tgt)
        error = float(residuals(matrix, ref, tgt).max())
    return matrix, error


def _shift_px(work: WorkModel, found: Estimate, pair: WorkPair) -> tuple[Pair, Pair]:
    centre = np.array([found.centre])
    moved = work.apply(centre)
    if pair.grid is not None:
        # Where the target's own geocoding puts the centre, against where it is.
        shift = pair.tgt_map.to_native(moved) - pair.tgt_map.to_native(centre)
    else:
        shift = pair.tgt_map.to_native(moved) - pair.ref_map.to_native(centre)
    ends = pair.tgt_map.to_native(moved + np.diag(found.ci95)) - pair.tgt_map.to_native(moved)
    return _pair(shift[0]), _pair(np.hypot(ends[0], ends[1]))


def _shift_m(work: WorkModel, found: Estimate, pair: WorkPair) -> tuple[Pair | None, Pair | None]:
    grid = pair.grid
    if grid is None or grid.metres_per_unit is None:
        return None, None
    linear = np.array(grid.transform).reshape(3, 3)[:2, :2]
    linear = np.diag(grid.metres_per_unit) @ linear
    centre = np.array([found.centre])
    shift = linear @ (work.apply(centre) - centre)[0]
    return _pair(shift), _pair(np.hypot(*(linear @ np.diag(found.ci95)).T))


def preview_of(
    work: NDArray[np.float64] | None,
    matches: Matches,
    pair: WorkPair,
    rendered: tuple[Rendered, Rendered],
    ref_gsd: Pair | None,
) -> Preview:
    """The working images of a registration, for figures.

    Args:
        work: (3, 3) working reference pixel to working target pixel; None without a transform.
        matches: Tie points in working pixels.
        pair: The working pair.
        rendered: What the matcher saw.
        ref_gsd: Metres a native reference pixel, or None.
    """
    gsd = pair.grid.gsd_m if pair.grid is not None else None
    if pair.grid is None and ref_gsd is not None and pair.ref_map.matrix is not None:
        gsd = ref_gsd[0] * pair.ref_map.matrix[0, 0], ref_gsd[1] * pair.ref_map.matrix[1, 1]
    return Preview(
        _eight_bit(rendered[0]),
        _eight_bit(rendered[1]),
        rendered[0].valid,
        rendered[1].valid,
        matches.ref_xy,
        matches.tgt_xy,
        work,
        gsd,
        pair.geocoded,
    )


def _eight_bit(image: Rendered) -> NDArray[np.uint8]:
    return np.moveaxis(np.round(image.pixels * 255), 0, 2).astype(np.uint8)


def _ground_size(info: RasterInfo, gsd_m: float | None) -> Pair | None:
    return info.gsd_m if info.gsd_m is not None or gsd_m is None else (gsd_m, gsd_m)


def _map_coordinates(xy: NDArray[np.float64], info: RasterInfo) -> NDArray[np.float64] | None:
    if not info.geocoded:
        return None
    return info.to_map(xy)


def _pair(values: FloatArray) -> Pair:
    return float(values[0]), float(values[1])


def _rms(values: NDArray[np.float64]) -> float | None:
    usable = values[np.isfinite(values)]
    return float(np.sqrt((usable**2).mean())) if len(usable) else None


def _percentile(values: NDArray[np.float64]) -> float | None:
    usable = values[np.isfinite(values)]
    return float(np.percentile(usable, 90)) if len(usable) else None
