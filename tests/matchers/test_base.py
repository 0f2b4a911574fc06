from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from imatch.core.errors import MatcherError, WeightsError
from imatch.core.types import Matches, Rendered
from imatch.matchers import MATCHERS, Matcher, MatcherOptions, load_matcher
from imatch.models.weights import WEIGHTS

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape


class Fixed(Matcher):
    """Returns what it was given, to see what the base class makes of it."""

    channels = 1

    def __init__(self, matches: Matches) -> None:
        super().__init__()
        self.matches = matches

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        self.seen = ref, tgt
        return self.matches


def as_matches(rows: list[list[float]]) -> Matches:
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Matches(table[:, :2], table[:, 2:4], table[:, 4])


def test_drops_and_sorts(landscape: Landscape) -> None:
    given = [
        [5, 5, 6, 6, 0.2],
        [5, 5, 6, 6, 0.2],  # twice
        [5, 5, 6, 6, 0.1],  # twice, and worse
        [-0.7, 5, 6, 6, 0.9],  # off the reference
        [5, 5, 6, 100.7, 0.9],  # off the target
        [-0.4, 5, 6, 6, 0.5],  # on its first pixel
        [50, 50, 6, 6, 0.9],  # on invalid ground
        [45, 50, 6, 6, 0.9],  # in the guard band
        [np.nan, 5, 6, 6, 0.9],
        [7, 5, 6, 6, 1.5],  # score out of range
        [8, 5, 6, 6, np.nan],
    ]
    image = landscape((120, 100))
    valid = image.valid.copy()
    valid[48:60, 48:60] = False
    ref = Rendered(image.pixels, valid)
    matches = Fixed(as_matches(given)).match(ref, image)
    np.testing.assert_array_equal(matches.ref_xy[:, 0], [7, -0.4, 5, 8])
    np.testing.assert_array_equal(matches.scores, [1, 0.5, 0.2, 0])


def test_hands_over_finite_pixels_of_the_right_bands(landscape: Landscape) -> None:
    image = landscape((64, 48), channels=3)
    image.pixels[:, 5:9, 5:9] = np.inf
    matcher = Fixed(Matches())
    matcher.match(image, landscape((50, 40), channels=1))
    ref, tgt = matcher.seen
    assert ref.pixels.shape == (1, 48, 64)
    assert tgt.pixels.shape == (1, 40, 50)
    assert np.isfinite(ref.pixels).all()
    assert not ref.valid[5:9, 5:9].any()


def test_unknown_matcher_suggests() -> None:
    with pytest.raises(MatcherError, match="did you mean 'aliked-lightglue'"):
        load_matcher("aliked_lightglue")


def test_unknown_option() -> None:
    with pytest.raises(MatcherError, match="max_points: unknown matcher option; choose from max_k"):
        load_matcher("sift", max_points=3)


@pytest.mark.parametrize("options", [{"max_keypoints": 0}, {"max_side": 3}])
def test_senseless_option(options: dict[str, Any]) -> None:
    with pytest.raises(MatcherError, match="must be at least"):
        MatcherOptions(**options)


def test_missing_weights_raise_before_any_image(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="imatch weights fetch aliked-n16"):
        load_matcher("aliked-lightglue")


def test_constructors_need_no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in (name for name in MATCHERS if MATCHERS[name].kind != "cascade"):
        matcher = MATCHERS[name].load()(MatcherOptions())
        assert isinstance(matcher, Matcher)


def test_rows_name_known_weights() -> None:
    for name in MATCHERS:
        assert set(MATCHERS[name].weights) <= set(WEIGHTS)


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; from imatch.matchers import MATCHERS; rows = [MATCHERS[n] for n in MATCHERS];"
        "import imatch.models.weights as w; w.find_weights('xfeat');"
        "print([m for m in ('torch', 'cv2', 'kornia', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_torch_for_classical_matchers() -> None:
    code = (
        "import sys, numpy as np; from imatch.matchers import load_matcher;"
        "image = np.random.default_rng(0).random((64, 64));"
        "[load_matcher(n)(image, image) for n in ('sift', 'phase')];"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
