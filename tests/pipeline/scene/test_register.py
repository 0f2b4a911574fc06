"""Whole scenes on procedural ground: where every pixel of the target lies is known exactly."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from pyproj import Transformer
from rasterio.errors import NotGeoreferencedWarning

import imatch
from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.datasets.synthetic.landscape import Landscape, landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape
from imatch.export import FORMATS, write
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene import measure as tile_worker
from imatch.pipeline.scene import patches as patch_reader
from imatch.pipeline.scene import reading
from imatch.pipeline.scene.config import SceneConfig, make_scene_config
from imatch.pipeline.scene.register import register_scene
from imatch.raster import array_source, open_source

FloatArray = NDArray[np.float64]
SIDE, AROUND = 560, 40
UTM, OTHER = "EPSG:32631", "EPSG:32632"
# Where zones 31 and 32 meet, turned against each other by 4 degrees.
PLACE = Affine(10, 0, 735_000, 0, -10, 4_985_000)
# Reduced to less than half, so that full resolution has something to add.
COARSE: dict[str, Any] = {"size": 256}
# Where the rough answer and the local model are not what is tested.
QUICK: dict[str, Any] = {**COARSE, "matcher": "phase", "local": "none"}


@lru_cache(maxsize=3)
def ground(seed: int) -> Landscape:
    return landscape((SIDE + 2 * AROUND, SIDE + 2 * AROUND), seed)


@lru_cache(maxsize=4)
def twice_as_fine(seed: int, season: Season, year: int) -> NDArray[np.float32]:
    """(3, 2 H, 2 W) the ground with its rim, at half the pixel size."""
    side = 2 * (SIDE + 2 * AROUND)
    zoom = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])
    options: dict[str, Any] = {"matrix": zoom, "size": (side, side), "year": year, "seed": year}
    return render_landscape(ground(seed), season, **options)[0]


@dataclass(frozen=True)
class Warp:
    """Reference pixel to the plane of the target: a similarity and waves on top.

    Attributes:
        matrix: Row by row, six numbers.
        amplitude: Of the waves, pixels.
        length: Of the waves, pixels.
    """

    matrix: tuple[float, ...] = (1, 0, 3.4, 0, 1, -2.3)
    amplitude: float = 0.0
    length: float = 520.0

    def apply(self, xy: FloatArray) -> FloatArray:
        a, b, c, d, e, f = self.matrix
        x, y = xy.T
        p, q = 2 * np.pi * x / self.length, 2 * np.pi * y / self.length
        moved = np.column_stack([a * x + b * y + c, d * x + e * y + f])
        return moved + self.amplitude * np.column_stack([np.sin(q + 0.3), np.sin(p + 0.5 * q)])

    def inverse(self, xy: FloatArray) -> FloatArray:
        found = xy.copy()
        a, b, _, d, e, _ = self.matrix
        back = np.linalg.inv([[a, b], [d, e]])
        for _ in range(25):
            found = found - (self.apply(found) - xy) @ back.T
        return found


def view(
    seed: int, season: Season, year: int, to_ref: Callable[[FloatArray], FloatArray], side: int
) -> NDArray[np.float32]:
    """(3, side, side) the ground through any map from the view's pixels to the reference's."""
    y, x = np.mgrid[: 2 * side, : 2 * side]
    fine = np.column_stack([(x.ravel() + 0.5) / 2 - 0.5, (y.ravel() + 0.5) / 2 - 0.5])
    place = ((to_ref(fine) + AROUND + 0.5) * 2 - 0.5).astype(np.float32)
    at = place.reshape(2 * side, 2 * side, 2)
    layers = [
        cv2.remap(band, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        for band in twice_as_fine(seed, season, year)
    ]
    small = [cv2.resize(layer, (side, side), interpolation=cv2.INTER_AREA) for layer in layers]
    return np.asarray(np.clip(small, 0, 1), dtype=np.float32)


def save(
    path: Path,
    pixels: NDArray[Any],
    transform: Affine | None = PLACE,
    crs: str | None = UTM,
    **profile: Any,
) -> Path:
    scaled = (300 + 3000 * pixels).astype(np.uint16)
    placed = {} if transform is None else {"transform": transform, "crs": crs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            width=scaled.shape[2],
            height=scaled.shape[1],
            count=len(scaled),
            dtype="uint16",
            **placed,
            **profile,
        ) as out:
            out.write(scaled)
    return path


@dataclass(frozen=True)
class Pair:
    """Two files and what is true of them.

    Attributes:
        ref: The reference.
        tgt: The target.
        truth: Reference pixel to target pixel.
    """

    ref: Path
    tgt: Path
    truth: Callable[[FloatArray], FloatArray]

    def errors(self, registration: Registration, rim: float = 40) -> FloatArray:
        """(N,) error of the whole model on the ground, target pixels."""
        mapping = GeoCorrection.of(registration)
        lattice = mapping.reference_lattice
        x, y = np.meshgrid(*(np.linspace(rim, side - 1 - rim, 12) for side in lattice.size))
        xy = np.column_stack([x.ravel(), y.ravel()])
        there = self.truth(xy)
        info = open_source(self.tgt).info
        seen = ((there > 30) & (there < np.array(info.size) - 30)).all(axis=1)
        assert seen.sum() > 30
        missed = mapping.to_pixels(lattice, info)(xy[seen]) - there[seen]
        return np.asarray(np.hypot(missed[:, 0], missed[:, 1]))


def measured_through(monkeypatch: pytest.MonkeyPatch, pixels: NDArray[np.float32]) -> None:
    """At full resolution the target shows these (3, H, W) pixels instead of its own."""
    fake = array_source((300 + 3000 * pixels).astype(np.uint16), transform=PLACE, crs=UTM)
    real = reading.read_target
    for reader in (tile_worker, patch_reader):
        monkeypatch.setattr(reader, "read_target", lambda _source, task: real(fake, task))


def known(value: Any) -> FloatArray:
    """A figure of a registration that must be there, as an array."""
    assert value is not None
    return np.asarray(value, dtype=np.float64)


def rms(values: FloatArray) -> float:
    return float(np.sqrt((values**2).mean()))


@lru_cache(maxsize=8)
def pictures(warp: Warp, seeds: tuple[int, int] = (1, 1)) -> tuple[NDArray[Any], NDArray[Any]]:
    """(3, H, W) of both images."""
    ref = view(seeds[0], "summer", 0, lambda xy: xy, SIDE)
    return ref, view(seeds[1], "autumn", 1, warp.inverse, SIDE)


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    """Write two seasons of one ground; `spoil` may change the target's (bands, H, W) pixels."""

    def make(
        warp: Warp | None = None,
        *,
        seeds: tuple[int, int] = (1, 1),
        bands: int = 3,
        geocoded: bool = True,
        spoil: Callable[[NDArray[Any]], None] | None = None,
        **profile: Any,
    ) -> Pair:
        warp = warp or Warp()
        ref, tgt = (picture.copy() for picture in pictures(warp, seeds))
        if spoil is not None:
            spoil(tgt)
        if bands == 1:
            ref, tgt = (p.mean(axis=0, keepdims=True) for p in (ref, tgt))
        place = (PLACE, UTM) if geocoded else (None, None)
        return Pair(
            save(tmp_path / "ref.tif", ref, *place, **profile),
            save(tmp_path / "tgt.tif", tgt, *place, **profile),
            warp.apply,
        )

    return make


