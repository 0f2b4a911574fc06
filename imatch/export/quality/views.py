"""Views of a pair on the reference's pixels, before and after registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike
from typing import TypeAlias

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray

from imatch.core.types import Rendered
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import ImageSummary, Registration
from imatch.raster import Source, open_source, render
from imatch.raster.grid import Grid

Image: TypeAlias = "Source | str | PathLike[str]"
Points: TypeAlias = NDArray[np.float64]
Convert: TypeAlias = Callable[[ArrayLike], Points]

_SAMPLES = 65


@dataclass(frozen=True)
class ViewFrame:
    """A part of the reference, resampled to pixels of its own.

    Attributes:
        left: Its left edge, corner-based reference pixels.
        top: Its upper edge.
        step: Reference pixels a pixel of the frame, 1 or more.
        width: Columns.
        height: Rows.
    """

    left: float
    top: float
    step: float
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        """Returns (width, height)."""
        return self.width, self.height

    def to_reference(self, xy: ArrayLike) -> Points:
        """Converts (N, 2) pixels of the frame to reference pixels."""
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        return (points + 0.5) * self.step + (self.left, self.top) - 0.5

    def from_reference(self, xy: ArrayLike) -> Points:
        """Converts (N, 2) reference pixels to pixels of the frame."""
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        return (points + 0.5 - (self.left, self.top)) / self.step - 0.5

    def grid(self, reference: Grid) -> Grid:
        """Returns the frame as a grid, given the reference's."""
        place = Affine.translation(self.left, self.top) @ Affine.scale(self.step)
        return Grid(reference.transform @ place, reference.crs, self.width, self.height)


@dataclass(frozen=True, eq=False)
class ChipView:
    """Reference and target, before and after registration, in one frame.

    Attributes:
        frame: Where it lies.
        ref: The reference.
        before: The target as its geocoding (or a plain resize) lays it on the reference.
        after: The target as registered; None without a transform.
    """

    frame: ViewFrame
    ref: Rendered
    before: Rendered
    after: Rendered | None


class ViewPair:
    """A registration with its images, rendered on the reference's pixels.

    Args:
        registration: The result of the match.
        ref: The reference: a source, or a file whose bands are those that were matched.
        tgt: The target.

    Raises:
        InputError: An image cannot be read.
    """

    def __init__(self, registration: Registration, ref: Image, tgt: Image) -> None:
        self.registration = registration
        self.ref = _opened(ref, registration.reference)
        self.tgt = _opened(tgt, registration.target)
        self.before = self._initial_correction()
        self.after = None if registration.transform is None else GeoCorrection.of(registration)

    @property
    def without_local(self) -> GeoCorrection | None:
        """Returns the registration with its global transform alone."""
        if self.after is None:
            return None
        return replace(self.after, correction=replace(self.after.correction, local=None))

    def to_target(self, mapping: GeoCorrection, frame: ViewFrame | None = None) -> Convert:
        """Returns the map from pixels of a frame (or of the whole reference) to target pixels."""
        convert = mapping.from_reference(self.tgt.info)
        return convert if frame is None else lambda xy: convert(frame.to_reference(xy))

    def along_reference_axes(self, mapping: GeoCorrection, vectors: Points) -> Points:
        """Rotates (N, 2) displacements in target pixels to the reference's axes; lengths stay."""
        middle = np.array(self.ref.info.size) / 2
        native = self.to_target(mapping)(np.add(middle, [[0, 0], [1, 0], [0, 1]]))
        jacobian = (native[1:] - native[0]).T
        if not np.isfinite(jacobian).all():
            return vectors
        # The orthogonal matrix nearest to the derivative (Higham, 1986).
        left, _, right = np.linalg.svd(jacobian)
        return np.asarray(vectors @ (left @ right))

    def overlap(self, longest: int) -> ViewFrame:
        """Returns the part of the reference that the target covers, at most `longest` pixels."""
        width, height = self.ref.info.size
        x, y = np.linspace(0, width - 1, _SAMPLES), np.linspace(0, height - 1, _SAMPLES)
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        native = self.to_target(self.after or self.before)(points)
        with np.errstate(invalid="ignore"):
            inside = (native > -0.5).all(axis=1) & (native < np.array(self.tgt.info.size)).all(1)
        seen = points[inside] if inside.any() else points
        pad = np.array([width, height]) / (_SAMPLES - 1)
        low = np.maximum(0, np.floor(seen.min(axis=0) - pad))
        high = np.minimum([width, height], np.ceil(seen.max(axis=0) + 1 + pad))
        step = max(1.0, float((high - low).max()) / longest)
        columns, rows = np.maximum(1, np.floor((high - low) / step + 1e-9)).astype(int)
        return ViewFrame(float(low[0]), float(low[1]), step, int(columns), int(rows))

    def coarser_step(self, at: ArrayLike) -> float:
        """Returns reference pixels a pixel of the coarser image, near a reference pixel."""
        if self.after is None:
            return 1.0
        steps = np.add(at, [[0, 0], [1, 0], [0, 1]])
        native = self.to_target(self.after)(steps)
        area = abs(np.linalg.det(native[1:] - native[0]))
        return float(max(1.0, 1 / np.sqrt(area))) if np.isfinite(area) and area > 0 else 1.0

    def view(self, frame: ViewFrame) -> ChipView:
        """Renders a frame of both images, in grey."""
        grid = frame.grid(self.before.reference_lattice)
        images = [
            render(self.ref.read_through(grid, frame.to_reference), 1),
            *(
                render(self.tgt.read_through(grid, self.to_target(mapping, frame)), 1)
                for mapping in (self.before, self.after)
                if mapping is not None
            ),
        ]
        return ChipView(frame, images[0], images[1], images[2] if len(images) == 3 else None)

    def _initial_correction(self) -> GeoCorrection:
        """Returns the correction by the target's geocoding, or a resize where there is none."""
        registration = self.registration
        reference, target = registration.reference, registration.target
        compared = registration.provenance.get("config", {}).get("use_geocoding", True)
        geocoded = self.ref.info.geocoded and self.tgt.info.geocoded and compared
        if registration.map_matrix is not None or (registration.transform is None and geocoded):
            return GeoCorrection(
                Transform("translation", np.eye(3)), reference, target, on_map=True
            )
        x, y = target.width / reference.width, target.height / reference.height
        resize = np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
        return GeoCorrection(Transform("affine", resize), reference, target, on_map=False)


def _opened(image: Image, summary: ImageSummary) -> Source:
    if isinstance(image, Source):
        return image
    bend = summary.geolocation
    dem = None if bend is None else bend.dem
    return open_source(image, bands=summary.bands or None, dem=dem)
