"""Make a pair of full scenes from real texture, of which every pixel's true place is known.

A folder gets ``ref.tif`` and ``tgt.tif`` (uint16, tiled, deflate, geocoded alike in EPSG:32636 at
10 m) and ``truth.json``. The reference is a landscape (`tests.support.scenes.ground`) at one date;
the target shows it in another season, moved by a global warp and a smooth local displacement
(`tests.support.scenes.truth`), below some clouds and their shadows, with noise of its own. Blocks
are made one by one: memory does not grow with the scene.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter

from imatch.benchmark.environment import environment
from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import atomic_path
from tests.support.scenes.ground import Ground, Pixels
from tests.support.scenes.truth import Truth

SCHEMA = "imatch.scene-pair/1"
CRS = "EPSG:32636"
PLACE = Affine(10, 0, 300_000, 0, -10, 5_500_020)
#: Two products of one sensor: some pixels of shift, seconds of arc of rotation.
WARP = (23.4, -17.8, 0.02, 1.0002)

_BLOCK = 512
# Of the interpolating spline that resamples the target: almost a sinc.
_ORDER = 5
_RIM = 24
# The inverse of the field is computed at every 16th pixel and interpolated cubically: waves of
# thousands of pixels lose less than a hundred-thousandth of one.
_EVERY = 16
_CLOUD_PX = 64
_CLOUD_DN = (2500.0, 6500.0)
_SHADOW_PX = (70, -45)
_GRAIN = 1024
_FORMATS: dict[str, dict[str, Any]] = {
    "tif": {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": _BLOCK,
        "blockysize": _BLOCK,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 6,
        "bigtiff": "IF_SAFER",
    },
    # Lossless, as Sentinel-2 products are.
    "jp2": {
        "driver": "JP2OpenJPEG",
        "quality": 100,
        "reversible": "YES",
        "blockxsize": 1024,
        "blockysize": 1024,
    },
    "img": {"driver": "ENVI"},
}


@dataclass(frozen=True)
class Scene:
    """What is asked for.

    Attributes:
        size: Side, pixels.
        seed: Of everything random.
        warp: Shift in x and y (pixels), rotation (degrees) and scale about the middle.
        local_px: Largest local displacement.
        clouds: Share of the target under clouds.
        noise_dn: Spread of each image's noise.
        bands: 1 or 3.
        wave_px: Shortest and longest wave of the local displacement.
    """

    size: int = 10980
    seed: int = 0
    warp: tuple[float, float, float, float] = WARP
    local_px: float = 0.0
    clouds: float = 0.12
    noise_dn: float = 20.0
    bands: int = 1
    wave_px: tuple[float, float] = (3000.0, 9000.0)

    @cached_property
    def truth(self) -> Truth:
        """The exact field."""
        return Truth.make(self.size, self.warp, self.local_px, seed=self.seed, lengths=self.wave_px)


class Painter:
    """Paints blocks of both images.

    Args:
        scene: What is asked for.
        data: Folder of the real images.
    """

    def __init__(self, scene: Scene, data: Path) -> None:
        self.scene = scene
        self.ground = Ground(data, scene.size, scene.seed, scene.bands)

    def paint(self, name: str, window: Window) -> NDArray[np.uint16]:
        """(bands, h, w) of a window of ``ref`` or ``tgt``."""
        left, top, width, height = (
            int(v) for v in (window.col_off, window.row_off, window.width, window.height)
        )
        date = int(name == "tgt")
        if date:
            pixels = self._clouded(self._moved(left, top, width, height), left, top)
        else:
            pixels = self.ground.block(left, top, width, height, 0)
        rng = np.random.default_rng([self.scene.seed, 3 + date, top, left])
        noise = rng.standard_normal(pixels.shape, dtype=np.float32)
        pixels = pixels + self.scene.noise_dn * noise
        # 0 is missing ground, here as in the products.
        return np.clip(np.round(pixels), 1, 65535).astype(np.uint16)

    def _moved(self, left: int, top: int, width: int, height: int) -> Pixels:
        """The other date's ground where the target sees it: by the inverse of the truth."""
        x, y = self._places(left, top, width, height)
        x0, y0 = int(np.floor(x.min())) - _RIM, int(np.floor(y.min())) - _RIM
        x1, y1 = int(np.ceil(x.max())) + _RIM, int(np.ceil(y.max())) + _RIM
        ground = self.ground.block(x0, y0, x1 - x0 + 1, y1 - y0 + 1, 1)
        return np.stack(
            [
                map_coordinates(
                    spline_filter(band, _ORDER, output=np.float32, mode="mirror"),
                    [y - y0, x - x0],
                    order=_ORDER,
                    prefilter=False,
                    mode="mirror",
                )
                for band in ground
            ]
        )

    def _places(
        self, left: int, top: int, width: int, height: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(h, w) reference x and y of the pixels of a window of the target."""
        columns = np.arange(-_EVERY, width + 2 * _EVERY, _EVERY, dtype=np.float64)
        rows = np.arange(-_EVERY, height + 2 * _EVERY, _EVERY, dtype=np.float64)
        at_x, at_y = np.meshgrid(columns + left, rows + top)
        exact = self.scene.truth.inverse(np.column_stack([at_x.ravel(), at_y.ravel()]))
        moved = exact.reshape(len(rows), len(columns), 2)
        want = np.arange(height), np.arange(width)
        x, y = (RectBivariateSpline(rows, columns, moved[..., axis])(*want) for axis in (0, 1))
        return x, y

    def _clouded(self, pixels: Pixels, left: int, top: int) -> Pixels:
        if self.scene.clouds == 0:
            return pixels
        height, width = pixels.shape[1:]
        opacity, grain = self._sky(left, top, width, height)
        dx, dy = _SHADOW_PX
        shadow, _ = self._sky(left - dx, top - dy, width, height)
        low, high = _CLOUD_DN
        cloud = low + (high - low) * opacity + 300 * grain
        lit = pixels * (1 - 0.5 * shadow * (1 - opacity))
        return lit * (1 - opacity) + cloud * opacity

    def _sky(self, left: int, top: int, width: int, height: int) -> tuple[Pixels, Pixels]:
        """(h, w) opacity of the clouds, 0 to 1, and their own texture about 0."""
        x = (np.arange(left, left + width) + 0.5) / _CLOUD_PX
        y = (np.arange(top, top + height) + 0.5) / _CLOUD_PX
        cover, threshold = self._clouds
        rows, columns = np.arange(top, top + height), np.arange(left, left + width)
        grain = self._grain[np.ix_(rows % _GRAIN, columns % _GRAIN)]
        depth = cover(y, x) - threshold + 0.12 * grain
        return np.clip(depth / 0.5, 0, 1).astype(np.float32) ** 2, grain

    @cached_property
    def _clouds(self) -> tuple[RectBivariateSpline, float]:
        """Cover on a lattice of 64 pixels, and the level above which there is cloud."""
        count = self.scene.size // _CLOUD_PX + 16
        rng = np.random.default_rng([self.scene.seed, 5])
        field = _fractal(rng, count, (1.0, 2.5, 6.0, 14.0))
        at = np.arange(count, dtype=np.float64) - 4
        return RectBivariateSpline(at, at, field), float(np.quantile(field, 1 - self.scene.clouds))

    @cached_property
    def _grain(self) -> Pixels:
        rng = np.random.default_rng([self.scene.seed, 6])
        return _fractal(rng, _GRAIN, (2.0, 5.0, 12.0, 30.0)).astype(np.float32)


def _fractal(rng: np.random.Generator, side: int, scales: tuple[float, ...]) -> NDArray[np.float64]:
    """(side, side) noise of several scales, the larger the higher; its spread is 1, it wraps."""
    total = np.zeros((side, side))
    for sigma in scales:
        noise = rng.standard_normal((side, side))
        total += sigma**1.8 * gaussian_filter(noise, sigma, mode="wrap")
    return np.asarray(total / total.std())


def write_scene(
    scene: Scene,
    data: Path,
    out: Path,
    *,
    formats: tuple[str, ...] = ("tif",),
    jobs: int = 1,
    command: str = "",
) -> dict[str, Any]:
    """Write both images and the truth into a folder.

    Args:
        scene: What is asked for.
        data: Folder of the real images.
        out: Folder, made where it is missing; its scene is replaced.
        formats: Of ``tif``, ``jp2`` and ``img``.
        jobs: Processes that paint.
        command: Command line to remember.

    Returns:
        The record in ``truth.json``.

    Raises:
        InputError: The real images are not there.
        OutputError: The disk refused.
    """
    if not (data / "train_pairs.csv").exists():
        raise InputError("holds no train_pairs.csv", subject=data, hint="name the folder of data")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=out) from error
    started = time.perf_counter()
    painter = Painter(scene, data)
    for name in ("ref", "tgt"):
        with atomic_path(out / f"{name}.tif", overwrite=True) as part:
            _write(painter, name, part, jobs)
        for kind in formats:
            if kind != "tif":
                # Without the side-car that would hold the nodata value: products have none either,
                # and there are no such pixels.
                with (
                    atomic_path(out / f"{name}.{kind}", overwrite=True) as part,
                    rasterio.Env(GDAL_PAM_ENABLED=kind != "jp2"),
                ):
                    copy_raster(out / f"{name}.tif", part, **_FORMATS[kind])
    if "tif" not in formats:
        for name in ("ref", "tgt"):
            (out / f"{name}.tif").unlink()
    record = {
        "schema": SCHEMA,
        "scene": asdict(scene),
        "truth": scene.truth.to_dict(),
        "convention": "reference pixel to target pixel, centre of the first pixel at (0, 0)",
        "ground": painter.ground.origin,
        "formats": list(formats),
        "seconds": round(time.perf_counter() - started, 1),
        "environment": environment(command),
    }
    with atomic_path(out / "truth.json", overwrite=True) as part:
        part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def read_truth(path: Path) -> Truth:
    """The truth of a scene's ``truth.json``.

    Raises:
        InputError: It is something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise InputError(f"its schema is {record['schema']!r}", subject=path, hint="make anew")
        return Truth.from_dict(record["truth"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"is no truth of a scene ({error})", subject=path, hint="have the pair made anew"
        ) from error


def _write(painter: Painter, name: str, path: Path, jobs: int) -> None:
    scene = painter.scene
    profile = {
        "width": scene.size,
        "height": scene.size,
        "count": scene.bands,
        "dtype": "uint16",
        "nodata": 0,
        "crs": CRS,
        "transform": PLACE,
        **_FORMATS["tif"],
    }
    corners = product(range(0, scene.size, _BLOCK), repeat=2)
    windows = [
        Window(x, y, min(_BLOCK, scene.size - x), min(_BLOCK, scene.size - y)) for y, x in corners
    ]
    with rasterio.Env(GDAL_CACHEMAX=64 * 1024**2), rasterio.open(path, "w", **profile) as dataset:
        for window, pixels in zip(windows, _painted(painter, name, windows, jobs), strict=True):
            dataset.write(pixels, window=window)


def _painted(
    painter: Painter, name: str, windows: list[Window], jobs: int
) -> Iterator[NDArray[np.uint16]]:
    """The blocks in order, a bounded number of them in memory."""
    if jobs <= 1:
        yield from map(partial(painter.paint, name), windows)
        return
    with ExitStack() as stack:
        pool = stack.enter_context(
            ProcessPoolExecutor(
                jobs,
                mp_context=get_context("spawn"),
                initializer=_start,
                initargs=(painter.scene, painter.ground.data),
            )
        )
        for first in range(0, len(windows), 8 * jobs):
            yield from pool.map(partial(_paint, name), windows[first : first + 8 * jobs])


_painter: Painter | None = None


def _start(scene: Scene, data: Path) -> None:
    global _painter
    cv2.setNumThreads(1)
    _painter = Painter(scene, data)


def _paint(name: str, window: Window) -> NDArray[np.uint16]:
    assert _painter is not None
    return _painter.paint(name, window)
