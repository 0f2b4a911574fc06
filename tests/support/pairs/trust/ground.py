"""Real ground at two dates, real ground of one date, and procedural ground, cut to any size."""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape
from tests.support.pairs.trust.pair import Planes, Side, TrustPair, Truth, pixel_grid, sample

SPLITS = ("train", "bench", "made")
# Below this phase-correlation peak the measured residual between two dates is unknown.
_TRUSTED_RESPONSE = 0.03
# What the truth between two dates is good to, 1 sigma: measured by phase correlation, or the
# producers' own grid. The seasons of brenta_ndvi are only trusted to 3 px.
_SD_PX = {"brenta_ndvi": 1.2}
_SD_OTHERS_PX = 0.12
_SHARES = {
    "train": {"ombria": 0.5, "ua_overview": 0.2, "bouconne": 0.08, "bmng": 0.22},
    "bench": {"ombria": 0.5, "ua_overview": 0.3, "alps_b08": 0.12, "brenta_ndvi": 0.08},
}
# Blue Marble: land lies mostly in these rows.
_BMNG_ROWS = (250, 2150)


@dataclass(frozen=True)
class Image:
    """One real image.

    Attributes:
        path: File.
        source: Data set.
        event: Images of different events share no ground, unless they are of one whole.
        place: Images of one place lie on one pixel grid.
        date: Of `place`.
        size: (width, height).
    """

    path: Path
    source: str
    event: str
    place: str
    date: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Dates:
    """Two images of one ground; ``p_second = p_first + shift`` pixels, good to `sd_px`."""

    first: Image
    second: Image
    shift: tuple[float, float]
    sd_px: float


@dataclass(frozen=True, eq=False)
class Ground:
    """A window that two dates see.

    Attributes:
        first: (C, H, W) grey levels 0 to 255 of the first date, NaN where it saw nothing.
        second: The same window of the second date, before `shift`.
        shift: (x, y) by which the second lies off the first.
        sd_px: How well that is known.
        size: (width, height) asked for; the window is larger by a rim where there is ground.
        params: Where it is from.
    """

    first: Planes
    second: Planes
    shift: tuple[float, float]
    sd_px: float
    size: tuple[int, int]
    params: dict[str, Any]

    @property
    def rim(self) -> tuple[int, int]:
        """(x, y) of the asked window's first pixel."""
        height, width = self.first.shape[1:]
        return (width - self.size[0]) // 2, (height - self.size[1]) // 2


@lru_cache(maxsize=4)
def images(data: Path, split: str) -> tuple[Image, ...]:
    """Every image of a split."""
    with (data / "images.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    return tuple(
        Image(
            data / row["path"],
            row["source"],
            f"{row['source']}/{row['place'].split('/')[0]}",
            f"{row['source']}/{row['place']}",
            row["date"],
            (int(row["width"]), int(row["height"])),
        )
        for row in rows
    )