MakePair = Callable[..., Pair]


@pytest.fixture(scope="module")
def bent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Registration]:
    """A pair under a local warp of 2 px, and its registration."""
    folder, warp = tmp_path_factory.mktemp("bent"), Warp(amplitude=2.0)
    ref, tgt = pictures(warp)
    images = Pair(save(folder / "ref.tif", ref), save(folder / "tgt.tif", tgt), warp.apply)
    with pytest.MonkeyPatch.context() as patch:
        # No weights, as in the other tests of this room.
        patch.setenv("XDG_CACHE_HOME", str(folder))
        patch.setenv("TORCH_HOME", str(folder))
        patch.delenv("IMATCH_WEIGHTS", raising=False)
        return images, register_scene(images.ref, images.tgt, **COARSE)


def test_a_global_shift_is_found_and_nothing_is_bent(pair: MakePair) -> None:
    images = pair()
    r = register_scene(images.ref, images.tgt, **COARSE)
    assert r.status == "ok", r.reason
    assert r.local is None
    assert r.provenance["scene"]["local"]["chosen"] == "none"
    assert rms(images.errors(r)) < 0.1
    # What held-out tie points say is about what they themselves err by.
    missed = r.tie_points.tgt_xy - images.truth(r.tie_points.ref_xy)
    own = rms(np.hypot(*missed[r.tie_points.inlier].T))
    assert r.rmse_px == pytest.approx(own, abs=0.08)
    assert r.n_inliers > 150
    assert r.certificate.corner_ci95_px is not None
    assert r.certificate.corner_ci95_px < 0.3


