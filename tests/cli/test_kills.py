"""Whatever writes may be killed: nothing half made is seen, and the next run makes it whole.

`experiments/benchmarks/robustness.py` kills at every moment; here are some of each verb's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.kills import Killer
from tests.support.verb_inputs import make_inputs
from tests.support.verbs import VERBS, Bench, Verb

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Inputs of all verbs, and what runs and kills them."""
    folder = tmp_path_factory.mktemp("kills")
    with Killer(folder) as killer:
        make_inputs(folder / "inputs", killer)
        yield Bench(folder, killer)


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_a_killed_run_leaves_nothing_half_made(bench: Bench, verb: Verb) -> None:
    whole, moments = bench.whole(verb)
    for moment in _some(moments):
        said = bench.killed(verb, moment, whole)
        assert said is None, f"killed before {moments[moment]}: {said}"


def _some(moments: list[str]) -> list[int]:
    """Before the first thing that was made has its name, and after the last has."""
    renames = [number for number, name in enumerate(moments) if name.startswith("os.rename")]
    return [renames[0], renames[-1] + 1]