@lru_cache(maxsize=4)
def dates(data: Path, split: str) -> dict[str, tuple[Dates, ...]]:
    """Pairs of dates whose residual shift is known, by source."""
    known = {image.path: image for image in images(data, split)}
    found: dict[str, list[Dates]] = {name: [] for name in _SHARES[split]}
    if split == "train":
        with (data / "train_pairs.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        rows = [row for row in rows if float(row["phase_response"]) >= _TRUSTED_RESPONSE]
        shifts = [(row, (float(row["dx"]), float(row["dy"]))) for row in rows]
        months = [image for image in known.values() if image.source == "bmng"]
        found["bmng"] = [Dates(a, b, (0.0, 0.0), _SD_OTHERS_PX) for a, b in permutations(months, 2)]
    else:
        with (data / "bench_cases.csv").open(newline="") as file:
            rows = [r for r in csv.DictReader(file) if r["variant"] == "near"]
        shifts = []
        for row in rows:
            warp, truth = (
                np.array([float(row[f"{k}{i}{j}"]) for i in range(3) for j in range(3)])
                for k in "wh"
            )
            between = np.linalg.solve(warp.reshape(3, 3), truth.reshape(3, 3))
            shifts.append((row, (float(between[0, 2]), float(between[1, 2]))))
    for row, shift in shifts:
        source = row["source"]
        if source in found:
            # The producers' grid is better known than it can be measured.
            kept = (0.0, 0.0) if source in ("ua_overview", "bouconne") else shift
            a, b = known[data / row["ref"]], known[data / row["tgt"]]
            found[source].append(Dates(a, b, kept, _SD_PX.get(source, _SD_OTHERS_PX)))
    return {name: tuple(pairs) for name, pairs in found.items()}


def read_window(image: Image, left: int, top: int, size: tuple[int, int]) -> Planes:
    """(C, H, W) of at most three bands as grey levels 0 to 255; NaN where nothing was seen."""
    window = ((top, top + size[1]), (left, left + size[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        file = rasterio.open(image.path)
    with file:
        bands = list(range(1, min(file.count, 3) + 1))
        planes: Planes = file.read(bands, window=window).astype(np.float32)
        kind = np.dtype(file.dtypes[0])
        missing = ~np.isfinite(planes).all(axis=0)
        if file.nodata is not None:
            missing |= (planes == file.nodata).any(axis=0)
    if kind != np.uint8:
        if missing.all():
            return planes * np.float32("nan")
        low, high = np.percentile(planes[:, ~missing], [0.5, 99.5])
        scaled = np.clip((planes - low) / max(float(high - low), 1e-6), 0, 1)
        planes = np.asarray(scaled * 254 + 1, dtype=np.float32)
    planes[:, missing] = np.nan
    return planes


def shows_something(planes: Planes) -> bool:
    """Whether a window has texture, and is neither empty nor saturated in large part."""
    if not np.isfinite(planes).all():
        return False
    grey = planes.mean(axis=0)
    fine = np.abs(grey[1:] - grey[:-1])
    flat = ((grey <= 1) | (grey >= 254)).mean()
    return bool(flat < 0.1 and np.percentile(fine, 75) >= 1.0 and grey.std() >= 4)


def draw_window(
    image: Image, size: tuple[int, int], rng: np.random.Generator
) -> tuple[int, int, int, int] | None:
    """(left, top, width, height) of a window inside an image, None where it is too large."""
    room = image.size[0] - size[0], image.size[1] - size[1]
    if min(room) < 0:
        return None
    rows = _BMNG_ROWS if image.source == "bmng" else (0, image.size[1])
    left = int(rng.integers(0, room[0] + 1))
    top = int(rng.integers(rows[0], max(rows[0], min(room[1], rows[1] - size[1])) + 1))
    return left, top, *size


def real_ground(
    data: Path,
    split: str,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    rim: int = 20,
    one_date: bool = False,
    sources: tuple[str, ...] | None = None,
) -> Ground:
    """A window of (width, height) that two dates see, of a random source with images so large.

    Args:
        data: Folder of the real images.
        split: ``train`` or ``bench``.
        size: (width, height).
        rng: Draws.
        rim: Pixels beyond the window, as far as the image has them.
        one_date: The first date twice.
        sources: Data sets to draw from; all when None.
    """
    pool = dates(data, split)
    fits = {
        name: [p for p in pairs if all(s >= w for s, w in zip(p.first.size, size, strict=True))]
        for name, pairs in pool.items()
        if sources is None or name in sources
    }
    names = [name for name, pairs in fits.items() if pairs]
    if not names:
        raise ValueError(f"no image of {split} is {size[0]} x {size[1]} pixels")
    share = np.array([_SHARES[split][name] for name in names])
    for _ in range(500):
        name = str(rng.choice(names, p=share / share.sum()))
        pair = fits[name][int(rng.integers(len(fits[name])))]
        if rng.random() < 0.5:
            turned = -pair.shift[0], -pair.shift[1]
            pair = Dates(pair.second, pair.first, turned, pair.sd_px)
        width, height = (min(s, w + 2 * rim) for s, w in zip(pair.first.size, size, strict=True))
        window = draw_window(pair.first, (width, height), rng)
        if window is None:
            continue
        left, top = window[:2]
        first = read_window(pair.first, left, top, (width, height))
        if not shows_something(first):
            continue
        about = {"source": name, "ref": pair.first.path.name, "left": left, "top": top}
        if one_date:
            return Ground(first, first, (0.0, 0.0), 0.0, size, about | {"tgt": about["ref"]})
        second = read_window(pair.second, left, top, (width, height))
        if not shows_something(second):
            continue
        about["tgt"] = pair.second.path.name
        return Ground(first, second, pair.shift, pair.sd_px, size, about)
    raise ValueError(f"no window of {size[0]} x {size[1]} pixels of {split} shows anything")


def made_ground(
    size: tuple[int, int], rng: np.random.Generator, *, rim: int = 20, one_date: bool = False
) -> Ground:
    """A window of a procedural landscape in two seasons, on one pixel grid."""
    whole = size[0] + 2 * rim, size[1] + 2 * rim
    seed = int(rng.integers(2**31))
    ground = landscape((max(whole[0], 32), max(whole[1], 32)), seed)
    seasons = [str(s) for s in rng.permutation(SEASONS)[:2]]
    sun = [float(rng.uniform(110, 190)) for _ in range(2)]
    views = [
        255
        * render_landscape(
            ground,
            season,  # type: ignore[arg-type]
            size=whole,
            noise=float(rng.uniform(0.003, 0.03)),
            haze=float(rng.uniform(0, 0.4)),
            sun_azimuth=azimuth,
            seed=seed + side,
        )[0]
        for side, (season, azimuth) in enumerate(zip(seasons, sun, strict=True))
    ]
    about = {"source": "landscape", "landscape": seed, "seasons": seasons}
    if one_date:
        return Ground(views[0], views[0], (0.0, 0.0), 0.0, size, about)
    return Ground(views[0], views[1], (0.0, 0.0), 0.0, size, about)


def draw_ground(
    data: Path,
    split: str,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    rim: int = 20,
    one_date: bool = False,
    sources: tuple[str, ...] | None = None,
) -> Ground:
    """Real ground of some sources, or made where the split is ``made``."""
    if split == "made":
        return made_ground(size, rng, rim=rim, one_date=one_date)
    return real_ground(data, split, size, rng, rim=rim, one_date=one_date, sources=sources)


def draw_size(rng: np.random.Generator, low: int = 96, high: int = 512) -> tuple[int, int]:
    """(width, height), half of the time a square; small and large alike."""
    one, two = np.exp(rng.uniform(np.log(low), np.log(high + 1), 2)).astype(int)
    return (int(one), int(one)) if rng.random() < 0.5 else (int(one), int(two))


def seen_twice(ground: Ground, truth: Truth, noise: float, rng: np.random.Generator) -> TrustPair:
    """The first date as it is, and the second through a truth, with noise of grey levels.

    Returns:
        float32 images of grey levels, both with what they miss marked.
    """
    (x, y), (width, height) = ground.rim, ground.size
    ref = ground.first[:, y : y + height, x : x + width]
    grid = pixel_grid(ground.size)
    # The residual is in the ground itself: what lies at b in the second lies at b - shift here.
    at = truth.to_ref(grid) + np.array(truth.residual) + np.array([x, y])
    tgt, inside = sample(ground.second, at, ground.size)
    tgt = tgt + rng.normal(0, noise, tgt.shape).astype(np.float32)
    params = ground.params | {"size": list(ground.size), "noise": noise}
    return TrustPair(Side(ref), Side(tgt, inside), truth, params)


def present(pair: TrustPair, rng: np.random.Generator, *, depth: str | None = None) -> TrustPair:
    """The pair as a product has it: one or three bands, 8 or 16 bits.

    A rim that the warp left empty is marked as missing; where all is there, nothing is said.
    """
    bands = _bands(pair, rng)
    depth = depth or ("uint8" if rng.random() < 0.7 else "uint16")
    gain, offset = (1.0, 0.0) if depth == "uint8" else (float(rng.uniform(8, 40)), 200.0)
    sides = []
    for side in (pair.ref, pair.tgt):
        planes = side.pixels[bands] if len(bands) <= len(side.pixels) else side.pixels[:1]
        # Zero would be taken for a black collar.
        values = np.round(np.clip(np.nan_to_num(planes), 1, 255) * gain + offset)
        known = side.known
        sides.append(Side(values.astype(depth), None if known.all() else known))
    params = pair.params | {"bands": [b + 1 for b in bands], "depth": depth}
    return TrustPair(sides[0], sides[1], pair.truth, params)


def _bands(pair: TrustPair, rng: np.random.Generator) -> list[int]:
    count = min(len(pair.ref.pixels), len(pair.tgt.pixels))
    if count == 1 or rng.random() < 0.4:
        return [int(rng.integers(count))]
    return list(range(count))


def grey_of(planes: NDArray[Any]) -> Planes:
    """(1, H, W) mean over bands."""
    return np.asarray(planes.mean(axis=0, keepdims=True), dtype=np.float32)
