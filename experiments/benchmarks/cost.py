r"""What things cost: time and memory of pairs, scenes, training, search and the start.

    python -m experiments.benchmarks.cost pairs ../shared/data/bench_cases.csv \
        --source ombria --every 40 -m superpoint-s2 -m aliked-lightglue
    python -m experiments.benchmarks.cost scenes --work /tmp/scenes --bands 1 --format tif
    python -m experiments.benchmarks.cost writing --data ../shared/data --work /tmp/scenes
    python -m experiments.benchmarks.cost traffic --work /tmp/scenes
    python -m experiments.benchmarks.cost training superpoint chips \
        experiments/superpoint/season.yaml
    python -m experiments.benchmarks.cost matching --side 512
    python -m experiments.benchmarks.cost archive --count 20000 200000 -o out/archive.json
    python -m experiments.benchmarks.cost search -o out/search.json
    python -m experiments.benchmarks.cost types
    python -m experiments.benchmarks.cost startup
    python -m experiments.benchmarks.cost networks --against 23a3531 -o out/networks.json
    python -m experiments.benchmarks.cost batch --against 23a3531 -o out/batch.json
    python -m experiments.benchmarks.cost memory -o out/memory.json
    python -m experiments.benchmarks.cost cluster --pairs 10000 -o out/cluster.json
    python -m experiments.benchmarks.cost stages --data ../shared/data --against v0.2.0

Time of a processor is that of the process, so that a busy machine does not count. What is measured
runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# Torch and faiss are imported where they are used: a child's peak memory includes its parent's.
from imatch.benchmark.cases import read_cases
from imatch.benchmark.environment import environment
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import to_json
from tests.support.apart import apart
from tests.support.busy import busy
from tests.support.costs import batches
from tests.support.costs.archives import STORES, growth_rows, search_rows
from tests.support.costs.checkouts import checkouts
from tests.support.costs.cluster import cluster_rows, written_chips
from tests.support.costs.networks import network_rows
from tests.support.costs.pairs import memory_rows, pair_seconds, run_match
from tests.support.costs.training import train_loftr, train_superpoint
from tests.support.costs.writing import writing_rows
from tests.support.scenes.pair import Scene, write_scene
from tests.support.scenes.remote import match_remotely, write_cog
from tests.support.scenes.shifted import FORMATS, make_scenes
from tests.support.service import Service
from tests.support.stage_pairs import stage_rows
from tests.support.startup import run_fresh
from tests.support.types_on_path import classes_on_path


def pairs(asked: argparse.Namespace) -> None:
    """Measure pairs of a benchmark, a line a matcher."""
    cases = [case for case in read_cases(asked.cases) if case.source == asked.source]
    chosen = [case for case in cases if case.positive][:: asked.every]
    for name in asked.matcher:
        taken, peak = apart(pair_seconds, name, chosen, asked.cases.parent)
        mean = statistics.mean(taken)
        print(f"{name:24} {mean:.2f} s a pair of {len(taken)}, peak {peak:.2f} GB", flush=True)


def scenes(asked: argparse.Namespace) -> None:
    """Match two whole scenes, made where they are missing, a line a matcher and format."""
    asked.work.mkdir(parents=True, exist_ok=True)
    if not all((asked.work / f"{n}.{kind}").exists() for n in ("ref", "tgt") for kind in FORMATS):
        apart(make_scenes, asked.work, asked.side, asked.bands)
    record, rows = begun(), []
    for kind in asked.format or FORMATS:
        for matcher in asked.matcher or ["sift", "aliked-lightglue", "auto"]:
            ref, tgt = asked.work / f"ref.{kind}", asked.work / f"tgt.{kind}"
            row = run_match(ref, tgt, matcher, asked.work / "result.json")
            rows.append(row)
            print(
                f"{kind:5}{matcher:20}{row['peak_gb']:6.2f} GB{row['seconds']:8.1f} s  "
                f"{row['status']:10}error {row.get('error_px')} px {row.get('message', '')}",
                flush=True,
            )
    write_record(asked.out, record | {"runs": rows})


def writing(asked: argparse.Namespace) -> None:
    """Register a scene and write it, beside older commits and gdalwarp writing the same."""
    scene = Scene(asked.side, bands=asked.bands)
    folder = asked.work.absolute() / f"{scene.size}-{scene.bands}-bands"
    if not {"truth.json", f"tgt.{asked.format}"} <= {path.name for path in folder.glob("*")}:
        write_scene(scene, asked.data, folder, formats=("tif", asked.format), jobs=2)
    record, rows = begun(), []
    with checkouts(asked.against) as trees:
        for row in writing_rows(folder, asked.format, trees, asked.repeat):
            rows.append(row)
            print(to_json(row), flush=True)
    write_record(asked.out, record | {"rows": rows})


def traffic(asked: argparse.Namespace) -> None:
    """Match two whole scenes as COGs on a server of ranges, and count the bytes that travel."""
    asked.work.mkdir(parents=True, exist_ok=True)
    ref, tgt = files = [asked.work / f"{name}.cog.tif" for name in ("ref", "tgt")]
    if not all((asked.work / f"{n}.tif").exists() for n in ("ref", "tgt")):
        apart(make_scenes, asked.work, asked.side, asked.bands)
    for file in files:
        if not file.exists():
            apart(write_cog, asked.work / f"{file.name.split('.')[0]}.tif", file)
    service = Service(asked.work)
    try:
        rows = [match_remotely(service, ref, tgt, m) for m in asked.matcher or ["auto"]]
    finally:
        service.close()
    write_record(asked.out, begun() | {"runs": rows})
    print(to_json(rows))


def cluster(asked: argparse.Namespace) -> None:
    """Match many small pairs on a Dask cluster, and watch memory, table and time."""
    record, rows = begun(), list[dict[str, Any]]()

    def keep(row: dict[str, Any]) -> None:
        # As they come: a run that is cut off leaves what it saw.
        rows.append(row)
        print(to_json(row), flush=True)
        write_record(asked.out, record | {"rows": rows})

    with tempfile.TemporaryDirectory() as folder:
        cluster_rows(
            Path(folder),
            asked.pairs,
            asked.side,
            asked.matcher,
            asked.workers,
            asked.every,
            keep,
        )


def networks(asked: argparse.Namespace) -> None:
    """Run the learnt networks in torch, of this and older commits, and in ONNX Runtime."""
    from imatch.matchers.onnx import export_onnx

    record = begun()
    rows = []
    with tempfile.TemporaryDirectory() as folder, checkouts(asked.against) as trees:
        files = {name: Path(folder, f"{name}.onnx") for name in ("superpoint-s2", "loftr-s2")}
        for name, file in files.items():
            export_onnx(name, file)
        for row in network_rows(trees, files, asked.side, asked.threads, asked.steps):
            rows.append(row)
            print(to_json(row), flush=True)
    write_record(asked.out, record | {"rows": rows})


def batch(asked: argparse.Namespace) -> None:
    """Run a batch of small pairs in one process, and see what of it is not matching."""
    record = begun()
    rows = []
    with tempfile.TemporaryDirectory() as folder, checkouts(asked.against) as trees:
        pairs = written_chips(Path(folder), asked.pairs, asked.side)
        for matcher in asked.matcher or ["phase"]:
            for name, tree in trees.items():
                rows.append(
                    {"tree": name, "matcher": matcher} | batches.of_tree(tree, pairs, matcher)
                )
                print(to_json(rows[-1]), flush=True)
    write_record(asked.out, record | {"rows": rows})


def memory(asked: argparse.Namespace) -> None:
    """Match a pair that correlates and one of different ground by auto, and take their peaks."""
    record = begun()
    with tempfile.TemporaryDirectory() as folder:
        rows = list(memory_rows(Path(folder), asked.side))
    print(to_json(rows))
    write_record(asked.out, record | {"rows": rows})


def begun() -> dict[str, Any]:
    """The head of a record: this command, commit and machine."""
    return environment(" ".join(["python -m experiments.benchmarks.cost", *sys.argv[1:]]))


def write_record(out: Path | None, record: dict[str, Any]) -> None:
    """Writes a record of results, if it is wanted."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(out, overwrite=True) as path:
            path.write_text(json.dumps(record, indent=1) + "\n")


