from __future__ import annotations

from typing import Any

import numpy as np

from imatch.training.augment.pair import Augmentation, AugmentConfig
from imatch.training.superpoint.config import ObjectiveConfig
from imatch.training.superpoint.data import SuperPointViews, collate_items

LOOK = Augmentation(AugmentConfig(), 48)


def views(pairs: Any, **weights: float) -> SuperPointViews:
    objectives = ObjectiveConfig.model_validate({"self": 0, **weights})
    return SuperPointViews(pairs, LOOK, objectives, bands=1, seed=5)


def test_weights_decide_how_many_dates_are_shown(pairs: Any) -> None:
    both = views(pairs, self=1, season=2, distil=1)
    kinds = [both[0, number].kind for number in range(60)]
    assert 0.55 < kinds.count("two-dates") / 60 < 0.95
    assert {views(pairs, polygon=1)[0, n].kind for n in range(9)} == {"one-date"}
    assert {views(pairs, distil=1)[0, n].kind for n in range(9)} == {"two-dates"}


def test_a_draw_is_a_function_of_its_number(pairs: Any) -> None:
    one, two = (views(pairs, self=1, season=1)[2, 17] for _ in range(2))
    assert np.array_equal(one.seen.pair.a, two.seen.pair.a)
    other = views(pairs, self=1, season=1)[2, 18]
    assert not np.array_equal(one.seen.pair.a, other.seen.pair.a)


def test_batches(pairs: Any) -> None:
    data = views(pairs, self=1, season=1)
    batch = collate_items([data[0, 0], data[1, 1]])
    assert batch.seen.a.shape == batch.clear.b.shape == (2, 1, 48, 48)
    assert batch.seen.homography.dtype.is_floating_point
    assert len(batch.seen) == 2
    assert [item.index for item in batch.items] == [0, 1]
