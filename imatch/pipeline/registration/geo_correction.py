"""Maps positions between the target's geocoding and the true map, as a registration has it.

A registration of two geocoded images corrects the *map*: it tells where the target's geocoding puts
the ground that lies at a true position, in the reference's CRS. That does not depend on any pixel
size, so it serves every product with the same geocoding. Where one image is not geocoded the
correction leads from the reference's pixels to the target's, and a sibling of the target is taken
to show the same frame with other pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from rasterio.crs import CRS

from imatch.core.errors import InputError
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.pipeline.registration.validity import check_usable
from imatch.raster.common_grid import PixelMap, unwrap_longitude
from imatch.raster.geodesy import apply_affine, reproject_points
from imatch.raster.grid import Grid
from imatch.raster.info import RasterInfo

Places = NDArray[np.float64]
_HALF = 0.5
_CENTRE = Affine.translation(-_HALF, -_HALF)


@dataclass(frozen=True, eq=False)
class GeoCorrection:
    """Conversion of positions by a registration.

    Attributes:
        correction: True position to where the target puts it: in the reference's CRS where both
            images are geocoded, else reference pixel to target pixel.
        reference: The reference image.
        target: The target image.
        on_map: Whether the correction is one of the map.
    """

    correction: Transform
    reference: ImageSummary
    target: ImageSummary
    on_map: bool

    @classmethod
    def of(cls, registration: Registration) -> GeoCorrection:
        """Returns the correction of a registration that has a transform.

        Raises:
            InputError: It has none, or one that cannot be used.
        """
        on_map = registration.map_matrix is not None
        matrix = registration.map_matrix if on_map else registration.matrix
        if matrix is None:
            raise InputError(
                f"the registration is {registration.status}: {registration.reason}",
                hint="there is no transform to use",
            )
        check_usable(registration)
        correction = Transform(registration.model or "homography", matrix, registration.local)
        return cls(correction, registration.reference, registration.target, on_map)

    @property
    def crs(self) -> CRS | None:
        """The reference's CRS; None where it is not geocoded."""
        return self.written_crs if self.reference.geocoded else None

    @property
    def written_crs(self) -> CRS | None:
        """Returns the CRS written into outputs: the reference's own, a local one included."""
        return None if self.reference.crs is None else CRS.from_user_input(self.reference.crs)

    @property
    def dem(self) -> str | float | None:
        """The height of the ground that located target or reference by RPCs; None without one."""
        for image in (self.target, self.reference):
            if image.geolocation is not None and image.geolocation.dem is not None:
                return image.geolocation.dem
        return None

    @property
    def reference_lattice(self) -> Grid:
        """The reference's own pixels: on its map, or in the plane of its own coordinates.

        Of a reference that GCPs or RPCs locate, the pixels of the affine frame that fits it best.
        """
        return Grid(self._own, self.crs, self.reference.width, self.reference.height)

    @property
    def _own(self) -> Affine:
        """Corner-based reference pixels to its own coordinates; pixels, where it has no others."""
        own = self.reference.transform
        return Affine.identity() if own is None else Affine(*own)

    def from_reference(self, info: RasterInfo) -> Callable[[ArrayLike], Places]:
        """From the reference's native pixels to those of the target or a sibling of it.

        Args:
            info: The raster.

        Returns:
            A function from (N, 2) reference pixels to (N, 2) native pixels of the raster; NaN or
            infinite where there is none.

        Raises:
            InputError: As `to_pixels`.
        """
        to_native = (self._map_of(info) if self.on_map else self._frame_of(info)).to_native

        def convert(xy: ArrayLike) -> Places:
            points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
            true = self.reference.to_own(points) if self.on_map else points
            return to_native(self.correction.apply(true))

        return convert

    def to_pixels(self, lattice: Grid, info: RasterInfo) -> Callable[[ArrayLike], Places]:
        """From the pixels of an output to those of the target or a sibling of it.

        Args:
            lattice: The output.
            info: The raster to take pixels from: the target, or another product of its scene.

        Returns:
            A function from (N, 2) output pixels to (N, 2) native pixels of the raster; NaN or
            infinite where there is none.

        Raises:
            InputError: The raster has no geocoding although the target's was corrected, or the
                lattice lies on a map although nothing is geocoded.
        """
        to_true = self._to_true(lattice)
        to_native = (self._map_of(info) if self.on_map else self._frame_of(info)).to_native

        def convert(xy: ArrayLike) -> Places:
            return to_native(self.correction.apply(to_true(xy)))

        return convert

    def to_map(self, info: RasterInfo) -> Callable[[ArrayLike], Places]:
        """From the pixels of the target or a sibling of it to where their ground truly lies.

        Args:
            info: The raster.

        Returns:
            A function from (N, 2) native pixels to (N, 2) positions in the reference's own
            coordinates: what the transform of `reference_lattice` leads to.

        Raises:
            InputError: As `to_pixels`.
        """
        to_frame = (self._map_of(info) if self.on_map else self._frame_of(info)).to_work
        own = self.reference.transform is not None

        def convert(xy: ArrayLike) -> Places:
            true = self.correction.inverse(to_frame(xy))
            if self.on_map:
                return true
            # In the plane of bare pixels, corners are whole numbers.
            return self.reference.to_own(true) if own else true + _HALF

        return convert

    def to_truth(self, crs: CRS | None) -> Callable[[ArrayLike], Places]:
        """From coordinates that lie as the target does to the true ones, for vectors.

        Args:
            crs: Their reference system; None for pixels of the target, where the registration is
                one of pixels.

        Returns:
            A function from (N, 2) coordinates to (N, 2) corrected ones: from a map to the same
            CRS (see `moves_to`), from pixels to the reference's own coordinates.

        Raises:
            InputError: Such coordinates are not what the registration corrects.
        """
        system = self.crs
        if crs is None:
            if self.on_map:
                raise InputError(
                    "has no CRS, though the registration corrects the map",
                    hint="say in which CRS its coordinates are",
                )
            return self._place_pixels
        if not self.on_map and not self.target.geocoded:
            raise InputError(
                "lies on a map, though the target does not",
                hint="give coordinates in pixels of the target",
            )

        def correct(xy: ArrayLike) -> Places:
            points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
            if self.on_map:
                assert system is not None
                believed = reproject_points(points, crs, system, near=self._longitude)
                true, true_crs = self.correction.inverse(believed), system
            else:
                true = self._place_pixels(self._target_pixels(points, crs))
                if system is None:
                    return true
                true_crs = system
            moved = reproject_points(true, true_crs, crs)
            if crs.is_geographic:
                # Each on the side of the antimeridian from which it came.
                moved[:, 0] -= 360.0 * np.round((moved[:, 0] - points[:, 0]) / 360.0)
            return moved

        return correct

    def moves_to(self, crs: CRS | None) -> CRS | None:
        """The CRS of what `to_truth` makes of coordinates in a CRS; None where none is known."""
        return self.written_crs if crs is None or self.crs is None else crs

    def _place_pixels(self, xy: ArrayLike) -> Places:
        """Target pixels to the reference's coordinates, or its pixels where it has no others."""
        return self.reference.to_own(self.correction.inverse(xy))

    def _target_pixels(self, xy: Places, crs: CRS) -> Places:
        """Map coordinates to the target's pixels, by its own geocoding."""
        transform, own = self.target.transform, self.target.crs
        assert transform is not None
        assert own is not None
        system = CRS.from_user_input(own)
        near = None
        if system.is_geographic:
            near = (Affine(*transform) @ (self.target.width / 2, self.target.height / 2))[0]
        return self.target.to_native(reproject_points(xy, crs, system, near=near))

    @property
    def _longitude(self) -> float | None:
        """Middle longitude of the reference, where its CRS is geographic."""
        crs, transform = self.crs, self.reference.transform
        if crs is None or transform is None or not crs.is_geographic:
            return None
        middle = Affine(*transform) @ (self.reference.width / 2, self.reference.height / 2)
        return float(middle[0])

    def _to_true(self, lattice: Grid) -> Callable[[ArrayLike], Places]:
        """Output pixels to the frame of the correction."""
        frame = self.crs
        centred = lattice.transform @ Affine.translation(_HALF, _HALF)
        bent = not self.on_map and self.reference.geolocation is not None
        plane = Affine.identity() if self.on_map or bent else _CENTRE @ ~self._own
        if lattice.crs is None:
            to_plane = plane @ centred
            return lambda xy: apply_affine(to_plane, xy)
        if frame is None:
            raise InputError("the reference is not geocoded", hint="use its own pixel grid")
        system = frame

        def true(xy: ArrayLike) -> Places:
            there = apply_affine(centred, xy)
            there = reproject_points(there, lattice.crs or system, system, near=self._longitude)
            return self.reference.to_native(there) if bent else apply_affine(plane, there)

        return true

    def _map_of(self, info: RasterInfo) -> PixelMap:
        """Between the reference's map and the pixels of a raster, as its geocoding has it."""
        frame = self.crs
        assert frame is not None
        info.check_place()
        if not info.geocoded:
            raise InputError(
                "is not geocoded, though the registration corrects the map",
                subject=info.name,
                hint="apply it to products that have the target's geocoding",
            )
        longitude = self._longitude
        native, near = unwrap_longitude(info, frame, longitude or 0.0)
        return PixelMap(
            _CENTRE,
            native,
            frame,
            info.crs,
            work_near=longitude,
            native_near=near,
            native_bend=info.geolocation,
        )

    def _frame_of(self, info: RasterInfo) -> PixelMap:
        """Between the target's pixels and those of a sibling: by geocoding, else by their frame."""
        target = self.target
        if target.geocoded and info.geocoded:
            assert target.crs is not None
            assert target.transform is not None
            system, own = CRS.from_user_input(target.crs), Affine(*target.transform)
            near = None
            if system.is_geographic:
                near = (own @ (target.width / 2, target.height / 2))[0]
            native, other = unwrap_longitude(info, system, near or 0.0)
            return PixelMap(
                own,
                native,
                system,
                info.crs,
                work_near=near,
                native_near=other,
                work_bend=target.geolocation,
                native_bend=info.geolocation,
            )
        scale = info.width / target.width, info.height / target.height
        if not np.isclose(scale[0] * target.height, scale[1] * target.height, atol=1.0):
            raise InputError(
                f"its {info.width}x{info.height} pixels are of another shape than the target's "
                f"{target.width}x{target.height}",
                subject=info.name,
                hint="apply the result to products of the target's frame",
            )
        return PixelMap.resize(info.size, (target.width, target.height))
