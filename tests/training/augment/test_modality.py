from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Rendered
from imatch.datasets.synthetic.town import photograph, town
from imatch.geometry.alignment.whole_image import WholeImages
from imatch.training.augment import modality
from imatch.training.augment.modality import Pixels, other_modality, stretched
from tests.support.sensor_fields import directions_alone

KINDS = {kind.__name__: kind for kind, _ in modality._MODALITIES}


def _photograph(side: int = 160) -> Pixels:
    return photograph(town(side, np.random.default_rng(5)), np.random.default_rng(6))


@pytest.mark.parametrize("name", KINDS)
def test_cardinality_and_determinism(name: str) -> None:
    pixels = _photograph(64)
    before = pixels.copy()
    first, second = (KINDS[name](pixels, np.random.default_rng(2)) for _ in range(2))
    assert first.shape == pixels.shape
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("name", KINDS)
def test_nothing_moves(name: str) -> None:
    """Summed over draws, since one may leave nothing to be seen."""
    pixels, seen = _photograph(), np.ones((160, 160), bool)
    peaks: list[NDArray[np.float64]] = []
    for seed in range(3):
        made = stretched(KINDS[name](pixels, np.random.default_rng(seed)))
        images = WholeImages(Rendered(pixels, seen), Rendered(made, seen), directions_alone)
        found = images.align([np.eye(3)], turning=False)
        assert found is not None
        peaks.append(found.matrix[:2, 2])
    # A lit slope lies beside its outline.
    assert np.median(np.abs(peaks), axis=0).max() <= (3 if name == "relief" else 1)


def test_speckle_of_flat_ground_spreads_as_its_looks_say() -> None:
    flat = np.full((3, 64, 64), 0.5, np.float32)
    spread = []
    for seed in range(40):
        image = modality.radar(flat, np.random.default_rng(seed))[0]
        if image.min() >= 0:  # No logarithm.
            spread.append(float(image.std() / image.mean()))
    # From ten looks, blurred, to one as it is, as intensity (1) and amplitude (0.52).
    assert min(spread) < 0.2
    assert 0.8 < max(spread) < 1.3


def test_a_constant_image_is_one_value() -> None:
    assert (stretched(np.full((3, 8, 8), 0.2, np.float32)) == 0.5).all()


def test_modalities_are_drawn_and_stretched() -> None:
    pixels = _photograph(64)
    drawn = [other_modality(pixels, np.random.default_rng(seed)) for seed in range(12)]
    assert all((image.min() >= 0, image.max() <= 1) == (True, True) for image in drawn)
    assert len({image.tobytes() for image in drawn}) == 12
