"""The cascade on ground that is known exactly, without any checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

import imatch
from imatch.benchmark.metrics import corner_error
from imatch.core.errors import ConfigError, MatcherError, WeightsError
from imatch.core.types import Rendered
from imatch.geometry.estimate import EstimateOptions
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.pair.auto import Auto
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene.register import register_scene
from imatch.raster import Source, array_source, render
from tests.support.pairs import sensors

MakeScene = Callable[..., Any]
Register = Callable[..., Registration]

ERROR_PX = 0.15


def invert(pixels: NDArray[Any]) -> None:
    pixels[:] = 4000 - pixels


PAIRS: dict[str, dict[str, Any]] = {
    "near": {"misplaced": (37.0, -12.0)},
    "rotated by 25 degrees": {"degrees": 25},
    "scaled by 1.15": {"gsd": 11.5},
    "inverted contrast": {"degrees": 10, "finish": invert},
    "rotated by 140 degrees": {"degrees": 140},
}


@pytest.mark.parametrize("view", PAIRS.values(), ids=list(PAIRS))
def test_it_is_right_whatever_the_view(
    view: dict[str, Any], scene: MakeScene, register: Register
) -> None:
    ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, **view)
    r = register(ref, tgt, matcher="auto", use_geocoding=False)
    assert r.status == "ok", r.reason
    assert r.matcher == "auto"
    assert ref.error_px(tgt, r) < ERROR_PX


def test_an_easy_pair_needs_one_stage(scene: MakeScene, register: Register) -> None:
    told: list[str] = []
    ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=(37.0, -12.0))
    r = register(ref, tgt, matcher="auto", progress=lambda label, _done, _total: told.append(label))
    assert r.provenance["found_by"] == "near"
    assert [stage for stage in told if stage.startswith("correlating")] == [
        "correlating near the given position"
    ]


class Unlearnt(Auto):
    """Asks no learnt matcher."""

    learnt = ()


@pytest.mark.parametrize(("height", "expected"), [(40, False), (90, True)])
def test_strips_are_not_sought_at_every_scale(height: int, expected: bool) -> None:
    noise = np.random.default_rng(0).random((3, height, 100), np.float32)
    image = Rendered(noise, np.ones(noise.shape[1:], dtype=bool))
    searches = [found.search for found in Unlearnt().stages(image, image, EstimateOptions())]
    assert "any" in searches
    assert ("wide" in searches) is expected


def test_another_place_is_never_ok(scene: MakeScene, register: Register) -> None:
    ref, other = scene("ref.tif", noise=1), scene("other.tif", noise=2, ground=2)
    r = register(ref, other, matcher="auto", tolerance="100px")
    assert r.status != "ok"
    assert r.certificate.passes is False


def test_a_blank_image_fails(scene: MakeScene, register: Register) -> None:
    blank = scene("blank.tif", finish=lambda pixels: pixels.fill(900))
    r = register(scene("ref.tif", noise=1), blank, matcher="auto")
    assert r.status == "failed"
    assert r.transform is None


class TestLearntMatchers:
    def test_their_weights_come_with_imatch(self, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif")
        r = register(ref, ref, matcher="auto")
        assert r.status == "ok"
        assert set(r.provenance["weights"]) == {"superpoint-s2", "loftr-s2", "field-cross"}

    def test_weights_that_were_named_must_be_there(self) -> None:
        with pytest.raises(WeightsError, match="mine"):
            Auto(MatchConfig(weights={"superpoint-s2": "mine.pt"}))

    @pytest.mark.parametrize("name", Auto.learnt)
    def test_each_proposes_where_things_lie(self, name: str, scene: MakeScene) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, degrees=8)
        rendered = [
            Rendered(
                ((i.pixels - i.pixels.min()) / np.ptp(i.pixels))[None].astype(np.float32),
                np.ones(i.pixels.shape, dtype=bool),
            )
            for i in (ref, tgt)
        ]
        (matrix,) = Auto().proposed_by(name, rendered[0], rendered[1], EstimateOptions())
        xy = np.array([[20.0, 30], [150, 40], [90, 160]])
        missed = apply_matrix(matrix, xy) - ref.to(tgt, xy)
        assert np.hypot(*missed.T).max() < 3


def test_it_registers_and_is_no_matcher() -> None:
    with pytest.raises(MatcherError, match="registers by several matchers"):
        imatch.load_matcher("auto")


def test_it_gives_the_transform_that_is_asked(scene: MakeScene) -> None:
    images = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, degrees=3)
    rendered = [
        Rendered(
            np.clip(i.pixels, 0, 1)[None].astype(np.float32), np.ones(i.pixels.shape, dtype=bool)
        )
        for i in images
    ]
    solution = Auto(MatchConfig(model="affine")).solve(rendered[0], rendered[1])
    assert solution.transform is not None
    assert solution.transform.kind == "affine"
    assert len(solution.matches) == len(solution.inlier)
    assert np.isfinite(solution.evidence)


class TestRepeatingGround:
    """Fields of one width: every period fits, and only the geocoding can tell which is meant."""

    PERIOD, SHIFT, GSD = 40, (4, -3), 10.0

    def pair(self) -> tuple[Source, Source]:
        rng = np.random.default_rng(8)
        cell = cv2.GaussianBlur(
            np.tile(rng.random((self.PERIOD, self.PERIOD), np.float32), (3, 3)), (0, 0), 1.5
        )[self.PERIOD : 2 * self.PERIOD, self.PERIOD : 2 * self.PERIOD]
        ground = np.tile(cell, (9, 9))
        x, y = self.SHIFT
        sides = []
        for left, top in ((20, 20), (20 - x, 20 - y)):
            part = ground[top : top + 300, left : left + 300]
            noisy = part + rng.normal(0, 0.05 * ground.std(), part.shape)
            place = Affine(self.GSD, 0, 500_000, 0, -self.GSD, 4_000_000)
            sides.append(array_source(1000 * noisy, transform=place, crs="EPSG:32631"))
        return sides[0], sides[1]

    def test_nothing_tells_the_periods_apart(self) -> None:
        assert imatch.match(*self.pair()).status == "uncertain"

    @pytest.mark.parametrize("error", ["150m", "15 px"])
    def test_a_geocoding_known_to_less_than_half_a_period_does(self, error: str) -> None:
        r = imatch.match(*self.pair(), geocoding_error=error)
        assert r.status == "ok", r.reason
        assert r.reason.endswith("the stated error of the geocoding decides")
        assert r.shift_px == pytest.approx(self.SHIFT, abs=0.3)

    def test_one_known_to_more_does_not(self) -> None:
        assert imatch.match(*self.pair(), geocoding_error="250m").status == "uncertain"

    def test_it_excludes_the_truth(self) -> None:
        r = imatch.match(*self.pair(), geocoding_error="2px")
        assert r.status != "ok"

    def test_it_needs_a_geocoding(self) -> None:
        with pytest.raises(ConfigError, match=r"geocoding_error 20 m: .*not both geocoded"):
            imatch.match(*self.pair(), geocoding_error="20m", use_geocoding=False)

    def test_a_bare_number_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"geocoding_error: .*write 0\.3px or 3m"):
            imatch.match(*self.pair(), geocoding_error="20")


class TestTwoSensors:
    """A camera and a radar with so much speckle that no window tells where it lies."""

    SIDE = 280
    TRUTH = sensors.similarity(SIDE, 3.0, 1.03, (8.0, -5.0))

    def camera(self, ground: int = 0) -> Source:
        seen = sensors.fields(ground, sensors.grid(self.SIDE, np.eye(3)), self.SIDE)
        return self.source(sensors.camera(seen, ground), "uint8")

    def radar(self, ground: int = 0) -> Source:
        there = sensors.grid(self.SIDE, np.linalg.inv(self.TRUTH))
        planes = sensors.radar(sensors.fields(ground, there, self.SIDE), ground, looks=0.2)
        # A few scatterers are a thousand times as bright as the ground.
        planes[0, ::37, ::41] = 60000
        return self.source(planes, "uint16")

    def source(self, planes: NDArray[np.float32], dtype: str) -> Source:
        return array_source(np.moveaxis(np.clip(planes, 0, 65535), 0, 2).astype(dtype))

    def test_their_whole_images_decide(self) -> None:
        r = imatch.match(self.camera(), self.radar())
        assert r.status == "ok", r.reason
        assert r.provenance["found_by"] == "whole images"
        assert (r.reference.modality, r.target.modality) == ("optical", "sar")
        assert r.transform is not None
        size = (self.SIDE, self.SIDE)
        error = corner_error(r.transform.matrix, self.TRUTH, size)
        bound = r.certificate.corner_ci95_px
        assert bound is not None
        assert error < bound
        assert bound > 2
        assert "taken for radar" in str(r)

    def status(self, ground: int = 0, *, alike: bool = False) -> str:
        """By the first searches alone, which are quick."""
        ref, tgt = (render(s.read(), 3) for s in (self.camera(), self.radar(ground)))
        return Unlearnt().solve(ref, tgt, geocoded=True, alike=alike).status

    def test_of_one_sensor_windows_have_to(self) -> None:
        assert self.status(alike=True) != "ok"

    def test_another_place_is_never_ok(self) -> None:
        assert self.status(7) != "ok"

    def test_a_scene_is_answered_by_them_too(self) -> None:
        r = register_scene(self.camera(), self.radar())
        assert r.status == "ok", r.reason
        assert r.provenance["found_by"] == "whole images"
        assert r.target.modality == "sar"


def test_a_scanned_photograph_with_its_frame() -> None:
    """Grey, vignetted and grainy, in a dark frame with fiducial marks and a line of text."""
    side, rim = 300, 40
    ground = sensors.camera(sensors.fields(3, sensors.grid(side, np.eye(3)), side), 3)
    y, x = np.mgrid[:side, :side] - side / 2
    rng = np.random.default_rng(0)
    grey = ground.mean(axis=0) * (1 - 1.2 * (x**2 + y**2) / side**2)
    scan = np.full((side + 2 * rim,) * 2, 12.0) + rng.normal(0, 3, (side + 2 * rim,) * 2)
    scan[rim:-rim, rim:-rim] = grey + rng.normal(0, 6, grey.shape)
    film = np.clip(scan, 0, 255).astype(np.uint8)
    for corner in ((20, 20), (20, side + 60), (side + 60, 20), (side + 60, side + 60)):
        cv2.drawMarker(film, corner, 255, cv2.MARKER_CROSS, 20, 2)
    cv2.putText(film, "1974 RC-8 152.4", (rim, 370), cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2)
    turned = sensors.similarity(len(film), 5.0, 1.0, (3.0, -6.0))
    warped = cv2.warpAffine(film, turned[:2], film.shape[::-1], borderValue=12)
    r = imatch.match(np.moveaxis(ground, 0, 2).astype(np.uint8), np.asarray(warped))
    assert r.status == "ok", r.reason
    assert r.transform is not None
    truth = turned @ sensors.similarity(side, 0.0, 1.0, (rim, rim))
    assert corner_error(r.transform.matrix, truth, (side, side)) < 0.3
