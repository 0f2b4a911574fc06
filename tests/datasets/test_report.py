from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.report import spread, write_sheet
from imatch.datasets.sample import PairSample
from imatch.training.preview import preview


def sample(bands: int) -> PairSample:
    rng = np.random.default_rng(bands)
    a = rng.random((bands, 48, 48), np.float32)
    seen = np.ones((48, 48), bool)
    changed = ~seen
    changed[10:30, 10:30] = True
    shift = np.array([[1, 0, 2.0], [0, 1, 0], [0, 0, 1]])
    points = np.array([[5.0, 40.0]], np.float32)
    return PairSample(
        a,
        a,
        seen,
        seen,
        shift,
        float("nan"),
        changed,
        points,
        np.ones(1, np.float32),
        dates=("x", ""),
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 5])
def test_a_sheet_shows_every_pair(tmp_path: Path, bands: int) -> None:
    path = tmp_path / "sheet.png"
    write_sheet([("train", sample(bands))] * 3, path)
    image = cv2.imread(str(path))
    assert image is not None
    high, wide = image.shape[:2]
    assert wide > 1000
    # Two rows of two pairs, the last place empty.
    right, below = image[high // 2 :, wide // 2 + 20 :], image[high // 2 :, : wide // 2]
    assert right.min() == 255
    assert below.min() < 200


def test_changed_ground_is_red(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    write_sheet([("train", sample(1))], path, columns=1)
    image = cv2.imread(str(path))
    assert image is not None
    blue, _, red = cv2.split(image.astype(np.float32))
    assert ((red - blue) > 40).mean() > 0.02


def test_every_group_is_seen() -> None:
    groups = ["a"] * 50 + ["b"] * 2 + ["c"] * 10
    found = spread(groups, 9)
    assert [groups[i] for i in found] == ["a"] * 4 + ["b"] * 2 + ["c"] * 3
    assert found == sorted(set(found))
    assert spread(["a", "b"], 10) == [0, 1]


def test_a_training_configuration_shows_its_augmentation(tmp_path: Path) -> None:
    path = tmp_path / "train.yaml"
    path.write_text("data: {landscapes: 6, size: 64}\nobjectives: {self: 1.0}\n")
    first, again = preview(path, count=2), preview(path, count=2)
    assert [word for word, _ in first] == ["train", "train"]
    assert first[0][1].a.shape[1:] == (64, 64)
    np.testing.assert_array_equal(first[1][1].a, again[1][1].a)
    assert not np.array_equal(first[1][1].a, preview(path, count=2, seed=1)[1][1].a)
    with pytest.raises(ConfigError, match="choose train or val"):
        preview(path, split="test")


def test_what_cannot_be_shown_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "prepare.yaml"
    path.write_text("sources: []\n")
    with pytest.raises(ConfigError, match="says how to prepare a data set"):
        preview(path)
    with pytest.raises(InputError, match="holds no data set"):
        preview(tmp_path)
