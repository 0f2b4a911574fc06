"""How fast, in how much memory and how precisely is a whole scene registered?

Pairs of scenes (`tests.support.scenes.pair`) are registered by ``python -m imatch register``, from
start to the warped file written; its result is held against the exact field:

    python -m experiments.benchmarks.scene --data ../shared/data --work /tmp/imatch-scenes \
        -o experiments/benchmarks/results/scene

Writes ``scene.csv``, ``scene.json`` and ``scene.md``, anew after each case.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import rasterio
from numpy.typing import NDArray

import imatch
from imatch.benchmark.environment import commit, environment
from imatch.core.errors import ImatchError
from imatch.core.io.files import atomic_path
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration
from imatch.raster import open_source
from tests.support.process_tree import Watched, watch
from tests.support.scenes.pair import SCHEMA, Scene, read_truth, write_scene
from tests.support.scenes.truth import lattice

#: What a scene of 10980 x 10980 may cost, and one of four times the area relative to it.
TARGETS = {"seconds": 120.0, "peak_gb": 2.0, "times_as_long": 5.0, "global": 0.2, "local": 0.3}
Places: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
_POINTS = 101
_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class Case:
    """A scene and how it is stored.

    Attributes:
        name: What to call it.
        scene: What it shows.
        kind: ``tif``, ``jp2`` or ``img``.
    """

    name: str
    scene: Scene
    kind: str = "tif"

    @property
    def folder(self) -> str:
        """Where the pair is, the same for all formats."""
        local = f"local{self.scene.local_px:g}" if self.scene.local_px else "global"
        return f"{self.scene.size}-{local}-{self.scene.seed}"


def cases(size: int) -> tuple[Case, ...]:
    """The cases, the larger scenes having twice the side of `size`."""
    wide = Scene(size)
    bent = replace(wide, local_px=3.0)
    twice = 2 * size
    return (
        Case(f"{size} global tif", wide),
        Case(f"{size} local tif", bent),
        Case(f"{size} local jp2", bent, "jp2"),
        Case(f"{twice} global tif", replace(wide, size=twice)),
        Case(f"{twice} local tif", replace(bent, size=twice)),
    )


@dataclass(frozen=True)
class Row:
    """What came of a case; None where there is nothing to measure.

    Attributes:
        case: Its name.
        size: Side, pixels.
        local_px: Largest local displacement of the truth.
        kind: Format.
        status: ``ok``, ``uncertain``, ``failed``, or ``error`` with the reason in `message`.
        seconds: From start to exit, the warped file written.
        cpu_seconds: Of all processes together.
        peak_gb: Of all processes together.
        processes: At most at a time.
        rmse_px: Root mean square distance of the model from the exact field over the overlap.
        p95_px: 95th percentile of that distance.
        max_px: The largest.
        stated_rmse_px: The RMSE at check points that the result states.
        bound_px: The 95 % bound of its certificate.
        model: Kind of the global transform.
        local: Kind of the local model, or ``none``.
        tie_points: That agree.
        matches: Measured in all.
        stages: Seconds of the stages, as the result tells them.
        message: What the command said, where it failed.
        busy: Processes that wanted the machine's cores in the minute before (its load average):
            what lengthened the seconds, if anything did.
        commit: Of the code.
    """

    case: str
    size: int
    local_px: float
    kind: str
    status: str
    seconds: float
    cpu_seconds: float
    peak_gb: float
    processes: int
    rmse_px: float | None = None
    p95_px: float | None = None
    max_px: float | None = None
    stated_rmse_px: float | None = None
    bound_px: float | None = None
    model: str = ""
    local: str = ""
    tie_points: int = 0
    matches: int = 0
    stages: str = ""
    message: str = ""
    busy: float = 0.0
    commit: str = ""


def distances(
    found: Places,
    exact: Places,
    size: int | tuple[int, int],
    count: int = _POINTS,
) -> NDArray[np.float64]:
    """How far a model lies from the truth, at a lattice of reference pixels the target shows.

    Args:
        found: (N, 2) reference pixels to (N, 2) target pixels.
        exact: The same, as it really is.
        size: Of both images, pixels.
        count: Points of the lattice along each side.

    Returns:
        (M,) target pixels.
    """
    points = lattice(size, count)
    there = exact(points)
    inside = ((there >= 0) & (there <= np.array(size) - 1)).all(axis=1)
    return np.asarray(np.hypot(*(found(points[inside]) - there[inside]).T))


def register(
    ref: Path, tgt: Path, folder: Path, options: Sequence[str] = ()
) -> tuple[Watched, Path]:
    """Run ``imatch register`` on two files; what it cost, and where its result lies."""
    out, result = folder / "registered.tif", folder / "registered.json"
    for path in (out, result):
        path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "imatch", "register", str(ref), str(tgt), str(out)]
    command += ["-o", str(result), "--overwrite", "--quiet", "--offline", *options]
    return watch(command, timeout=_TIMEOUT_S), result


def run_case(case: Case, work: Path, data: Path, options: Sequence[str] = ()) -> Row:
    """Make the pair where it is missing, register it and measure the answer."""
    folder = work / case.folder
    ref, tgt = (folder / f"{name}.{case.kind}" for name in ("ref", "tgt"))
    _make(case, folder, data)
    truth = read_truth(folder / "truth.json")
    busy = os.getloadavg()[0]
    cost, result = register(ref, tgt, folder, options)
    row = Row(
        case.name,
        case.scene.size,
        case.scene.local_px,
        case.kind,
        "error",
        round(cost.seconds, 1),
        round(cost.cpu_seconds, 1),
        round(cost.peak_gb, 2),
        cost.processes,
        message=" ".join(cost.stderr.split())[-300:],
        busy=round(busy, 1),
        commit=_commit(),
    )
    if not result.exists():
        return row
    registration = read_registration(result)
    row = replace(
        row,
        status=registration.status,
        stated_rmse_px=_rounded(registration.rmse_px),
        bound_px=_rounded(registration.certificate.corner_ci95_px),
        model=registration.model or "",
        local="none" if registration.local is None else registration.local.kind,
        tie_points=registration.n_inliers,
        matches=registration.n_matches,
        stages=_stages(registration.provenance),
    )
    if registration.transform is None:
        return row
    mapping = GeoCorrection.of(registration)
    to_pixels = mapping.to_pixels(mapping.reference_lattice, open_source(tgt).info)
    off = distances(to_pixels, truth.apply, case.scene.size)
    written = folder / "registered.tif"
    trouble = _misfit(ref, written) if written.exists() else "no file was written"
    return replace(
        row,
        rmse_px=round(float(np.sqrt((off**2).mean())), 4),
        p95_px=round(float(np.percentile(off, 95)), 4),
        max_px=round(float(off.max()), 4),
        message=trouble if cost.code == 0 else row.message,
    )


def _make(case: Case, folder: Path, data: Path) -> None:
    """Write a pair unless it is there."""
    wanted = [folder / f"{name}.{kind}" for name in ("ref", "tgt") for kind in ("tif", case.kind)]
    path = folder / "truth.json"
    if all(file.exists() for file in wanted) and path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["schema"] == SCHEMA and kept["scene"] == json.loads(json.dumps(asdict(case.scene))):
            return
    write_scene(case.scene, data, folder, formats=("tif", case.kind), jobs=2)


def _commit() -> str:
    found = commit(Path(imatch.__file__).parent)
    return "" if found is None else found["hash"][:12] + ("+" if found["dirty"] else "")


def _misfit(ref: Path, out: Path) -> str:
    """What is wrong with the written file; empty where its pixels are the reference's."""
    with rasterio.open(ref) as reference, rasterio.open(out) as written:
        same = (
            written.crs == reference.crs
            and written.transform.almost_equals(reference.transform)
            and written.shape == reference.shape
        )
        kept = written.dtypes == reference.dtypes and written.nodata == reference.nodata
    return "" if same and kept else "the written file is not on the reference's pixels"


