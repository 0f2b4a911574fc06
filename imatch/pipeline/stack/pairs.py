"""Converts a pair's registration to an edge of the network, with its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS
from shapely.geometry import Polygon, box

from imatch.geometry.adjustment.network import Edge
from imatch.geometry.alignment.systematic import BENT_95
from imatch.geometry.fit import jacobian
from imatch.geometry.transform import ModelKind, apply_matrix
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.raster import Grid, RasterInfo
from imatch.raster.geodesy import apply_affine, reproject_points

# Half-width of a normal distribution's 95 % interval.
NORMAL_95 = 1.959964
# Points of an overlap: its middle and as many along its border, drawn in by a tenth.
_BORDER, _DRAWN_IN = 8, 0.9
# An overlap of fewer pixels says nothing.
_LEAST_AREA = 64.0


@dataclass(frozen=True, eq=False)
class Frames:
    """The planes in which a stack is solved.

    With a map there is one plane for all: metres east and north of the reference's middle. Each
    image believes to know where it is in it, and is to be corrected. Without, each image has its
    own plane: its pixels.

    Attributes:
        pixel: (n,) length of a pixel of each image in its plane.
        metres: (n,) metres per unit of each plane, NaN where unknown.
        crs: System of the map; None where there is none.
        to_plane: (3, 3) map coordinate to plane; the identity without a map.
    """

    pixel: NDArray[np.float64]
    metres: NDArray[np.float64]
    crs: CRS | None = None
    to_plane: NDArray[np.float64] | None = None

    @property
    def on_map(self) -> bool:
        """Whether there is one plane for all."""
        return self.crs is not None

    @classmethod
    def of(
        cls, infos: Sequence[RasterInfo], reference: int, *, use_map: bool, gsd_m: float | None
    ) -> Frames:
        """Returns the frames in which some images are solved.

        Args:
            infos: The images.
            reference: Whose map it is.
            use_map: Whether to believe in maps at all; without effect unless all are geocoded.
            gsd_m: Metres per reference pixel given by the user, for images that do not say.

        Raises:
            InputError: A map is to be believed in that makes no sense.
        """
        if use_map:
            for info in infos:
                info.check_place()
        sizes = np.array([_gsd(info) for info in infos])
        if not (use_map and all(info.geocoded for info in infos)):
            metres = np.where(np.isnan(sizes) & (gsd_m is not None), gsd_m or np.nan, sizes)
            return cls(np.ones(len(infos)), metres)
        info = infos[reference]
        assert info.crs is not None
        grid = Grid(info.transform, info.crs, info.width, info.height)
        units = grid.metres_per_unit
        metres = np.full(len(infos), np.nan if units is None else 1.0)
        if units is None:
            units = (1.0, 1.0)
            sizes = np.full(len(infos), float(np.sqrt(abs(info.transform.determinant))))
        x, y = grid.centre
        plane = np.array([[units[0], 0, -units[0] * x], [0, units[1], -units[1] * y], [0, 0, 1]])
        return cls(sizes, metres, info.crs, plane)

    def of_map(self, xy: ArrayLike, crs: CRS) -> NDArray[np.float64]:
        """(N, 2) positions in the plane of (N, 2) map coordinates in any system."""
        assert self.crs is not None
        assert self.to_plane is not None
        near = None
        if self.crs.is_geographic:
            near = float(np.linalg.inv(self.to_plane)[0, 2])
        return apply_matrix(self.to_plane, reproject_points(xy, crs, self.crs, near=near))


def edge_of(registration: Registration, a: int, b: int, frames: Frames) -> Edge | str:
    """A pair as an edge of the network.

    Args:
        registration: Of image `b` onto image `a`.
        a: Place of its reference in the stack.
        b: Place of its target.
        frames: The planes.

    Returns:
        The edge, weak unless the registration is ok; or why it cannot serve as one.
    """
    if registration.transform is None:
        return registration.reason
    sigma = stated_sigma(registration)
    if sigma is None:
        return "its uncertainty is unbounded"
    overlap = overlap_polygon(
        registration.transform.matrix, registration.reference, registration.target
    )
    if overlap.is_empty or overlap.area < _LEAST_AREA:
        return "it leaves next to no overlap"
    inside = spread(overlap)
    width, height = registration.reference.width, registration.reference.height
    pixels = np.concatenate([inside, _corners(width, height)])
    mapping = GeoCorrection.of(registration)
    if frames.on_map:
        if not mapping.on_map or registration.reference.transform is None or mapping.crs is None:
            return "it does not say where on the map it lies"
        own = Affine(*registration.reference.transform)
        true = apply_affine(own, pixels + 0.5)
        start = frames.of_map(true, mapping.crs)
        end = frames.of_map(mapping.correction.apply(true), mapping.crs)
    else:
        if registration.local is not None and mapping.on_map:
            return "its local displacement is one of the map"
        start, end = pixels, _moved(mapping, registration, pixels)
    count = len(inside)
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        return "it sends places to infinity"
    model = registration.transform.kind
    reach = np.hypot(*(end[count:] - end[0]).T).max()
    pixel = float(frames.pixel[b])
    alike = systematic_variance(registration)
    chance = tuple(pixel * float(np.sqrt(s**2 - alike.mean())) for s in sigma)
    covariance = stated_covariance(model, end[:count], end[0], chance, float(reach))
    weak = registration.status != "ok"
    x, y = pixel**2 * alike
    systematic = float(x), float(y)
    return Edge(a, b, start[:count], end[:count], covariance, model, weak, systematic)


def stated_sigma(registration: Registration) -> tuple[float, float] | None:
    """Standard deviation of a coordinate at the centre and at the worst corner, target pixels.

    None where the registration does not bound them.
    """
    stated, corner = registration.ci95_px, registration.certificate.corner_ci95_px
    if stated is None or corner is None:
        return None
    centre = np.array(stated)
    if not np.isfinite(centre).all():
        return None
    # Per coordinate: the corner's figure is the length of both half-widths together.
    one = float(np.hypot(*centre)) / np.sqrt(2) / NORMAL_95
    other = corner / np.sqrt(2) / NORMAL_95
    return one, max(one, other)


def systematic_variance(registration: Registration) -> NDArray[np.float64]:
    """(2,) variance of the part of the stated uncertainty that both images carry into other pairs.

    What season and sun move, and ground that is bent: square target pixels along x and y.
    """
    stated, none = registration.certificate, (0.0, 0.0)
    bent, seen = np.array(stated.misfit_px or none), np.array(stated.appearance_px or none)
    whole = (np.array(registration.ci95_px or none) / NORMAL_95) ** 2
    return np.asarray(np.minimum((BENT_95 / NORMAL_95 * bent) ** 2 + seen**2, whole))


def stated_covariance(
    kind: ModelKind,
    xy: NDArray[np.float64],
    centre: NDArray[np.float64],
    sigma: tuple[float, ...],
    reach: float,
) -> NDArray[np.float64]:
    """Converts two stated deviations to the covariance of all points together.

    The error of a transform is an error of its parameters: a shift, known as well as the centre is,
    and for all but translations a linear part about the centre, known so well that both together
    make the corner's figure.

    Args:
        kind: Family of the transform.
        xy: (K, 2) mapped points.
        centre: (2,) the mapped centre.
        sigma: Standard deviation of a coordinate at the centre and at the corner.
        reach: Distance between the two.

    Returns:
        (2K, 2K), the x and y of each point in turn.
    """
    linear = np.sqrt(max(sigma[1] ** 2 - sigma[0] ** 2, 0.0)) / max(reach, 1e-12)
    parts = [np.tile(np.eye(2), (len(xy), 1, 1)) * sigma[0]]
    if kind != "translation":
        family: ModelKind = "similarity" if kind == "similarity" else "affine"
        fields = jacobian(family, np.eye(3), xy - centre)
        moving = [0, 1] if family == "similarity" else [0, 1, 3, 4]
        parts.append(fields[:, :, moving] * linear)
    spread = np.concatenate(parts, axis=2).reshape(2 * len(xy), -1)
    return np.asarray(spread @ spread.T)


def overlap_polygon(
    matrix: NDArray[np.float64], reference: ImageSummary, target: ImageSummary
) -> Polygon:
    """The part of the reference's frame, in its pixels, that a transform puts on the target's."""
    frame = box(-0.5, -0.5, reference.width - 0.5, reference.height - 0.5)
    corners = _corners(target.width, target.height)
    with np.errstate(divide="ignore", invalid="ignore"):
        there = apply_matrix(np.linalg.inv(matrix), corners)
    if not np.isfinite(there).all():
        return Polygon()
    shape = Polygon(there)
    return frame.intersection(shape) if shape.is_valid else Polygon()


def spread(polygon: Polygon) -> NDArray[np.float64]:
    """(9, 2) points of a convex polygon: its middle first, then round its border."""
    middle = np.array(polygon.centroid.coords)
    border = np.array(
        [polygon.exterior.interpolate(i / _BORDER, normalized=True).coords[0] for i in range(8)]
    )
    return np.concatenate([middle, middle + _DRAWN_IN * (border - middle)])


def _moved(
    mapping: GeoCorrection, registration: Registration, pixels: NDArray[np.float64]
) -> NDArray[np.float64]:
    if mapping.on_map:
        assert registration.transform is not None
        return registration.transform.apply(pixels)
    return mapping.correction.apply(pixels)


def _corners(width: int, height: int) -> NDArray[np.float64]:
    right, bottom = width - 1, height - 1
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], dtype=np.float64)


def _gsd(info: RasterInfo) -> float:
    return np.nan if info.gsd_m is None else float(np.sqrt(info.gsd_m[0] * info.gsd_m[1]))
