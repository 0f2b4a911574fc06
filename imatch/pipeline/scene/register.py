"""Registers a whole scene: on reduced images first, then tile by tile at full resolution."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from imatch.geometry.acceptance import BY_WHOLE_IMAGES
from imatch.geometry.accuracy import overlap_mask
from imatch.pipeline.pair.match import Image, PairEstimate, estimate_pair
from imatch.pipeline.pair.other_bands import infrared
from imatch.pipeline.pair.registrar import Asked, with_settings
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.registration.to_registration import to_registration
from imatch.pipeline.registration.work import WorkModel
from imatch.pipeline.scene.checkpoint import SceneState, identity_of
from imatch.pipeline.scene.config import SceneConfig, make_scene_config
from imatch.pipeline.scene.executor import TileExecutor
from imatch.pipeline.scene.fit import SceneFit, TileWindows, fit_scene, native_scale, predict_next
from imatch.pipeline.scene.measure import TileResult
from imatch.pipeline.scene.patches import ScenePatches, read_patches
from imatch.pipeline.scene.reading import ImageSide
from imatch.pipeline.scene.tiles import (
    TileLevel,
    TileTask,
    finest_factor,
    level_factors,
    plan_level,
    plan_tiles,
)
from imatch.raster import Source, stretch_limits
from imatch.raster.gdal import kept_open

# Search radius, level pixels; more where the rough answer is known less well.
_RADIUS, _WIDEST = 8, 24
# Longest side at which a band's range of values is found, pixels.
_OVERVIEW = 512
# Rough pixels by which deformation may have escaped the rough answer.
_UNSEEN = 0.3


@kept_open()
def register_scene(
    ref: Image,
    tgt: Image,
    config: Asked | None = None,
    *,
    jobs: int = 1,
    state: Path | None = None,
    overwrite: bool = False,
    on_stage: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    **overrides: Any,
) -> Registration:
    """Register a whole scene at its full resolution, with local deformation where it has some.

    A rough answer comes from the reduced pair, as `imatch.match` gives it. Tie points are then
    measured tile by tile, at one or more levels up to the pixels of the coarser image, each level
    predicted from the one before. Memory does not grow with the scene. Accuracy figures come from
    blocks of tie points that were held out of the global and the local fit, those that contradict
    it included; bounds hold what contiguous patches show of the ground between tie points as well.

    Args:
        ref: Reference image: a path, an array or a `Source`.
        tgt: Target image.
        config: Settings, or a registrar that was loaded with them; a plain `MatchConfig` lends
            what it has. The defaults when None.
        jobs: Threads that measure tiles.
        state: Folder in which finished tiles are kept. A run over the same files with the same
            settings goes on with what it finds there. Remove it when it is no longer needed.
        overwrite: Throw away what a run with other files or settings left in `state`.
        on_stage: Called with what is being done now.
        on_progress: Called with how many tiles are done, and how many there are.
        **overrides: Fields of `SceneConfig` to replace, e.g. ``local="none"``.

    Returns:
        The registration. Where the reduced pair has no sure answer, that answer as it is; where the
        tiles do not confirm it, the same made ``uncertain``, with the reason.

    Raises:
        ImatchError: An image, an option, a checkpoint or the state folder that cannot be used.
            Finished tiles stay in `state`.

    Examples:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> noise = rng.random((50, 50)).repeat(8, axis=0).repeat(8, axis=1)
        >>> r = register_scene(noise[:, :380], noise[:, 20:], matcher="phase", window=32)
        >>> r.status, [round(v) for v in r.shift_px]
        ('ok', [-20, 0])
    """
    started = time.perf_counter()
    asked = with_settings(config, make_scene_config, **overrides)
    stage = on_stage or (lambda _text: None)
    solved = estimate_pair(ref, tgt, asked, reduced=True, on_stage=stage)
    settings = cast("SceneConfig", solved.config)
    rough = time.perf_counter() - started
    sides = (
        ImageSide(solved.sources[0], stretch_limits(solved.pair.ref)),
        ImageSide(solved.sources[1], stretch_limits(solved.pair.tgt)),
    )
    others = {
        pair[1].info.band_names[0]: (_side(pair[0]), _side(pair[1]))
        for pair in infrared(solved.sources, settings)
        if all(o.info.size == s.info.size for o, s in zip(pair, solved.sources, strict=True))
    }
    run = _Run(solved, settings, sides, others, stage, on_progress or (lambda _done, _all: None))
    estimate = solved.estimate
    if estimate.status != "ok" or estimate.transform is None:
        return solved.registration(started)
    if settings.points_only:
        # What is asked for is the transform of the points, not of tiles.
        return solved.registration(started)
    if estimate.found_by == BY_WHOLE_IMAGES:
        # Of two sensors small windows tell nothing, at no resolution: the bound holds that.
        return solved.registration(started)
    kept = None
    if state is not None:
        kept = SceneState(
            state,
            identity_of(settings, solved.sources, solved.registrar.weights_used),
            overwrite=overwrite,
        )
    fit = run.measure(TileExecutor(*sides, jobs), kept)
    if fit is None:
        return solved.registration(started)
    stage("assembling")
    solved.check_inputs()
    scene = {"jobs": jobs, "seconds": {"rough": rough, **run.seconds}, **run.record(fit)}
    return to_registration(
        fit.estimate,
        solved.pair,
        solved.sources,
        solved.rendered,
        matcher=solved.registrar.name,
        gsd_m=settings.gsd_m,
        tolerance=solved.tolerance,
        sensors=solved.sensors,
        seconds=time.perf_counter() - started,
        provenance={**solved.provenance(), "scene": scene},
        local=fit.local,
    )


def _side(source: Source) -> ImageSide:
    """A band that was not matched, stretched as its overview asks."""
    width, height = source.info.size
    factor = max(1.0, max(width, height) / _OVERVIEW)
    small = source.read(size=(max(1, round(width / factor)), max(1, round(height / factor))))
    return ImageSide(source, stretch_limits(small))


@dataclass(eq=False)
class _Run:
    """Measures one scene level by level and records how."""

    solved: PairEstimate
    config: SceneConfig
    sides: tuple[ImageSide, ImageSide]
    others: dict[str, tuple[ImageSide, ImageSide]]
    stage: Callable[[str], None]
    progress: Callable[[int, int], None]
    seconds: dict[str, float] = field(default_factory=dict)
    levels: list[dict[str, Any]] = field(default_factory=list)

    def measure(self, measuring: TileExecutor, kept: SceneState | None) -> SceneFit | None:
        """All levels, then the fit; None where the images are too small for any."""
        estimate = self.solved.estimate
        assert estimate.transform is not None
        model = WorkModel(estimate.transform.matrix, self.solved.pair)
        levels = self._plan(model)
        done, total = 0, sum(len(self._tiles(level, model)[0]) for level in levels)
        for level in levels:
            began = time.perf_counter()
            tasks, outside = self._tiles(level, model)
            self.stage(f"measuring {len(tasks)} tiles at {_resolution(level)}")
            results: list[TileResult] = []
            for batch in _measured(tasks, measuring, kept):
                results += batch
                done += len(batch)
                self.progress(min(done, total), total)
            windows = TileWindows.of(results, level, self.solved)
            self._record(level, results, outside, windows)
            name = f"level {level.number}"
            self.seconds[name] = time.perf_counter() - began
            if level is not levels[-1]:
                model, found = predict_next(windows, model, estimate.transform.kind)
                self.levels[-1]["agreeing"] = int(found.inlier.sum())
                continue
            self.stage("fitting")
            began = time.perf_counter()
            look = partial(self._patches, level, windows)
            fit = fit_scene(windows, model, self.solved, self.config, look)
            self.seconds["fitting"] = time.perf_counter() - began
            self.levels[-1]["agreeing"] = int(fit.estimate.inlier.sum())
            return fit
        return None

    def record(self, fit: SceneFit) -> dict[str, Any]:
        """Returns the scene's entries of the provenance."""
        rough = self.solved.estimate
        return {
            "levels": self.levels,
            "tiles_agree": fit.tiles_agree,
            "tiles_discarded": fit.tiles - fit.tiles_agree,
            "rough": {
                "reason": rough.reason,
                "tie_points": int(rough.inlier.sum()),
                "corner_ci95_working_px": rough.corner_ci95,
            },
            "local": {
                "chosen": "none" if fit.local is None else fit.local.kind,
                "candidates": [trial.to_dict() for trial in fit.trials],
            },
        }

    def _patches(self, level: TileLevel, windows: TileWindows, model: WorkModel) -> ScenePatches:
        """Patches of the scene at the finest level, the target resampled by a model."""
        native = self.solved.pair.ref_map.to_native(windows.ref)
        places, predict = level.to_level(native), self._predict(model)
        return read_patches(self.sides, self.others, level, places, predict, self.config.seed)

    def _plan(self, model: WorkModel) -> list[TileLevel]:
        config, ref = self.config, self.solved.sources[0].info
        estimate = self.solved.estimate
        native = native_scale(self.solved)
        finest = finest_factor(ref, self._predict(model))
        valid = self.solved.rendered[0].valid, self.solved.rendered[1].valid
        overlap = overlap_mask(model.matrix, *valid).sum() * native**2
        factors = level_factors(finest, native, config.levels)
        levels: list[TileLevel] = []
        for factor in factors:
            finer = native / np.sqrt(factor[0] * factor[1])
            radius = _RADIUS
            if not levels:
                unsure = _UNSEEN + 1.5 * estimate.corner_ci95
                radius = int(np.clip(np.ceil(4 + unsure * finer), _RADIUS, _WIDEST))
            level = plan_level(
                len(levels),
                factor,
                ref,
                last=factor == factors[-1],
                window=config.window,
                tile=config.tile,
                spacing=config.spacing,
                max_points=config.max_points,
                share=float(overlap / (ref.width * ref.height)),
                radius=radius,
            )
            if level is not None:
                levels.append(level)
        return levels

    def _predict(self, model: WorkModel) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
        pair = self.solved.pair

        def predict(xy: NDArray[np.float64]) -> NDArray[np.float64]:
            return pair.tgt_map.to_native(model.apply(pair.ref_map.to_work(xy)))

        return predict

    def _tiles(self, level: TileLevel, model: WorkModel) -> tuple[list[TileTask], int]:
        return plan_tiles(level, self.solved.sources[1].info, self._predict(model))

    def _record(
        self, level: TileLevel, results: list[TileResult], outside: int, windows: TileWindows
    ) -> None:
        outcomes = [result.outcome for result in results]
        self.levels.append(
            {
                "factor": list(level.factor),
                "window": level.window,
                "radius": level.radius,
                "spacing": level.cell * float(np.sqrt(level.factor[0] * level.factor[1])),
                "tiles": {
                    "measured": outcomes.count("measured"),
                    "outside": outside + outcomes.count("outside"),
                    "invalid": outcomes.count("invalid"),
                    "flat": outcomes.count("flat"),
                },
                "windows": windows.sought,
                "displaced": len(windows.ref),
            }
        )


def _measured(tasks: list[TileTask], measuring: TileExecutor, kept: SceneState | None) -> Any:
    """Batches of results, those of an earlier run first."""
    known = {} if kept is None else kept.done
    earlier = [known[task.key] for task in tasks if task.key in known]
    if earlier:
        yield earlier
    for batch in measuring.run([task for task in tasks if task.key not in known]):
        if kept is not None:
            kept.keep(batch)
        yield batch


def _resolution(level: TileLevel) -> str:
    """Returns the name of a level in messages: a fraction of the full resolution."""
    x, y = level.factor
    if x == y:
        return "full resolution" if x == 1 else f"1/{x} of full resolution"
    return f"1/{x} x 1/{y} of full resolution"
