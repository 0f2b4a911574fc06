"""Register many pairs and write all that comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imatch.core.progress import Progress, no_progress
from imatch.export.batch.report import write_report
from imatch.export.batch.writer import ResultWriter
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.run import BatchRun, run_batch
from imatch.pipeline.pair.config import MatchConfig


def register_batch(
    pairs: Sequence[BatchPair],
    out: Path,
    config: MatchConfig | None = None,
    *,
    exports: Sequence[str] = (),
    warp: Mapping[str, Any] | None = None,
    jobs: int = 1,
    dask: str | None = None,
    retries: int = 1,
    timeout: float | None = None,
    cache: FeatureCache | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = no_progress,
) -> tuple[BatchRun, dict[str, Any]]:
    """Register many pairs and write a result of each, a table, a summary and a report.

    Args:
        pairs: The pairs, see `find_pairs`.
        out: Folder for ``results/``, ``results.csv``, ``summary.json`` and ``report.html``.
        config: Settings they share, a `SceneConfig` with `warp`; the defaults when None.
        exports: Other formats to write each result in, as ``gpkg`` (`FORMATS`).
        warp: See `run_batch`.
        jobs: Worker processes.
        dask: See `run_batch`.
        retries: See `run_batch`.
        timeout: See `run_batch`.
        cache: Where features are kept on disk, None for nowhere.
        resume: Go on with the run that the folder holds.
        overwrite: Throw it away.
        command: Command line to remember.
        progress: Shows how many pairs are done.

    Returns:
        What came of the pairs, and the summary (`write_report`).

    Raises:
        ConfigError: There is no such format.
        ImatchError: As `run_batch`.
    """
    finish = ResultWriter.of(exports)
    with progress("registering", len(pairs)) as advance:
        run = run_batch(
            pairs,
            config,
            out,
            jobs=jobs,
            dask=dask,
            resume=resume,
            overwrite=overwrite,
            retries=retries,
            timeout=timeout,
            cache=cache,
            warp=warp,
            finish=finish,
            settings={"exports": list(finish.suffixes)},
            command=command,
            on_result=lambda _row: advance(1),
        )
    return run, write_report(run)
