"""What single pairs cost one thread."""

from __future__ import annotations

import time
from pathlib import Path

from imatch.benchmark.cases import Case


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
