"""Ground of any extent, at 10 m, from real images: what two dates of it look like.

Its structure beyond 100 m is a Sentinel-2 overview (107 m) of tile T36UXA in August, and the same
with the contrasts of the following April; its texture is that of real 10 m images (OMBRIA) taken
before and after, laid as a patchwork whose seams are blended and added above the overview's
resolution. Everything is a function of the pixel and a seed, so blocks of a scene are made one by
one in any order and fit together.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter, shift

from imatch.raster.gdal import opened

Pixels = NDArray[np.float32]

_OVERVIEW = "train/ua_overview/T36UXA_{}.tif"
#: The date of the reference, and that of the target in another season.
_DATES = ("20180810", "20190427")
_OVERVIEW_PX = 10.7227
_OVERVIEW_DN = 12.0
#: Overview pixels within which one line relates the two dates' brightness.
_SEASON_SCALE = 2.0

_TILE, _OVERLAP = 256, 64
_STEP = _TILE - _OVERLAP
# Where the overview's resolution ends and that of the tiles begins, pixels of the scene.
_CUT = 5.0
_TEXTURE_DN = 220.0
#: Tiles whose two dates are known to lie this well on each other show both of them.
_SURE_RESPONSE, _SURE_SHIFT = 0.15, 1.0
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_LEAST_DN = 60.0


@dataclass(frozen=True, eq=False)
class Ground:
    """Two dates of a boundless landscape.

    Attributes:
        data: Folder of the images (`train/ua_overview`, `train/ombria`, `train_pairs.csv`).
        size: Side of the scene that is centred in the overview, pixels.
        seed: Of the patchwork.
        bands: 1 (luminance) or 3.
    """

    data: Path
    size: int
    seed: int
    bands: int = 1

    def block(self, left: int, top: int, width: int, height: int, date: int) -> Pixels:
        """(bands, height, width) DN of a window of the reference's lattice, also beyond the scene.

        Args:
            left: First column.
            top: First row.
            width: Columns.
            height: Rows.
            date: 0 the reference's, 1 the target's.
        """
        x = self._overview_xy(np.arange(left, left + width))
        y = self._overview_xy(np.arange(top, top + height))
        base = self._structure[date](y, x).astype(np.float32)
        contrast = self._contrast[date](y, x).astype(np.float32)
        texture = self._texture(left, top, width, height, date)
        return np.asarray(np.maximum(_OVERVIEW_DN * base + contrast * texture, _LEAST_DN))

    @property
    def origin(self) -> dict[str, Any]:
        """What it is made of, for the record."""
        both = self._tiles[2]
        return {
            "overview": [_OVERVIEW.format(date) for date in _DATES],
            "tiles": len(both),
            "tiles_of_two_dates": int(both.sum()),
        }

    def _overview_xy(self, pixels: NDArray[np.int64]) -> NDArray[np.float64]:
        centred = (pixels + 0.5 - self.size / 2) / _OVERVIEW_PX
        return np.asarray(centred - 0.5)

    @cached_property
    def _fields(self) -> tuple[list[Pixels], list[Pixels]]:
        """Structure and contrast of the texture at both dates, on the overview's pixels."""
        images = []
        for date in _DATES:
            with opened(str(self.data / _OVERVIEW.format(date))) as dataset:
                images.append(dataset.read(1).astype(np.float32))
        first, second = images
        slope, level = _season(first, second)
        relief = gaussian_filter(np.abs(first - gaussian_filter(first, 3.0)), 3.0)
        lively = np.clip(relief / np.median(relief), 0.35, 1.4).astype(np.float32)
        return [first, level + slope * first], [lively, lively * np.clip(np.abs(slope), 0.4, 1.4)]

    @cached_property
    def _structure(self) -> list[RectBivariateSpline]:
        return [self._spline(field) for field in self._fields[0]]

    @cached_property
    def _contrast(self) -> list[RectBivariateSpline]:
        return [self._spline(field) for field in self._fields[1]]

    def _spline(self, field: Pixels) -> RectBivariateSpline:
        """The field as a function of overview pixels from the scene's middle, mirrored beyond."""
        height, width = field.shape
        reach = int(np.ceil(self.size / 2 / _OVERVIEW_PX)) + 24
        x, y = width // 2, height // 2
        rows = _mirror(np.arange(y - reach, y + reach), height)
        columns = _mirror(np.arange(x - reach, x + reach), width)
        at = np.arange(-reach, reach, dtype=np.float64)
        return RectBivariateSpline(at, at, field[np.ix_(rows, columns)], kx=3, ky=3)

    def _texture(self, left: int, top: int, width: int, height: int, date: int) -> Pixels:
        out = np.zeros((self.bands, height, width), dtype=np.float32)
        for row in range((top - _TILE) // _STEP + 1, (top + height - 1) // _STEP + 1):
            for column in range((left - _TILE) // _STEP + 1, (left + width - 1) // _STEP + 1):
                x, y = column * _STEP, row * _STEP
                x0, x1 = max(x, left), min(x + _TILE, left + width)
                y0, y1 = max(y, top), min(y + _TILE, top + height)
                if x0 >= x1 or y0 >= y1:
                    continue
                part = np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
                tile = self._tile(row, column, date)[(slice(None), *part)]
                out[:, y0 - top : y1 - top, x0 - left : x1 - left] += tile * _WINDOW[part]
        return out

    def _tile(self, row: int, column: int, date: int) -> Pixels:
        """The tile laid at a place of the patchwork, turned and mirrored."""
        tiles = self._tiles[date]
        # A walk through all tiles in all attitudes before any of them returns.
        across = 2 * (self.size // _STEP + 8)
        place = (row * across + column) % len(self._order)
        number, attitude = divmod(int(self._order[place]), 8)
        tile = tiles[number]
        if attitude >= 4:
            tile = tile[:, :, ::-1]
        return np.asarray(np.rot90(tile, attitude % 4, axes=(1, 2)), dtype=np.float32)

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, 2])
        return rng.permutation(8 * len(self._tiles[2]))

    @cached_property
    def _tiles(self) -> tuple[NDArray[np.float16], NDArray[np.float16], NDArray[np.bool_]]:
        """(N, bands, 256, 256) texture of both dates, and whether the second is a real one."""
        before, after, real = [], [], []
        with (self.data / "train_pairs.csv").open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row["source"] == "ombria"]
        for row in rows:
            first, second = (self._read(row[side]) for side in ("ref", "tgt"))
            dx, dy = float(row["dx"]), float(row["dy"])
            sure = float(row["phase_response"]) >= _SURE_RESPONSE
            sure &= max(abs(dx), abs(dy)) <= _SURE_SHIFT
            if sure:
                # By the measured residual; tiles turned all ways share no error of it.
                second = np.stack([shift(b, (-dy, -dx), order=5, mode="mirror") for b in second])
            pair = [_detail(first), _detail(second if sure else first)]
            spread = float(pair[0].std())
            if spread < 1.0:
                continue  # Water, and nothing on it.
            gain = _TEXTURE_DN / max(spread, 6.0)
            height, width = first.shape[1:]
            for y in range(0, height - _TILE + 1, _TILE):
                for x in range(0, width - _TILE + 1, _TILE):
                    part = np.s_[:, y : y + _TILE, x : x + _TILE]
                    before.append((gain * pair[0][part]).astype(np.float16))
                    after.append((gain * pair[1][part]).astype(np.float16))
                    real.append(sure)
        return np.stack(before), np.stack(after), np.array(real)

    def _read(self, path: str) -> Pixels:
        with opened(str(self.data / path)) as dataset:
            pixels = dataset.read().astype(np.float32)[:3]
        if self.bands == 1:
            pixels = np.tensordot(_LUMA, pixels, axes=1)[None]
        return np.asarray(pixels, dtype=np.float32)


