"""What a registration says of places: output pixels to the target's, and its map to the true one.

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
from imatch.geometry.correction import Correction
from imatch.pipeline.result import ImageSummary, Registration
from imatch.raster.geodesy import apply_affine, reproject_points
from imatch.raster.grid import PixelMap, beside
from imatch.raster.info import RasterInfo
from imatch.raster.lattice import Lattice

Places = NDArray[np.float64]
_HALF = 0.5
_CENTRE = Affine.translation(-_HALF, -_HALF)


@dataclass(frozen=True, eq=False)
class Mapping:
    """The places of a registration.

    Attributes:
        correction: True position to where the target puts it: in the reference's CRS where both
            images are geocoded, else reference pixel to target pixel.
        reference: The reference image.
        target: The target image.
        on_map: Whether the correction is one of the map.
    """

    correction: Correction
    reference: ImageSummary
    target: ImageSummary
    on_map: bool

    @classmethod
    def of(cls, registration: Registration) -> Mapping:
        """The mapping of a registration that has a transform.

        Raises:
            InputError: It has none.
        """
        on_map = registration.map_matrix is not None
        matrix = registration.map_matrix if on_map else registration.matrix
        if matrix is None:
            raise InputError(
                f"the registration is {registration.status}: {registration.reason}",
                hint="there is no transform to use",
            )
        correction = Correction(matrix, registration.local)
        return cls(correction, registration.reference, registration.target, on_map)

    @property
    def crs(self) -> CRS | None:
        """The reference's CRS; None where it is not geocoded."""
        return None if self.reference.crs is None else CRS.from_user_input(self.reference.crs)

    @property
    def reference_lattice(self) -> Lattice:
        """The reference's own pixels: on its map, or in the plane of its pixels."""
        size = self.reference.width, self.reference.height
        if self.reference.transform is None:
            return Lattice(Affine.identity(), None, *size)
        return Lattice(Affine(*self.reference.transform), self.crs, *size)

    def to_pixels(self, lattice: Lattice, info: RasterInfo) -> Callable[[ArrayLike], Places]:
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
        to_native = self._map_to_native(info) if self.on_map else self._frame_to_native(info)

        def convert(xy: ArrayLike) -> Places:
            return to_native(self.correction.apply(to_true(xy)))

        return convert

    def to_truth(self, crs: CRS | None) -> Callable[[ArrayLike], Places]:
        """From coordinates that lie as the target does to the true ones, for vectors.

        Args:
            crs: Their reference system; None for target pixels, the only coordinates there are
                where the target is not geocoded.

        Returns:
            A function from (N, 2) coordinates to (N, 2) corrected ones: in the same CRS, or, from
            target pixels, in that of the reference (its pixels where it is not geocoded either).

        Raises:
            InputError: Such coordinates are not what the registration corrects.
        """
        frame = self.crs
        if self.on_map:
            if crs is None:
                raise InputError(
                    "has no CRS, though the registration corrects the map",
                    hint="say in which CRS its coordinates are",
                )
            assert frame is not None
            system = frame

            def correct(xy: ArrayLike) -> Places:
                points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
                near = float(np.nanmedian(points[:, 0])) if crs.is_geographic else None
                believed = reproject_points(points, crs, system, near=self._longitude)
                return reproject_points(self.correction.inverse(believed), system, crs, near=near)

            return correct
        if crs is not None:
            raise InputError(
                "lies on a map, though the target's pixels were not",
                hint="give coordinates in pixels of the target",
            )
        transform = self.reference.transform

        def place(xy: ArrayLike) -> Places:
            pixels = self.correction.inverse(xy)
            return pixels if transform is None else apply_affine(Affine(*transform), pixels + _HALF)

        return place

    @property
    def _longitude(self) -> float | None:
        """Middle longitude of the reference, where its CRS is geographic."""
        crs, transform = self.crs, self.reference.transform
        if crs is None or transform is None or not crs.is_geographic:
            return None
        middle = Affine(*transform) @ (self.reference.width / 2, self.reference.height / 2)
        return float(middle[0])

    def _to_true(self, lattice: Lattice) -> Callable[[ArrayLike], Places]:
        """Output pixels to the frame of the correction."""
        frame, own = self.crs, self.reference.transform
        centred = lattice.transform @ Affine.translation(_HALF, _HALF)
        if lattice.crs is None:
            # The plane of the reference's pixels, which may itself be on the map.
            to_plane = centred
            if self.on_map:
                assert own is not None
                to_plane = Affine(*own) @ centred
            else:
                to_plane = _CENTRE @ centred
            return lambda xy: apply_affine(to_plane, xy)
        if frame is None or own is None:
            raise InputError("the reference is not geocoded", hint="use its own pixel grid")
        system = frame
        plane = Affine.identity() if self.on_map else _CENTRE @ ~Affine(*own)

        def true(xy: ArrayLike) -> Places:
            there = apply_affine(centred, xy)
            there = reproject_points(there, lattice.crs or system, system, near=self._longitude)
            return apply_affine(plane, there)

        return true

    def _map_to_native(self, info: RasterInfo) -> Callable[[ArrayLike], Places]:
        frame = self.crs
        assert frame is not None
        if not info.geocoded:
            raise InputError(
                "is not geocoded, though the registration corrects the map",
                subject=info.name,
                hint="apply it to products that have the target's geocoding",
            )
        longitude = self._longitude
        native, near = beside(info, frame, longitude or 0.0)
        return PixelMap(
            _CENTRE, native, frame, info.crs, work_near=longitude, native_near=near
        ).to_native

    def _frame_to_native(self, info: RasterInfo) -> Callable[[ArrayLike], Places]:
        """Target pixels to those of a sibling that shows the same frame."""
        scale = info.width / self.target.width, info.height / self.target.height
        if not np.isclose(scale[0] * self.target.height, scale[1] * self.target.height, atol=1.0):
            raise InputError(
                f"its {info.width}x{info.height} pixels are of another shape than the target's "
                f"{self.target.width}x{self.target.height}",
                subject=info.name,
                hint="apply the result to products of the target's frame",
            )
        to_sibling = _CENTRE @ Affine.scale(*scale) @ Affine.translation(_HALF, _HALF)
        return lambda xy: apply_affine(to_sibling, xy)
