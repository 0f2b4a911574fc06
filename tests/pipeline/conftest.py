"""Procedural ground, seen through any geocoding: what the answer must be is known exactly."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from rasterio.errors import NotGeoreferencedWarning
from scipy import ndimage

import imatch
from imatch.pipeline.registration.result import Registration

FloatArray: TypeAlias = NDArray[np.float64]
MakeScene: TypeAlias = Callable[..., "Scene"]
Register: TypeAlias = Callable[..., Registration]

# At 6 degrees east, where UTM zones 31 and 32 meet and are turned against each other by 4 degrees.
GROUND_CRS = "EPSG:32631"
CENTRE = (735_000.0, 4_985_000.0)
_SIDE, _STEP = 1100, 5.0


@lru_cache(maxsize=4)
def _ground(seed: int) -> NDArray[np.float64]:
    """(1100, 1100) cubic spline coefficients of the ground, 5 m apart round `CENTRE`, in [0, 1]."""
    rng = np.random.default_rng(seed)
    fields = rng.random((_SIDE // 22 + 1, _SIDE // 22 + 1)).repeat(22, 0).repeat(22, 1)
    ground = fields[:_SIDE, :_SIDE]
    # Borders that bend, so that no two places look alike.
    bend = [ndimage.gaussian_filter(rng.normal(size=(_SIDE, _SIDE)), 30) * 1200 for _ in "xy"]
    place = np.indices(ground.shape) + bend
    ground = ndimage.map_coordinates(ground, place, order=0, mode="reflect")
    for sigma in (2.0, 5.0):
        grain = ndimage.gaussian_filter(rng.normal(size=ground.shape), sigma)
        ground = ground + 0.15 * grain / grain.std()
    # Smooth to the sampling theorem: what is seen of it does not depend on where it is sampled.
    ground = ndimage.gaussian_filter(ground, 1.2)
    low, high = np.percentile(ground, [1, 99])
    return np.asarray(ndimage.spline_filter(np.clip((ground - low) / (high - low), 0, 1)))


def _apply(transform: Affine, xy: FloatArray) -> tuple[FloatArray, FloatArray]:
    a, b, c, d, e, f = tuple(transform)[:6]
    return a * xy[:, 0] + b * xy[:, 1] + c, d * xy[:, 0] + e * xy[:, 1] + f


@dataclass(frozen=True, eq=False)
class Scene:
    """An image of the ground and the truth about it.

    Attributes:
        path: The file.
        pixels: (H, W) what it shows, before noise and types, in [0, 1].
        transform: Corner-based pixel to map transform, as its geocoding states it.
        crs: CRS of the transform.
        misplaced: (east, north) metres by which the geocoding puts everything too far.
        ground_crs: CRS in which the ground lies round `CENTRE`.
    """

    path: Path
    pixels: NDArray[np.float64]
    transform: Affine
    crs: str
    misplaced: tuple[float, float]
    ground_crs: str = GROUND_CRS

    def to_ground(self, xy: FloatArray) -> FloatArray:
        """True position, in `ground_crs`, of (N, 2) pixels."""
        x, y = _apply(self.transform, xy + 0.5)
        to = Transformer.from_crs(self.crs, self.ground_crs, always_xy=True)
        return np.column_stack(to.transform(x, y)) - self.misplaced

    def from_ground(self, ground: FloatArray) -> FloatArray:
        """(N, 2) pixels that show positions in `ground_crs`."""
        to = Transformer.from_crs(self.ground_crs, self.crs, always_xy=True)
        claimed = ground + self.misplaced
        there = np.column_stack(to.transform(claimed[:, 0], claimed[:, 1]))
        if CRS.from_user_input(self.crs).is_geographic:
            # A longitude beyond the antimeridian, written as the image writes its own.
            there[:, 0] += 360 * np.round((self.transform.c - there[:, 0]) / 360)
        return np.column_stack(_apply(~self.transform, there)) - 0.5

    def to(self, other: Scene, xy: FloatArray) -> FloatArray:
        """(N, 2) pixels of another scene that show the same ground as pixels of this one."""
        return other.from_ground(self.to_ground(xy))

    def places(self, other: Scene) -> FloatArray:
        """(N, 2) pixels on a lattice over the ground common with another scene."""
        height, width = self.pixels.shape
        x, y = np.meshgrid(np.linspace(0, width - 1, 15), np.linspace(0, height - 1, 15))
        xy = np.column_stack([x.ravel(), y.ravel()])
        there, size = self.to(other, xy), np.array(other.pixels.shape[::-1])
        return np.asarray(xy[((there > -0.5) & (there < size - 0.5)).all(axis=1)])

    def error_px(self, other: Scene, registration: Registration) -> float:
        """Largest error of a matrix anywhere on the common ground, pixels of the other scene."""
        assert registration.transform is not None, registration.reason
        xy = self.places(other)
        assert len(xy) > 20
        missed = registration.transform.apply(xy) - self.to(other, xy)
        return float(np.hypot(missed[:, 0], missed[:, 1]).max())


def _expose(scene: Scene, seed: int) -> None:
    """Fill a scene's pixels: the mean of 3 x 3 samples each, as a sensor integrates over them."""
    offsets = (-1 / 3, 0.0, 1 / 3)
    rows, columns = np.indices(scene.pixels.shape, dtype=np.float64)
    for dx in offsets:
        for dy in offsets:
            ground = scene.to_ground(np.column_stack([columns.ravel() + dx, rows.ravel() + dy]))
            # From metres to the lattice of the ground, whose rows run south.
            column = (ground[:, 0] - CENTRE[0]) / _STEP + _SIDE / 2
            row = (CENTRE[1] - ground[:, 1]) / _STEP + _SIDE / 2
            seen = ndimage.map_coordinates(
                _ground(seed), [row, column], order=3, prefilter=False, mode="reflect"
            )
            scene.pixels[:] += seen.reshape(scene.pixels.shape) / 9


