from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.types import Matches, Rendered
from imatch.matchers.tiling import (
    Tiling,
    make_tiles,
    match_reduced,
    match_tiled,
    one_to_one,
)

SMALL = Tiling(whole=100, side=80, overlap=32, apart=4.0)


def image(width: int, height: int) -> Rendered:
    """Pixels that say where they are: x in red, y in green."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    pixels = np.stack([columns, rows, rows * 0]) / np.float32(1000)
    return Rendered(pixels.astype(np.float32), np.ones((height, width), dtype=bool))


class Reader:
    """Matches by reading the pixels' places: exact, if nothing is resampled wrongly."""

    def __init__(self, truth: NDArray[np.float64]) -> None:
        self.truth = truth
        self.seen: list[tuple[tuple[int, int], tuple[int, int]]] = []

    def __call__(self, ref: Rendered, tgt: Rendered) -> Matches:
        self.seen.append((ref.size, tgt.size))
        xy = np.array([(x, y) for y in range(3, ref.size[1], 8) for x in range(3, ref.size[0], 8)])
        wanted = self._told(ref, xy) @ self.truth[:, :2].T + self.truth[:, 2]
        # Where the target shows the place that it should: a fit of its own places.
        grid = np.array(
            [(x, y) for y in range(0, tgt.size[1], 5) for x in range(0, tgt.size[0], 5)]
        )
        shown = tgt.valid[grid[:, 1], grid[:, 0]]
        if shown.sum() < 6:
            return Matches()
        told = np.column_stack([self._told(tgt, grid[shown]), np.ones(int(shown.sum()))])
        back, *_ = np.linalg.lstsq(told, grid[shown].astype(float), rcond=None)
        there = np.column_stack([wanted, np.ones(len(xy))]) @ back
        inside = ((there >= 0) & (there <= np.array(tgt.size) - 1)).all(axis=1)
        scores = 0.5 + 0.4 * np.sin(np.arange(len(xy)))
        return Matches(xy.astype(np.float64), there, scores).select(inside)

    @staticmethod
    def _told(view: Rendered, xy: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(view.pixels[:2, xy[:, 1], xy[:, 0]].T * 1000.0, dtype=np.float64)


def affine(turn_deg: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    matrix = np.array(cv2.getRotationMatrix2D((120, 110), turn_deg, scale), dtype=np.float64)
    matrix[:, 2] += shift
    return matrix


@pytest.fixture
def moves() -> list[NDArray[np.float64]]:
    return [
        affine(0, 1, (0, 0)),
        affine(0, 1, (7.3, -4.8)),
        affine(25, 1.15, (12.4, 3.1)),
        affine(-90, 0.9, (3.0, 8.0)),
    ]


class TestCut:
    @pytest.mark.parametrize("size", [(101, 80), (150, 333), (640, 20), (1000, 999)])
    def test_every_pixel_counts_once(self, size: tuple[int, int]) -> None:
        counted = np.zeros(size[::-1], dtype=int)
        for tile in make_tiles(size, SMALL):
            assert max(tile.size) <= SMALL.side
            assert min(tile.origin) >= 0
            right, bottom = np.add(tile.origin, tile.size)
            assert right <= size[0]
            assert bottom <= size[1]
            rows, columns = np.mgrid[tile.origin[1] : bottom, tile.origin[0] : right]
            own = (columns >= tile.low[0]) & (columns < tile.high[0])
            own &= (rows >= tile.low[1]) & (rows < tile.high[1])
            counted[rows[own], columns[own]] += 1
        assert (counted == 1).all()

    def test_small_images_are_one_tile(self) -> None:
        (tile,) = make_tiles((60, 80), SMALL)
        assert (tile.origin, tile.size) == ((0, 0), (60, 80))


class TestTiled:
    def test_small_images_are_matched_at_once(self) -> None:
        reader = Reader(affine(0, 1, (0, 0)))
        assert len(match_tiled(image(90, 100), image(100, 80), reader, SMALL)) > 50
        assert reader.seen == [((90, 100), (100, 80))]

    def test_points_are_where_they_belong(self, moves: list[NDArray[np.float64]]) -> None:
        for move in moves:
            reader = Reader(move)
            found = match_tiled(image(240, 220), image(300, 260), reader, SMALL)
            assert len(found) > 300
            wanted = found.ref_xy @ move[:, :2].T + move[:, 2]
            assert np.abs(found.tgt_xy - wanted).max() < 0.05
            # Tiles see as much of the target as of the reference.
            assert all(ref == tgt for ref, tgt in reader.seen[1:])
            assert max(max(ref) for ref, _ in reader.seen) <= SMALL.whole
            assert np.ptp(found.ref_xy, axis=0).min() > 150

    def test_best_first_and_apart(self, moves: list[NDArray[np.float64]]) -> None:
        found = match_tiled(image(240, 220), image(300, 260), Reader(moves[1]), SMALL)
        assert (np.diff(found.scores) <= 0).all()
        assert len(one_to_one(found, SMALL.apart)) == len(found)

    def test_invalid_ground_stays_so(self) -> None:
        tgt = image(300, 260)
        tgt.valid[:, :150] = False
        move = affine(20, 1.0, (5, 5))
        seen = []

        def spy(ref: Rendered, view: Rendered) -> Matches:
            seen.append(view.valid.mean())
            return Reader(move)(ref, view)

        match_tiled(image(240, 220), tgt, spy, SMALL)
        assert min(seen) < 0.5

    def test_tiles_without_content_are_passed_over(self) -> None:
        tgt = image(240, 220)
        tgt.valid[120:] = False
        reader = Reader(affine(0, 1, (0, 0)))
        match_tiled(image(240, 220), tgt, reader, SMALL)
        all_tiles = len(make_tiles((240, 220), SMALL))
        assert 1 < len(reader.seen) - 1 < all_tiles

    def test_without_agreement_the_rough_matches_are_all(self) -> None:
        rng = np.random.default_rng(0)
        rough = Matches(rng.uniform(0, 99, (7, 2)), rng.uniform(0, 99, (7, 2)), np.ones(7))
        calls = []

        def lost(ref: Rendered, tgt: Rendered) -> Matches:
            calls.append((ref.size, tgt.size))
            return rough

        found = match_tiled(image(300, 200), image(200, 300), lost, SMALL)
        assert len(found) == 7
        assert len(calls) == 1
        empty = match_tiled(image(300, 200), image(200, 300), lambda *_: Matches(), SMALL)
        assert len(empty) == 0


def test_reduced_by_the_rule_of_resizing() -> None:
    reader = Reader(affine(0, 1, (0, 0)))
    found = match_reduced(image(200, 160), image(200, 160), reader, 0.25)
    assert reader.seen == [((50, 40), (50, 40))]
    # Pixel 3 of the small image is the mean of 12 to 15.
    assert found.ref_xy[0].tolist() == [13.5, 13.5]
    np.testing.assert_allclose(found.tgt_xy, found.ref_xy, atol=1e-3)


def test_one_to_one() -> None:
    ref = np.array([[0, 0], [2, 0], [50, 50], [80, 80]], dtype=float)
    tgt = np.array([[0, 0], [30, 0], [30, 3], [90, 90]], dtype=float)
    matches = Matches(ref, tgt, np.array([0.9, 0.8, 0.7, 0.6]))
    kept = one_to_one(matches, 4.0)
    # The second goes for the first's sake; so the third, near to it alone, may stay.
    assert kept.scores.tolist() == [0.9, 0.7, 0.6]
    assert len(one_to_one(Matches(), 4.0)) == 0
