from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.chip_files import Coding, save_mask, write_chip
from imatch.datasets.manifest import (
    MANIFEST,
    ChipRow,
    KeypointRow,
    PairRow,
    load_manifest,
)
from imatch.datasets.pairs import ChipPairs
from tests.support.data_sets import chip_row, pair_row, write_tables

SIDE = 40


def chip(site: int, date: str, source: str = "s", split: str = "train") -> ChipRow:
    """Of three bands, but for those of source t: lower, and of one band without contrast."""
    if source == "s":
        texts = {"low": "50 50 50", "high": "150 150 150", "scene_high": "200 200 200"}
        return chip_row(site, date, SIDE, split=split, **texts)
    flat = {"low": "7", "high": "7", "scene_low": "0", "scene_high": "14"}
    return chip_row(site, date, SIDE, source=source, split=split, height=SIDE - 10, bands=1, **flat)


def pair(a: ChipRow, b: ChipRow, **values: Any) -> PairRow:
    return pair_row(a, b, **({"dx": 1.5, "dy": -0.5} | values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four sites of two sources; one pair of unknown residual, one that changed, one lone chip."""
    rng = np.random.default_rng(0)
    chips = [chip(i, date) for i in range(3) for date in ("20180101", "20180701")]
    chips += [chip(9, "20180101", "t"), chip(9, "20180701", "t"), chip(5, "20180101")]
    chips += [chip(7, "20180101", split="val"), chip(7, "20180701", split="val")]
    for row in chips:
        stored: NDArray[np.uint8] = rng.integers(40, 160, (row.bands, row.height, SIDE), np.uint8)
        valid = np.ones((row.height, SIDE), bool)
        if row.site.endswith("x1"):
            valid[:5] = False
        if row.source == "t":
            stored[:] = 7
        write_chip(
            tmp_path / row.path, stored, valid, coding=Coding("uint8"), bands=("b",) * row.bands
        )
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:30] = True
    save_mask(tmp_path / "changed" / "m.png", mask)
    pairs = [
        pair(chips[0], chips[1]),
        pair(chips[2], chips[3], measured="none", sigma_px=float("nan"), dx=0.0, dy=0.0),
        pair(chips[4], chips[5], changed="changed/m.png", changed_share=0.5),
        pair(chips[6], chips[7]),
        pair(chips[9], chips[10]),
    ]
    points = [
        KeypointRow("s/p/x0", 3.25, 4.5, 0.7, "centroid", "", 0),
        KeypointRow("s/p/x0", 8.0, 9.0, 0.7, "centroid", "20180501", 1),
    ]
    write_tables(tmp_path, SIDE, chips, pairs, points)
    return tmp_path


def test_a_pair_as_it_was_measured(folder: Path) -> None:
    pairs = ChipPairs(folder, "train")
    assert (len(pairs), pairs.manifest.sha256) == (4, "ab")
    sample = pairs.pair(pairs.rows[0])
    np.testing.assert_array_equal(sample.homography, [[1, 0, 1.5], [0, 1, -0.5], [0, 0, 1]])
    assert (sample.sigma_px, sample.place, sample.source) == (0.1, "s/p/x0", "s")
    assert sample.dates == ("20180101", "20180701")
    # The clearing of May is not there in January.
    np.testing.assert_array_equal(sample.keypoints_a, np.array([[3.25, 4.5]], np.float32))
    assert sample.a.dtype == np.float32
    assert (sample.a.min(), sample.a.max()) == (0.0, 1.0)
    assert not pairs.pair(pairs.rows[1]).known
    assert pairs.pair(pairs.rows[2]).changed[10:30].all()
    assert pairs.pair(pairs.rows[2]).changed.mean() == 0.5


def test_the_stretch_is_that_of_the_chip_or_of_the_scene(folder: Path) -> None:
    from imatch.datasets.chip_files import read_chip

    pairs = ChipPairs(folder, "train", stretch="scene")
    stored, _ = read_chip(folder / pairs.rows[0].a)
    np.testing.assert_allclose(pairs.pair(pairs.rows[0]).a, stored / 200.0, rtol=1e-6)


def test_small_and_flat_chips_are_padded_and_grey(folder: Path) -> None:
    pairs = ChipPairs(folder, "train", sources=["t"])
    sample = pairs[0]
    assert sample.a.shape == (1, SIDE, SIDE)
    assert sample.valid_a[:30].all()
    assert not sample.valid_a[30:].any()
    assert (sample.a[:, :30] == 0.5).all()
    assert (sample.a[:, 30:] == 0).all()


def test_invalid_ground_is_masked(folder: Path) -> None:
    pairs = ChipPairs(folder, "train")
    sample = pairs.pair(pairs.rows[1])
    assert not sample.valid_a[:5].any()
    assert (sample.a[:, :5] == 0).all()


def test_channels_follow_the_matchers_rendering(folder: Path) -> None:
    whole, grey = ChipPairs(folder, "train"), ChipPairs(folder, "train", channels=1)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(
        grey.pair(grey.rows[0]).a[0],
        np.tensordot(weights, whole.pair(whole.rows[0]).a, axes=1),
        atol=1e-6,
    )
    assert {ChipPairs(folder, "train", channels=3)[i].a.shape[0] for i in range(4)} == {3}


def test_draws_depend_on_seed_epoch_and_index_alone(folder: Path) -> None:
    pairs = ChipPairs(folder, "train", repeat=10, seed=4)
    assert len(pairs) == 40
    swaps = [pairs[0, i].dates[0] == "20180701" for i in range(40)]
    assert 10 < sum(swaps) < 30
    copy = pickle.loads(pickle.dumps(pairs))  # noqa: S301 - as a worker gets it
    copy.set_epoch(1)
    later = [copy[i].dates[0] == "20180701" for i in reversed(range(40))][::-1]
    assert later == [pairs[1, i].dates[0] == "20180701" for i in range(40)]
    assert later != swaps
    swapped = pairs[0, swaps.index(True)]
    assert swapped.dates == ("20180701", "20180101")
    with pytest.raises(IndexError):
        pairs[40]


def test_pairs_are_chosen(folder: Path) -> None:
    assert len(ChipPairs(folder, "train", known_only=True)) == 3
    assert len(ChipPairs(folder, "train", max_changed=0.4)) == 3
    assert len(ChipPairs(folder, "train", sources=["s"])) == 3
    alone = ChipPairs(folder, "train", singles="alone")
    assert [row.site for row in alone.rows[4:]] == ["s/p/x5"]
    sample = alone[4]
    np.testing.assert_array_equal(sample.a, sample.b)
    assert sample.sigma_px == 0
    assert len(ChipPairs(folder, "train", singles="all")) == 4 + 9
    assert len(ChipPairs(folder, "val")) == 1


def test_the_cache_is_bounded_and_changes_nothing(folder: Path) -> None:
    small, large = ChipPairs(folder, "train", cache_mb=0.001), ChipPairs(folder, "train")
    for i in (0, 1, 2, 3, 0, 2):
        np.testing.assert_array_equal(small[i].a, large[i].a)
    assert len(small._cache._chips) == 1
    assert len(large._cache._chips) == 8


def test_torch_takes_it_as_it_is(folder: Path) -> None:
    from torch.utils.data import DataLoader

    pairs: Any = ChipPairs(folder, "train", channels=1)
    loader: Any = DataLoader(pairs, batch_size=2, collate_fn=lambda batch: batch)
    assert [len(batch) for batch in loader] == [2, 2]


def test_mistakes_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no split 'test'; it has train, val"):
        ChipPairs(folder, "test")
    with pytest.raises(ConfigError, match="has no source 'x'; it has s, t"):
        ChipPairs(folder, "train", sources=["x"])
    with pytest.raises(ConfigError, match="no pair of val is left"):
        ChipPairs(folder, "val", sources=["t"])
    with pytest.raises(InputError, match="no such folder"):
        ChipPairs(tmp_path / "gone", "train")
    with pytest.raises(InputError, match="holds no data set"):
        ChipPairs(folder / "chips", "train")
    (folder / MANIFEST).write_text('{"schema": "other"}')
    with pytest.raises(InputError, match="is no manifest of schema"):
        load_manifest(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        load_manifest(folder)


def test_a_chip_that_is_gone_is_named(folder: Path) -> None:
    pairs = ChipPairs(folder, "train")
    (folder / pairs.rows[0].a).unlink()
    with pytest.raises(InputError, match=r"20180101\.tif"):
        pairs[0]
