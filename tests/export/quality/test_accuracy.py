from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import imatch
from imatch.export.quality.accuracy import PositionalAccuracy
from imatch.export.quality.assess import assess
from imatch.pipeline.registration.result import Registration

FOLDER = Path(__file__).parents[3] / "data" / "sample"
SAMPLE = FOLDER / "bouconne_2018-08.tif", FOLDER / "bouconne_2018-11.tif"


@pytest.fixture(scope="module")
def found() -> Registration:
    return imatch.match(*SAMPLE, tolerance="0.5px")


@pytest.fixture(scope="module")
def accuracy(found: Registration) -> PositionalAccuracy:
    made = assess(found, *SAMPLE).accuracy
    assert made is not None
    return made


def test_the_figures_are_those_of_the_registration(
    found: Registration, accuracy: PositionalAccuracy
) -> None:
    named = {measure.id: measure for measure in accuracy.measures if measure.id != 128}
    assert named[47].px == pytest.approx(found.rmse_px)
    assert named[47].m == pytest.approx(found.rmse_m)
    assert named[44].px == pytest.approx(found.ce90_px)
    assert named[44].m == pytest.approx(found.ce90_m)
    lengths = np.hypot(*found.tie_points.held_out_xy[found.tie_points.check].T)  # type: ignore[index]
    assert named[45].px == pytest.approx(np.percentile(lengths, 95))
    x, y = (m.px for m in accuracy.measures if m.name.startswith("root mean square error along"))
    assert np.hypot(x, y) == pytest.approx(named[47].px)
    assert accuracy.held_out


def test_number_spread_and_verdict(found: Registration, accuracy: PositionalAccuracy) -> None:
    document = json.loads(json.dumps(accuracy.to_dict(), allow_nan=False))
    points = document["check_points"]
    assert points["number"] == found.n_check == sum(points["quadrants"].values())
    assert 0.4 < points["coverage"] <= 1
    assert document["standard"] == "ISO 19157"
    assert document["conformance"]["specification"] == "0.5 px"
    assert document["conformance"]["pass"] is False
    assert "fails 0.5 px" in accuracy.to_text()


def test_what_an_earlier_version_wrote_is_said_to_be_of_the_fit(found: Registration) -> None:
    older = found.to_dict()
    for name in ("held_out_x_px", "held_out_y_px"):
        del older["tie_points"][name]
    made = assess(Registration.from_dict(older), *SAMPLE).accuracy
    assert made is not None
    assert not made.held_out
    assert made.to_dict()["evaluation"].startswith("residuals of the fit")


def test_none_without_check_points(found: Registration) -> None:
    points = found.tie_points
    bare = replace(found, tie_points=replace(points, check=np.zeros_like(points.check)))
    quality = assess(bare, *SAMPLE)
    assert quality.accuracy is None
    assert quality.to_dict()["accuracy"] is None


def test_few_check_points_are_said_to_be_few(found: Registration) -> None:
    points = found.tie_points
    check = points.check & (np.cumsum(points.check) <= 5)
    made = assess(replace(found, tie_points=replace(points, check=check)), *SAMPLE).accuracy
    assert made is not None
    assert made.number == 5
    assert "Few check points" in made.to_text()


@pytest.fixture(scope="module")
def report(found: Registration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accuracy") / "report.html"
    found.report(path)
    return path


def test_verdict_and_accuracy_are_the_first_sheet_of_paper(report: Path, browser: Any) -> None:
    # A4 without its margins, at 96 dpi.
    page = browser.new_page(viewport={"width": 688, "height": 1017})
    page.emulate_media(media="print")
    page.goto(report.as_uri())
    bottom = "document.getElementById('accuracy').getBoundingClientRect().bottom"
    assert page.evaluate(bottom) <= 1017
    assert page.pdf(prefer_css_page_size=True, page_ranges="1").startswith(b"%PDF")
    page.close()


def test_the_page_has_them_before_the_pictures(report: Path) -> None:
    page = report.read_text()
    first, second = page.index('id="accuracy"'), page.index('id="before-and-after"')
    assert 0 < first < second
    assert "circular error at 95 % (CE95)" in page[first:second]
    assert "@page { size: A4" in page