def _geocoding(
    crs: str,
    gsd: float,
    size: tuple[int, int],
    degrees: float,
    south_up: bool,
    ground_crs: str,
) -> Affine:
    """A transform round the middle of the ground, turned clockwise if wanted."""
    to = Transformer.from_crs(ground_crs, crs, always_xy=True)
    x, y = CENTRE
    # A metre eastwards and northwards in units of the CRS.
    (x0, y0), east, north = (to.transform(*place) for place in (CENTRE, (x + 1, y), (x, y + 1)))
    units = [np.hypot(a - x0, b - y0) for a, b in (east, north)]
    turn = Affine.translation(x0, y0) @ Affine.scale(*units) @ Affine.rotation(-degrees)
    upright = Affine.scale(gsd, gsd if south_up else -gsd)
    return turn @ upright @ Affine.translation(-size[0] / 2, -size[1] / 2)


@pytest.fixture
def scene(tmp_path: Path) -> MakeScene:
    """Make an image of the ground; see `make`."""

    def make(
        name: str,
        *,
        gsd: float = 10.0,
        crs: str = GROUND_CRS,
        degrees: float = 0.0,
        south_up: bool = False,
        size: tuple[int, int] | None = None,
        misplaced: tuple[float, float] = (0.0, 0.0),
        geocoded: bool = True,
        ground: int = 1,
        ground_crs: str = GROUND_CRS,
        noise: int = 0,
        bands: int = 1,
        band: int = 0,
        dtype: str = "uint16",
        finish: Callable[[NDArray[Any]], None] | None = None,
        **profile: Any,
    ) -> Scene:
        """Write a GeoTIFF of 280 x 280 pixels of 10 m, or as many coarser ones.

        `noise` seeds what no two dates have in common; the ground is in `band`, the others hold
        noise; `finish` may spoil the (bands, H, W) pixels before they are written.
        """
        size = size or (round(2800 / gsd), round(2800 / gsd))
        transform = _geocoding(crs, gsd, size, degrees, south_up, ground_crs)
        shape = size[::-1]
        seen = Scene(tmp_path / name, np.zeros(shape), transform, crs, misplaced, ground_crs)
        _expose(seen, ground)
        rng = np.random.default_rng([noise, 77])
        values = rng.random((bands, *shape))
        # Another light on another date: the same order of brightness, not the same values.
        gamma = 1.0 + 0.3 * (noise % 2)
        values[band] = np.clip(seen.pixels, 0, 1) ** gamma + rng.normal(0, 0.01, shape)
        low, high = (20, 200) if dtype == "uint8" else (500, 3500)
        pixels: NDArray[Any] = (low + (high - low) * values).astype(dtype)
        if finish is not None:
            finish(pixels)
        options: dict[str, Any] = {"crs": crs, "transform": transform} if geocoded else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                seen.path,
                "w",
                driver="GTiff",
                count=bands,
                width=size[0],
                height=size[1],
                dtype=dtype,
                **options,
                **profile,
            ) as out:
                out.write(pixels)
        return seen

    return make


@pytest.fixture
def register() -> Register:
    """Match two scenes' files, by SIFT unless told otherwise."""

    def run(ref: Scene, tgt: Scene, **settings: Any) -> Registration:
        return imatch.match(ref.path, tgt.path, **{"matcher": "sift", **settings})

    return run


@pytest.fixture(autouse=True)
def no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which no weights have ever been fetched, so that answers are alike on all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("IMATCH_WEIGHTS", raising=False)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """A folder of five images of one place, a pixel further east each: ``2020-0N-01.tif``."""
    folder = tmp_path / "series"
    folder.mkdir()
    ground = cv2.resize(np.random.default_rng(5).random((40, 40)), (160, 160))
    for month in range(1, 6):
        pixels = (200 * ground[16:144, 16 - month : 144 - month]).astype(np.uint8)
        with rasterio.open(
            folder / f"2020-0{month}-01.tif",
            "w",
            driver="GTiff",
            count=1,
            width=128,
            height=128,
            dtype="uint8",
            crs=GROUND_CRS,
            transform=Affine(10, 0, CENTRE[0], 0, -10, CENTRE[1]),
        ) as out:
            out.write(pixels, 1)
    return folder
