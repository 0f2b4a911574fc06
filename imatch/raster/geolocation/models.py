"""Ground control points and rational polynomials as maps between pixels and the ground.

Both are GDAL's own transformers: ``GDALTPSTransform`` (a thin-plate spline that reproduces every
GCP, and whose way from pixels to the map is the iterated inverse of the way back) and
``GDALRPCTransform``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import TransformDirection
from rasterio.errors import TransformWarning
from rasterio.rpc import RPC
from rasterio.transform import GCPTransformer, RPCTransformer

from imatch.core.errors import InputError
from imatch.raster.gdal import explained, session

Kind: TypeAlias = Literal["gcps", "rpcs"]

#: Pixels to which GDAL iterates from a pixel to its place; its own default is a tenth.
_PIXEL_ERROR = 1e-6
_ITERATIONS = 50


@dataclass(frozen=True)
class ControlPoints:
    """A thin-plate spline through ground control points.

    Attributes:
        points: (column, row, x, y) of each, pixels corner-based.
        crs: CRS of x and y, as text.
        count: GCPs that the image has; a spline through more than a thousand takes some of them.
        agreement_px: Root mean square distance of a GCP from where the others put it, pixels.
    """

    points: tuple[tuple[float, float, float, float], ...]
    crs: str
    count: int
    agreement_px: float

    kind: ClassVar[Kind] = "gcps"

    def describe(self) -> str:
        """What locates the image: ``"144 GCPs"``."""
        return f"{self.count} GCPs"

    def make(self) -> Any:
        """GDAL's transformer."""
        gcps = [
            GroundControlPoint(col=column, row=row, x=x, y=y) for column, row, x, y in self.points
        ]
        return GCPTransformer(gcps, tps=True)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "kind": self.kind,
            "points": [list(point) for point in self.points],
            "crs": self.crs,
            "count": self.count,
            "agreement_px": self.agreement_px,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ControlPoints:
        """The inverse of `to_dict`."""
        rows = np.asarray(data["points"], dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != 4 or len(rows) < 3 or not np.isfinite(rows).all():
            raise InputError("its GCPs are no rows of four numbers", hint="write it anew")
        points = tuple((float(a), float(b), float(x), float(y)) for a, b, x, y in rows)
        return cls(points, str(data["crs"]), int(data["count"]), float(data["agreement_px"]))


@dataclass(frozen=True)
class RationalPolynomials:
    """Rational polynomial coefficients, at one height or over a DEM.

    Attributes:
        coefficients: Names and values as GDAL's ``RPC`` metadata has them.
        height: Metres above the ellipsoid, where there is no DEM.
        dem: File of the ground's heights; None for one height.
        own_height: Whether the height is the model's own offset, and nobody's wish.
    """

    coefficients: tuple[tuple[str, str], ...]
    height: float
    dem: str | None = None
    own_height: bool = False

    kind: ClassVar[Kind] = "rpcs"
    crs: ClassVar[str] = "EPSG:4326"

    def describe(self) -> str:
        """What locates the image: ``"RPCs at a height of 320 m"``."""
        if self.dem is not None:
            return f"RPCs over {Path(self.dem).name}"
        own = ", their own offset" if self.own_height else ""
        return f"RPCs at a height of {self.height:g} m{own}"

    def make(self) -> Any:
        """GDAL's transformer.

        Raises:
            InputError: The DEM cannot be opened, or the polynomials are degenerate.
        """
        options: dict[str, Any] = {
            "RPC_PIXEL_ERROR_THRESHOLD": _PIXEL_ERROR,
            "RPC_MAX_ITERATIONS": _ITERATIONS,
        }
        if self.dem is None:
            options["RPC_HEIGHT"] = self.height
        else:
            options |= {"RPC_DEM": self.dem, "RPC_DEMINTERPOLATION": "bilinear"}
        rpcs = RPC.from_gdal(dict(self.coefficients))
        cause = "cannot be inverted" if self.dem is None else "cannot be used as a DEM"
        with explained(self.dem or "RPCs", cause, "give a raster of heights"):
            return RPCTransformer(rpcs, **options)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "kind": self.kind,
            "coefficients": dict(self.coefficients),
            "height": self.height,
            "dem": self.dem,
            "own_height": self.own_height,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RationalPolynomials:
        """The inverse of `to_dict`."""
        coefficients = {str(k): str(v) for k, v in data["coefficients"].items()}
        RPC.from_gdal(coefficients)
        dem = data["dem"]
        return cls(
            tuple(sorted(coefficients.items())),
            float(data["height"]),
            None if dem is None else str(dem),
            bool(data["own_height"]),
        )


Model: TypeAlias = ControlPoints | RationalPolynomials


def to_ground(model: Model, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map (N, 2) corner-based pixels to (N, 2) coordinates in the model's CRS, NaN where none."""
    return _transformed(model, pixels, TransformDirection.forward)


def to_image(model: Model, coordinates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map (N, 2) coordinates in the model's CRS to (N, 2) corner-based pixels, NaN where none."""
    return _transformed(model, coordinates, TransformDirection.reverse)


def _transformed(
    model: Model, xy: NDArray[np.float64], direction: TransformDirection
) -> NDArray[np.float64]:
    out = np.full_like(xy, np.nan)
    usable = np.isfinite(xy).all(axis=1)
    if usable.any():
        x, y = xy[usable].T
        with _transformer(model).used() as transformer:
            found = transformer._transform(x, y, np.zeros(len(x)), direction)
        out[usable] = np.column_stack(found)
        out[~np.isfinite(out).all(axis=1)] = np.nan
    return out


class _Shared:
    """A transformer of GDAL's that threads take in turns: one over a DEM reads a file."""

    def __init__(self, model: Model) -> None:
        self._lock = Lock()
        with session():
            self._transformer = model.make()

    @contextmanager
    def used(self) -> Iterator[Any]:
        """Yields the transformer to one thread at a time."""
        with self._lock, session(), warnings.catch_warnings():
            warnings.simplefilter("ignore", TransformWarning)  # Of points without a place.
            yield self._transformer


@lru_cache(maxsize=32)
def _transformer(model: Model) -> _Shared:
    """Makes GDAL's transformer of a model, which itself has to be comparable and picklable."""
    return _Shared(model)
