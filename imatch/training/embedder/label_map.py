"""Label maps: classes of the ground of a chip, from a categorical raster or from polygons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.vrt import WarpedVRT

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.manifest import ChipRow
from imatch.raster.gdal import check_file, explained, session
from imatch.raster.remote.reach import check_reach
from imatch.raster.vectors import reading_vectors
from imatch.training.embedder.config import EmbedderLabelConfig

_VECTORS = frozenset({".geojson", ".json", ".gpkg", ".shp", ".fgb", ".gml", ".kml"})
#: Side of the grid on which shares are counted, cells.
_GRID = 64


class LabelMap:
    """Classes on the ground.

    Args:
        config: Which map, and which of its classes.

    Attributes:
        classes: What the numbers of `grid` mean: values of a raster or of a column of polygons.

    Raises:
        InputError: The file is missing, or holds no classes.
        ConfigError: There is no such column.
    """

    def __init__(self, config: EmbedderLabelConfig) -> None:
        assert config.path is not None
        self.path, self.min_known = config.path, config.min_known
        check_file(self.path)
        self._polygons: Any = None
        if self.path.suffix.lower() in _VECTORS:
            self._values, self._polygons = _polygons(self.path, config.column)
            found: Sequence[Any] = sorted(set(self._values))
            # Without a column, what the polygons leave is a class as well.
            found = found if config.column is not None else ["rest", *found]
        else:
            found = _values(self.path)
        self.classes: tuple[int | str, ...] = tuple(config.classes or found)
        if len(self.classes) < 2:
            raise InputError(
                f"holds {len(self.classes)} class(es); two are needed",
                subject=self.path,
                hint="name another map, or a column of the polygons with labels.column",
            )

    def grid(self, row: ChipRow, size: int = _GRID) -> NDArray[np.int16]:
        """Classes on a grid over a chip.

        Args:
            row: The chip.
            size: Cells along the chip's longer side; the grid is square, as chips are filled up.

        Returns:
            (size, size), number of the class, -1 where there is none or no map.

        Raises:
            InputError: The map cannot be read there.
        """
        grid = np.full((size, size), -1, dtype=np.int16)
        if not row.crs:
            return grid
        longer = max(row.width, row.height)
        width, height = (max(1, round(size * n / longer)) for n in (row.width, row.height))
        across, down = (row.right - row.left) / width, (row.top - row.bottom) / height
        transform = Affine(across, 0, row.left, 0, -down, row.top)
        crs = CRS.from_user_input(row.crs)
        read = self._burnt if self._polygons is not None else self._warped
        grid[:height, :width] = read(crs, transform, width, height)
        return grid

    def shares(self, rows: Sequence[ChipRow]) -> NDArray[np.float32]:
        """Returns (N, K) shares of the classes in a chip's labelled ground, rows summing to 1.

        Zeros where less than ``min_known`` of the chip has a class.

        Raises:
            ConfigError: No chip lies on the map.
        """
        by_site: dict[str, NDArray[np.float64]] = {}
        for row in rows:
            if row.site not in by_site:
                grid = self.grid(row)
                counted = np.bincount(grid[grid >= 0], minlength=len(self.classes))
                enough = counted.sum() >= self.min_known * grid.size
                by_site[row.site] = counted / max(counted.sum(), 1) * enough
        shares = np.array([by_site[row.site] for row in rows], dtype=np.float32)
        if not shares.any():
            raise ConfigError(
                "covers none of the chips",
                subject=self.path,
                hint="name a map of the chips' ground; chips need geocoding",
            )
        return shares

    def _warped(self, crs: CRS, transform: Any, width: int, height: int) -> NDArray[np.int16]:
        name = str(self.path)
        check_reach(name)
        with (
            session(),
            explained(name, "cannot be read as a label map", "give a categorical raster"),
            rasterio.open(name) as data,
            WarpedVRT(
                data,
                crs=crs,
                transform=transform,
                width=width,
                height=height,
                resampling=Resampling.nearest,
            ) as seen,
        ):
            values, valid = seen.read(1), seen.dataset_mask() > 0
        out = np.full(values.shape, -1, dtype=np.int16)
        for number, value in enumerate(self.classes):
            out[(values == value) & valid] = number
        return out

    def _burnt(self, crs: CRS, transform: Any, width: int, height: int) -> NDArray[np.int16]:
        shapes = self._polygons.to_crs(crs.to_wkt())
        rest = self.classes.index("rest") if "rest" in self.classes else -1
        numbers = {value: number for number, value in enumerate(self.classes)}
        burnt = [
            (shape, numbers[value])
            for shape, value in zip(shapes, self._values, strict=True)
            if value in numbers and shape is not None and not shape.is_empty
        ]
        if not burnt:
            return np.full((height, width), rest, dtype=np.int16)
        return np.asarray(
            rasterize(burnt, (height, width), fill=rest, transform=transform, dtype="int16")
        )


def one_hot(grid: NDArray[np.int16], classes: int) -> NDArray[np.float32]:
    """Converts (H, W) numbers of classes to (K, H, W) planes of 0 and 1; -1 is in none."""
    return np.asarray(grid[None] == np.arange(classes)[:, None, None], dtype=np.float32)


def _values(path: Path) -> list[int]:
    """Returns the values of a categorical raster, from a reduced view of it."""
    name = str(path)
    check_reach(name)
    hint = "give a raster of whole numbers, one a class"
    with (
        session(),
        explained(name, "cannot be read as a label map", hint),
        rasterio.open(name) as d,
    ):
        if np.dtype(d.dtypes[0]).kind not in "iu":
            raise InputError(f"holds {d.dtypes[0]} values, not classes", subject=path, hint=hint)
        shape = (min(d.height, 1024), min(d.width, 1024))
        values = d.read(1, out_shape=shape, resampling=Resampling.nearest)
        valid = d.read_masks(1, out_shape=shape) > 0
    found = np.unique(values[valid])
    if len(found) > 256:
        raise InputError(f"holds {len(found)} values", subject=path, hint=hint)
    return [int(value) for value in found]


def _polygons(path: Path, column: str | None) -> tuple[list[str], Any]:
    """Class and shape of every polygon."""
    import geopandas

    with reading_vectors(path, "cannot be read as polygons"):
        frame = geopandas.read_file(path)
    if "geometry" not in frame or not len(frame) or frame.geometry.crs is None:
        raise InputError("holds no polygons with a map", subject=path, hint="give one with a CRS")
    if column is not None and column not in frame:
        known = ", ".join(name for name in frame.columns if name != "geometry")
        raise ConfigError(f"has no column {column!r}", subject=path, hint=f"it has {known}")
    values = ["polygon"] * len(frame) if column is None else [str(v) for v in frame[column]]
    return values, frame.geometry
