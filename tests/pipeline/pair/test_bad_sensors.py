"""Radar, maps and thermal images that show little beside an optical one: right, or a reason."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray

import imatch
from imatch.benchmark.metrics import corner_error
from imatch.core.errors import InputError
from imatch.pipeline.pair.auto import Auto
from imatch.pipeline.registration.result import Registration
from imatch.raster import Source, array_source
from tests.support.pairs import sensors

SIDE = 200
TRUTH = sensors.similarity(SIDE, 2.0, 1.02, (6.0, -4.0))
LABEL = sensors.fields(0, sensors.grid(SIDE, np.linalg.inv(TRUTH)), SIDE)


class Unlearnt(Auto):
    """Asks no learnt matcher, and is quick to refuse."""

    learnt = ()


def placed(pixels: NDArray[np.generic], nodata: float | None = None) -> Source:
    """An image on the map, which no search over all rotations is asked of."""
    place = Affine(10, 0, 500_000, 0, -10, 4_000_000)
    return array_source(pixels, transform=place, crs="EPSG:32631", nodata=nodata)


def against_optical(pixels: NDArray[np.generic], nodata: float | None = None) -> Registration:
    seen = sensors.fields(0, sensors.grid(SIDE, np.eye(3)), SIDE)
    ref = np.clip(np.moveaxis(sensors.camera(seen, 0), 0, 2), 1, 255).astype(np.uint8)
    return imatch.match(placed(ref), placed(pixels, nodata), Unlearnt())


def assert_right_or_told(r: Registration) -> None:
    assert r.reason
    if r.status == "ok":
        bound = r.certificate.corner_ci95_px
        assert r.transform is not None
        assert bound is not None
        assert corner_error(r.transform.matrix, TRUTH, (SIDE, SIDE)) < bound


def labels_alone() -> NDArray[np.uint8]:
    """A map of nothing but names."""
    rng = np.random.default_rng(0)
    paper = np.full((SIDE, SIDE, 3), 245, np.uint8)
    for word in rng.choice(["Aubach", "Moos", "Hof", "B 187"], 20):
        at = tuple(int(v) for v in rng.integers(0, SIDE, 2))
        cv2.putText(paper, str(word), at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, (60, 60, 70))
    return paper


def test_a_map_of_labels_alone_is_refused() -> None:
    r = against_optical(labels_alone())
    assert r.status != "ok"
    assert r.reason


def test_layover_and_shadow() -> None:
    """Slopes that face the radar are bright and lie off, those behind return nothing."""
    amplitude = sensors.radar(LABEL, 0, looks=4.0)[0]
    hills = np.random.default_rng(5).normal(0, 25, (SIDE, SIDE))
    height = np.clip(cv2.GaussianBlur(hills, (0, 0), 14), 0, None)
    height = height / height.max()
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    leaning = cv2.remap(
        amplitude, (x + 25 * height).astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR
    )
    slope = np.gradient(height, axis=1)
    leaning[slope > 0.012] *= 4
    leaning[slope < -0.012] = 0
    assert 0.05 < (leaning == 0).mean() < 0.3
    assert_right_or_told(against_optical(leaning.astype(np.uint16), nodata=0))


@pytest.mark.parametrize("spread", [0.0, 0.02])
def test_a_thermal_image_of_one_temperature_is_refused(spread: float) -> None:
    """Kelvin everywhere the same, or but for the noise of the detector."""
    noise = np.random.default_rng(1).normal(0, 1, (SIDE, SIDE))
    r = against_optical((293.15 + spread * noise).astype(np.float32))
    assert r.status == "failed"
    assert ("one value everywhere" in r.reason) == (spread == 0)


@pytest.mark.parametrize(("share", "status"), [(0.004, "ok"), (0.02, None)])
def test_scatterers_a_thousand_times_the_median(share: float, status: str | None) -> None:
    """Few of them are cut off; beyond the last percent nothing else is seen, which is told."""
    amplitude = sensors.radar(LABEL, 0, looks=3.0)[0]
    amplitude[np.random.default_rng(2).random(amplitude.shape) < share] = 65535
    assert amplitude.max() > 500 * np.median(amplitude)
    r = against_optical(amplitude.astype(np.uint16))
    assert_right_or_told(r)
    assert status is None or r.status == status


def test_of_a_complex_array_the_amplitude_is_asked_for() -> None:
    with pytest.raises(InputError, match="holds complex64") as caught:
        against_optical(np.ones((SIDE, SIDE), np.complex64))
    assert caught.value.hint is not None
    assert "amplitude" in caught.value.hint
