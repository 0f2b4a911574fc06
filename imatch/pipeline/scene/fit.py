"""Fits the transform and local displacement of a scene to its windows.

Everything is fitted in pixels of the level at which the windows were measured; the answer is given
in working pixels of the rough pair, so that it is told in the same terms as any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray, Matches
from imatch.geometry.acceptance import TILES, doubt_of_tiles, judge_tiles
from imatch.geometry.accuracy import coverage, overlap_mask
from imatch.geometry.alignment import systematic
from imatch.geometry.alignment.fine_alignment import AGREES, reliable_peaks
from imatch.geometry.alignment.local_accuracy import LocalAccuracy
from imatch.geometry.consensus import Consensus, consensus
from imatch.geometry.estimate import Estimate
from imatch.geometry.fit import least_squares, minimum_points, reweighted
from imatch.geometry.model_selection import select_kind
from imatch.geometry.nonrigid.deformation import Trial, choose_local
from imatch.geometry.nonrigid.local_models import LOCAL_KINDS, LocalKind, LocalModel
from imatch.geometry.transform import (
    MODEL_KINDS,
    DisplacementGrid,
    ModelKind,
    Transform,
    apply_matrix,
)
from imatch.geometry.transform_limits import Limits, implausibility
from imatch.pipeline.pair.match import PairEstimate
from imatch.pipeline.pair.prior import gcp_error
from imatch.pipeline.registration.work import WorkModel, frames
from imatch.pipeline.scene.config import SceneConfig
from imatch.pipeline.scene.measure import TileResult
from imatch.pipeline.scene.patches import ScenePatches
from imatch.pipeline.scene.tiles import TileLevel

# Windows and blocks: their errors go together over somewhat more than one of them, and a block
# that is held out has to be a gap in the tie points.
_BLOCK_WINDOWS, _BLOCK_CELLS = 1.5, 2.5
# Share of the squared error a richer transform kind must save: windows feel relief and shadow.
_GAIN_OF_KIND = 0.15
# Residuals of a local model beyond this do not count, pixels.
_LOCAL_THRESHOLD = 2 * AGREES
# Places where the uncertainty of a bent image is watched, along either axis.
_WATCHED = 7


@dataclass(frozen=True, eq=False)
class TileWindows:
    """The windows of a level in which a displacement was found; N of them.

    Attributes:
        level: The level.
        ref: (N, 2) working pixels of the reference.
        tgt: (N, 2) working pixels of the target.
        peak: (N,) correlation.
        tile: (N, 2) column and row of the tile.
        sought: How many windows were correlated in all.
        scale: Level pixels per working pixel.
    """

    level: TileLevel
    ref: NDArray[np.float64]
    tgt: NDArray[np.float64]
    peak: NDArray[np.float64]
    tile: NDArray[np.int64]
    sought: int
    scale: float

    @classmethod
    def of(
        cls, results: Sequence[TileResult], level: TileLevel, solved: PairEstimate
    ) -> TileWindows:
        """Gather what tiles gave, in the order of their keys."""
        results = sorted(results, key=lambda result: result.key)
        ref = np.concatenate([np.zeros((0, 2)), *(r.ref_xy for r in results)])
        tgt = np.concatenate([np.zeros((0, 2)), *(r.tgt_xy for r in results)])
        peak = np.concatenate([np.zeros(0), *(r.peak for r in results)])
        tile = np.concatenate(
            [
                np.zeros((0, 2), np.int64),
                *(np.tile([r.key[2], r.key[1]], (len(r.peak), 1)) for r in results),
            ]
        )
        found = np.isfinite(tgt).all(axis=1)
        pair = solved.pair
        ref, tgt = pair.ref_map.to_work(ref[found]), pair.tgt_map.to_work(tgt[found])
        usable = np.isfinite(ref).all(axis=1) & np.isfinite(tgt).all(axis=1)
        return cls(
            level,
            ref[usable],
            tgt[usable],
            peak[found][usable],
            tile[found][usable],
            len(found),
            native_scale(solved) / math.sqrt(level.factor[0] * level.factor[1]),
        )

    def agreeing(self, model: WorkModel) -> Consensus:
        """Judges the windows by their neighbours, displacements taken from a model."""
        moved = (self.tgt - model.apply(self.ref)) * self.scale
        return consensus(self.ref * self.scale, moved, self.tile)

    @property
    def block(self) -> float:
        """Side of a block that can be held out, level pixels."""
        return max(_BLOCK_WINDOWS * self.level.window, _BLOCK_CELLS * self.level.cell)

    @property
    def reach(self) -> float:
        """How far ground may lie beyond the outermost windows, level pixels."""
        return 0.5 * self.level.window + self.level.cell


@dataclass(frozen=True, eq=False)
class SceneFit:
    """Fit of a scene, in working pixels.

    Attributes:
        estimate: The global transform, with the accuracy of the whole model; its matches are the
            windows, agreeing or not.
        local: Displacement on top, in the frame of the registration; None without.
        trials: How the candidates for it did.
        tiles_agree: Tiles that agree with those around them.
        tiles: Tiles in which a displacement was found.
    """

    estimate: Estimate
    local: DisplacementGrid | None
    trials: tuple[Trial, ...]
    tiles_agree: int
    tiles: int


def native_scale(solved: PairEstimate) -> float:
    """Native pixels of the reference per working pixel, in the middle of the overlap."""
    middle = np.array([solved.estimate.centre])
    corners = solved.pair.ref_map.to_native(middle + np.array([[0, 0], [1, 0], [0, 1.0]]))
    return math.sqrt(abs(float(np.linalg.det(corners[1:] - corners[0]))))


def predict_next(
    windows: TileWindows, model: WorkModel, kind: ModelKind
) -> tuple[WorkModel, Consensus]:
    """Fits the windows of a level to predict the next; returns `model` where too few agree.

    Args:
        windows: What was measured.
        model: What was predicted.
        kind: Kind of the transform.
    """
    found = windows.agreeing(model)
    if found.inlier.sum() < max(12, 2 * minimum_points(kind)):
        return model, found
    ref, tgt = (xy[found.inlier] * windows.scale for xy in (windows.ref, windows.tgt))
    # What bends the image is not an outlier here.
    matrix = _fitted(kind, ref, tgt)
    if matrix is None:
        return model, found
    frame = _Frame(windows, model)
    left = tgt - apply_matrix(matrix, ref)
    choice = choose_local(
        frame.coordinates[found.inlier],
        left,
        threshold=_LOCAL_THRESHOLD,
        block=frame.units(windows.block),
        margin=frame.units(windows.reach),
        kinds=("polynomial3", "spline"),
    )
    local = None
    if choice.model is not None:
        local = frame.grid(
            choice.model.fit(frame.coordinates[found.inlier], left, threshold=_LOCAL_THRESHOLD)
        )
    return WorkModel(_to_working_pixels(matrix, windows.scale), model.pair, local), found


def fit_scene(
    windows: TileWindows,
    model: WorkModel,
    solved: PairEstimate,
    config: SceneConfig,
    look: Callable[[WorkModel], ScenePatches],
) -> SceneFit:
    """Fit the whole scene and judge the answer.

    Args:
        windows: What was measured at the finest level.
        model: What was predicted there.
        solved: The rough answer.
        config: Settings.
        look: Gives patches of the scene, the target resampled by a model.
    """
    found = windows.agreeing(model)
    scale, seed = windows.scale, config.seed
    matches = Matches(windows.ref, windows.tgt, np.clip(windows.peak, 0.0, 1.0))
    tiles = len(found.tiles), int(found.agrees.sum())
    few = doubt_of_tiles(tiles[1], tiles[0], int(found.inlier.sum()), windows.sought)
    if few is not None:
        return _keep_rough(solved, few, tiles)
    inlier = found.inlier.copy()
    # What correlates as well as those that agree was measured as well: accuracy is that of all.
    reliable = reliable_peaks(windows.peak, inlier) | inlier
    ref, tgt = (xy[inlier] * scale for xy in (windows.ref, windows.tgt))
    chosen = _global(ref, tgt, windows, solved, config)
    if chosen is None:
        return _keep_rough(solved, "no plausible transform agrees with the tie points", tiles)
    kind, matrix, threshold = chosen
    frame = _Frame(windows, model)
    coordinates = frame.coordinates[inlier]
    left = tgt - apply_matrix(matrix, ref)
    local_model: LocalModel | None = None
    trials: tuple[Trial, ...] = ()
    if config.local != "none":
        kinds: tuple[LocalKind, ...] = LOCAL_KINDS if config.local == "auto" else (config.local,)
        choice = choose_local(
            coordinates,
            left,
            threshold=_LOCAL_THRESHOLD,
            block=frame.units(windows.block),
            margin=frame.units(windows.reach),
            seed=seed,
            kinds=kinds,
            always=config.local != "auto",
        )
        local_model, trials = choice.model, choice.trials
    whole = LocalAccuracy(kind, matrix, local_model, threshold, _LOCAL_THRESHOLD)
    field = whole.field(coordinates, ref, tgt)
    rest = left if field is None else left - field.displacement(coordinates)
    # A window that its neighbours confirm may still be one the model cannot follow.
    follows = np.hypot(*rest.T) < AGREES
    inlier[inlier] = follows
    if inlier.sum() < TILES.points:
        few = f"only {int(inlier.sum())} tie points agree with one transform"
        return _keep_rough(solved, few, tiles)
    ref, tgt, coordinates = ref[follows], tgt[follows], coordinates[follows]

    points = whole.check_points(
        frame.coordinates[reliable],
        windows.ref[reliable] * scale,
        windows.tgt[reliable] * scale,
        windows.block,
        seed,
        inlier[reliable],
    )
    check = np.zeros(len(matches), dtype=bool)
    check_xy = np.full((len(matches), 2), np.nan)
    rows = np.flatnonzero(reliable)[points.index]
    check[rows], check_xy[rows] = True, points.residual_xy / scale

    work = _to_working_pixels(matrix, scale)
    overlap = overlap_mask(work, solved.rendered[0].valid, solved.rendered[1].valid)
    watched, centre = _bounded_points(overlap, windows.ref[inlier], bent=local_model is not None)
    at = watched * scale, apply_matrix(frame.ref_frame, watched)
    half = whole.half_width(coordinates, ref, tgt, at, windows.block, seed)
    estimate = Estimate(
        "uncertain",
        "not judged",
        matches,
        inlier,
        check,
        check_xy,
        Transform(kind, work),
        rmse=points.rmse / scale,
        ce90=points.ce90 / scale,
        statistical=(float(half[0, 0]) / scale, float(half[0, 1]) / scale),
        corner_statistical=float(np.hypot(*half[1:].T).max()) / scale,
        coverage=coverage(windows.ref[inlier], overlap, 0.5 * windows.level.window / scale),
        centre=centre,
        log10_nfa=solved.estimate.log10_nfa,
        evidence=solved.estimate.evidence,
    )
    local = None if field is None else frame.grid(field)
    patches = look(WorkModel(work, model.pair, local))
    estimate = patches.widen(estimate, matrix, scale)
    if local is None and (error := gcp_error(solved.sources, solved.pair)) > 0:
        # A field that follows the tie points follows what the GCPs err by, too.
        estimate = systematic.located_bound(estimate, error)
    status, reason = judge_tiles(estimate, windows.sought, tiles[1], tiles[0], windows.scale)
    judged = replace(estimate, status=status, reason=reason)
    return SceneFit(judged, local, trials, tiles[1], tiles[0])


class _Frame:
    """Between level pixels and the frame in which a registration is told."""

    def __init__(self, windows: TileWindows, model: WorkModel) -> None:
        self.ref_frame, tgt_frame = frames(model.pair)
        self.coordinates = apply_matrix(self.ref_frame, windows.ref)
        self._linear = tgt_frame[:2, :2] / windows.scale
        self._scale = windows.scale

    def units(self, pixels: float) -> float:
        """A length on the reference, in units of the frame."""
        return pixels / self._scale * math.sqrt(abs(float(np.linalg.det(self.ref_frame[:2, :2]))))

    def grid(self, field: DisplacementGrid) -> DisplacementGrid:
        """A displacement in level pixels as one in the frame's units."""
        moved = field.coefficients @ self._linear.T
        return DisplacementGrid(field.kind, field.origin, field.step, moved)


