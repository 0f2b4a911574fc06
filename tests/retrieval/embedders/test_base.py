from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.retrieval.embedders.base import ChipEmbedder, Embedder


class Means(ChipEmbedder):
    """The mean of each band over valid ground."""

    def __init__(self, bands: int = 3, **settings: Any) -> None:
        super().__init__("means", dim=bands, bands=bands, chip_px=64, settings=settings, batch=2)
        self.calls: list[int] = []

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        self.calls.append(len(pixels))
        weights = valid[:, None]
        total = (pixels * weights).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))
        return np.asarray(total, dtype=np.float32)


def chips(count: int, bands: int = 3) -> tuple[NDArray[np.float32], BoolArray]:
    pixels = np.random.default_rng(0).random((count, bands, 32, 40), dtype=np.float32)
    return pixels, np.ones((count, 32, 40), dtype=bool)


def test_it_is_an_embedder() -> None:
    assert isinstance(Means(), Embedder)


def test_batches_leave_out_chips_without_ground() -> None:
    pixels, valid = chips(6)
    valid[1] = False
    embedder = Means()
    vectors = embedder.embed(pixels, valid)
    assert embedder.calls == [2, 2, 1]
    assert not vectors[1].any()
    assert np.allclose(vectors[[0, 5]], pixels[[0, 5]].mean(axis=(2, 3)), atol=1e-5)


def test_nothing_gives_nothing() -> None:
    pixels, valid = chips(0)
    assert Means().embed(pixels, valid).shape == (0, 3)


def test_what_is_not_finite_is_not_valid() -> None:
    pixels, valid = chips(1)
    pixels[0, 1, :16] = np.nan
    expected = pixels[0, :, 16:].mean(axis=(1, 2))
    assert np.allclose(Means().embed(pixels, valid)[0], expected, atol=1e-5)


def test_grey_and_colour_are_converted() -> None:
    grey, valid = chips(2, bands=1)
    assert np.ptp(Means(3).embed(grey, valid), axis=1).max() == 0
    colour, valid = chips(2, bands=3)
    luma = colour.mean(axis=(2, 3)) @ np.array([0.299, 0.587, 0.114], np.float32)
    assert np.allclose(Means(1).embed(colour, valid)[:, 0], luma, atol=1e-5)


@pytest.mark.parametrize("bands", [2, 4])
def test_other_numbers_of_bands_are_refused(bands: int) -> None:
    with pytest.raises(InputError, match=rf"means: sees 3 band\(s\), the chips have {bands}"):
        Means().embed(*chips(1, bands))


def test_shapes_are_checked() -> None:
    pixels, valid = chips(2)
    with pytest.raises(InputError, match="do not fit together"):
        Means().embed(pixels, valid[:1])
    with pytest.raises(InputError, match="chips of 40 x 31 px are too small"):
        Means().embed(pixels[:, :, :31], valid[:, :31])


def test_identity_follows_from_the_settings() -> None:
    assert Means(weights="a").identity == Means(weights="a").identity
    assert len({Means(weights="a").identity, Means(weights="b").identity, Means(1).identity}) == 3
