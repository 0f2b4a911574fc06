"""What statements cost a fresh interpreter: modules, and time of the wall and of the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

_UNCOMPILED = "PYTHONDONTWRITEBYTECODE"
# The interpreter's own start does not count.
_PROGRAM = """
import json, sys, time
scope, steps, before = {}, [], set(sys.modules)
for statement in json.loads(sys.argv[1]):
    code = compile(statement, "statement", "exec")
    wall, processor = time.perf_counter(), time.process_time()
    exec(code, scope)
    taken = time.perf_counter() - wall, time.process_time() - processor
    steps.append((*taken, sorted(set(sys.modules) - before)))
print(json.dumps(steps))
"""


@dataclass(frozen=True)
class Step:
    """A statement in a fresh interpreter.

    Attributes:
        wall: Seconds.
        processor: Seconds of all threads.
        modules: What had been imported since the start, after it.
    """

    wall: float
    processor: float
    modules: frozenset[str]


def run_fresh(*statements: str) -> list[Step]:
    """Run statements one after the other in a new interpreter."""
    command = [sys.executable, "-c", _PROGRAM, json.dumps(statements)]
    # Installed packages are compiled.
    compiled = {name: text for name, text in os.environ.items() if name != _UNCOMPILED}
    done = subprocess.run(command, env=compiled, stdout=subprocess.PIPE, text=True, check=True)
    steps = json.loads(done.stdout.splitlines()[-1])
    return [Step(wall, busy, frozenset(modules)) for wall, busy, modules in steps]
