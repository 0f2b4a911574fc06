"""The quality report, on a pair whose true registration is known."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.export.quality.assess import QualityReport, assess, write_quality
from imatch.geometry.transform import DisplacementGrid, Transform, apply_matrix
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints

SIZE = (420, 360)
PLACE = Affine(10, 0, 500_000, 0, -10, 4_800_000)
MATRIX = np.array([[1.0, -0.002, 7.3], [0.002, 1.0, -5.6], [0, 0, 1]])
_CENTRED = np.array(PLACE).reshape(3, 3) @ np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])


@dataclass(frozen=True)
class Case:
    """Files and the registration of them."""

    registration: Registration
    ref: Path
    tgt: Path

    def quality(self, **options: Any) -> QualityReport:
        return assess(self.registration, self.ref, self.tgt, size=200, **options)


def ground(seed: int = 1) -> NDArray[np.float32]:
    """Noise of every scale, which looks like nothing else."""
    rng = np.random.default_rng(seed)
    width, height = SIZE
    total = np.zeros((height, width), np.float32)
    for sigma in (1.0, 2.5, 6.0, 20.0):
        noise = rng.standard_normal((height, width), dtype=np.float32)
        total += sigma * cv2.GaussianBlur(noise, (0, 0), sigma)
    return np.asarray(1200 + 400 * total / total.std(), dtype=np.float32)


def save(path: Path, pixels: NDArray[np.float32], *, geocoded: bool) -> Path:
    place = {"crs": "EPSG:32631", "transform": PLACE} if geocoded else {}
    height, width = pixels.shape
    form = {"width": width, "height": height, "count": 1, "dtype": "uint16", "nodata": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **form, **place) as out:
            out.write(np.clip(pixels, 0, 65535).astype(np.uint16), 1)
    return path


def make(
    folder: Path, *, geocoded: bool = True, slip: float = 0.0, matrix: NDArray[np.float64] = MATRIX
) -> Case:
    """A pair, and its registration, which is `slip` pixels off in x."""
    folder.mkdir(exist_ok=True)
    image = ground()
    moved = cv2.warpPerspective(image, matrix, SIZE, flags=cv2.INTER_CUBIC)
    # Another season: contrasts turned round in part, and noise.
    rng = np.random.default_rng(2)
    other = 900 + 0.5 * (moved - 1200) + 20 * rng.standard_normal(moved.shape)
    other = np.where(moved == 0, 0, other).astype(np.float32)
    paths = [
        save(folder / f"{name}.tif", pixels, geocoded=geocoded)
        for name, pixels in (("ref", image), ("tgt", other))
    ]
    found = np.array([[1, 0, slip], [0, 1, 0], [0, 0, 1]]) @ matrix
    n = 150
    ref_xy = rng.uniform(20, np.array(SIZE) - 20, (n, 2))
    tgt_xy = apply_matrix(matrix, ref_xy) + rng.normal(0, 0.2, (n, 2))
    inlier = rng.random(n) < 0.9
    tgt_xy[~inlier] += 30
    residual = tgt_xy - apply_matrix(found, ref_xy)
    summary = ImageSummary(
        str(paths[0]), *SIZE, ("1",), "EPSG:32631" if geocoded else None,
        tuple(PLACE)[:6] if geocoded else None, (10.0, 10.0) if geocoded else None,
    )  # fmt: skip
    map_matrix = _CENTRED @ found @ np.linalg.inv(_CENTRED)
    points = TiePoints(
        ref_xy, tgt_xy, rng.random(n), inlier, inlier & (rng.random(n) < 0.25), residual,
        10 * np.hypot(*residual.T), None,
    )  # fmt: skip
    registration = Registration(
        status="ok",
        reason="135 of 150 matches agree",
        reference=summary,
        target=replace(summary, path=str(paths[1])),
        matcher="test",
        seconds=1.0,
        tie_points=points,
        transform=Transform("affine", found),
        map_matrix=map_matrix / map_matrix[2, 2] if geocoded else None,
        shift_px=(7.3, -5.6),
        coverage=0.9,
        n_matches=n,
        n_inliers=int(inlier.sum()),
        n_check=int(points.check.sum()),
        provenance={"config": {"seed": 0, "matcher": "test"}, "files": [], "found_by": "<test>"},
    )
    return Case(registration, *paths)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quality")


@pytest.fixture(scope="module")
def right(folder: Path) -> Case:
    return make(folder / "right")


@pytest.fixture(scope="module")
def quality(right: Case) -> QualityReport:
    return right.quality()


class Page(HTMLParser):
    """Tags that have to close, what is loaded, and the text."""

    VOID = frozenset({"meta", "img", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.alts: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.loaded += [named[name] for name in ("src", "href") if name in named]
        self.ids += [named["id"]] if "id" in named else []
        self.alts += [named["alt"]] if "alt" in named else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data


def test_residuals_before_are_those_of_the_geocoding_and_after_of_the_model(
    right: Case, quality: QualityReport
) -> None:
    points, inlier = quality.residuals, right.registration.tie_points.inlier
    assert points is not None
    assert points.baseline == "geocoding"
    tie_points = right.registration.tie_points
    before = (tie_points.tgt_xy - tie_points.ref_xy)[inlier]
    np.testing.assert_allclose(points.before, before, atol=1e-6)
    # Turned by the tenth of a degree that the target is turned.
    np.testing.assert_allclose(points.after, tie_points.residual_xy[inlier], atol=2e-3)
    figures = quality.to_dict()["residuals"]
    assert figures["before"]["rmse"] == pytest.approx(8.7, abs=0.1)
    assert figures["after"]["rmse"] == pytest.approx(0.28, abs=0.03)
    assert figures["after_at_check_points"]["n"] == right.registration.n_check
    assert figures["metres_per_px"] == (10.0, 10.0)


def test_the_images_support_the_right_answer(quality: QualityReport) -> None:
    assert len(quality.cells) >= 2
    assert {cell.finding for cell in quality.cells} == {"supported"}
    for cell in quality.cells:
        assert cell.agreement_after > cell.agreement_before + 0.2
        assert np.hypot(*cell.offset_after) < 0.1
        assert np.hypot(*cell.offset_before) == pytest.approx(9.2, abs=0.7)
    counted = sum(cell.tie_points for cell in quality.cells)
    assert counted == pytest.approx(135, abs=12)


def test_the_images_contradict_a_wrong_answer(folder: Path) -> None:
    """The registration moves a pair that lay well already; its tie points say nothing of it."""
    wrong = make(folder / "wrong", slip=4.0, matrix=np.eye(3))
    quality = wrong.quality()
    assert {cell.finding for cell in quality.cells} == {"contradicted"}
    for cell in quality.cells:
        assert cell.offset_after[0] == pytest.approx(-4.0, abs=0.15)
        assert np.hypot(*cell.offset_before) < 0.1


def test_unrelated_ground_says_nothing(folder: Path, right: Case) -> None:
    other = save(folder / "other.tif", ground(seed=9), geocoded=True)
    quality = assess(right.registration, right.ref, other, size=200)
    assert {cell.finding for cell in quality.cells} == {"silent"}
    assert all(np.isnan(cell.offset_after).all() for cell in quality.cells)


def test_after_lies_on_the_reference(quality: QualityReport) -> None:
    view = quality.view
    assert view.after is not None
    both = view.ref.valid & view.after.valid

    def alike(shown: NDArray[np.float32]) -> float:
        return float(np.corrcoef(view.ref.pixels[0][both], shown[0][both])[0, 1])

    assert alike(view.after.pixels) > 0.95
    assert alike(view.before.pixels) < 0.6
    assert max(view.frame.size) == 200


def test_the_local_part_is_shown_by_itself(right: Case) -> None:
    step = 900.0
    wave = np.zeros((8, 9, 2))
    wave[..., 0] = 20 * np.sin(np.arange(9))  # metres
    origin = PLACE.c - step, PLACE.f + step
    local = DisplacementGrid("spline", origin, (step, -step), wave)
    bent = replace(right, registration=replace(right.registration, local=local)).quality()
    assert bent.field is not None
    assert bent.field.local is not None
    known = np.isfinite(bent.field.whole).all(axis=1)
    at = bent.view.frame.to_reference(bent.field.frame_xy)[known]
    expected = local.displacement(apply_matrix(_CENTRED, at)) / (10, -10)
    np.testing.assert_allclose(bent.field.local[known], expected, atol=1e-6)
    plain = apply_matrix(MATRIX, at) - at
    np.testing.assert_allclose(bent.field.whole[known], plain + expected, atol=1e-6)
    assert bent.to_dict()["verdict"]["local"] == "spline"
    # The model was right without it: now neighbours share an error.
    assert bent.correlated_after is not None
    assert bent.correlated_after.correlated
    assert bent.correlated_after.shared_px > 0.3


def test_pairs_without_geocoding_are_held_against_the_best_shift(folder: Path) -> None:
    case = make(folder / "pixels", geocoded=False)
    quality = case.quality()
    assert quality.residuals is not None
    assert quality.residuals.baseline == "best shift"
    assert quality.residuals.metres is None
    np.testing.assert_allclose(np.median(quality.residuals.before, axis=0), 0, atol=1e-9)
    assert {cell.finding for cell in quality.cells} == {"supported"}
    path = folder / "pixels.html"
    write_quality(case.registration, case.ref, case.tgt, path, size=200)
    page = Page(path.read_text(encoding="utf-8"))
    assert "the best plain shift" in page.text
    assert "RMSE, m" not in page.text


def test_the_page_is_whole_and_needs_nothing_else(right: Case, tmp_path: Path) -> None:
    path = tmp_path / "quality.html"
    write_quality(right.registration, right.ref, right.tgt, path, size=200)
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert all(item.startswith(("data:image/", "#")) for item in page.loaded)
    assert [item[1:] for item in page.loaded if item.startswith("#")] == page.ids
    assert page.ids == [
        "verdict",
        "accuracy",
        "before-and-after",
        "details-at-full-resolution",
        "correction",
        "residuals",
        "what-the-images-say",
        "offsets-by-direction",
        "provenance",
    ]
    for words in ("135 of 150 matches agree", "support the registration", "Moran's I", "<test>"):
        assert words in page.text
    # Readable without scripts: everything is there, the script only puts it on one stage.
    assert page.alts.count("after") >= 2
    assert "histogram of residuals before and after" in page.alts
    assert "http" not in text.replace("http-equiv", "")


def test_the_json_has_the_same_figures(right: Case, quality: QualityReport, tmp_path: Path) -> None:
    path = tmp_path / "quality.json"
    write_quality(right.registration, right.ref, right.tgt, path, size=200)
    data = json.loads(path.read_text(encoding="utf-8"))
    assert data["schema"] == "imatch.quality/1"
    assert data["findings"] == {"supported": len(quality.cells), "contradicted": 0, "silent": 0}
    assert data["residuals"]["after"]["rmse"] == quality.to_dict()["residuals"]["after"]["rmse"]
    assert data["autocorrelation"]["after"]["correlated"] is False
    assert data["correction"]["whole_px"]["max"] == pytest.approx(9.2, abs=0.1)
    assert data["verdict"]["certificate"] is None
    assert data["certificate"]["tolerance"] is None


def test_a_refusal_has_a_report_too(right: Case, tmp_path: Path) -> None:
    refused = replace(
        right.registration,
        status="failed",
        reason="only 4 of 150 matches agree",
        transform=None,
        map_matrix=None,
        tie_points=replace(right.registration.tie_points, inlier=np.zeros(150, dtype=bool)),
    )
    for name in ("r.html", "r.json"):
        write_quality(refused, right.ref, right.tgt, tmp_path / name, size=200)
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.ids == ["verdict", "before-and-after", "provenance"]
    assert "only 4 of 150 matches agree" in page.text
    data = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (data["residuals"], data["correction"], data["cells"]) == (None, None, [])


def test_names_cannot_break_the_page(right: Case, tmp_path: Path) -> None:
    nasty = replace(right.registration.target, path="</style><script>alert(1)</script>.tif")
    registration = replace(right.registration, target=nasty, reason="a < b & c")
    write_quality(registration, right.ref, right.tgt, tmp_path / "q.html", size=200)
    text = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "alert(1)</script>" not in text
    assert "a < b & c" in Page(text).text


def test_what_cannot_be_done_is_said_and_leaves_nothing(right: Case, tmp_path: Path) -> None:
    def attempt(path: Path, ref: Path = right.ref, **options: Any) -> None:
        write_quality(right.registration, ref, right.tgt, path, **options)

    with pytest.raises(ConfigError, match=r"is no \.html or \.json"):
        attempt(tmp_path / "q.pdf")
    with pytest.raises(ConfigError, match="too small for pictures"):
        attempt(tmp_path / "q.html", size=10)
    with pytest.raises(InputError, match="no such file"):
        attempt(tmp_path / "q.html", ref=tmp_path / "gone.tif")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "q.json").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        attempt(tmp_path / "q.json")
    assert (tmp_path / "q.json").read_text() == "mine"
    attempt(tmp_path / "q.json", overwrite=True, size=100)
    assert json.loads((tmp_path / "q.json").read_text())["status"] == "ok"