def test_a_local_warp_is_followed(bent: tuple[Pair, Registration]) -> None:
    images, r = bent
    assert r.status == "ok", r.reason
    assert r.local is not None
    assert rms(images.errors(r)) < 0.3
    # The transform alone would be far off.
    assert r.transform is not None
    bare = r.transform.apply(r.tie_points.ref_xy) - images.truth(r.tie_points.ref_xy)
    assert rms(np.hypot(*bare.T)) > 1.0
    tried = {t["kind"]: t["rmse_px"] for t in r.provenance["scene"]["local"]["candidates"]}
    assert set(tried) == {"none", "polynomial2", "polynomial3", "spline", "tps"}
    assert tried[r.local.kind] < 0.6 * tried["none"]


def test_one_band_and_no_geocoding(pair: MakePair) -> None:
    images = pair(Warp(amplitude=2.0), bands=1, geocoded=False)
    r = register_scene(images.ref, images.tgt, local="spline", **COARSE)
    assert r.status == "ok", r.reason
    assert r.map_matrix is None
    assert r.local is not None
    assert rms(images.errors(r)) < 0.3


@pytest.mark.parametrize(("length", "amplitude"), [(45.0, 1.2), (110.0, 2.0), (45.0, 2.5)])
def test_jitter_shorter_than_tiles_is_in_the_bound(
    pair: MakePair, length: float, amplitude: float
) -> None:
    """The mean displacement of a tile looks fine, while places are pixels off."""
    images = pair(Warp(amplitude=amplitude, length=length))
    r = imatch.register(images.ref, images.tgt, **QUICK)
    bound = r.certificate.corner_ci95_px
    assert bound is not None
    assert (images.errors(r) <= bound).mean() >= 0.95
    assert np.hypot(*known(r.certificate.misfit_px)) > 0.5 * amplitude
    assert r.certificate.to_dict()["misfit_px"] == list(known(r.certificate.misfit_px))
    if bound > 6:
        assert r.status == "uncertain"
        assert "the ground departs from their transform" in r.reason


def test_the_parts_of_a_clean_scenes_interval_are_native_pixels(pair: MakePair) -> None:
    images = pair()
    r = imatch.register(images.ref, images.tgt, **QUICK)
    stated = r.certificate
    assert r.status == "ok", r.reason
    assert max(known(stated.misfit_px)) < 0.05
    assert [name for name, *_ in stated.bands] == ["1", "2", "3"]
    # Of the reduced images it would be as many of their pixels, each more than two of these.
    assert 0 < max(known(stated.appearance_px)) < 0.25
    for total, part in zip(known(r.ci95_px), known(stated.statistical_ci95_px), strict=True):
        assert total >= part
    np.testing.assert_array_less(1.95 * known(stated.appearance_px), known(r.ci95_px))


