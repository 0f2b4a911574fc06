"""The pairs of the benchmark of scenes: their truth has to be true to a hundredth of a pixel."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window
from scipy.ndimage import map_coordinates

from imatch.core.errors import InputError
from tests.support.scenes.pair import CRS, PLACE, Painter, Scene, read_truth, write_scene
from tests.support.scenes.truth import lattice

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not (DATA / "train" / "ombria").is_dir(), reason="needs the real images in ../shared/data"
)

#: Small, without anything that hides the ground.
CLEAR = Scene(
    size=700,
    seed=3,
    warp=(6.3, -4.8, 0.4, 1.004),
    local_px=3.0,
    clouds=0.0,
    noise_dn=0.0,
    wave_px=(300.0, 600.0),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real data, with a few of its tiles only."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "train").symlink_to(DATA / "train")
    lines = (DATA / "train_pairs.csv").read_text().splitlines()
    tiles = [line for line in lines if line.startswith("ombria")][:8]
    (folder / "train_pairs.csv").write_text("\n".join([lines[0], *tiles]) + "\n")
    return folder


@pytest.fixture(scope="module")
def painter(data: Path) -> Painter:
    return Painter(CLEAR, data)


def sampled(image: NDArray[np.uint16], xy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(map_coordinates(image.astype(float), [xy[:, 1], xy[:, 0]], order=5))


def test_the_target_shows_each_ground_where_the_truth_says(painter: Painter) -> None:
    """Against the ground itself, which knows nothing of the warp."""
    target = painter.paint("tgt", Window(0, 0, 700, 700))[0]
    ground = painter.ground.block(0, 0, 700, 700, date=1)[0]
    inner = lattice(700, 90)
    inner = np.round(inner[((inner > 60) & (inner < 640)).all(axis=1)])
    expected = ground[inner[:, 1].astype(int), inner[:, 0].astype(int)]
    places = CLEAR.truth.apply(inner)

    def misfit(off: tuple[float, float]) -> float:
        return float(np.sqrt(np.mean((sampled(target, places + off) - expected) ** 2)))

    exact = misfit((0, 0))
    assert exact < 0.05 * expected.std()
    # A parabola through the misfit of small slips has its lowest point at no slip at all.
    for axis in range(2):
        step = np.eye(2)[axis] * 0.2
        left, right = (misfit(tuple(sign * step)) ** 2 for sign in (-1, 1))
        lowest = 0.2 * (left - right) / (2 * (left + right - 2 * exact**2))
        assert abs(lowest) < 0.01
        assert min(left, right) > 4 * exact**2


def test_blocks_fit_together_wherever_they_are_cut(painter: Painter) -> None:
    for name in ("ref", "tgt"):
        whole = painter.paint(name, Window(100, 200, 300, 260))
        part = painter.paint(name, Window(190, 300, 80, 90))
        difference = whole[:, 100:190, 90:170].astype(int) - part
        assert np.abs(difference).max() <= 1


def test_there_is_texture_at_the_scale_of_a_pixel(painter: Painter) -> None:
    """An upscaled overview would have none: the share of what one pixel tells beside the next."""
    image = painter.paint("ref", Window(0, 0, 700, 700))[0].astype(float)
    finest = image[1:-1, 1:-1] - (image[:-2, 1:-1] + image[2:, 1:-1]) / 2
    assert finest.std() > 0.08 * image.std()


def test_the_two_dates_differ_as_seasons_do(painter: Painter) -> None:
    first, second = (painter.ground.block(0, 0, 700, 700, date)[0] for date in (0, 1))
    alike = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    assert 0.05 < alike < 0.9
    assert painter.ground.origin["tiles_of_two_dates"] > 20


def test_clouds_cover_ground_and_noise_is_the_images_own(data: Path, painter: Painter) -> None:
    hazy = Painter(replace(CLEAR, clouds=0.3, noise_dn=30.0), data)
    window = Window(0, 0, 700, 700)
    added = hazy.paint("tgt", window).astype(float) - painter.paint("tgt", window)
    assert 0.05 < (added > 500).mean() < 0.6
    grain = hazy.paint("ref", window).astype(float) - painter.paint("ref", window)
    assert grain.std() == pytest.approx(30.0, rel=0.05)


def test_files_are_geocoded_alike_and_the_truth_is_kept(data: Path, tmp_path: Path) -> None:
    scene = replace(CLEAR, size=300, local_px=1.0)
    record = write_scene(scene, data, tmp_path / "pair", formats=("tif", "jp2", "img"))
    assert record["scene"]["size"] == 300
    for kind in ("tif", "jp2", "img"):
        pixels = []
        for name in ("ref", "tgt"):
            with rasterio.open(tmp_path / "pair" / f"{name}.{kind}") as dataset:
                assert dataset.crs.to_string() == CRS
                assert dataset.transform.almost_equals(PLACE)
                assert (dataset.dtypes, dataset.shape) == (("uint16",), (300, 300))
                assert kind != "jp2" or len(dataset.files) == 1
                pixels.append(dataset.read(1))
        if kind == "tif":
            first = pixels
        else:
            np.testing.assert_array_equal(pixels, first)
    truth = read_truth(tmp_path / "pair" / "truth.json")
    points = lattice(300, 7)
    np.testing.assert_array_equal(truth.apply(points), scene.truth.apply(points))


def test_what_is_no_truth_and_no_data_is_named(tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    path.write_text(json.dumps({"schema": "other"}))
    with pytest.raises(InputError, match="its schema is 'other'"):
        read_truth(path)
    with pytest.raises(InputError, match="is no truth"):
        read_truth(tmp_path / "absent.json")
    command = [sys.executable, "-m", "experiments.benchmarks.scene", "--data", str(tmp_path)]
    run = subprocess.run(
        [*command, "--work", str(tmp_path), "-o", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "holds no train_pairs.csv" in run.stderr
    assert "Traceback" not in run.stderr
