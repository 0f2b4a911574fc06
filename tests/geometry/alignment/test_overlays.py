"""What an answer stands on beside drawings and marks, and blocks that lie on one another."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Matches, Rendered
from imatch.geometry.acceptance import EVIDENCE
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.alignment.judge import judge_alignment
from imatch.geometry.alignment.overlays import (
    DOUBT_OF_EDGES,
    SamePixels,
    block_bound,
    borne_out,
    pixel_upon_pixel,
)
from imatch.geometry.estimate import Estimate, EstimateOptions
from imatch.geometry.transform import Transform

SIZE = (240, 220)


def ground(seed: int, x: int = 0, y: int = 0, noise: int = 0) -> NDArray[np.float32]:
    """(H, W) texture, displaced by whole pixels, with noise of its own."""
    wide = np.random.default_rng(seed).normal(size=(260, 280)).astype(np.float32)
    wide = 0.5 + 0.5 * cv2.GaussianBlur(wide, (0, 0), 1.5)
    seen = wide[20 - y : 240 - y, 20 - x : 260 - x]
    return seen + np.random.default_rng(noise).normal(0, 0.03, seen.shape).astype(np.float32)


def stamped(image: NDArray[np.float32], cover: float) -> NDArray[np.float32]:
    layer = np.zeros(image.shape, np.uint8)
    for row in (60, 110, 160, 210):
        cv2.putText(layer, "(c) SAMPLE", (5, row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 2)
    share = cover * (layer > 0)
    return np.asarray(image * (1 - share) + share, dtype=np.float32)


def rendered(image: NDArray[np.float32]) -> Rendered:
    return Rendered(image[None], np.ones(image.shape, dtype=bool))


@pytest.mark.parametrize("shift", [(0, 0), (7, -5), (-9, 3)])
@pytest.mark.parametrize("cover", [0.0, 0.5, 1.0])
def test_the_ground_beside_the_strongest_edges_has_to_agree(
    shift: tuple[int, int], cover: float
) -> None:
    ref = rendered(stamped(ground(1, noise=1), cover))
    tgt = rendered(stamped(ground(1, *shift, noise=2), cover))
    same = SamePixels(ref, tgt, np.zeros(2))
    assert same.borne_out() == (shift == (0, 0))
    assert 0.05 < same.strongest.mean() < 0.6
    for image, left in zip((ref, tgt), same.without(), strict=True):
        np.testing.assert_array_equal(left.valid, ~same.strongest)
        np.testing.assert_array_equal(left.pixels, image.pixels)


def test_pixels_are_compared_by_their_numbers() -> None:
    first, second = ground(2, noise=1), ground(2, noise=2)
    ref, tgt = rendered(first[:200, 10:]), rendered(second[6:, :220])
    assert SamePixels(ref, tgt, np.array([10.0, -6.0])).borne_out()
    assert not SamePixels(ref, tgt, np.array([0.0, 0.0])).borne_out()
    left = SamePixels(ref, tgt, np.array([10.0, -6.0])).without()
    np.testing.assert_array_equal(left[0].valid[6:, :210], left[1].valid[:194, 10:])
    # Hardly any common pixel says nothing.
    assert SamePixels(ref, tgt, np.array([210.0, 0.0])).borne_out()


def answer(x: float, y: float) -> Estimate:
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 200, (50, 2))
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    matches = Matches(xy, xy + np.array([x, y]), np.ones(50))
    inlier = np.ones(50, dtype=bool)
    found = Estimate("ok", "all agree", matches, inlier, ~inlier, np.full((50, 2), np.nan))
    transform = Transform("translation", matrix)
    return replace(found, transform=transform, ci95=(0.1, 0.2), corner_ci95=0.3)


def test_an_answer_lies_pixel_upon_pixel_within_two_pixels() -> None:
    assert pixel_upon_pixel(answer(0.4, -1.2), np.zeros(2))
    assert not pixel_upon_pixel(answer(3, 0), np.zeros(2))
    assert pixel_upon_pixel(answer(3, 0), np.array([3.0, 0.5]))
    assert not pixel_upon_pixel(replace(answer(0, 0), transform=None), np.zeros(2))


def test_an_answer_on_blocks_is_no_finer_than_they_are() -> None:
    on = block_bound(answer(0.2, 3.9), ((8.0, 0.0), (8.0, 0.0)))
    assert on.status == "ok"
    assert on.ci95 == pytest.approx((np.hypot(0.1, 3.8), 0.2))
    assert on.corner_ci95 == pytest.approx(np.hypot(0.3, 3.8))
    # At any multiple and phase.
    assert block_bound(answer(-15.5, 0.0), ((8.0, 0.9), None)).ci95[0] > 3
    assert block_bound(answer(-12.5, 0.0), ((8.0, 7.5), None)).ci95[0] == 0.1
    wide = block_bound(answer(0.2, 0.1), ((10.8, 0.0), (10.8, 0.0)))
    assert wide.status == "uncertain"
    assert "blocks of 11 px that compression left in both images" in wide.reason
    none = answer(0, 0)
    assert block_bound(none, (None, None)) is none


def lettered(image: NDArray[np.float32], x: int, y: int) -> Rendered:
    """The image below a few words, displaced by whole pixels."""
    layer = np.zeros(image.shape, np.uint8)
    for row, word in enumerate(("GEODATA", "(c) 2019", "preview")):
        at = 20 + x, 70 + 50 * row + y
        cv2.putText(layer, word, at, cv2.FONT_HERSHEY_SIMPLEX, 1.2, 255, 3, cv2.LINE_AA)
    share = layer / np.float32(255)
    return rendered(np.asarray(image * (1 - share) + share, dtype=np.float32))


@pytest.mark.parametrize("shift", [(0, 0), (9, -6), (-14, 11)])
def test_the_ground_has_to_agree_where_lettering_does(shift: tuple[int, int]) -> None:
    x, y = shift
    ref = lettered(ground(1, noise=1), 0, 0)
    matrix = np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])
    for seed, agrees in ((1, True), (2, False)):
        tgt = lettered(ground(seed, x, y, noise=2), x, y)
        aligner = Aligner(ref, tgt)
        alignment = aligner.align(matrix)
        assert alignment is not None
        assert borne_out(aligner.images(alignment.matrix), alignment) == agrees
        found = judge_alignment(
            aligner, alignment, ref.valid, tgt.valid, EstimateOptions(), EVIDENCE
        )
        assert found.status == ("ok" if agrees else "uncertain")
        assert (DOUBT_OF_EDGES in found.reason) != agrees


def test_clear_ground_below_clouds_bears_an_answer_out() -> None:
    """Most of both images shows something else, and what is left has the strongest edges."""
    rng = np.random.default_rng(5)
    cloud = np.zeros((220, 240), bool)
    cloud[:, 48:] = True
    images = []
    for noise in (1, 2):
        image = ground(3, noise=noise)
        veil = cv2.GaussianBlur(rng.normal(size=image.shape).astype(np.float32), (0, 0), 6)
        images.append(rendered(np.where(cloud, 1 + veil, image)))
    aligner = Aligner(images[0], images[1])
    alignment = aligner.align(np.eye(3))
    assert alignment is not None
    assert borne_out(aligner.images(alignment.matrix), alignment)
