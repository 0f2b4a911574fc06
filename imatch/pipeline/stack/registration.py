"""Converts an adjusted image of a stack to a registration onto the reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.acceptance import Status
from imatch.geometry.fit import least_squares, residuals
from imatch.geometry.transform import ModelKind, Transform, apply_matrix
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.certificate import Certificate, Tolerance, verdict
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import Pair, Registration, TiePoints
from imatch.pipeline.stack.images import InputImage
from imatch.pipeline.stack.network import StackNetwork
from imatch.pipeline.stack.pairs import NORMAL_95, overlap_polygon
from imatch.raster import RasterInfo

# A map that is curved between two systems is written as a matrix only this exactly, or the next
# richer kind.
_MATRIX_TOLERANCE_PX = 0.02
_LATTICE = 12


@dataclass(frozen=True, eq=False)
class Tied:
    """Adjusted transform of an image and its uncertainty.

    Attributes:
        matrix: (3, 3) native reference pixel to native pixel of the image.
        error_px: How far it strays from the exact map, which is curved between two CRSs.
        kind: Its family.
        map_matrix: (3, 3) true map coordinate to where the image's geocoding puts it, in the
            reference's CRS; None where pixels were solved for.
        shift_px: (x, y) at the overlap's centre, pixels of the image.
        shift_m: (east, north) the same in metres, None without a map.
        ci95_px: Half-width of its 95 % interval.
        ci95_m: The same in metres.
        bound_px: Largest 95 % uncertainty of a mapped corner of the reference.
        bound_m: The same in metres, NaN where unknown.
    """

    matrix: NDArray[np.float64]
    error_px: float
    kind: ModelKind
    map_matrix: NDArray[np.float64] | None
    shift_px: Pair
    shift_m: Pair | None
    ci95_px: Pair
    ci95_m: Pair | None
    bound_px: float
    bound_m: float

    @classmethod
    def of(cls, network: StackNetwork, node: int) -> Tied:
        """Returns the adjusted transform of a tied image."""
        joint, frames = network.joint, network.frames
        member, reference = network.members[node], network.members[joint.reference]
        info, ref_info = _known(member), _known(reference)
        to_image = np.linalg.inv(joint.matrices[node])
        map_matrix = None
        if frames.to_plane is None:
            matrix, error = to_image / to_image[2, 2], 0.0
            kind: ModelKind = joint.model
        else:
            found = np.linalg.inv(frames.to_plane) @ to_image @ frames.to_plane
            map_matrix = found / found[2, 2]
            matrix, error, kind = _native_matrix(map_matrix, member, reference)
        overlap = overlap_polygon(matrix, reference.summary(), member.summary())
        middle = np.array(overlap.centroid.coords) if not overlap.is_empty else None
        width, height = ref_info.size
        corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1.0]])
        centre = corners.mean(axis=0, keepdims=True) if middle is None else middle
        coordinates = np.concatenate([centre, corners])
        if frames.to_plane is not None:
            coordinates = apply_matrix(frames.to_plane, ref_info.to_map(coordinates))
        variance = np.diagonal(joint.covariance(node, coordinates), axis1=1, axis2=2)
        half = NORMAL_95 * np.sqrt(variance)
        pixel, metres = float(frames.pixel[node]), float(frames.metres[node])
        worst = float(np.hypot(*half[1:].T).max())
        moved = apply_matrix(matrix, centre)[0]
        common: dict[str, Any] = {
            "matrix": matrix,
            "error_px": error,
            "kind": kind,
            "map_matrix": map_matrix,
            "bound_px": worst / pixel,
            "bound_m": worst * metres,
        }
        if map_matrix is None:
            shift = moved - centre[0]
            return cls(
                **common, shift_px=_pair(shift), shift_m=None, ci95_px=_pair(half[0]), ci95_m=None
            )
        believed = _pixels(Transform("translation", np.eye(3)), member, reference, centre)[0]
        # In the plane of the map a unit is a metre, where metres are known at all.
        shift = (apply_matrix(to_image, coordinates[:1]) - coordinates[:1])[0] * metres
        own = info.gsd_m or (pixel, pixel)
        return cls(
            **common,
            shift_px=_pair(moved - believed),
            shift_m=_pair(shift) if np.isfinite(metres) else None,
            ci95_px=(float(half[0, 0] / own[0]), float(half[0, 1] / own[1])),
            ci95_m=_pair(half[0] * metres) if np.isfinite(metres) else None,
        )


def tied_registration(
    network: StackNetwork, node: int, config: MatchConfig, status: Status, reason: str
) -> Registration:
    """Converts the solution for a tied image to a registration onto the reference.

    Its accuracy at tie points is that of its pairs: how far each of them, as a whole, lies from the
    solution.

    Args:
        network: The solved series.
        node: The image.
        config: Settings of the pairs.
        status: What it is worth.
        reason: Why.
    """
    joint, frames = network.joint, network.frames
    tied = Tied.of(network, node)
    counting = network.counting(node)
    left = joint.residual[counting]
    metres = left * np.array([frames.pixel[network.edges[i].b] for i in counting])
    metres = metres * frames.metres[node]
    own = [network.attempts[i] for i in network.of(node)]
    coverage = max(
        (a.registration.coverage for a in own if a.registration and a.status == "ok"), default=0.0
    )
    if node == joint.reference:
        coverage = 1.0
    tolerance = None if config.tolerance is None else Tolerance.parse(config.tolerance)
    bound_m = tied.bound_m if np.isfinite(tied.bound_m) else None
    return Registration(
        **_common(network, network.members[node], config, status, reason),
        shift_px=tied.shift_px,
        shift_m=tied.shift_m,
        ci95_px=tied.ci95_px,
        ci95_m=tied.ci95_m,
        transform=Transform(tied.kind, tied.matrix),
        map_matrix=tied.map_matrix,
        rmse_px=_rms(left),
        rmse_m=_rms(metres),
        coverage=coverage,
        certificate=Certificate(
            corner_ci95_px=tied.bound_px,
            corner_ci95_m=bound_m,
            tolerance=None if tolerance is None else str(tolerance),
            passes=verdict(tolerance, ok=status == "ok", bound_px=tied.bound_px, bound_m=bound_m),
        ),
        provenance={
            **_provenance(network, node, config),
            "matrix_error_px": tied.error_px,
        },
    )


def untied(
    network: StackNetwork, member: InputImage, config: MatchConfig, reason: str
) -> Registration:
    """Returns a failed registration for an image that is not tied or cannot be read.

    Args:
        network: The solved series.
        member: The image.
        config: Settings of the pairs.
        reason: Why.
    """
    node = next((i for i, own in enumerate(network.members) if own.path == member.path), None)
    return Registration(
        **_common(network, member, config, "failed", reason),
        provenance=_provenance(network, node, config),
    )


def _common(
    network: StackNetwork, member: InputImage, config: MatchConfig, status: Status, reason: str
) -> dict[str, Any]:
    reference = network.members[network.joint.reference]
    node = next((i for i, own in enumerate(network.members) if own.path == member.path), None)
    seconds = 0.0 if node is None else sum(network.attempts[i].seconds for i in network.of(node))
    points, column, flags = np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=bool)
    return {
        "status": status,
        "reason": reason,
        "reference": reference.summary(config.gsd_m),
        "target": member.summary(),
        "matcher": config.matcher,
        "seconds": seconds,
        "tie_points": TiePoints(points, points, column, flags, flags, points, column),
    }


def _provenance(network: StackNetwork, node: int | None, config: MatchConfig) -> dict[str, Any]:
    """Returns the provenance: the pairs that the image is part of."""
    joint, own = network.joint, []
    for index in [] if node is None else network.of(node):
        attempt, row = network.attempts[index], network.rows[index]
        counts = isinstance(row, int) and bool(joint.agrees[row])
        names = network.members[attempt.a].name, network.members[attempt.b].name
        own.append({"pair": list(names), "status": attempt.status, "counts": counts})
    return {
        "config": config.model_dump(mode="json"),
        "found_by": "stack",
        "stack": {"model": joint.model, "scatter_px": joint.scatter, "pairs": own},
    }


def _native_matrix(
    map_matrix: NDArray[np.float64], member: InputImage, reference: InputImage
) -> tuple[NDArray[np.float64], float, ModelKind]:
    """Native reference pixel to native pixel of an image, and how exactly a matrix can say it."""
    info = _known(reference)
    x, y = (np.linspace(0, side - 1, _LATTICE) for side in info.size)
    lattice = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    there = _pixels(Transform("homography", map_matrix), member, reference, lattice)
    good = np.isfinite(there).all(axis=1)
    lattice, there = lattice[good], there[good]
    kind: ModelKind = "affine"
    matrix = least_squares(kind, lattice, there)
    error = float(residuals(matrix, lattice, there).max())
    if error > _MATRIX_TOLERANCE_PX:
        kind = "homography"
        matrix = least_squares(kind, lattice, there)
        error = float(residuals(matrix, lattice, there).max())
    return matrix, error, kind


def _pixels(
    correction: Transform, member: InputImage, reference: InputImage, xy: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, 2) native pixels of an image at (N, 2) reference pixels, if the map is so corrected."""
    mapping = GeoCorrection(correction, reference.summary(), member.summary(), True)
    return mapping.from_reference(_known(member))(xy)


def _known(member: InputImage) -> RasterInfo:
    assert member.info is not None, "only readable images are matched"
    return member.info


def _pair(values: NDArray[np.float64]) -> Pair:
    return float(values[0]), float(values[1])


def _rms(values: NDArray[np.float64]) -> float | None:
    return float(np.sqrt((values**2).mean())) if len(values) else None
