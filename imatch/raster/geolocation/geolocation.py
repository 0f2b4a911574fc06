"""A curved geocoding: an affine frame, and by how much pixels lie elsewhere in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from imatch.core.errors import InputError
from imatch.raster.geodesy import apply_affine, fitted_affine
from imatch.raster.geolocation.models import (
    ControlPoints,
    Model,
    RationalPolynomials,
    to_ground,
    to_image,
)

#: Nodes along each axis of the lattice on which a geolocation is fitted and tried.
LATTICE = 17
#: Sides of the image beyond it up to which a model is believed; polynomials run wild.
_BEYOND = 1.0


@dataclass(frozen=True)
class Geolocation:
    """Where pixels lie when no geotransform says it.

    The geocoding is split in two: a curved part from native pixels to *flat* ones, and an affine
    transform from these to the map, the one that fits the image best. Whatever can do with an
    affine transform uses that; whatever needs exact places bends them first.

    Attributes:
        model: The GCPs or RPCs.
        frame: Corner-based flat pixels of the whole image to the map.
        size: (width, height) of the whole image.
        origin: (column, row) of the pixel that counts as the first, for windows.
    """

    model: Model
    frame: Affine
    size: tuple[int, int]
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def over(cls, model: Model, size: tuple[int, int]) -> Geolocation | None:
        """Fit the affine frame of an image.

        Args:
            model: The GCPs or RPCs.
            size: (width, height) of the image.

        Returns:
            The geolocation; None where some of the image has no place.
        """
        pixels = lattice(size)
        coordinates = to_ground(model, pixels)
        if not np.isfinite(coordinates).all():
            return None
        return cls(model, fitted_affine(pixels, coordinates), size)

    def to_flat(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) native pixels, corner-based, to flat ones; NaN where there is none."""
        native = np.asarray(xy, dtype=np.float64).reshape(-1, 2) + self.origin
        with np.errstate(invalid="ignore"):
            native = np.where(self._near(native)[:, None], native, np.nan)
        return apply_affine(~self.frame, to_ground(self.model, native)) - self.origin

    def to_native(self, xy: ArrayLike) -> NDArray[np.float64]:
        """Map (N, 2) flat pixels, corner-based, to native ones; NaN where there is none."""
        flat = np.asarray(xy, dtype=np.float64).reshape(-1, 2) + self.origin
        with np.errstate(invalid="ignore"):
            flat = np.where(self._near(flat)[:, None], flat, np.nan)
        return to_image(self.model, apply_affine(self.frame, flat)) - self.origin

    @property
    def dem(self) -> str | float | None:
        """The height of the ground that was asked for: a file, or metres; None for neither."""
        if not isinstance(self.model, RationalPolynomials) or self.model.own_height:
            return None
        return self.model.dem if self.model.dem is not None else self.model.height

    def within(self, left: int, top: int) -> Geolocation:
        """Returns the geolocation of a window of the image."""
        return replace(self, origin=(self.origin[0] + left, self.origin[1] + top))

    def relief_px(self, height: float = 100.0) -> float | None:
        """Pixels by which so many metres of relief displace the image's middle; None over a DEM."""
        if not isinstance(self.model, RationalPolynomials) or self.model.dem is not None:
            return None
        middle = np.array([self.size], dtype=np.float64) / 2
        raised = replace(self.model, height=self.model.height + height)
        step = to_image(raised, to_ground(self.model, middle)) - middle
        return float(np.hypot(*step[0]))

    @property
    def note(self) -> str | None:
        """Returns a note on how far the geocoding is to be trusted; None without any."""
        if isinstance(self.model, ControlPoints):
            spread = self.model.agreement_px
            return f"which agree with one another to {spread:.1f} px" if spread > 1 else None
        relief = self.relief_px()
        if relief is None:
            return None
        return f"relief is not accounted for: 100 m of height move a place by {relief:.2g} px"

    def describe(self) -> str:
        """What locates the image, and how far to trust that."""
        text = self.model.describe()
        return text if self.note is None else f"{text} ({self.note})"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            **self.model.to_dict(),
            "frame": list(self.frame)[:6],
            "size": list(self.size),
            "origin": list(self.origin),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Geolocation:
        """The inverse of `to_dict`.

        Raises:
            InputError: The document makes no sense.
        """
        model: Model
        if data["kind"] == ControlPoints.kind:
            model = ControlPoints.from_dict(data)
        elif data["kind"] == RationalPolynomials.kind:
            model = RationalPolynomials.from_dict(data)
        else:
            raise InputError(f"unknown geolocation {data['kind']!r}", hint="write it anew")
        frame = Affine(*(float(v) for v in data["frame"]))
        if frame.is_degenerate:
            raise InputError("the frame of its geolocation is singular", hint="write it anew")
        (width, height), (left, top) = data["size"], data["origin"]
        return cls(model, frame, (int(width), int(height)), (int(left), int(top)))

    def _near(self, xy: NDArray[np.float64]) -> NDArray[np.bool_]:
        """(N,) whether whole-image pixels lie on the image or not far beyond it."""
        size = np.array(self.size)
        inside = (xy >= -_BEYOND * size) & (xy <= (1 + _BEYOND) * size)
        return np.asarray(inside.all(axis=1))


def lattice(size: tuple[int, int], count: int = LATTICE) -> NDArray[np.float64]:
    """(N, 2) corner-based pixels from corner to corner of an image."""
    x, y = (np.linspace(0, side, count) for side in size)
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
