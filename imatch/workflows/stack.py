"""Tie images of one place together and write all that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from imatch.core.errors import ImatchError, OutputError
from imatch.core.io.files import inside
from imatch.core.progress import Progress, ProgressStages, no_progress
from imatch.export.formats import WriteLog
from imatch.export.stack.files import REGISTERED, check_folder, write_stack
from imatch.export.text import refusal_text
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.apply.raster import apply_raster
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.stack.pairing import PairChoice
from imatch.pipeline.stack.result import Stack
from imatch.pipeline.stack.run import Model, stack


def register_stack(
    images: Sequence[str | PathLike[str]],
    out: Path,
    config: MatchConfig | None = None,
    *,
    reference: str | PathLike[str] | None = None,
    pairs: str | PairChoice = "auto",
    model: Model = "auto",
    warp: Mapping[str, Any] | None = None,
    jobs: int = 1,
    dask: str | None = None,
    cache: FeatureCache | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    progress: Progress = no_progress,
    **overrides: Any,
) -> tuple[Stack, WriteLog]:
    """Tie images of one place together and write the stack, its transforms and a report.

    Args:
        images: Paths or URLs, two or more.
        out: Folder for ``stack.json``, ``transforms/``, ``edges.csv``, ``report.html`` and the
            pairs' results, made where it is missing.
        config: Settings of the pairs; the defaults when None.
        reference: The image the others are laid on, by its path or name; the most central one when
            None.
        pairs: Which pairs to match, see `PairChoice`.
        model: Family of the images' maps; ``auto`` takes the simplest that explains the pairs.
        warp: Also write ``registered/NAME.tif`` of every image that is accepted, with these
            arguments of `apply_raster`.
        jobs: Worker processes.
        dask: See `run_batch`.
        cache: Where features are kept on disk, None for nowhere.
        resume: Go on with the stack that the folder holds.
        overwrite: Throw it away.
        command: Command line to remember.
        progress: Shows how far matching and writing are.
        **overrides: Fields of `MatchConfig` to replace.

    Returns:
        The stack, and what became of the images that were to be written with `warp`.

    Raises:
        ImatchError: As `imatch.pipeline.stack.run.stack`; the folder holds something else.
    """
    settings = make_config(config, **overrides)
    check_folder(out, resume=resume, overwrite=overwrite)
    with ProgressStages(progress) as bars:
        solved = stack(
            images,
            out,
            settings,
            reference=reference,
            pairs=pairs,
            model=model,
            jobs=jobs,
            dask=dask,
            cache=cache,
            resume=resume,
            overwrite=overwrite,
            command=command,
            on_round=lambda count: bars.begin("matching", count),
            on_result=lambda _row: bars.advance(1),
        )
    write_stack(solved, out)
    log = WriteLog()
    if warp is not None:
        given = {**warp, "nodata": settings.tgt_nodata, "overwrite": resume or overwrite}
        _write_images(solved, out / REGISTERED, given, log, progress)
    return solved, log


def _write_images(
    solved: Stack, folder: Path, warp: dict[str, Any], log: WriteLog, progress: Progress
) -> None:
    """Write every image that is accepted; one that cannot be written does not cost the others."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(error.strerror or str(error), subject=folder) from error
    own_grid = warp.get("grid", "reference") != "reference" or any(
        warp.get(name) is not None for name in ("res", "bounds")
    )
    accepted = [image for image in solved.images if image.registration.accepted]
    with progress("writing", len(accepted)) as advance:
        for image in accepted:
            mapping = GeoCorrection.of(image.registration)
            lattice = None if own_grid else mapping.reference_lattice
            try:
                path = inside(folder, f"{image.name}.tif")
                apply_raster(mapping, image.path, path, lattice=lattice, **warp)
            except ImatchError as error:
                log.failures.append(error)
                log.refused(error)
            advance(1)
    for image in solved.images:
        refused = refusal_text(image.registration)
        if refused is not None:
            if warp["overwrite"]:  # What an earlier run wrote of it does not hold any more.
                inside(folder, f"{image.name}.tif").unlink(missing_ok=True)
            log.refused(image.name, refused)
