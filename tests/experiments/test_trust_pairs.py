"""Pairs of the benchmark of trust: the same from one seed, and true to what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from imatch.datasets.synthetic.landscape import landscape
from tests.support.pairs.trust import changed, fixed, lattices, renderings, scenes
from tests.support.pairs.trust.bent import BENDS, sine
from tests.support.pairs.trust.ground import Ground, dates, images, real_ground, seen_twice
from tests.support.pairs.trust.kinds import KINDS, make_pair
from tests.support.pairs.trust.pair import Points, Side, TrustPair, Truth, near, similarity
from tests.support.trust.measure import judge, seen_by_both

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
needs_data = pytest.mark.skipif(
    not (DATA / "images.csv").exists(), reason="the shared data is not beside the project"
)
MADE = [name for name, kind in KINDS.items() if "made" in kind.splits]


def smooth_ground(size: tuple[int, int], rim: int, seed: int = 0) -> Ground:
    """A random field without detail that interpolation could miss."""
    noise = np.random.default_rng(seed).normal(size=(1, size[1] + 2 * rim, size[0] + 2 * rim))
    field = gaussian_filter(noise, (0, 4, 4))
    field = (128 + 40 * field / field.std()).astype(np.float32)
    return Ground(field, field, (0.0, 0.0), 0.0, size, {})


def off(pair: TrustPair) -> float:
    """95 % of the differences between a reference and its target at the true places."""
    places, there = seen_by_both(pair)
    assert len(places) > 200
    seen = map_coordinates(pair.tgt.pixels[0].astype(float), there[:, ::-1].T, order=3)
    column, row = places.astype(int).T
    return float(np.quantile(np.abs(seen - pair.ref.pixels[0, row, column]), 0.95))


@pytest.mark.parametrize("kind", MADE)
def test_a_seed_is_a_pair(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scenes.MOST, "made", 150)
    for module in (changed, renderings):
        monkeypatch.setattr(module, "SIDES", (100, 150))
    one, two, other = (make_pair(kind, "made", seed, DATA) for seed in (5, 5, 6))
    assert one.params == two.params != other.params
    for a, b in ((one.ref, two.ref), (one.tgt, two.tgt)):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        np.testing.assert_array_equal(a.known, b.known)
        assert a.known.mean() > 0.2
    assert (one.truth is None) == (KINDS[kind].right == "refuse")
    assert one.ref.source().info.size == one.ref.pixels.shape[:0:-1]


def test_a_kind_is_made_from_its_splits_only() -> None:
    with pytest.raises(ValueError, match="lattices is made from made, not from bench"):
        make_pair("lattices", "bench", 0, DATA)


@pytest.mark.parametrize("name", BENDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_bent_target_shows_the_ground_where_the_truth_says(name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = (180, 150)
    ground = smooth_ground(size, 30)
    bend, _ = BENDS[name](6.0, size, rng)
    pair = seen_twice(ground, Truth(near(size, rng), (0.0, 0.0), bend), 0.0, rng)
    places, there = seen_by_both(pair)
    assert pair.truth is not None
    np.testing.assert_allclose(pair.truth.to_ref(there), places, atol=2e-3)
    # What tears is smoothed over a pixel or two of each seam by the spline that reads it.
    assert off(pair) < (3.0 if name in ("steps", "relief") else 0.5)
    displaced = np.hypot(*bend(there).T)
    assert 0.3 < displaced.max() <= 6 * np.sqrt(2) + 1e-9


@pytest.mark.parametrize("sensor", renderings.SENSORS)
def test_another_sensor_sees_the_ground_where_the_truth_says(sensor: str) -> None:
    """Of the same draws through two matrices, where nothing is written or strewn on the picture."""
    ground = landscape((200, 200), 3)
    size, to_ref = (120, 120), np.array([[1, 0, -40], [0, 1, -40], [0, 0, 1.0]])
    matrix = similarity(size, 4.0, 1.05, (3.2, -2.6))
    draw = renderings.SENSORS[sensor]
    views = [draw(ground, np.random.default_rng(1), m @ to_ref, size) for m in (np.eye(3), matrix)]
    assert all(view.shape[1:] == (120, 120) and view.std() > 5 for view in views)
    if sensor in ("thermal by day", "thermal by night", "map"):
        smooth = [gaussian_filter(view, (0, 1, 1)) for view in views]
        at_truth, unmoved = (
            off(TrustPair(Side(smooth[0]), Side(smooth[1]), Truth(m))) for m in (matrix, np.eye(3))
        )
        assert at_truth < 0.5 * unmoved


def test_two_pixel_sizes_lie_where_their_geocoding_and_the_truth_say() -> None:
    pair = renderings.two_sizes(300, 5, np.random.default_rng(2))
    assert pair.truth is not None
    (x, y), *_ = pair.truth.to_tgt(np.zeros((1, 2))) - pair.given(np.zeros((1, 2)))
    assert 0 < np.hypot(x, y) < 9
    row = judge(pair, "auto")
    assert row["status"] == "ok"
    assert (row["truth_x_px"], row["truth_y_px"]) == pytest.approx((x, y))
    assert row["bound_share"] == 1.0
    assert row["error_95_px"] < 0.5


def test_years_change_as_much_ground_as_is_asked() -> None:
    before = landscape((150, 140), 2)
    for share in (0.0, 0.2, 0.5):
        after, done = changed.years_later(before, share, np.random.default_rng(4))
        where = changed.differs(before, after)
        assert share <= (where.mean() + 0.03) < share + 0.2
        assert bool(done) == (share > 0)
        # What does not differ is the same ground: its cover, its texture and so its colours.
        same = after.labels == before.labels
        np.testing.assert_array_equal(after.texture[same], before.texture[same])
        assert after.labels.max() == before.labels.max()


def test_what_changed_is_held_against_what_a_report_outlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(changed, "SIDES", (240, 260))
    pair = make_pair("changed", "made", 3, DATA)
    assert pair.changed is not None
    assert pair.changed.mean() > 0.15
    row = judge(pair, "auto")
    assert row["status"] == "ok"
    assert row["bound_share"] == 1.0
    assert 0.4 * row["changed_px"] < row["hit_px"] <= row["told_px"] <= row["changed_px"]
    assert row["hit_px"] > 0.7 * row["outlined_px"]
    assert row["common_px"] <= pair.changed.size


def test_jitter_is_the_sine_it_says() -> None:
    at: Points = np.array([[10.0, 0.0], [10.0, 25.0], [3.0, 75.0]])
    np.testing.assert_allclose(sine(5, 100, 0.0, 0)(at), [[0, 0], [5, 0], [-5, 0]], atol=1e-12)
    turned = sine(2, 40, np.pi / 2, 1)(at)
    np.testing.assert_allclose(
        turned, [[0, 0], [0, 0], [0, 2 * np.cos(2 * np.pi * 3 / 40)]], atol=1e-12
    )


def test_a_wave_runs_and_points_where_it_says() -> None:
    # Crests along x, displacement along y; then both along the diagonal.
    at: Points = np.array([[7.0, 0.0], [3.0, 10.0], [0.0, 30.0]])
    plain = scenes.wave(3, 40, 0.0, 0.0, np.pi / 2)(at)
    np.testing.assert_allclose(plain, [[0, 0], [0, 3], [0, -3]], atol=1e-12)
    diagonal = scenes.wave(2, 40, np.pi / 2, np.pi / 4, np.pi / 4)
    along = diagonal(np.array([[0.0, 0.0], [5.0, 5.0], [10 * np.sqrt(2), -10 * np.sqrt(2)]]))
    np.testing.assert_allclose(along, np.sqrt(2) * np.array([[1, 1], [1, 1], [-1, -1]]), atol=1e-9)


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.whole])
def test_a_scene_is_registered_tile_by_tile(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(scenes.MOST, "made", 400)
    pair = make_pair(kind, "made", 4, DATA)
    row = judge(pair, "sift", whole=True)
    assert row["status"] in ("ok", "uncertain")
    assert row["wrong"] == 0
    if row["status"] == "ok":
        assert row["bound_share"] >= 0.95


def test_where_a_bend_tears_there_is_no_truth() -> None:
    def torn(xy: Points) -> Points:
        return np.column_stack([np.where(xy[:, 0] > 50, 4.0, 0.0), np.zeros(len(xy))])

    truth = Truth(np.eye(3), bend=torn)
    x = np.arange(100.0)
    there = truth.to_tgt(np.column_stack([x, x]))
    lost = np.isnan(there[:, 0])
    # Ground from 50 to 54 is nowhere in the target.
    assert set(x[lost]) == {51.0, 52.0, 53.0, 54.0}
    np.testing.assert_allclose(there[~lost, 0], x[~lost] - 4 * (x[~lost] > 54))


@pytest.mark.parametrize("pattern", lattices.PATTERNS)
def test_a_lattice_displaced_agrees_with_its_truth(pattern: lattices.Pattern) -> None:
    rng = np.random.default_rng(1)
    size = (160, 160)
    lattice = replace(lattices.draw_lattice(rng, size), pattern=pattern, line=2.0, contrast=20.0)
    matrix = similarity(size, 1.5, 1.01, (5.3, -3.7))
    flat = np.random.default_rng
    views = [
        lattices.seen(lattice, np.linalg.inv(to_view).astype(np.float64), size, 2.0, 0.0, flat(7))
        for to_view in (np.eye(3), matrix)
    ]
    assert views[0].std() > 5
    assert off(TrustPair(Side(views[0]), Side(views[1]), Truth(matrix))) < 3.0


@pytest.mark.parametrize("pattern", ["rectangular", "sheared", "hexagonal"])
def test_a_lattice_repeats_its_lines_and_not_its_cells(pattern: lattices.Pattern) -> None:
    lattice = lattices.Lattice(pattern, (20.0, 20.0), 0.0, 0.3, 2.0, 255.0, 40.0, 3)
    other = replace(lattice, cells=4)
    xy = np.random.default_rng(0).uniform(0, 800, (20000, 2))
    step = np.array([20.0, 0.0])
    line = lattice.grey(xy) == 255
    assert 0.1 < line.mean() < 0.4
    for seen in (lattice.grey(xy + step), other.grey(xy)):
        np.testing.assert_array_equal(seen == 255, line)
        assert abs(np.corrcoef(seen[~line], lattice.grey(xy)[~line])[0, 1]) < 0.1


@pytest.mark.parametrize("name", fixed.STRUCTURES)
def test_a_structure_lies_at_the_same_pixels_of_every_image(name: str) -> None:
    rng = np.random.default_rng(3)
    size = (140, 130)
    mark, about = fixed.STRUCTURES[name](size, rng)
    grey = rng.integers(60, 190, (2, 3, 130, 140)).astype(np.uint8)
    one, two = (mark(image) for image in grey)
    assert one.shape == grey[0].shape
    assert one.dtype == np.uint8
    assert (one != grey[0]).any()
    np.testing.assert_array_equal(mark(grey[0]), one)
    if name == "repeated":
        y = (np.arange(130) + about["phase"][0]) // about["factor"]
        x = (np.arange(140) + about["phase"][1]) // about["factor"]
        same = (y[:-1] == y[1:])[:, None] & np.ones(140, bool)
        assert (one[0, :-1][same] == one[0, 1:][same]).all()
        assert (np.diff(one[0], axis=1)[:, x[:-1] == x[1:]] == 0).all()
    elif name in ("stripes", "frame"):
        np.testing.assert_array_equal(one == about["value"], two == about["value"])
        assert (one == about["value"]).mean() > 0.02
    elif name in ("seams", "detector"):
        added = [image.astype(int) - plain for image, plain in zip((one, two), grey, strict=True)]
        # But for lines of one value, and for rounding, the same is added to both.
        assert (np.abs(added[0] - added[1]) <= 1).mean() > 0.9
        assert np.abs(added[0]).mean() > 0.3
    elif name in ("dust", "band_gaps"):
        # Where it lies, both are darker or of one value.
        changed = [
            (image != plain).any(axis=0) for image, plain in zip((one, two), grey, strict=True)
        ]
        assert (changed[0] == changed[1]).mean() > 0.97
        assert name == "dust" or (one != grey[0]).any(axis=(1, 2)).sum() == 1


@pytest.mark.parametrize("seed", range(12))
def test_compression_leaves_the_ground_where_it_is(seed: int) -> None:
    size = (150, 141)
    mark, about = fixed.STRUCTURES["codec"](size, np.random.default_rng(seed))
    ground = smooth_ground(size, 0, seed).first
    left = mark(np.round(ground).astype(np.uint8))
    assert left.shape == ground.shape
    inner = left[0, 10:-10, 10:-10].ravel()
    shifts = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2)]
    like = [
        np.corrcoef(inner, ground[0, 10 + y : 131 + y, 10 + x : 140 + x].ravel())[0, 1]
        for y, x in shifts
    ]
    assert like.index(max(like)) == shifts.index((0, 0)), about


@pytest.mark.parametrize("seed", range(4))
def test_zeros_beyond_a_swath_edge_are_not_declared(seed: int) -> None:
    pair = make_pair("band_collars", "made", seed, DATA)
    for side in (pair.ref, pair.tgt):
        zero = (side.pixels == 0) & side.known
        assert 0.02 < zero.mean(axis=(1, 2)).max() < 0.4
        assert side.nodata is None


@pytest.mark.parametrize("seed", range(6))
def test_gaps_are_declared_and_at_most_two_fifths(seed: int) -> None:
    pair = make_pair("gaps_marked", "made", seed, DATA)
    assert pair.params["share"] <= 0.41
    shape = pair.ref.pixels.shape[1:]
    seen = pair.ref.source().read().valid
    assert seen.shape == shape
    np.testing.assert_array_equal(seen, pair.ref.known)
    assert 0.55 < seen.mean() < 1


def write(path: Path, pixels: NDArray[np.float32]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = pixels.shape[1:]
    profile = {"driver": "GTiff", "count": 1, "height": height, "width": width, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as out:
        out.write(np.clip(np.round(pixels), 1, 255).astype(np.uint8))


@pytest.fixture
def two_dates(tmp_path: Path) -> Path:
    """A training set of one pair, the second date 3 px right of and 2 px above the first."""
    field = smooth_ground((300, 300), 0, seed=4).first
    write(tmp_path / "train/a.tif", field[:, 10:-10, 10:-10])
    write(tmp_path / "train/b.tif", field[:, 12:-8, 7:-13])
    columns = "split,source,place,date,path,width,height,gsd_m,crs,tag\n"
    lines = [f"train,ombria,E1/t,{d},train/{n}.tif,280,280,10,none,\n" for d, n in ("1a", "2b")]
    (tmp_path / "images.csv").write_text(columns + "".join(lines))
    pair = "ombria,E1/t,train/a.tif,train/b.tif,3,-2,{},x\n"
    columns = "source,place,ref,tgt,dx,dy,phase_response,tag\n"
    (tmp_path / "train_pairs.csv").write_text(columns + pair.format(0.3) + pair.format(0.01))
    return tmp_path


@pytest.mark.parametrize("seed", range(4))
def test_the_residual_between_two_dates_is_part_of_the_truth(two_dates: Path, seed: int) -> None:
    # A residual that was measured badly is left out.
    assert len(dates(two_dates, "train")["ombria"]) == 1
    rng = np.random.default_rng(seed)
    ground = real_ground(two_dates, "train", (200, 170), rng)
    assert ground.shift in ((3.0, -2.0), (-3.0, 2.0))
    assert (ground.params["ref"] == "a.tif") == (ground.shift == (3.0, -2.0))
    truth = Truth(near(ground.size, rng), ground.shift, None, ground.sd_px)
    assert off(seen_twice(ground, truth, 0.0, rng)) < 1.5
    still = seen_twice(ground, Truth(np.eye(3), ground.shift), 0.0, rng)
    assert off(still) < 1.5
    assert off(replace(still, truth=Truth(np.eye(3)))) > 20


def test_answers_are_held_against_the_truth_at_their_own_place() -> None:
    size = (220, 200)
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(size=(1, 260, 280)), (0, 1.2, 1.2))
    planes = (128 + 50 * noise / noise.std()).astype(np.float32)
    ground = Ground(planes, planes, (0.0, 0.0), 0.0, size, {})
    matrix = similarity(size, 1.0, 1.005, (4.25, -6.5))
    pair = seen_twice(ground, Truth(matrix), 1.0, rng)
    row = judge(pair, "sift")
    assert row["status"] == "ok"
    assert row["wrong"] == 0
    assert row["error_max_px"] < 0.3
    at = np.array([row["at_x"], row["at_y"]])
    true = matrix[:2, :2] @ at + matrix[:2, 2] - at
    assert (row["truth_x_px"], row["truth_y_px"]) == pytest.approx(tuple(true))
    assert (row["shift_x_px"], row["shift_y_px"]) == pytest.approx(tuple(true), abs=0.1)
    moved = judge(replace(pair, truth=Truth(similarity(size, 1.0, 1.005, (9.25, -6.5)))), "sift")
    assert moved["wrong"] == 1
    assert moved["bound_share"] == 0
    assert moved["error_median_px"] == pytest.approx(5, abs=0.3)
    nowhere = judge(replace(pair, truth=None), "sift")
    assert nowhere["wrong"] == 1
    assert "error_95_px" not in nowhere


@needs_data
def test_a_split_knows_only_its_own_images() -> None:
    for split in ("train", "bench"):
        own = [image.path for image in images(DATA, split)]
        own += [
            i.path for ps in dates(DATA, split).values() for p in ps for i in (p.first, p.second)
        ]
        assert {path.relative_to(DATA).parts[0] for path in own} == {split}
        assert all(dates(DATA, split).values())


@needs_data
@pytest.mark.parametrize("split", ["train", "bench"])
def test_neighbours_share_no_pixel(split: str) -> None:
    for seed in range(12):
        about = make_pair("adjacent", split, seed, DATA).params
        apart = np.abs(np.subtract(about["ref_at"], about["tgt_at"])) - np.array(about["size"])
        assert apart.max() >= 3


@needs_data
def test_sizes_are_those_asked_for() -> None:
    for seed in range(6):
        across, along = sorted(make_pair("strips", "train", seed, DATA).params["size"])
        assert 48 <= across <= 120
        assert 300 <= along <= 1000
        assert 64 <= min(make_pair("small", "bench", seed, DATA).params["size"]) <= 128
