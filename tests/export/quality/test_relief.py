from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from imatch.core.errors import InputError
from imatch.export.quality.assess import heights_of
from imatch.export.quality.relief import Relief, relief
from imatch.export.quality.views import ViewPair
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints
from imatch.raster import open_source
from tests.support.geotiffs import textured, write_geotiff

SIZE = 480
PLACE = Affine(10, 0, 356_000, 0, -10, 4_835_000)
Floats = NDArray[np.float64]


def hills() -> Floats:
    """(SIZE, SIZE) heights from 200 to 900 m, over a frame a third wider than the images."""
    rng = np.random.default_rng(3)
    rough = cv2.resize(rng.random((9, 9)), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(200 + 700 * (rough - rough.min()) / np.ptp(rough))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("relief")
    write_geotiff(folder / "image.tif", textured(SIZE))
    heights = hills().astype(np.float32)[::3, ::3]
    write_geotiff(folder / "dem.tif", heights, transform=PLACE @ Affine.scale(3))
    heights = heights.copy()
    heights[:40] = -9999
    write_geotiff(folder / "holes.tif", heights, transform=PLACE @ Affine.scale(3), nodata=-9999.0)
    return folder


def registration(
    folder: Path, per_metre: tuple[float, float], *, bend: float = 0.0
) -> Registration:
    """An identity whose residuals are noise, relief and perhaps a slow bend of the images."""
    rng, image = np.random.default_rng(5), folder / "image.tif"
    xy = rng.uniform(8, SIZE - 9, (900, 2))
    height = map_coordinates(hills(), xy.T[::-1], order=1)
    residual = rng.normal(0, 0.15, xy.shape) + (height - height.mean())[:, None] * per_metre
    residual += bend * np.sin(xy / SIZE * 5)
    summary = ImageSummary(
        str(image), SIZE, SIZE, ("1",), "EPSG:32631", tuple(PLACE)[:6], (10.0, 10.0)
    )
    every = np.ones(len(xy), dtype=bool)
    points = TiePoints(
        xy, xy + residual, every * 1.0, every, every, residual, 10 * np.hypot(*residual.T),
        open_source(image).info.to_map(xy),
    )  # fmt: skip
    return Registration(
        "ok", "made", summary, summary, "test", 1.0, points,
        Transform("translation", np.eye(3)), np.eye(3), (0.0, 0.0),
        provenance={"config": {"dem": str(folder / "dem.tif")}},
    )  # fmt: skip


def found(made: Registration, folder: Path, dem: str = "dem.tif") -> Relief:
    pair = ViewPair(made, folder / "image.tif", folder / "image.tif")
    answer = relief(pair, folder / dem)
    assert answer is not None
    return answer


def test_relief_displacement_is_found_and_measured(folder: Path) -> None:
    answer = found(registration(folder, (0.002, -0.001)), folder)
    assert answer.explains
    # 0.002 target pixels of 10 m a metre of height.
    assert answer.per_100m == pytest.approx((2.0, -1.0), abs=0.1)
    assert answer.explained > 0.4
    assert answer.rest_m == pytest.approx(10 * 0.15 * np.sqrt(2), rel=0.05)
    assert answer.rest_m < answer.rmse_m
    assert "Relief explains part of what is left" in answer.to_text()
    low, *_, high = answer.classes["height"]
    assert low.mean_m[0] < -2 < 2 < high.mean_m[0]
    assert sum(part.points for part in answer.classes["height"]) == answer.points == 900


@pytest.mark.parametrize("bend", [0.0, 0.4])
def test_none_is_found_where_there_is_none(folder: Path, bend: float) -> None:
    """Nor where residuals are alike in a neighbourhood for another reason."""
    answer = found(registration(folder, (0.0, 0.0), bend=bend), folder)
    assert not answer.explains
    assert "does not explain" in answer.to_text()


def test_slope_and_aspect_are_those_of_the_ground(folder: Path) -> None:
    made = registration(folder, (0.0, 0.0))
    rows = np.arange(SIZE // 3, dtype=np.float32)[:, None] * np.ones(SIZE // 3, np.float32)
    # It rises by 15 m every 30 m southwards: it falls to the north.
    write_geotiff(folder / "ramp.tif", 15 * rows, transform=PLACE @ Affine.scale(3))
    answer = found(made, folder, "ramp.tif")
    assert [part.name for part in answer.classes["aspect"]] == ["N"]
    for part in answer.classes["slope"]:
        assert float(part.name.split()[0].rstrip("°")) == pytest.approx(
            np.degrees(np.arctan(0.5)), abs=0.5
        )


def test_points_without_heights_are_left_out(folder: Path) -> None:
    answer = found(registration(folder, (0.002, 0)), folder, "holes.tif")
    assert 450 < answer.points < 700
    assert answer.explains
    assert answer.classes["height"][0].name.split()[0] != "-9999"


def test_the_report_has_it_where_there_are_heights(folder: Path, tmp_path: Path) -> None:
    made = registration(folder, (0.002, -0.001))
    made.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert 'id="relief"' in page
    assert "By aspect" in page
    assert heights_of(made) == folder / "dem.tif"
    assert heights_of(replace(made, provenance={"config": {"dem": 300.0}})) is None


def test_its_figures_are_of_json(folder: Path) -> None:
    figures = found(registration(folder, (0.002, -0.001)), folder).to_dict()
    assert json.loads(json.dumps(figures, allow_nan=False))["relief_explains"] is True
    assert {part["name"] for part in figures["aspect"]} >= {"N", "SE"}


def test_heights_that_cannot_be_read_are_told(folder: Path) -> None:
    pair = ViewPair(registration(folder, (0, 0)), folder / "image.tif", folder / "image.tif")
    with pytest.raises(InputError, match=r"none\.tif"):
        relief(pair, folder / "none.tif")
