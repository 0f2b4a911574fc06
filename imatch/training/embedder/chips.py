"""Chips of a data set by place, date and position, as samplers choose them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.core.types import BoolArray
from imatch.datasets.chip_files import ChipCache
from imatch.datasets.manifest import ChipRow, DatasetManifest, load_manifest
from imatch.datasets.pairs import stretch_chip

CENTRE = -1
"""The crop in the middle of a chip; 0 to 3 are those in its corners."""


@dataclass(frozen=True, eq=False)
class Layout:
    """Where and when chips are.

    Attributes:
        place: (N,) number of the ground a chip shows.
        when: (N,) number of its season, or of its date where the season is unknown.
        grid: (N,) number of the grid it was cut on; positions compare within one.
        xy: (N, 2) position on that grid, in chips.
    """

    place: NDArray[np.int64]
    when: NDArray[np.int64]
    grid: NDArray[np.int64]
    xy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.place)

    def far(self, chip: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns distances in chips along the longer axis; infinite on another grid."""
        gap = np.abs(self.xy[others] - self.xy[chip]).max(axis=1)
        return np.where(self.grid[others] == self.grid[chip], gap, np.inf)


class PlaceChips:
    """The chips of one split.

    Args:
        data: Folder of a prepared data set, or its manifest.
        split: ``train``, ``val`` or ``test``.
        bands: Bands wanted.
        size: Side at which a crop is seen, pixels.
        crop: Side of a crop as a share of the chip.
        sources: Only these.
        cache_mb: Decoded chips to keep in memory.

    Attributes:
        rows: The chips' rows of the manifest.
        layout: Where and when they are.

    Raises:
        InputError: The folder holds no data set.
        ConfigError: The split or a source does not exist, or nothing is left.
    """

    def __init__(
        self,
        data: Path | DatasetManifest,
        split: str,
        *,
        bands: int = 3,
        size: int = 224,
        crop: float = 0.896,
        sources: Sequence[str] | None = None,
        cache_mb: float = 512.0,
    ) -> None:
        manifest = data if isinstance(data, DatasetManifest) else load_manifest(data)
        manifest.check_sources(sources)
        rows = [
            chip
            for chip in manifest.chips
            if chip.split == split and (sources is None or chip.source in sources)
        ]
        if not rows:
            splits = sorted({chip.split for chip in manifest.chips})
            raise ConfigError(
                f"has no chips of {split}",
                subject=manifest.folder,
                hint=f"it has chips of {', '.join(splits)}",
            )
        self.manifest, self.split = manifest, split
        self.rows: tuple[ChipRow, ...] = tuple(rows)
        self.layout = layout_of(rows)
        self.bands, self.size, self.crop = bands, size, crop
        self._cache = ChipCache(manifest.folder, cache_mb)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, index: int, crop: int = CENTRE) -> tuple[NDArray[np.float32], BoolArray]:
        """Returns a crop of a chip, each band stretched to the chip's 1 to 99 % range.

        Args:
            index: Which chip.
            crop: `CENTRE`, or 0 to 3 for a corner.

        Returns:
            (bands, size, size) float32 in [0, 1] and (size, size) bool.

        Raises:
            InputError: The chip is missing or damaged, or has another number of bands.
        """
        row = self.rows[index]
        stored, valid = self._cache.read(row.path)
        channels: Literal[1, 3] | None = 1 if self.bands == 1 else 3 if self.bands == 3 else None
        image = stretch_chip(row, stored, valid, channels=channels)
        if len(image) != self.bands:
            raise InputError(
                f"has {len(image)} bands, the network wants {self.bands}",
                subject=row.path,
                hint=f"set model.bands={len(image)}, or prepare the data with other --bands",
            )
        return cropped(image, valid, self.crop, crop, self.size)


def layout_of(rows: Sequence[ChipRow]) -> Layout:
    """Numbers the places and seasons of chips, and finds their positions on their grids."""
    whens = [row.season if row.season != "unknown" else f"date {row.date}" for row in rows]
    width = np.array([max(abs(row.right - row.left), 1e-9) for row in rows])
    height = np.array([max(abs(row.top - row.bottom), 1e-9) for row in rows])
    left = np.array([row.left for row in rows])
    top = np.array([row.top for row in rows])
    return Layout(
        _numbered([row.site for row in rows]),
        _numbered(whens),
        _numbered([str(PurePosixPath(row.site).parent) for row in rows]),
        np.stack([left / width, -top / height], axis=1),
    )


def cropped(
    image: NDArray[np.float32], valid: BoolArray, share: float, corner: int, size: int
) -> tuple[NDArray[np.float32], BoolArray]:
    """Crops a square out of a chip and resizes it.

    Args:
        image: (C, H, W) in [0, 1].
        valid: (H, W) bool.
        share: Side of the square as a share of the chip's longer side.
        corner: `CENTRE`, or 0 to 3: top left, top right, bottom left, bottom right.
        size: Side it is resized to, pixels; smaller chips are filled up with no ground first.
    """
    side = max(valid.shape)
    padding = (0, side - valid.shape[0]), (0, side - valid.shape[1])
    image, valid = np.pad(image, ((0, 0), *padding)), np.pad(valid, padding)
    width = max(round(share * side), 1)
    spare = side - width
    x, y = (
        (spare // 2, spare // 2)
        if corner == CENTRE
        else (spare * (corner % 2), spare * (corner // 2))
    )
    part = np.s_[y : y + width, x : x + width]
    image, valid = image[:, *part], valid[part]
    if width == size:
        return np.ascontiguousarray(image), np.ascontiguousarray(valid)
    interpolation = cv2.INTER_AREA if width > size else cv2.INTER_CUBIC
    resized = np.stack(
        [cv2.resize(band, (size, size), interpolation=interpolation) for band in image]
    )
    ground = cv2.resize(valid.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST) > 0
    resized[:, ~ground] = 0
    return np.clip(resized, 0, 1).astype(np.float32), np.asarray(ground)


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    return np.asarray(np.unique(np.array(names), return_inverse=True)[1], dtype=np.int64)
