"""Register many pairs and write all that comes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias, Unpack

from imatch.core.errors import ConfigError
from imatch.core.progress import ProgressOption, shown
from imatch.core.settings import check_options
from imatch.export.batch.report import write_report
from imatch.export.batch.writer import ResultWriter
from imatch.export.formats import WriteLog
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.apply.output_grid import Bounds, GridKind
from imatch.pipeline.apply.raster import Choice
from imatch.pipeline.batch.folders import PairBy, find_pairs
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.run import BatchRun, run_batch
from imatch.pipeline.batch.worker import registered_path
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.scene.config import SceneConfig, SceneOptions, make_scene_config
from imatch.workflows.stac_item import check_items, item_path, write_stac

Place: TypeAlias = str | PathLike[str]


def batch(
    pairs: Place | Sequence[BatchPair | tuple[Place, Place]],
    out: Place,
    *,
    targets: Place | None = None,
    pair_by: PairBy | None = None,
    reference: Place | None = None,
    all_pairs: bool = False,
    max_gap: int | None = None,
    config: MatchConfig | None = None,
    exports: Sequence[str] = (),
    register: bool = False,
    grid: GridKind = "reference",
    res: float | None = None,
    bounds: Bounds | None = None,
    resampling: Choice = "auto",
    creation: Mapping[str, str] | None = None,
    cog: bool = False,
    stac: bool = False,
    jobs: int = 1,
    dask: str | None = None,
    retries: int = 1,
    timeout: float | None = None,
    cache: FeatureCache | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    log: WriteLog | None = None,
    progress: ProgressOption = None,
    **options: Unpack[SceneOptions],
) -> BatchRun:
    """Register many pairs and write a result of each, a table, a summary and a report.

    An error, a killed worker or a pair out of time is a row of status ``error`` and never the end
    of the others. Pairs run in processes of their own: a script calls this below
    ``if __name__ == "__main__":``.

    Args:
        pairs: (reference, target) pairs of paths or URLs, perhaps as `BatchPair`; or a CSV with
            the columns reference and target; or a folder of images or a STAC collection, with
            `targets` that of the references, else a time series, for which there is `reference` or
            `all_pairs`.
        out: Folder for ``results/``, ``results.csv``, ``summary.json`` and ``report.html``.
        targets: Folder of the targets.
        pair_by: How the images of two folders go together: by ``name``, ``order`` or ``date``;
            by name when None.
        reference: Of one folder: register all its other images to this one.
        all_pairs: Of one folder: register every two images.
        max_gap: Only pairs whose dates, in their names, lie no more days apart.
        config: Settings the pairs share; the defaults when None.
        exports: Other formats to write each result in, as ``gpkg``.
        register: Register whole scenes as `imatch.register` does, and write ``registered/NAME.tif``
            of each that is ok and as near as was asked.
        grid: Whose pixel lattice those have, ``reference`` or ``target``.
        res: Side of their pixels in units of their CRS.
        bounds: (left, bottom, right, top) to cover, in their CRS.
        resampling: How to take values between pixels, see `choose_resampling`.
        creation: Creation options of GDAL's GTiff driver, or of its COG driver.
        cog: Write cloud-optimised GeoTIFFs.
        stac: Write a STAC item beside each, ``registered/NAME.json``, with its certificate.
        jobs: Worker processes.
        dask: Run on a Dask cluster: ``local``, or a scheduler's address.
        retries: How often a pair is begun anew whose worker was killed or crashed.
        timeout: Most seconds a pair may take; None for any.
        cache: Where features are kept on disk (`open_cache`), None for nowhere.
        resume: Go on with the run that the folder holds.
        overwrite: Throw it away.
        command: Command line to remember.
        log: Where to note the items that were written, instead of raising when all is done why one
            could not be.
        progress: True shows how many pairs are done on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig`, with `register` of `SceneConfig`, to replace.

    Returns:
        A row for each pair, and the summary.

    Raises:
        ConfigError: An option does not exist or makes no sense.
        InputError: There are no pairs, images are missing, or names clash.
        OutputError: The folder holds something else, is in use, or the disk refused.
        ImatchError: The matcher cannot be loaded, or the cluster cannot be reached.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> pair = folder / "a.png", folder / "b.png"
        >>> run = imatch.batch([pair], folder / "out", exports=["csv"], matcher="sift")
        >>> [(row.name, row.status) for row in run.results]
        [('a__b', 'ok')]
    """
    check_options(options, SceneConfig if register else MatchConfig, batch)
    check_items(stac, written=register)
    make = make_scene_config if register else make_config
    settings = make(config, **options)
    if isinstance(pairs, str | PathLike):
        found = find_pairs(
            pairs,
            targets,
            by=pair_by,
            reference=reference,
            all_pairs=all_pairs,
            max_gap=max_gap,
        )
    elif targets is not None or pair_by or reference is not None or all_pairs or max_gap:
        raise ConfigError("are given already, and need not be found", subject="pairs")
    else:
        found = [
            pair if isinstance(pair, BatchPair) else BatchPair("", fspath(pair[0]), fspath(pair[1]))
            for pair in pairs
        ]
    warp = {
        "grid": grid,
        "res": res,
        "bounds": bounds,
        "resampling": resampling,
        "creation": creation or {},
        "cog": cog,
    }
    finish = ResultWriter.of(exports)
    with shown(progress)("registering", len(found)) as advance:
        run = run_batch(
            found,
            settings,
            Path(out),
            jobs=jobs,
            dask=dask,
            resume=resume,
            overwrite=overwrite,
            retries=retries,
            timeout=timeout,
            cache=cache,
            warp=warp if register else None,
            finish=finish,
            settings={"exports": list(finish.suffixes)},
            command=command,
            on_result=lambda _row: advance(1),
        )
    run = replace(run, summary=write_report(run))
    if stac:
        told = WriteLog() if log is None else log
        _write_items(run, told)
        if log is None:
            told.check()
    return run


def _write_items(run: BatchRun, log: WriteLog) -> None:
    """Write the STAC item of each registered target; one that cannot be costs no other."""
    for row, registration in run.registrations():
        raster = registered_path(run.out, row.name)
        item = item_path(raster)
        if raster.is_file():
            # Neither is there, unless it is of this run or of one to be replaced.
            with log.attempt(item):
                write_stac(registration, raster, item, overwrite=True)
        else:
            item.unlink(missing_ok=True)