def types(_asked: argparse.Namespace) -> None:
    """List the classes on the path of one match of the sample pair by the default matcher."""
    import imatch

    ref, tgt = sorted(Path("data/sample").glob("*.tif"))
    found = classes_on_path(lambda: imatch.match(ref, tgt))
    print("\n".join([*found, f"{len(found)} classes"]))


def startup(asked: argparse.Namespace) -> None:
    """Import imatch and match the sample pair twice, in fresh interpreters; prints the medians."""
    pair = [str(path) for path in sorted(Path("data/sample").glob("*.tif"))]
    statements = ["import imatch", *[f"imatch.match(*{pair})"] * 2]
    # The first reads the libraries from the disk, and compiles where that was not done.
    runs = [run_fresh(*statements) for _ in range(asked.repeat + 1)][1:]
    print(f"median of {asked.repeat}        wall  processor  modules")
    for number, name in enumerate(["import imatch", "the first match", "the second"]):
        wall, busy = (
            statistics.median(getattr(run[number], clock) for run in runs)
            for clock in ("wall", "processor")
        )
        print(f"{name:18}{1e3 * wall:7.0f} ms{1e3 * busy:7.0f} ms{len(runs[0][number].modules):9}")
    more = statistics.median(first.processor - second.processor for _, first, second in runs)
    print(f"the first costs {more:.2f} s of processor over the second")