def _fitted(
    kind: ModelKind, ref: NDArray[np.float64], tgt: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """(3, 3) transform fitted to windows that agree with one another, all of which count."""
    try:
        start = least_squares(kind, ref, tgt)
    except np.linalg.LinAlgError:
        return None
    return reweighted(kind, ref, tgt, start, _reach(start, ref, tgt))


def _reach(
    matrix: NDArray[np.float64], ref: NDArray[np.float64], tgt: NDArray[np.float64]
) -> float:
    """Returns the largest residual that counts for a global transform, pixels."""
    left = np.hypot(*(tgt - apply_matrix(matrix, ref)).T)
    return max(AGREES, 2 * float(np.percentile(left, 95)))


def _global(
    ref: NDArray[np.float64],
    tgt: NDArray[np.float64],
    windows: TileWindows,
    solved: PairEstimate,
    config: SceneConfig,
) -> tuple[ModelKind, NDArray[np.float64], float] | None:
    """Kind, (3, 3) matrix in level pixels and the reach of its residuals."""
    kinds = MODEL_KINDS if config.model == "auto" else (config.model,)
    shape = solved.rendered[0].valid.shape
    found: dict[ModelKind, NDArray[np.float64]] = {}
    for kind in kinds:
        matrix = _fitted(kind, ref, tgt)
        if matrix is None:
            continue
        if not implausibility(_to_working_pixels(matrix, windows.scale), shape, Limits()):
            found[kind] = matrix
    if not found:
        return None
    threshold = max(_reach(matrix, ref, tgt) for matrix in found.values())
    gain = _GAIN_OF_KIND
    kind = select_kind(found, ref, tgt, threshold, config.seed, windows.block, gain)
    return kind, found[kind], _reach(found[kind], ref, tgt)


def _keep_rough(solved: PairEstimate, why: str, tiles: tuple[int, int]) -> SceneFit:
    """Returns the rough answer as the fit of the scene, downgraded to uncertain."""
    estimate = solved.estimate
    reason = f"at full resolution {why}; the answer is that of the reduced images"
    rough = replace(estimate, status="uncertain", reason=reason)
    return SceneFit(rough, None, (), tiles[1], tiles[0])


def _bounded_points(
    overlap: BoolArray, tie_points: NDArray[np.float64], *, bent: bool
) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """(1 + M, 2) working pixels whose uncertainty is told: the overlap's centre, then its bounds.

    A global transform is least certain at a corner of the reference. A bent one may be so anywhere
    in the overlap, and is held level beyond it.
    """
    y, x = np.nonzero(overlap)
    centre = np.array([x.mean(), y.mean()]) if len(x) else tie_points.mean(axis=0)
    height, width = overlap.shape
    coordinates = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]])
    if bent and len(x):
        columns = np.linspace(x.min(), x.max(), _WATCHED).astype(np.int64)
        rows = np.linspace(y.min(), y.max(), _WATCHED).astype(np.int64)
        lattice = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
        inside = lattice[overlap[lattice[:, 1], lattice[:, 0]]]
        coordinates = inside if len(inside) else coordinates
    return np.vstack([centre, coordinates]), (float(centre[0]), float(centre[1]))


def _to_working_pixels(matrix: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Converts a transform between level pixels to one between working pixels."""
    zoom = np.diag([scale, scale, 1.0])
    work = np.linalg.inv(zoom) @ matrix @ zoom
    return np.asarray(work / work[2, 2])