def test_an_infrared_band_beside_the_matched_ones_is_asked_at_full_resolution(
    tmp_path: Path,
) -> None:
    """It lies a pixel from the others, less than half a pixel of the reduced images."""
    paths = []
    for name, picture, off in (("ref", pictures(Warp())[0], 0), ("tgt", pictures(Warp())[1], 1)):
        infrared = np.roll(picture[1:2], off, axis=2)
        path = save(tmp_path / f"{name}.tif", np.concatenate([picture, infrared]))
        with rasterio.open(path, "r+") as dataset:
            dataset.descriptions = ("B04", "B03", "B02", "B08")
        paths.append(path)
    r = imatch.register(paths[0], paths[1], **QUICK)
    shifts = {name: x for name, x, _ in r.certificate.bands}
    assert set(shifts) == {"B04", "B03", "B02", "B08"}
    assert shifts["B08"] - shifts["B03"] == pytest.approx(1.0, abs=0.15)
    assert r.certificate.bands_disagree
    assert known(r.certificate.appearance_px)[0] > 0.3


def test_residuals_and_figures_are_those_of_the_whole_model(
    bent: tuple[Pair, Registration],
) -> None:
    images, r = bent
    points = r.tie_points
    mapping = GeoCorrection.of(r)
    predicted = mapping.to_pixels(mapping.reference_lattice, open_source(images.tgt).info)
    np.testing.assert_allclose(
        points.residual_xy, points.tgt_xy - predicted(points.ref_xy), atol=1e-6
    )
    assert points.residual_px[points.inlier].max() < 1.5
    assert 0.1 < points.check.mean() < 0.5
    # Held out, tie points err more than where they were fitted.
    assert r.rmse_px is not None
    assert r.rmse_px > rms(points.residual_px[points.inlier])
    assert r.rmse_m == pytest.approx(10 * r.rmse_px, rel=0.01)


@pytest.mark.parametrize("local", ["none", "polynomial3"])
def test_a_family_can_be_asked_for(pair: MakePair, local: str) -> None:
    images = pair(Warp(amplitude=0.6))
    r = register_scene(images.ref, images.tgt, **{**QUICK, "local": local})
    assert ("none" if r.local is None else r.local.kind) == local
    assert r.status == "ok", r.reason


def test_two_zones_and_a_local_warp(tmp_path: Path) -> None:
    """The target lies in the next UTM zone; its geocoding errs by what the warp says."""
    warp = Warp(amplitude=1.5)
    to = Transformer.from_crs(UTM, OTHER, always_xy=True)
    there = np.column_stack(to.transform(*(PLACE @ (SIDE / 2, SIDE / 2))))[0]
    placed = Affine(10, 0, there[0] - 5 * SIDE, 0, -10, there[1] + 5 * SIDE)
    back = Transformer.from_crs(OTHER, UTM, always_xy=True)

    def claimed(xy: FloatArray) -> FloatArray:
        x, y = placed @ (xy.T[0] + 0.5, xy.T[1] + 0.5)
        x, y = back.transform(x, y)
        return np.column_stack(~PLACE @ (np.asarray(x), np.asarray(y))) - 0.5

    def truth(xy: FloatArray) -> FloatArray:
        moved = warp.apply(xy) + 0.5
        x, y = to.transform(*(PLACE @ (moved.T[0], moved.T[1])))
        return np.column_stack(~placed @ (np.asarray(x), np.asarray(y))) - 0.5

    pixels = view(1, "autumn", 1, lambda xy: warp.inverse(claimed(xy)), SIDE)
    images = Pair(
        save(tmp_path / "ref.tif", pictures(warp)[0]),
        save(tmp_path / "tgt.tif", pixels, placed, OTHER),
        truth,
    )
    r = register_scene(images.ref, images.tgt, **COARSE)
    assert r.status == "ok", r.reason
    assert r.local is not None
    assert rms(images.errors(r)) < 0.3