def stages(asked: argparse.Namespace) -> None:
    """Measure where the processor's time goes, by kind of pair, beside older commits."""
    rows = []
    with busy(asked.busy):
        for row, line in stage_rows(asked.data, asked.seed, asked.pairs, asked.against):
            rows += row
            print(line, flush=True)
    write_record(asked.out, begun() | {"rows": rows})


def training(asked: argparse.Namespace) -> None:
    """Measure the loading of the data and steps of training, forward and backward."""
    import torch

    torch.set_num_threads(asked.threads)
    settings = [f"data.chips={asked.chips}", "batch_size=2", "device=cpu", *asked.set]
    with tempfile.TemporaryDirectory() as folder:
        train = train_superpoint if asked.trainer == "superpoint" else train_loftr
        train(asked.config, settings, Path(folder), asked.steps)


def matching(asked: argparse.Namespace) -> None:
    """Match a square pair of a procedural landscape at two seasons with the shipped LoFTR."""
    import torch

    from imatch.benchmark.worker import peak_mb
    from imatch.datasets.synthetic.pairs import LandscapePairs
    from imatch.matchers.base import MatcherOptions
    from imatch.models.loftr.match import tie_points
    from imatch.models.loftr.weights import load_loftr
    from imatch.models.weights import require_weights
    from imatch.training.loftr.data import as_matched

    torch.set_num_threads(asked.threads)
    side = asked.side
    network = load_loftr(require_weights("loftr-s2"))
    count = sum(value.numel() for value in network.parameters())
    pair = as_matched(LandscapePairs(1, (side, side), 1)[0], network.shape.channels)
    a, b = torch.from_numpy(pair.a), torch.from_numpy(pair.b)
    seen = torch.from_numpy(pair.valid_a), torch.from_numpy(pair.valid_b)
    taken = []
    for _ in range(asked.steps):
        wall, busy = time.perf_counter(), time.process_time()
        found, _, _ = tie_points(network, a, b, *seen, MatcherOptions().max_keypoints)
        taken.append((time.perf_counter() - wall, time.process_time() - busy))
    wall, busy = (min(column) for column in zip(*taken, strict=True))
    print(f"{count / 1e6:.2f} M parameters, {asked.threads} threads, {len(found)} matches")
    print(f"{side} x {side}: {wall:.2f} s, {busy:.2f} s of processor time", end="")
    print(f", peak {peak_mb() / 1e3:.2f} GB")


def archive(asked: argparse.Namespace) -> None:
    """Build and search indexes of synthetic chips at growing sizes, in a folder and in LanceDB."""
    record, rows = begun(), list[dict[str, Any]]()
    asked.work.mkdir(parents=True, exist_ok=True)
    for row in growth_rows(
        asked.work, asked.count, asked.store, asked.structure, asked.queries, asked.threads
    ):
        # As they come: a run that is cut off leaves what it saw.
        rows.append(row | {"load_average": os.getloadavg()[0]})
        print(to_json(rows[-1]), flush=True)
        write_record(asked.out, record | {"threads": asked.threads, "rows": rows})


