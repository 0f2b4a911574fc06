"""Many dates of one tile, each moved by an offset that is known: pairs to one date, or all at once.

Every date is turned, scaled and shifted by itself, so that the truth between any two is known as
well as the dates' own geocoding is (some tenths of these pixels). All pairs are matched once. Then

- ``pairs``: each date in turn is the reference, and the others are laid on it by their own pair
  with it, where that pair is ok;
- ``joint``: `imatch stack` ties all of them together.

    python -m experiments.stack.seventeen_dates --data ../shared/data -o /tmp/dates -m auto -m sift

``--split train`` takes the nine dates of the training tile: the design was settled on these.
"""

from __future__ import annotations

import argparse
import csv
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import cv2
import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.benchmark.metrics import corner_error
from imatch.core.progress import progress
from imatch.export.stack.files import write_stack
from imatch.pipeline.batch.run import BatchResult
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.stack.result import Stack
from imatch.pipeline.stack.run import PAIRS, solve_stack

#: Largest turn in degrees, change of scale, and shift as a share of the width.
VARIANTS = {"near": (2.0, 0.02, 12 / 1024), "free": (30.0, 0.2, 0.1)}
WITHIN_PX, WRONG_PX = 1.0, 3.0


@dataclass(frozen=True)
class Outcome:
    """One date laid on one reference by one method.

    Attributes:
        matcher: Registry name.
        variant: How the dates were moved.
        method: ``pairs`` or ``joint``.
        reference: The date the other is laid on.
        date: The other.
        status: What the method says of it.
        error_px: Mean distance of the reference's corners from the truth; NaN without a transform.
        bound_px: Stated 95 % bound on a corner; NaN where there is none.
    """

    matcher: str
    variant: str
    method: str
    reference: str
    date: str
    status: str
    error_px: float
    bound_px: float

    @property
    def tied(self) -> bool:
        """Accepted, and right."""
        return self.status == "ok" and self.error_px <= WITHIN_PX


def moved(size: tuple[int, int], variant: str, rng: np.random.Generator) -> NDArray[np.float64]:
    """(3, 3) similarity about the middle of an image of (width, height), pixel to moved pixel."""
    turn, zoom, shift = VARIANTS[variant]
    angle = np.radians(rng.uniform(-turn, turn))
    scale = float(np.exp(rng.uniform(-1, 1) * np.log1p(zoom)))
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = (size[0] - 1) / 2, (size[1] - 1) / 2
    dx, dy = rng.uniform(-shift, shift, 2) * size[0]
    return np.array([[a, -b, x - a * x + b * y + dx], [b, a, y - b * x - a * y + dy], [0, 0, 1]])


