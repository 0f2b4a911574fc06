"""Processor seconds that the stages of matching take, pair by pair, in a process of its own.

Run as a script by `of_tree` with the code of any checkout: stages that it has not are left out.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_ALIGNMENT = "imatch.geometry.alignment"
# Which functions make up a stage: module, attribute path. Names of older checkouts stand beside.
STAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "read and render": (("imatch.pipeline.pair.match", "render"),),
    "coarse search": (("imatch.pipeline.pair.auto", "coarse_search"),),
    "resampling": ((f"{_ALIGNMENT}.fine_alignment", "warp_image"),),
    "windows": ((f"{_ALIGNMENT}.fine_alignment", "measure"),),
    "alignment, rest": ((f"{_ALIGNMENT}.fine_alignment", "Aligner.align"),),
    "whole images": ((f"{_ALIGNMENT}.whole_image", "WholeImages.align"),),
    "learnt matchers": (("imatch.pipeline.pair.auto", "Auto.proposed_by"),),
    "verdict": (("imatch.pipeline.pair.auto", "judge_alignment"),),
}
_WAITING = ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")
Seconds = dict[str, float]


class Clock:
    """Adds up the processor time of functions, less that of those they call."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def watch(self, module: str, attribute: str, stage: str) -> None:
        """Measures a function from now on, if there is one of that name."""
        try:
            owner: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            return
        *path, name = attribute.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        if hasattr(owner, name):
            setattr(owner, name, self._timed(getattr(owner, name), stage))

    def _timed(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                taken = time.process_time() - begun
                self.seconds[stage] += taken - self._inner.pop()
                if self._inner:
                    self._inner[-1] += taken

        return timed


def of_tree(tree: Path, pairs: Sequence[tuple[Path, Path]]) -> list[dict[str, Any]]:
    """Matches pairs by the code of a checkout, and returns for each its status and seconds.

    Args:
        tree: Folder that holds the package.
        pairs: Reference and target of each; the first is matched once before, for what a process
            does once.
    """
    command = [sys.executable, str(Path(__file__).resolve())]
    done = subprocess.run(
        command,
        cwd=tree,
        # How threads wait each checkout sets for itself; this one has by now.
        env={k: v for k, v in os.environ.items() if k not in _WAITING} | {"PYTHONPATH": str(tree)},
        input=json.dumps([[str(path) for path in pair] for pair in pairs]),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def main() -> None:
    """Matches the pairs named on stdin and prints what each took as JSON."""
    import imatch

    pairs = json.load(sys.stdin)
    imatch.match(*pairs[0])
    # What a process does once, the first hard pair would have to pay for.
    for library in ("torch", "kornia"):
        importlib.import_module(library)
    clock = Clock()
    for stage, functions in STAGES.items():
        for module, attribute in functions:
            clock.watch(module, attribute, stage)
    rows = []
    for pair in pairs:
        clock.seconds.clear()
        wall, begun = time.perf_counter(), time.process_time()
        found = imatch.match(*pair)
        total = time.process_time() - begun
        stages = dict(clock.seconds)
        stages["rest"] = total - sum(stages.values())
        rows.append(
            {
                "status": found.status,
                "processor": total,
                "wall": time.perf_counter() - wall,
                "stages": stages,
            }
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
