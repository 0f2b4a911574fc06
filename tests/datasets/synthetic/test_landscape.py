from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.datasets.synthetic.landscape import FIELD, ROAD, WATER, WOOD, Landscape, landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, Season, render_landscape

_SIZE = (224, 192)


@lru_cache(maxsize=4)
def _ground(seed: int = 0, size: tuple[int, int] = _SIZE) -> Landscape:
    return landscape(size, seed)


def _grey(season: Season = "summer", seed: int = 0, **look: Any) -> NDArray[np.float32]:
    look.setdefault("noise", 0.0)
    pixels, _ = render_landscape(_ground(seed), season, **look)
    return np.asarray(pixels.mean(axis=0))


def _moved(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """(x, y) by which what `first` shows lies elsewhere in `second` (Lucas & Kanade, 1981)."""
    smooth = [cv2.GaussianBlur(a.astype(np.float64), (0, 0), 3) for a in (first, second)]
    gy, gx = np.gradient((smooth[0] + smooth[1]) / 2)
    slopes = np.column_stack([gx.ravel(), gy.ravel()])
    moved, *_ = np.linalg.lstsq(slopes, (smooth[0] - smooth[1]).ravel(), rcond=None)
    return np.asarray(moved)


def _similarity(turn: float, scale: float, dx: float, dy: float) -> NDArray[np.float64]:
    a, b = scale * np.cos(np.radians(turn)), scale * np.sin(np.radians(turn))
    x, y = (_SIZE[0] - 1) / 2, (_SIZE[1] - 1) / 2
    return np.array([[a, -b, x - a * x + b * y + dx], [b, a, y - b * x - a * y + dy], [0, 0, 1]])


def test_the_same_seed_gives_the_same_ground() -> None:
    first, second, other = landscape((96, 64), 5), landscape((96, 64), 5), landscape((96, 64), 6)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.texture, second.texture)
    assert (first.labels != other.labels).mean() > 0.5


def test_layers_have_the_documented_shapes() -> None:
    ground = _ground()
    width, height = _SIZE
    assert ground.labels.shape == ground.texture.shape == (4 * height, 4 * width)
    assert ground.height.shape == (height, width)
    assert (ground.height.min(), ground.height.max()) == (0, 1)
    assert abs(float(ground.texture.mean())) < 0.05
    assert float(ground.texture.std()) == pytest.approx(1, abs=0.1)


def test_there_are_fields_woods_water_and_roads() -> None:
    labels = _ground(1).labels
    assert (labels >= FIELD).mean() > 0.4
    assert ((labels >= WOOD) & (labels < FIELD)).mean() > 0.1
    assert (labels == WATER).any()
    assert (labels == ROAD).any()


def test_a_view_is_a_function_of_its_arguments() -> None:
    look: dict[str, Any] = {"noise": 0.02, "haze": 0.2, "clouds": 0.3, "snow": 0.3}
    first, valid = render_landscape(_ground(), "winter", seed=3, **look)
    second, _ = render_landscape(_ground(), "winter", seed=3, **look)
    other, _ = render_landscape(_ground(), "winter", seed=4, **look)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).mean() > 0.02
    assert first.shape == (3, *_SIZE[::-1])
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert valid.all()


@pytest.mark.parametrize("season", SEASONS)
def test_whole_pixels_of_shift_change_nothing(season: Season) -> None:
    whole = _grey(season, snow=0.4)
    shift = np.array([[1, 0, -30], [0, 1, -17], [0, 0, 1.0]])
    part = _grey(season, snow=0.4, matrix=shift, size=(100, 90))
    np.testing.assert_allclose(part, whole[17:107, 30:130], atol=2e-5)


