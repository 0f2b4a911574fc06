from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.training.embedder.chips import CENTRE, PlaceChips, cropped


def test_layout_knows_places_seasons_and_positions(data: Path) -> None:
    chips = PlaceChips(data, "train", size=32)
    layout = chips.layout
    assert len(chips) == 72
    assert len(np.unique(layout.place)) == 24
    assert len(np.unique(layout.when)) == 3
    rows = {(row.site, row.date): i for i, row in enumerate(chips.rows)}
    here = rows["grid/T31/x1_y1", "20180115"]
    there = np.array([rows["grid/T31/x4_y2", "20180715"], rows["grid/T31/x1_y1", "20180420"]])
    assert layout.far(here, there).tolist() == pytest.approx([3, 0])


def test_other_grids_are_infinitely_far(data: Path) -> None:
    from dataclasses import replace

    from imatch.training.embedder.chips import layout_of

    rows = PlaceChips(data, "val").rows
    layout = layout_of([rows[0], replace(rows[3], site="other/T32/x0_y0")])
    assert layout.far(0, np.array([0, 1])).tolist() == [0, np.inf]


def test_unknown_seasons_are_told_apart_by_date(data: Path) -> None:
    from dataclasses import replace

    from imatch.training.embedder.chips import layout_of

    rows = PlaceChips(data, "val").rows[:3]
    unknown = [replace(row, season="unknown") for row in rows]
    assert len(np.unique(layout_of(unknown).when)) == 3
    same = [replace(row, date="2018") for row in unknown]
    assert len(np.unique(layout_of(same).when)) == 1


def test_crops_lie_in_the_corners() -> None:
    image = np.linspace(0, 0.99, 100, dtype=np.float32).reshape(1, 10, 10)
    valid = np.ones((10, 10), dtype=bool)
    firsts = [cropped(image, valid, 0.8, corner, 8)[0][0, 0, 0] for corner in (0, 1, 2, 3, CENTRE)]
    assert firsts == pytest.approx([0.0, 0.02, 0.20, 0.22, 0.11])


def test_small_chips_are_filled_up_with_no_ground() -> None:
    image = np.full((1, 6, 10), 0.5, dtype=np.float32)
    pixels, valid = cropped(image, np.ones((6, 10), dtype=bool), 1.0, CENTRE, 20)
    assert pixels.shape == (1, 20, 20)
    assert valid[:12].all()
    assert not valid[12:].any()
    assert not pixels[:, ~valid].any()


def test_read_gives_bands_and_sizes_asked_for(data: Path) -> None:
    grey = PlaceChips(data, "train", bands=1, size=24, cache_mb=0.001)
    image, valid = grey.read(5)
    assert image.shape == (1, 24, 24)
    assert valid.shape == (24, 24)
    assert 0 <= image.min() < 0.3
    assert 0.6 < image.max() <= 1
    with pytest.raises(InputError, match="has 3 bands, the network wants 4"):
        PlaceChips(data, "train", bands=4).read(0)


def test_workers_begin_with_an_empty_cache(data: Path) -> None:
    chips = PlaceChips(data, "val", size=32)
    chips.read(0)
    again = pickle.loads(pickle.dumps(chips))  # noqa: S301 - our own.
    assert again._cache._held == 0
    assert np.array_equal(again.read(0)[0], chips.read(0)[0])


def test_what_is_not_there_is_explained(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no chips of test; it has chips of train, val"):
        PlaceChips(data, "test")
    with pytest.raises(ConfigError, match="has no source 'mars'; it has grid"):
        PlaceChips(data, "train", sources=["mars"])
    with pytest.raises(InputError, match="holds no data set"):
        PlaceChips(tmp_path, "train")