def present(
    images: Sequence[Path], out: Path, variant: str, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Write every date moved, without geocoding; ground from beyond the frame is missing.

    Args:
        images: The dates, aligned.
        out: Folder to write to.
        variant: How far to move them.
        seed: Of the moves.

    Returns:
        (3, 3) original pixel to moved pixel, by name.
    """
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, sorted(VARIANTS).index(variant)])
    truth = {}
    for path in images:
        with rasterio.open(path) as dataset:
            pixels, size = dataset.read(), (dataset.width, dataset.height)
        warp = moved(size, variant, rng)
        truth[path.stem] = warp
        if (out / path.name).exists():
            # A run that is resumed goes on with the same files.
            continue
        flags = cv2.INTER_CUBIC
        # 0 marks what is missing, so the darkest ground becomes 1.
        ground = [cv2.warpPerspective(np.maximum(p, 1), warp, size, flags=flags) for p in pixels]
        inside = cv2.warpPerspective(np.ones(size[::-1], np.uint8), warp, size, flags=0)
        shown = np.where(inside > 0, np.maximum(np.stack(ground), 1), 0).astype(np.uint8)
        profile = {"driver": "GTiff", "width": size[0], "height": size[1], "dtype": "uint8"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(out / path.name, "w", count=len(shown), nodata=0, **profile) as file:
                file.write(shown)
    return truth


def judged(
    solved: Stack, folder: Path, truth: dict[str, NDArray[np.float64]], matcher: str, variant: str
) -> list[Outcome]:
    """Both methods held against the truth, for every date as reference.

    Args:
        solved: The joint solution.
        folder: Where its pairs are.
        truth: Original pixel to moved pixel, by name.
        matcher: Registry name.
        variant: How the dates were moved.
    """
    nan = float("nan")
    size = next((i.registration.target.width, i.registration.target.height) for i in solved.images)
    found: dict[tuple[str, str], tuple[str, NDArray[np.float64] | None, float]] = {}
    for path in sorted((folder / PAIRS / "results").glob("*.json")):
        pair = read_registration(path)
        one, other = (Path(side.path or "").stem for side in (pair.reference, pair.target))
        bound = pair.certificate.corner_ci95_px or nan
        found[one, other] = pair.status, pair.matrix, bound
        back = None if pair.matrix is None else np.linalg.inv(pair.matrix).astype(np.float64)
        found[other, one] = pair.status, back, bound
    outcomes = []
    joint = {image.name: image.registration for image in solved.images}
    for reference in truth:
        for date in truth:
            if date == reference:
                continue
            right = truth[date] @ np.linalg.inv(truth[reference])
            status, matrix, bound = found.get((reference, date), ("failed", None, nan))
            error = nan if matrix is None else corner_error(matrix, right, size)
            head = (matcher, variant)
            outcomes.append(Outcome(*head, "pairs", reference, date, status, error, bound))
            ends, error = (joint[reference], joint[date]), nan
            worst = max((end.status for end in ends), key=("ok", "uncertain", "failed").index)
            if ends[0].matrix is not None and ends[1].matrix is not None:
                error = corner_error(ends[1].matrix @ np.linalg.inv(ends[0].matrix), right, size)
            bound = nan
            if reference == solved.reference:
                bound = ends[1].certificate.corner_ci95_px or nan
            outcomes.append(Outcome(*head, "joint", reference, date, worst, error, bound))
    return outcomes


def told(advance: Callable[[float], None]) -> Callable[[BatchResult], None]:
    """Advance a bar by one a pair."""
    return lambda _row: advance(1)


def table(outcomes: Sequence[Outcome]) -> str:
    """The comparison as Markdown: for each matcher and variant, both methods.

    "Best" is the reference with which most dates are tied; errors are medians over accepted dates,
    "same dates" over those (reference, date) that both methods accept.
    """
    lines = [
        "| matcher | moved | method | tied within 1 px, mean | best | worst | more than 3 px off |"
        " median error, px | same dates | 90 % | inside the bound |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for matcher, variant in dict.fromkeys((o.matcher, o.variant) for o in outcomes):
        part = [o for o in outcomes if (o.matcher, o.variant) == (matcher, variant)]
        taken = {
            m: {(o.reference, o.date) for o in part if o.method == m and o.status == "ok"}
            for m in ("pairs", "joint")
        }
        both = taken["pairs"] & taken["joint"]
        for method in ("pairs", "joint"):
            own = [o for o in part if o.method == method]
            references = dict.fromkeys(o.reference for o in own)
            counts = [sum(o.tied for o in own if o.reference == r) for r in references]
            accepted = [o for o in own if o.status == "ok"]
            errors = [o.error_px for o in accepted]
            same = [o.error_px for o in own if (o.reference, o.date) in both]
            bounded = [o for o in accepted if np.isfinite(o.bound_px)]
            inside = np.mean([o.error_px <= o.bound_px for o in bounded]) if bounded else np.nan
            others = len(references) - 1
            figures = [
                f"{np.mean(counts):.1f} of {others}",
                f"{max(counts)}",
                f"{min(counts)}",
                f"{sum(e > WRONG_PX for e in errors)}",
                f"{np.median(errors):.3f}" if errors else "",
                f"{np.median(same):.3f}" if same else "",
                f"{np.percentile(errors, 90):.3f}" if errors else "",
                f"{inside:.0%}" if bounded else "",
            ]
            lines.append("| " + " | ".join([matcher, variant, method, *figures]) + " |")
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.stack.seventeen_dates", description=described)
    whole.add_argument("--data", type=Path, required=True)
    whole.add_argument("-o", "--out", type=Path, required=True)
    whole.add_argument("-m", "--matcher", action="append", help="[default: auto and sift]")
    whole.add_argument("--variant", action="append", choices=sorted(VARIANTS))
    whole.add_argument("--split", choices=["bench", "train"], default="bench")
    whole.add_argument("--jobs", type=int, default=1)
    whole.add_argument("--seed", type=int, default=17)
    return whole


def main() -> None:
    """Move the dates, match all pairs, compare both methods."""
    options = parser().parse_args()
    images = sorted((options.data / options.split / "ua_overview").glob("*.tif"))
    if len(images) < 2:
        raise SystemExit(f"no dates in {options.data / options.split / 'ua_overview'}")
    outcomes: list[Outcome] = []
    for variant in options.variant or ["near", "free"]:
        dates = options.out / f"dates_{variant}_{options.seed}"
        truth = present(images, dates, variant, options.seed)
        for matcher in options.matcher or ["auto", "sift"]:
            folder = options.out / f"{matcher}_{variant}"
            with progress(f"{matcher} {variant}", len(images) * (len(images) - 1) // 2) as advance:
                solved = solve_stack(
                    sorted(dates.glob("*.tif")),
                    folder,
                    matcher=matcher,
                    pairs="all",
                    jobs=options.jobs,
                    resume=True,
                    on_result=told(advance),
                )
            write_stack(solved, folder)
            print(
                f"{matcher} {variant}: {solved.model} maps, scatter {solved.scatter_px:.3f} px,"
                f" {sum(p.verdict == 'counts' for p in solved.pairs)} of {len(solved.pairs)} pairs"
                f" count, {sum(p.verdict == 'aside' for p in solved.pairs)} set aside,"
                f" chi2 {solved.chi_squared:.0f} of {solved.freedom},"
                f" reference {solved.reference}"
            )
            outcomes += judged(solved, folder, truth, matcher, variant)
    with (options.out / "outcomes.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Outcome)])
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in outcomes)
    (options.out / "summary.md").write_text(table(outcomes), encoding="utf-8")
    print(table(outcomes))


if __name__ == "__main__":
    main()