def _detail(pixels: Pixels) -> Pixels:
    """What lies above the overview's resolution."""
    border = cv2.BORDER_REFLECT
    blurred = [cv2.GaussianBlur(band, (0, 0), _CUT, borderType=border) for band in pixels]
    return np.asarray(pixels - np.stack(blurred), dtype=np.float32)


def _season(first: Pixels, second: Pixels) -> tuple[Pixels, Pixels]:
    """How brightness changes from one date to the other, place by place: slope and level.

    A line fitted around each pixel, as in the guided filter (He, Sun & Tang, ECCV 2010).
    Every edge of the result is one of the first date, to be weaker, stronger or turned round, so
    that it lies where it lay: two real dates lie on each other to a tenth of an overview pixel
    only, which is a pixel of the scene.
    """

    def mean(field: Pixels) -> Pixels:
        return np.asarray(gaussian_filter(field, _SEASON_SCALE), dtype=np.float32)

    spread = mean(first * first) - mean(first) ** 2
    together = mean(first * second) - mean(first) * mean(second)
    slope = together / (spread + 1.0)
    return mean(slope), mean(mean(second) - slope * mean(first))


def _mirror(index: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Indices beyond an array folded back into it, the border not repeated."""
    period = 2 * (length - 1)
    folded = index % period
    return np.where(folded < length, folded, period - folded)


def _window() -> Pixels:
    """(256, 256) weights of a tile; squared they add up to one, so that contrast stays the same."""
    ramp = np.sin(np.pi / 2 * (np.arange(_OVERLAP) + 0.5) / _OVERLAP)
    side = np.concatenate([ramp, np.ones(_TILE - 2 * _OVERLAP), ramp[::-1]])
    return np.outer(side, side).astype(np.float32)


_WINDOW = _window()
