from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from imatch.core.types import Rendered
from imatch.matchers import MatcherOptions, load_matcher
from imatch.matchers.images import prepare
from imatch.matchers.sparse.sift import SiftExtractor

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape


def test_descriptors_are_root_sift(landscape: Landscape) -> None:
    features = SiftExtractor().extract(prepare(landscape(), 1, 4))
    assert features.descriptors.shape == (len(features), 128)
    np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, rtol=1e-5)
    assert features.scales is not None
    assert (features.scales > 0).all()


def test_budget_is_spent_on_valid_ground(landscape: Landscape) -> None:
    image = prepare(landscape(), 1, 4)
    full = SiftExtractor(MatcherOptions(max_keypoints=40)).extract(image)
    valid = image.valid.copy()
    valid[:, :128] = False
    half = SiftExtractor(MatcherOptions(max_keypoints=40)).extract(Rendered(image.pixels, valid))
    assert len(full) == len(half) == 40
    assert half.xy[:, 0].min() > 127


def test_rotation_and_scale(landscape: Landscape) -> None:
    image = landscape((256, 224))
    matrix = np.vstack([cv2.getRotationMatrix2D((127.5, 111.5), 33, 0.8), [0, 0, 1]])
    turned = cv2.warpAffine(image.pixels[0], matrix[:2], (256, 224), flags=cv2.INTER_CUBIC)
    matches = load_matcher("sift")(image.pixels[:1], np.clip(turned, 0, 1))
    predicted = matches.ref_xy @ matrix[:2, :2].T + matrix[:2, 2]
    assert len(matches) > 30
    error = np.linalg.norm(predicted - matches.tgt_xy, axis=1)
    assert np.median(error) < 0.3
    # The precise pyramid leaves no common offset, which OpenCV's default one does.
    assert np.abs(np.median(matches.tgt_xy - predicted, axis=0)).max() < 0.06
