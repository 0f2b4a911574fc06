"""How precisely are real pairs registered under an exact synthetic warp?

Targets of real two-date pairs are moved by a global warp and a smooth local displacement, both
known exactly, and registered as scenes are (`imatch.register`). What the two dates differ by
themselves is known to some tenths of a pixel only, so each answer is held against two things: the
warp after the data's own measured residual, and the warp after what `imatch.register` says of the
pair unwarped, which leaves what the warp alone costs:

    python -m experiments.benchmarks.scene_real --data ../shared/data --split train \
        -o experiments/benchmarks/results/scene_real

``--split train`` is for work on the method; ``--split bench`` gives the figures to report.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from experiments.benchmarks.scene import Places, distances, write_markdown, write_rows
from imatch.benchmark.environment import environment
from imatch.core.errors import ImatchError
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.pair.registrar import Registrar, load_registrar
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene.config import make_scene_config
from imatch.pipeline.scene.register import register_scene
from imatch.raster import Source, array_source, open_source
from tests.support.scenes.truth import Truth

TOLERANCE_PX = 0.3
_ORDER = 5
_COUNT = 41
_LOCAL_PX = (0.0, 3.0)
#: A local displacement has waves of at least this share of the image.
_LENGTHS = (0.7, 1.6)
_LEAST_SIDE = 512
#: Measured residuals of pairs whose phase correlation peaks lower are unknown.
_SURE = 0.06


@dataclass(frozen=True)
class RealPair:
    """Two dates of one place.

    Attributes:
        source: The data set.
        name: Of the pair.
        ref: File of the reference.
        tgt: File of the target.
        residual: (x, y) by which the dates differ, pixels; None where it is unknown.
    """

    source: str
    name: str
    ref: Path
    tgt: Path
    residual: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """One registration.

    Attributes:
        source: The data set.
        pair: Its name.
        local_px: Largest local displacement of the warp.
        status: Of the answer.
        passes: Whether its certificate holds within 0.3 px.
        bound_px: The 95 % bound of its certificate.
        local: Kind of the local model, or ``none``.
        error_px: RMSE against the warp after the data's measured residual.
        warp_error_px: RMSE against the warp after the answer for the pair unwarped.
        max_px: Largest distance of the latter.
        seconds: Wall time.
        reason: Why the status is what it is.
    """

    source: str
    pair: str
    local_px: float
    status: str
    passes: bool
    bound_px: float | None
    local: str
    error_px: float | None
    warp_error_px: float | None
    max_px: float | None
    seconds: float
    reason: str


def train_pairs(data: Path) -> Iterator[RealPair]:
    """Pairs of the training split that are large enough to be scenes."""
    with (data / "train_pairs.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            wide = line["tag"] == "512" if line["source"] == "ombria" else True
            if line["source"] not in ("ombria", "ua_overview") or not wide:
                continue
            residual = (float(line["dx"]), float(line["dy"]))
            known = float(line["phase_response"]) >= _SURE
            yield RealPair(
                line["source"],
                Path(line["tgt"]).stem,
                data / line["ref"],
                data / line["tgt"],
                residual if known else None,
            )


def bench_pairs(data: Path) -> Iterator[RealPair]:
    """The 60 m scenes of two dates, and the OMBRIA pairs of the benchmark that are large enough."""
    scenes = sorted((data / "bench" / "ua_jp2_60m").rglob("*.jp2"))
    for tgt in scenes[1:]:
        yield RealPair("ua_jp2_60m", tgt.stem, scenes[0], tgt, None)
    with (data / "bench_cases.csv").open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            if (line["source"], line["variant"]) != ("ombria", "near"):
                continue
            warp, truth = (
                np.array([float(line[f"{name}{i}{j}"]) for i in range(3) for j in range(3)])
                for name in ("w", "h")
            )
            residual = np.linalg.solve(warp.reshape(3, 3), truth.reshape(3, 3))[:2, 2]
            yield RealPair(
                "ombria",
                Path(line["tgt"]).stem,
                data / line["ref"],
                data / line["tgt"],
                (float(residual[0]), float(residual[1])),
            )


def warped(target: Source, truth: Truth) -> Source:
    """A target as its ground would look moved by a field.

    Args:
        target: The target as it came.
        truth: Its own pixels to those of the result.

    Returns:
        An image of the same size without geocoding, resampled with a spline of the fifth degree.
    """
    image = target.read()
    width, height = image.size
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    back = truth.inverse(np.column_stack([columns.ravel(), rows.ravel()]))
    x, y = back.T.reshape(2, height, width)
    planes = [
        map_coordinates(
            spline_filter(band, _ORDER, output=np.float64, mode="mirror"),
            [y, x],
            order=_ORDER,
            prefilter=False,
            mode="mirror",
        )
        for band in image.pixels
    ]
    nearest = np.round([y, x]).astype(int)
    inside = (nearest >= 0).all(axis=0) & (nearest[0] < height) & (nearest[1] < width)
    row, column = np.where(inside, nearest, 0)
    valid = inside & image.valid[row, column]
    pixels = np.moveaxis(np.stack(planes), 0, 2)
    kind = np.dtype(target.info.dtypes[0])
    if kind.kind in "iu":
        # Rounded as a product's own resampling would.
        limits = np.iinfo(kind)
        pixels = np.clip(np.round(pixels), limits.min, limits.max)
    return array_source(pixels.astype(kind), valid=valid)


def measure(pair: RealPair, local_px: float, registrar: Registrar, seed: int) -> Row:
    """Register a pair unwarped and warped, and compare."""
    asked = {"use_geocoding": False, "tolerance": f"{TOLERANCE_PX}px"}
    registrar = registrar.configured(make_scene_config(registrar.config, **asked))
    target = open_source(pair.tgt)
    reference = open_source(pair.ref)
    image = target.read()
    plain = array_source(np.moveaxis(image.pixels, 0, 2), valid=image.valid)
    size = target.info.size
    side = max(size)
    rng = np.random.default_rng([seed, 7])
    dx, dy = rng.uniform(-12, 12, 2)
    warp = (float(dx), float(dy), float(rng.uniform(-2, 2)), float(rng.uniform(0.98, 1.02)))
    lengths = (_LENGTHS[0] * side, _LENGTHS[1] * side)
    truth = Truth.make(side, warp, local_px, seed=seed, lengths=lengths)
    shown = warped(target, truth)

    started = time.perf_counter()
    found = register_scene(reference, shown, registrar)
    seconds = time.perf_counter() - started
    row = Row(
        pair.source,
        pair.name,
        local_px,
        found.status,
        found.certificate.passes is True,
        found.certificate.corner_ci95_px,
        "none" if found.local is None else found.local.kind,
        None,
        None,
        None,
        round(seconds, 2),
        found.reason,
    )
    if found.transform is None:
        return row
    answer = _places(found, shown)
    if pair.residual is not None:
        residual = np.array(pair.residual)
        off = distances(answer, lambda xy: truth.apply(xy + residual), size, _COUNT)
        row = replace(row, error_px=_rms(off))
    unwarped = register_scene(reference, plain, registrar)
    if unwarped.status == "ok":
        own = _places(unwarped, plain)
        off = distances(answer, lambda xy: truth.apply(own(xy)), size, _COUNT)
        row = replace(row, warp_error_px=_rms(off), max_px=round(float(off.max()), 4))
    return row


def _places(registration: Registration, target: Source) -> Places:
    mapping = GeoCorrection.of(registration)
    return mapping.to_pixels(mapping.reference_lattice, target.info)


def _rms(values: NDArray[np.float64]) -> float:
    return round(float(np.sqrt((values**2).mean())), 4)


def as_table(rows: Sequence[Row]) -> HtmlTable:
    """A line a data set and kind of warp, errors being those of certified answers."""
    header = (
        "data set",
        "local warp, px",
        "pairs",
        "ok",
        "certified to 0.3 px",
        "of these within 0.3 px of the warp",
        "median error, px",
        "p90, px",
        "median against measured residual, px",
        "median s",
    )
    lines = []
    for source, local in dict.fromkeys((row.source, row.local_px) for row in rows):
        some = [row for row in rows if (row.source, row.local_px) == (source, local)]
        passed = [row for row in some if row.passes]
        judged = [row.warp_error_px for row in passed if row.warp_error_px is not None]
        measured = [row.error_px for row in passed if row.error_px is not None]
        within = sum(error <= TOLERANCE_PX for error in judged)
        lines.append(
            (
                HtmlCell(source),
                HtmlCell(f"{local:g}"),
                HtmlCell(str(len(some))),
                HtmlCell(str(sum(row.status == "ok" for row in some))),
                HtmlCell(str(len(passed))),
                HtmlCell(f"{within} of {len(judged)}"),
                HtmlCell(_quantile(judged, 50)),
                HtmlCell(_quantile(judged, 90)),
                HtmlCell(_quantile(measured, 50)),
                HtmlCell(_quantile([row.seconds for row in some], 50)),
            )
        )
    note = (
        "Errors of certified answers: root mean square over the overlap. The error is against the"
        " exact warp of the pair as `imatch.register` found it unwarped; the data's own measured"
        " residual of the two dates is good to some tenths of a pixel."
    )
    return HtmlTable("Real pairs under exact warps", note, header, tuple(lines))


def _quantile(values: Sequence[float], percent: float) -> str:
    return f"{np.percentile(values, percent):.2f}" if values else "–"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.scene_real", description=described)
    whole.add_argument("--data", type=Path, required=True, help="folder of the real images")
    whole.add_argument("--split", choices=["train", "bench"], default="train")
    whole.add_argument("--matcher", default="auto")
    whole.add_argument("--limit", type=int, help="only so many pairs of each data set")
    whole.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    return whole


def main() -> None:
    """Measure the pairs of a split."""
    options = parser().parse_args()
    command = " ".join(["python -m experiments.benchmarks.scene_real", *sys.argv[1:]])
    record: dict[str, Any] = {**environment(command), "split": options.split}
    options.out.mkdir(parents=True, exist_ok=True)
    listed = train_pairs if options.split == "train" else bench_pairs
    rows: list[Row] = []
    try:
        registrar = load_registrar(make_scene_config(matcher=options.matcher))
        for seed, pair in enumerate(_limited(listed(options.data), options.limit)):
            rows += [measure(pair, local, registrar, seed) for local in _LOCAL_PX]
            print(rows[-1], flush=True)
            write_rows(options.out, options.split, rows, record)
        print(write_markdown(options.out, options.split, [as_table(rows)], []))
    except ImatchError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")


def _limited(pairs: Iterator[RealPair], limit: int | None) -> Iterator[RealPair]:
    """At most `limit` pairs a data set, spread over it, those too small left out."""
    listed = list(pairs)
    for source in dict.fromkeys(pair.source for pair in listed):
        some = [pair for pair in listed if pair.source == source]
        if source == "ombria":
            some = [p for p in some if min(open_source(p.tgt).info.size) >= _LEAST_SIDE]
        if limit is not None and len(some) > limit:
            some = [some[i] for i in np.linspace(0, len(some) - 1, limit).astype(int)]
        yield from some


if __name__ == "__main__":
    main()