def search(asked: argparse.Namespace) -> None:
    """Look an image up in an index, by the command and from Python."""
    record = begun()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for row in search_rows(Path(folder), asked.count, asked.repeat):
            rows.append(row | {"load_average": os.getloadavg()[0]})
            print(to_json(rows[-1]), flush=True)
    write_record(asked.out, record | {"rows": rows})


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.benchmarks.cost", description=described)
    parts = whole.add_subparsers(required=True)
    part = parts.add_parser("pairs", help="single pairs, one thread, a matcher a process")
    part.set_defaults(run=pairs)
    part.add_argument("cases", type=Path)
    part.add_argument("--source", required=True)
    part.add_argument("--every", type=int, default=40, help="take every Nth positive case")
    part.add_argument("-m", "--matcher", action="append", required=True)
    part = parts.add_parser("scenes", help="two whole Sentinel-2 tiles")
    part.set_defaults(run=scenes)
    part.add_argument("--work", type=Path, required=True, help="folder for some 2 GB of scenes")
    part.add_argument("-m", "--matcher", action="append", help="default: the usual three")
    part.add_argument("--format", action="append", choices=list(FORMATS), help="default: both")
    part.add_argument("--side", type=int, default=10980, help="pixels")
    part.add_argument("--bands", type=int, default=3, choices=(1, 3))
    part = parts.add_parser("writing", help="a scene registered and written, beside gdalwarp")
    part.set_defaults(run=writing)
    part.add_argument("--data", type=Path, required=True, help="folder of the real images")
    part.add_argument("--work", type=Path, required=True, help="folder for some 3 GB of scenes")
    part.add_argument("--side", type=int, default=10980, help="pixels")
    part.add_argument("--bands", type=int, default=3, choices=(1, 3))
    part.add_argument("--format", choices=list(FORMATS), default="tif")
    part.add_argument("--repeat", type=int, default=3)
    part.add_argument("--against", action="append", default=[], help="an older commit, or several")
    part = parts.add_parser("traffic", help="bytes of two whole Sentinel-2 tiles on another host")
    part.set_defaults(run=traffic)
    part.add_argument("--work", type=Path, required=True, help="folder for some 3 GB of scenes")
    part.add_argument("-m", "--matcher", action="append", help="default: auto")
    part.set_defaults(side=10980, bands=1)
    part = parts.add_parser("networks", help="the learnt networks, in torch and ONNX Runtime")
    part.set_defaults(run=networks)
    part.add_argument("--side", type=int, nargs="+", default=[256, 512, 640], help="pixels")
    part.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    part.add_argument("--steps", type=int, default=5)
    part.add_argument("--against", action="append", default=[], help="an older commit, or several")
    part = parts.add_parser("batch", help="what of a batch of small pairs is not matching")
    part.set_defaults(run=batch)
    part.add_argument("--pairs", type=int, default=100)
    part.add_argument("--side", type=int, default=128, help="of a chip, pixels")
    part.add_argument("-m", "--matcher", action="append", help="default: phase")
    part.add_argument("--against", action="append", default=[], help="an older commit, or several")
    part = parts.add_parser("memory", help="peak memory of auto, without and with networks")
    part.set_defaults(run=memory)
    part.add_argument("--side", type=int, default=1024, help="pixels")
    part = parts.add_parser("cluster", help="many small pairs on a Dask cluster")
    part.set_defaults(run=cluster)
    part.add_argument("--pairs", type=int, default=10_000)
    part.add_argument("--side", type=int, default=64, help="of a chip, pixels")
    part.add_argument("-m", "--matcher", default="phase")
    part.add_argument("--workers", type=int, default=2)
    part.add_argument("--every", type=int, default=1000, help="pairs a row")
    part = parts.add_parser("types", help="the classes on the path of one match")
    part.set_defaults(run=types)
    part = parts.add_parser("startup", help="importing imatch, and the first match of a program")
    part.set_defaults(run=startup)
    part.add_argument("--repeat", type=int, default=7, help="fresh interpreters")
    part = parts.add_parser("stages", help="where matching spends its time, by kind of pair")
    part.set_defaults(run=stages)
    part.add_argument("--data", type=Path, required=True, help="folder of the real images")
    part.add_argument("--pairs", type=int, default=4, help="of each kind")
    part.add_argument("--seed", type=int, default=901)
    part.add_argument("--busy", type=int, default=0, help="processes that compute beside it")
    part.add_argument("--against", action="append", default=[], help="an older commit, or several")
    part = parts.add_parser("training", help="pairs a second that one core trains on")
    part.set_defaults(run=training)
    part.add_argument("trainer", choices=("superpoint", "loftr"))
    part.add_argument("chips", type=Path)
    part.add_argument("config", type=Path)
    _add_steps(part)
    part.add_argument("-s", "--set", action="append", default=[], metavar="KEY=VALUE")
    part = parts.add_parser("matching", help="a pair by the LoFTR that ships")
    part.set_defaults(run=matching)
    part.add_argument("--side", type=int, default=512)
    _add_steps(part)
    part = parts.add_parser("search", help="an image looked up, by the command and from Python")
    part.set_defaults(run=search)
    part.add_argument("--count", type=int, default=100_000, help="chips of the index")
    part.add_argument("--repeat", type=int, default=5)
    part = parts.add_parser("archive", help="an index as it grows, in a folder and in LanceDB")
    part.set_defaults(run=archive)
    part.add_argument("--work", type=Path, default=Path(tempfile.gettempdir(), "imatch-archive"))
    part.add_argument("--count", type=int, nargs="+", default=[20_000, 200_000, 2_000_000])
    part.add_argument("--store", nargs="+", choices=list(STORES), default=list(STORES))
    part.add_argument("--structure", choices=("ivf", "ivfpq"), default="ivf")
    part.add_argument("--queries", type=int, default=100)
    part.add_argument("--threads", type=int, default=2)
    for name in parts.choices.keys() - {"pairs", "types", "startup", "training", "matching"}:
        parts.choices[name].add_argument("-o", "--out", type=Path, help="JSON file to write")
    return whole


def _add_steps(part: argparse.ArgumentParser) -> None:
    part.add_argument("--steps", type=int, default=6)
    part.add_argument("--threads", type=int, default=1)


if __name__ == "__main__":
    asked = parser().parse_args()
    asked.run(asked)
