"""What single pairs cost one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from imatch.benchmark.cases import Case
from tests.support.apart import apart
from tests.support.geotiffs import write_geotiff
from tests.support.scenes.shifted import SHIFT


def pair_seconds(name: str, cases: list[Case], root: Path) -> tuple[list[float], float]:
    """Processor seconds of each case with one thread, and the process's peak in GB.

    The first pair, for which the network is built, is not counted.
    """
    import torch

    from imatch.benchmark.prepare_case import prepare_case
    from imatch.benchmark.worker import peak_mb, unreduced
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.pair.match import match
    from imatch.pipeline.pair.registrar import load_registrar

    torch.set_num_threads(1)
    config = MatchConfig(matcher=name, fetch=True)
    registrar, taken = load_registrar(config), []
    for case in (cases[0], *cases):
        views = prepare_case(case, root, config)
        ref, tgt = (view.source() for view in views)
        begun = time.process_time()
        match(ref, tgt, registrar.configured(unreduced(registrar.config, views)))
        taken.append(time.process_time() - begun)
    return taken[1:], peak_mb() / 1e3


def run_match(
    ref: Path, tgt: Path, matcher: str, out: Path, truth: tuple[float, float] | None = SHIFT
) -> dict[str, Any]:
    """Match in a process of its own; its peak memory, time, status and error."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "imatch", "match", str(ref), str(tgt), "-m", matcher]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "-o", str(out), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        message = process.stderr.read().decode()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    row: dict[str, Any] = {
        "matcher": matcher,
        "format": ref.suffix[1:],
        "exit": process.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gb": round(usage.ru_maxrss * unit / 1e9, 2),
    }
    if not out.exists():
        return row | {"status": "none", "message": message.strip()[-300:]}
    found = json.loads(out.read_text())
    row["status"] = found["status"]
    row["found_by"] = found["provenance"].get("found_by")
    if found["shift_px"] is not None and truth is not None:
        row["error_px"] = np.round(np.subtract(found["shift_px"], truth), 2).tolist()
        row["ci95_px"] = found["ci95_px"]
    return row


def memory_rows(work: Path, side: int) -> Iterator[dict[str, Any]]:
    """Matches a pair that correlates and one of different ground, for which networks are asked.

    Args:
        work: Folder for the images, three bands of 16 bits.
        side: Of the images, pixels.
    """
    apart(_write_images, work, side)  # A child's peak memory includes its parent's.
    for name in ("same", "other"):
        files = work / "ref.tif", work / f"{name}.tif"
        yield {"ground": name} | run_match(*files, "auto", work / "found.json", None)


def _write_images(work: Path, side: int) -> None:
    from imatch.datasets.synthetic.pairs import LandscapePairs

    made = LandscapePairs(1, (side, side), 2)
    for name, pixels in {"ref": made[0].a, "same": made[0].b, "other": made[1].b}.items():
        bands = np.concatenate([pixels] * 3) if len(pixels) == 1 else pixels
        write_geotiff(work / f"{name}.tif", (3000 * bands).astype(np.uint16))