def _stages(provenance: dict[str, Any]) -> str:
    seconds = provenance.get("scene", {}).get("seconds", {})
    return ", ".join(f"{name} {value:.1f}" for name, value in seconds.items())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def as_table(rows: Sequence[Row]) -> HtmlTable:
    """A line a case."""
    header = (
        *("case", "status", "seconds", "CPU seconds", "others", "peak GB", "RMSE, px"),
        *("p95, px", "max, px", "bound 95 %, px", "model", "tie points"),
    )
    lines = tuple(
        (
            HtmlCell(row.case),
            HtmlCell(row.status),
            HtmlCell(f"{row.seconds:.0f}"),
            HtmlCell(f"{row.cpu_seconds:.0f}"),
            HtmlCell(f"{row.busy:.1f}"),
            HtmlCell(f"{row.peak_gb:.2f}"),
            *(
                HtmlCell("–" if value is None else f"{value:.3f}")
                for value in (row.rmse_px, row.p95_px, row.max_px, row.bound_px)
            ),
            HtmlCell(row.model + ("" if row.local in ("", "none") else f" + {row.local}")),
            HtmlCell(f"{row.tie_points} of {row.matches}"),
        )
        for row in rows
    )
    note = (
        "From the start of `imatch register` to the warped file written; memory of all processes"
        " together. Others: how many processes of others wanted the cores just before. Errors"
        " against the exact field, at 101 x 101 points."
    )
    return HtmlTable("Whole scenes", note, header, lines)


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Which of the targets are met, a sentence each."""
    lines = []
    smallest = min((row.size for row in rows), default=0)
    for row in rows:
        limit = TARGETS["local" if row.local_px else "global"]
        if row.rmse_px is not None:
            met = "met" if row.rmse_px <= limit else "missed"
            lines.append(f"{row.case}: RMSE {row.rmse_px:.3f} px, at most {limit:g} px: {met}")
        memory = "met" if row.peak_gb <= TARGETS["peak_gb"] else "missed"
        lines.append(f"{row.case}: {row.peak_gb:.2f} GB, at most {TARGETS['peak_gb']:g}: {memory}")
        if row.size == smallest:
            met = "met" if row.seconds <= TARGETS["seconds"] else "missed"
            lines.append(f"{row.case}: {row.seconds:.0f} s, at most {TARGETS['seconds']:g}: {met}")
        for other in rows:
            alike = (other.local_px, other.kind) == (row.local_px, row.kind)
            if alike and other.size == 2 * row.size:
                times = other.seconds / row.seconds
                met = "met" if times <= TARGETS["times_as_long"] else "missed"
                lines.append(
                    f"{other.case}: {times:.1f} times as long as {row.case}, at most "
                    f"{TARGETS['times_as_long']:g}: {met}"
                )
    return lines


def write_rows(folder: Path, name: str, rows: Sequence[Any], record: dict[str, Any]) -> None:
    """Write rows (instances of one dataclass) as CSV and, with their record, as JSON."""
    with (
        atomic_path(folder / f"{name}.csv", overwrite=True) as part,
        part.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, [field.name for field in fields(rows[0])])
        table.writeheader()
        table.writerows(asdict(row) for row in rows)
    with atomic_path(folder / f"{name}.json", overwrite=True) as part:
        document = {**record, "rows": [asdict(row) for row in rows]}
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def write_markdown(
    folder: Path, name: str, tables: Sequence[HtmlTable], lines: Sequence[str]
) -> str:
    """Write tables, and lines below them, as Markdown; give the text."""
    text = "\n".join(table.to_markdown() for table in tables)
    if lines:
        text += "\n" + "\n".join(f"- {line}" for line in lines) + "\n"
    with atomic_path(folder / f"{name}.md", overwrite=True) as part:
        part.write_text(text, encoding="utf-8")
    return text


def _earlier(path: Path) -> list[Row]:
    """The rows of an earlier run, to which single cases are added."""
    if not path.exists():
        return []
    names = {field.name for field in fields(Row)}
    kept = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return [Row(**{name: row[name] for name in names if name in row}) for row in kept]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.scene", description=described)
    whole.add_argument("--data", type=Path, required=True, help="folder of the real images")
    whole.add_argument("--work", type=Path, required=True, help="folder for some 3 GB of scenes")
    whole.add_argument("-o", "--out", type=Path, required=True, help="folder for the results")
    whole.add_argument("--size", type=int, default=10980, help="side of the smaller scenes")
    whole.add_argument(
        "--case", action="append", help="only cases whose name holds this; others keep their rows"
    )
    whole.add_argument("options", nargs="*", help="after --: more options of imatch register")
    return whole


def main() -> None:
    """Run the cases, keeping each row as it comes."""
    options = parser().parse_args()
    command = " ".join(["python -m experiments.benchmarks.scene", *sys.argv[1:]])
    record = {**environment(command), "targets": TARGETS, "register_options": options.options}
    chosen = [
        case
        for case in cases(options.size)
        if not options.case or any(part in case.name for part in options.case)
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    order = [case.name for case in cases(options.size)]
    rows = _earlier(options.out / "scene.json") if options.case else []
    try:
        for case in chosen:
            row = run_case(case, options.work, options.data, options.options)
            print(row, flush=True)
            rows = [other for other in rows if other.case != row.case] + [row]
            rows.sort(key=lambda kept: order.index(kept.case) if kept.case in order else len(order))
            write_rows(options.out, "scene", rows, record)
            write_markdown(options.out, "scene", [as_table(rows)], verdicts(rows))
    except ImatchError as error:
        sys.exit(f"{Path(__file__).name}: error: {error}")
    print(as_table(rows).to_markdown(), *verdicts(rows), sep="\n")


if __name__ == "__main__":
    main()