@pytest.mark.parametrize(("scale", "side"), [(0.5, SIDE // 2), (1.6, int(1.6 * SIDE))])
def test_pixels_of_another_size(tmp_path: Path, scale: float, side: int) -> None:
    def to_ref(xy: FloatArray) -> FloatArray:
        return np.asarray((xy + 0.5) / scale - 0.5 - (2.0, -1.0))

    images = Pair(
        save(tmp_path / "ref.tif", pictures(Warp())[0]),
        save(
            tmp_path / "tgt.tif",
            view(1, "autumn", 1, to_ref, side),
            PLACE @ Affine.scale(1 / scale),
        ),
        lambda xy: np.asarray((xy + (2.0, -1.0) + 0.5) * scale - 0.5),
    )
    r = register_scene(images.ref, images.tgt, **COARSE)
    assert r.status == "ok", r.reason
    factor = r.provenance["scene"]["levels"][-1]["factor"]
    assert factor == ([2, 2] if scale < 1 else [1, 1])
    assert rms(images.errors(r)) < 0.15 * max(scale, 1.0)


def test_wrong_tiles_are_dropped_as_a_whole(pair: MakePair) -> None:
    other = view(2, "autumn", 1, lambda xy: xy, SIDE)

    def spoil(pixels: NDArray[Any]) -> None:
        for row, column in ((0, 1), (1, 1)):
            part = np.s_[:, 256 * row : 256 * row + 256, 256 * column : 256 * column + 256]
            pixels[part] = other[part]

    images = pair(spoil=spoil)
    r = register_scene(images.ref, images.tgt, **QUICK)
    assert r.status == "ok", r.reason
    wrong = (r.tie_points.tgt_xy[:, 0] > 264) & (r.tie_points.tgt_xy[:, 0] < 504)
    wrong &= (r.tie_points.tgt_xy[:, 1] > 8) & (r.tie_points.tgt_xy[:, 1] < 504)
    assert wrong.sum() > 40
    assert r.tie_points.inlier[wrong].mean() < 0.06
    assert r.tie_points.inlier[~wrong].mean() > 0.8
    assert rms(images.errors(r)) < 0.15
    assert r.provenance["scene"]["tiles_discarded"] >= 1


@pytest.mark.parametrize(("seen", "status"), [((170, 450), "ok"), ((170, 100), "uncertain")])
def test_under_clouds_fewer_tiles_will_do(
    pair: MakePair, monkeypatch: pytest.MonkeyPatch, seen: tuple[int, int], status: str
) -> None:
    """What is left of the ground cannot agree by chance, unless too little is left."""
    images = pair()
    width, height = seen
    cloudy = pictures(Warp(), (2, 2))[1].copy()
    cloudy[:, :height, :width] = pictures(Warp())[1][:, :height, :width]
    measured_through(monkeypatch, cloudy)
    r = register_scene(images.ref, images.tgt, tile=128, spacing=24, **QUICK)
    scene = r.provenance["scene"]
    tiles = scene["tiles_agree"] + scene["tiles_discarded"]
    assert scene["tiles_agree"] < tiles / 3
    assert r.status == status, r.reason
    if status == "ok":
        assert (r.tie_points.tgt_xy[r.tie_points.inlier] < (width + 20, height + 20)).mean() > 0.9
        assert rms(images.errors(r)) < 0.5


def test_missing_ground_makes_no_tie_points(tmp_path: Path) -> None:
    ref, tgt = (picture.copy() for picture in pictures(Warp()))
    y, x = np.mgrid[:SIDE, :SIDE]
    wedge = x + y < 0.8 * SIDE
    # Missing ground is 0, and the files say so.
    values = (300 + 3000 * tgt).astype(np.uint16)
    values[:, wedge] = 0
    save(tmp_path / "ref.tif", ref)
    save(tmp_path / "tgt.tif", tgt, nodata=0)
    with rasterio.open(tmp_path / "tgt.tif", "r+") as out:
        out.write(values)
    images = Pair(tmp_path / "ref.tif", tmp_path / "tgt.tif", Warp().apply)
    r = register_scene(images.ref, images.tgt, **QUICK)
    assert r.status == "ok", r.reason
    assert (r.tie_points.tgt_xy.sum(axis=1) > 0.8 * SIDE - 40).all()
    assert rms(images.errors(r)[-60:]) < 0.15


def test_a_mask_keeps_its_ground_out(pair: MakePair, tmp_path: Path) -> None:
    images = pair()
    mask = tmp_path / "mask.tif"
    pixels = np.zeros((1, SIDE, SIDE), dtype=np.float32)
    pixels[:, :, : SIDE // 2] = 1
    with rasterio.open(
        mask,
        "w",
        driver="GTiff",
        width=SIDE,
        height=SIDE,
        count=1,
        dtype="uint8",
        crs=UTM,
        transform=PLACE,
    ) as out:
        out.write(pixels.astype(np.uint8))
    r = register_scene(images.ref, images.tgt, ref_mask=mask, **QUICK)
    assert r.status == "ok", r.reason
    assert r.tie_points.ref_xy[:, 0].min() > SIDE / 2


def test_another_place_is_never_ok(pair: MakePair) -> None:
    images = pair(seeds=(1, 2))
    r = register_scene(images.ref, images.tgt, tolerance="100px", **COARSE)
    assert r.status != "ok"
    assert r.certificate.passes is False


def test_a_rough_answer_that_tiles_deny_is_not_relied_on(
    pair: MakePair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever made the rough answer ok: another place's pixels at full resolution refute it."""
    images = pair()
    measured_through(monkeypatch, pictures(Warp(), (2, 2))[1])
    r = register_scene(images.ref, images.tgt, **QUICK)
    assert r.status == "uncertain"
    assert "at full resolution only" in r.reason
    assert r.local is None
    # The rough answer is there for whoever wants it.
    assert rms(images.errors(r)) < 1.0


def test_arrays_need_no_files() -> None:
    ref, tgt = pictures(Warp())
    r = register_scene(ref, tgt, jobs=2, **QUICK)
    assert r.status == "ok", r.reason
    assert r.transform is not None
    np.testing.assert_allclose(r.transform.apply([[280, 280]]), [[283.4, 277.7]], atol=0.1)
    with pytest.raises(ConfigError, match="no file, so its state cannot be kept"):
        register_scene(ref, tgt, state=Path("nowhere"), **QUICK)


def test_images_too_small_for_tiles_keep_the_rough_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    ref, tgt = pictures(Warp())
    monkeypatch.setattr("imatch.pipeline.scene.register.plan_level", lambda *_, **__: None)
    r = register_scene(ref, tgt, **QUICK)
    rough = imatch.match(ref, tgt, matcher="phase", **COARSE)
    assert r.status == rough.status == "ok"
    np.testing.assert_array_equal(r.matrix, rough.matrix)
    assert "scene" not in r.provenance


def test_every_format_is_written_and_read_back(
    bent: tuple[Pair, Registration], tmp_path: Path
) -> None:
    images, r = bent
    for suffix in FORMATS:
        write(r, tmp_path / f"result{suffix}")
        assert (tmp_path / f"result{suffix}").stat().st_size > 0
    again = read_registration(tmp_path / "result.json")
    assert again.local is not None
    assert r.local is not None
    assert again.local.kind == r.local.kind
    np.testing.assert_allclose(images.errors(again), images.errors(r), atol=1e-9)
    json.dumps(again.provenance)


class TestProgressAndState:
    def run(self, images: Pair, state: Path | None = None, **options: Any) -> Registration:
        return register_scene(images.ref, images.tgt, **{**QUICK, **options}, state=state)

    def test_stages_and_tiles_are_told(self, pair: MakePair) -> None:
        stages: list[str] = []
        steps: list[tuple[int, int]] = []
        images = pair()
        r = self.run(images, on_stage=stages.append, on_progress=lambda *step: steps.append(step))
        measured = r.provenance["scene"]["levels"][-1]["tiles"]["measured"]
        assert f"measuring {measured} tiles at full resolution" in stages
        assert [done for done, _ in steps] == sorted(done for done, _ in steps)
        assert steps[-1][0] == steps[-1][1] == measured

    def test_an_interrupted_run_goes_on_and_ends_the_same(
        self, pair: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        images, state = pair(Warp(amplitude=1.0)), tmp_path / "state"
        whole = self.run(images)

        def interrupt(done: int, _total: int) -> None:
            if done == 4:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.run(images, state, on_progress=interrupt)
        # The last line was cut by whatever ended the run.
        with (state / "tiles.jsonl").open("a") as file:
            file.write('{"key": [0, 0')

        measured: list[Any] = []

        def counted(ref: reading.ImageSide, tgt: reading.ImageSide, task: Any) -> Any:
            measured.append(task)
            return tile_worker.measure_tile(ref, tgt, task)

        monkeypatch.setattr("imatch.pipeline.scene.executor.measure_tile", counted)
        resumed = self.run(images, state)
        tiles = resumed.provenance["scene"]["levels"][-1]["tiles"]["measured"]
        assert len(measured) == tiles - 4
        np.testing.assert_array_equal(resumed.tie_points.tgt_xy, whole.tie_points.tgt_xy)
        np.testing.assert_array_equal(resumed.matrix, whole.matrix)
        assert resumed.rmse_px == whole.rmse_px

    def test_another_run_s_state_is_refused(self, pair: MakePair, tmp_path: Path) -> None:
        images, state = pair(), tmp_path / "state"
        self.run(images, state)
        with pytest.raises(ConfigError, match=r"cannot resume: window was 64 and is 48"):
            self.run(images, state, window=48)
        os.utime(images.tgt, (1, 1))
        with pytest.raises(ConfigError, match=r"cannot resume: .*tgt.tif has changed since"):
            self.run(images, state)
        assert self.run(images, state, overwrite=True).status == "ok"

    def test_what_changes_no_tile_does_not_matter(self, pair: MakePair, tmp_path: Path) -> None:
        images, state = pair(), tmp_path / "state"
        self.run(images, state)
        r = self.run(images, state, tolerance="9px")
        assert r.certificate.passes is True

    @pytest.mark.parametrize("how", ["shrinks", "vanishes"])
    def test_a_file_that_is_lost_midway_is_a_clear_error(
        self, pair: MakePair, tmp_path: Path, how: str
    ) -> None:
        images, state = pair(compress="deflate", blockxsize=64, blockysize=64, tiled=True), tmp_path
        state = tmp_path / "state"

        def lose(text: str) -> None:
            if not text.startswith("measuring"):
                return
            if how == "vanishes":
                images.tgt.unlink()
            else:
                os.truncate(images.tgt, 4000)

        with pytest.raises(InputError, match=r"tgt\.tif") as caught:
            self.run(images, state, on_stage=lose)
        assert caught.value.hint
        assert (state / "run.json").exists()


class TestConfiguration:
    def test_it_holds_all_of_match(self) -> None:
        config = make_scene_config(imatch.MatchConfig(matcher="sift", size=512), local="tps")
        assert isinstance(config, SceneConfig)
        assert (config.matcher, config.size, config.local) == ("sift", 512, "tps")
        assert make_scene_config(config, spacing=80).local == "tps"

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"spacing": 0}, "spacing"),
            ({"local": "rubber"}, "local"),
            ({"levels": 9}, "levels"),
            ({"windows": 64}, "is no setting"),
        ],
    )
    def test_what_makes_no_sense_is_said(self, values: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            make_scene_config(None, **values)

    def test_spacing_and_levels(self, pair: MakePair) -> None:
        images = pair()
        r = register_scene(images.ref, images.tgt, spacing=60, levels=2, **QUICK)
        levels = r.provenance["scene"]["levels"]
        assert [level["factor"] for level in levels] == [[4, 4], [1, 1]]
        assert levels[-1]["spacing"] == pytest.approx(60, rel=0.02)
        assert r.n_matches <= (SIDE / 58) ** 2
        assert r.status == "ok", r.reason


def test_errors_are_ours() -> None:
    with pytest.raises(ImatchError, match="no such file"):
        register_scene("absent.tif", "absent.tif")
