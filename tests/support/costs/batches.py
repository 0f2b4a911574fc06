"""Where the time of a batch of small pairs goes, with the code of any checkout.

Run as a script by `of_tree`. The pairs are run in the process that asks for them, so that all that
a worker and its client do is seen.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MATCH = "imatch.pipeline.pair.match"
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "solving": (
        ("imatch.pipeline.pair.registrar", "MatcherRegistrar.solve"),
        ("imatch.pipeline.pair.auto", "Auto.solve"),
    ),
    "opening": ((_MATCH, "open_images"),),
    "reading": ((_MATCH, "read_pair"), (_MATCH, "render")),
    "repeated pixels": (("imatch.raster.read.pair", "_repeated"),),
    "pixels that do not move": ((_MATCH, "leave_out_marks"), (_MATCH, "common_blocks")),
    "infrared bands": ((_MATCH, "ask_other_bands"),),
    "fingerprints": ((_MATCH, "fingerprints_of"),),
    "result": ((_MATCH, "to_registration"), (_MATCH, "provenance")),
    "document": (("imatch.pipeline.batch.worker", "write_json"),),
    "preview": (("imatch.export.batch.writer", "ResultWriter.__call__"),),
    "table": (("imatch.pipeline.batch.journal", "BatchFolder.append"),),
    "report": (("imatch.workflows.batch", "write_report"),),
}


def of_tree(tree: Path, pairs: Sequence[tuple[Path, Path]], matcher: str) -> dict[str, Any]:
    """Runs a batch by the code of a checkout and returns seconds a pair, by stage.

    Args:
        tree: Folder that holds the package.
        pairs: Reference and target of each.
        matcher: Registry name.
    """
    asked = {"pairs": [[str(path) for path in pair] for pair in pairs], "matcher": matcher}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve())],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def main() -> None:
    """Runs the batch that stdin names and prints what a pair took as JSON."""
    import imatch.workflows.batch
    from imatch.pipeline.batch.executor import BatchExecutor
    from imatch.pipeline.batch.pairs import BatchPair
    from imatch.pipeline.batch.result import BatchResult
    from imatch.pipeline.batch.worker import BatchTask, prepare, run_pair

    # By its place: an older checkout has another one in its package of tests.
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    stage_seconds: Any = importlib.import_module("stage_seconds")

    @dataclass
    class Here(BatchExecutor):
        """Runs pairs in this process."""

        def facts(self) -> dict[str, Any]:
            return {"engine": "this process"}

        def run(
            self,
            task: BatchTask,
            pairs: Sequence[BatchPair],
            *,
            retries: int,
            timeout: float | None,
        ) -> Generator[BatchResult, None, None]:
            prepare(task)
            for pair in pairs:
                yield run_pair(task, pair)

    # Not an argument of the function, since a program has no use for it.
    module: Any = imatch.workflows.batch
    genuine = module.run_batch
    module.run_batch = lambda *args, **kwargs: genuine(*args, **(kwargs | {"executor": Here()}))
    asked = json.load(sys.stdin)
    pairs = [(ref, tgt) for ref, tgt in asked["pairs"]]
    with tempfile.TemporaryDirectory() as folder:
        module.batch(pairs[:2], Path(folder, "first"), matcher=asked["matcher"])
        clock = stage_seconds.Clock()
        for stage, functions in STAGES.items():
            for owner, attribute in functions:
                clock.watch(owner, attribute, stage)
        wall, begun = time.perf_counter(), time.process_time()
        run = module.batch(pairs, Path(folder, "batch"), matcher=asked["matcher"])
        total, wall = time.process_time() - begun, time.perf_counter() - wall
    stages = dict(clock.seconds)
    stages["rest"] = total - sum(stages.values())
    each = {stage: round(1e3 * seconds / len(pairs), 2) for stage, seconds in stages.items()}
    milliseconds = {"processor_ms": round(1e3 * total / len(pairs), 1)}
    milliseconds["wall_ms"] = round(1e3 * wall / len(pairs), 1)
    milliseconds["beyond_solving_ms"] = round(milliseconds["processor_ms"] - each["solving"], 1)
    print(json.dumps({"pairs": len(pairs), "counts": run.counts, **milliseconds, "stages": each}))


if __name__ == "__main__":
    main()