def test_half_the_scale_is_the_mean_of_two_by_two() -> None:
    whole = _grey()
    # Corner-based: pixel (0, 0) of the half covers pixels (0, 0) to (1, 1).
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])
    small = _grey(matrix=half, size=(_SIZE[0] // 2, _SIZE[1] // 2))
    mean = cv2.resize(whole, small.shape[::-1], interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small.ravel(), mean.ravel())[0, 1] > 0.98
    assert np.abs(_moved(mean[8:-8, 8:-8], small[8:-8, 8:-8])).max() < 0.02


@pytest.mark.parametrize("dx", [0.0625, 0.125, 0.3, 0.5])
def test_parts_of_a_pixel_are_not_rounded(dx: float) -> None:
    shift = np.array([[1, 0, dx], [0, 1, -0.4 * dx], [0, 0, 1]])
    moved = _moved(_grey()[8:-8, 8:-8], _grey(matrix=shift)[8:-8, 8:-8])
    np.testing.assert_allclose(moved, [dx, -0.4 * dx], atol=0.01)


@given(
    st.floats(-30, 30),
    st.floats(0.8, 1.25),
    st.floats(-9, 9),
    st.floats(-9, 9),
    st.floats(-1e-4, 1e-4),
)
@settings(max_examples=12, deadline=None, derandomize=True)
def test_a_rendered_warp_is_the_warp_of_the_rendering(
    turn: float, scale: float, dx: float, dy: float, tilt: float
) -> None:
    matrix = _similarity(turn, scale, dx, dy) @ np.array([[1, 0, 0], [0, 1, 0], [tilt, 0, 1]])
    first = _grey()
    second, valid = render_landscape(_ground(), "summer", matrix=matrix, noise=0)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    back = cv2.warpPerspective(second.mean(axis=0), matrix, _SIZE, flags=flags)
    seen = cv2.warpPerspective(
        valid.astype(np.uint8), matrix, _SIZE, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    )
    for rows, columns in ((slice(40, 96), slice(48, 112)), (slice(96, 152), slice(112, 176))):
        if seen[rows, columns].all():
            moved = _moved(first[rows, columns], back[rows, columns])
            assert np.abs(moved).max() < 0.05
    middle = np.s_[60:132, 70:154]
    assert seen[middle].all()
    assert np.abs(_moved(first[middle], back[middle])).max() < 0.03


def test_validity_ends_where_the_landscape_does() -> None:
    shift = np.array([[1, 0, 20.0], [0, 1, -10.0], [0, 0, 1]])
    _, valid = render_landscape(_ground(), "summer", matrix=shift)
    expected = np.zeros(_SIZE[::-1], dtype=bool)
    expected[:-10, 20:] = True
    np.testing.assert_array_equal(valid, expected)


def test_seasons_turn_the_contrast_of_some_fields() -> None:
    """Between spring and summer fields change places: bright ones become dark."""
    spring, summer = _grey("spring"), _grey("summer")
    labels = _ground().labels[2::4, 2::4]
    names = [n for n in np.unique(labels) if n >= FIELD and (labels == n).sum() > 40]
    levels = np.array([[view[labels == n].mean() for n in names] for view in (spring, summer)])
    assert len(names) > 10
    assert np.corrcoef(levels)[0, 1] < 0.6
    ranks = np.sign(levels[:, :, None] - levels[:, None])
    turned = (ranks[0] * ranks[1] < 0).mean()
    assert turned > 0.2


def test_crops_rotate_but_water_stays() -> None:
    first, second = _grey(seed=1), _grey(seed=1, year=1)
    labels = _ground(1).labels[2::4, 2::4]
    field, water = labels >= FIELD, labels == WATER
    assert np.abs(first - second)[field].mean() > 3 * np.abs(first - second)[water].mean()


def test_snow_lies_above_its_line() -> None:
    bare, snowy = _grey("winter"), _grey("winter", snow=0.4)
    ground = _ground()
    field = ground.labels[2::4, 2::4] >= FIELD
    high, low = np.quantile(ground.height, [0.75, 0.35])
    whiter = snowy - bare
    assert whiter[field & (ground.height > high)].mean() > 0.2
    assert np.abs(whiter[field & (ground.height < low)]).mean() < 0.02


def test_snow_everywhere_leaves_no_field_bare() -> None:
    whiter = _grey("winter", snow=1.0) - _grey("winter")
    field = _ground().labels[2::4, 2::4] >= FIELD
    assert (whiter[field] > 0).mean() > 0.95


def test_haze_takes_contrast() -> None:
    clear, hazy = _grey(), _grey(haze=0.4)
    detail = [float((a - cv2.GaussianBlur(a, (0, 0), 4)).std()) for a in (clear, hazy)]
    assert detail[1] < 0.75 * detail[0]


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_clouds_cover_the_share_asked_for(share: float) -> None:
    clear, cloudy = _grey(), _grey(clouds=share)
    assert (cloudy - clear > 0.2).mean() == pytest.approx(share, abs=0.1)
    assert (cloudy - clear < -0.05).mean() > 0.01  # Shadows.


def test_the_sun_decides_which_slopes_are_bright() -> None:
    ground = _ground()
    east = np.gradient(ground.height, axis=1) < 0  # Falls to the east.
    change = _grey("winter", sun_azimuth=100) - _grey("winter", sun_azimuth=260)
    assert change[east].mean() > 0 > change[~east].mean()


def test_noise_has_the_deviation_asked_for() -> None:
    noisy, _ = render_landscape(_ground(), "summer", noise=0.02)
    clean, _ = render_landscape(_ground(), "summer", noise=0.0)
    inside = (clean > 0.1) & (clean < 0.9)
    assert float((noisy - clean)[inside].std()) == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("size", [(31, 100), (100, 4001), (0, 0)])
def test_an_impossible_size_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="landscape size"):
        landscape(size, 0)


def test_an_unknown_season_is_refused() -> None:
    with pytest.raises(ConfigError, match="monsoon"):
        render_landscape(_ground(), "monsoon")  # type: ignore[arg-type]
