from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import imatch
from imatch.core.errors import ConfigError, InputError, OutputError
from imatch.core.io.tables import write_rows
from imatch.export.quality.views import ViewFrame, ViewPair
from imatch.export.viewer.layers import QUALITY, TILE, LayerImage, fitted, painters
from imatch.export.viewer.sharp import sharp_tiles
from imatch.export.viewer.views import batch_document, pair_document
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.pair.match import images_of
from imatch.pipeline.registration.result import Registration
from imatch.raster import open_source

FOLDER = Path(__file__).parents[3] / "data" / "sample"
SAMPLE = FOLDER / "bouconne_2018-08.tif", FOLDER / "bouconne_2018-11.tif"


@pytest.fixture(scope="module")
def found() -> Registration:
    return imatch.match(*SAMPLE)


def image(width: int, height: int, *, step: float = 1.0) -> LayerImage:
    """Noise, without ground in its left upper corner."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    valid = np.ones((height, width), dtype=bool)
    valid[:10, :10] = False
    return LayerImage(ViewFrame(100.0, 50.0, step, width, height), pixels, valid)


def decoded(tile: dict[str, Any]) -> Any:
    data = np.frombuffer(base64.b64decode(tile["src"].partition(",")[2]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


class TestLayers:
    def test_tiles_cover_the_image_once(self) -> None:
        tiles = image(TILE + 40, 30, step=2.5).tiles(QUALITY)
        assert [(t["x"], t["y"], t["w"], t["h"]) for t in tiles] == [
            (100, 50, 2.5 * TILE, 75),
            (100 + 2.5 * TILE, 50, 100, 75),
        ]
        first, second = map(decoded, tiles)
        assert (first.shape, second.shape) == ((30, TILE, 4), (30, 40, 3))
        assert first[2, 2, 3] == 0
        assert first[20, 20, 3] == 255

    def test_a_tile_without_ground_is_left_out(self) -> None:
        blank = image(TILE + 8, 20)
        blank.valid[:, TILE:] = False
        assert len(blank.tiles(QUALITY)) == 1

    @pytest.mark.parametrize("budget", [200_000, 30_000, 8_000])
    def test_layers_fit_and_keep_their_ground(self, budget: int) -> None:
        images = [image(700, 500), image(350, 250, step=2.0)]
        layers = fitted(images, budget)
        assert sum(len(t["src"]) for layer in layers for t in layer["tiles"]) <= budget
        assert layers[1]["step"] == pytest.approx(2 * layers[0]["step"])
        for layer in layers:
            right = max(t["x"] + t["w"] for t in layer["tiles"])
            bottom = max(t["y"] + t["h"] for t in layer["tiles"])
            assert 0 <= 800 - right < layer["step"]
            assert 0 <= 550 - bottom < layer["step"]

    def test_quality_goes_before_pixels(self) -> None:
        sizes = []
        for budget in (10**9, 300_000, 250_000, 150_000):
            (layer,) = fitted([image(700, 500)], budget)
            sizes.append((layer["step"], sum(len(tile["src"]) for tile in layer["tiles"])))
        assert [step for step, _ in sizes[:3]] == [1, 1, 1]
        assert sizes[3][0] > 1
        assert len({size for _, size in sizes}) == 4

    def test_less_than_nothing_gives_the_smallest_there_is(self) -> None:
        (layer,) = fitted([image(300, 300)], 10)
        assert layer["tiles"]


class TestSharpTiles:
    @pytest.fixture(autouse=True)
    def small_tiles(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The sample is no larger than one tile."""
        monkeypatch.setattr("imatch.export.viewer.sharp.SIDE", 64)

    def tiles(self, found: Registration, budget: int) -> dict[str, Any] | None:
        pair = ViewPair(found, *images_of(found, *SAMPLE))
        paint = painters(pair)
        return sharp_tiles(paint, pair.overlap(200), found.tie_points, budget)

    def test_a_large_budget_takes_everything(self, found: Registration) -> None:
        sharp = self.tiles(found, 10**9)
        assert sharp is not None
        assert (sharp["whole"], sharp["share"]) == (True, 1)
        width, height = found.reference.width, found.reference.height
        cells = {f"{x},{y}" for x in range(-(-width // 64)) for y in range(-(-height // 64))}
        assert set(sharp["reference"]) == cells
        # A tile is the file at its own resolution, where the page says that it lies.
        tile = decoded({"src": sharp["reference"]["1,0"]})
        file = open_source(SAMPLE[0], bands=found.reference.bands).read().pixels[0]

        def likeness(dx: int, dy: int) -> float:
            true = file[10 + dy : 50 + dy, 74 + dx : 114 + dx]
            return float(np.corrcoef(tile[10:50, 10:50, 2].ravel(), true.ravel())[0, 1])

        shifts = {(dx, dy): likeness(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}
        assert max(shifts, key=lambda shift: shifts[shift]) == (0, 0)

    def test_a_small_one_takes_the_worst_points_with_their_surroundings(
        self, found: Registration
    ) -> None:
        sharp = self.tiles(found, 20_000)
        assert sharp is not None
        assert not sharp["whole"]
        assert (
            sum(len(t) for name in ("reference", "target", "before") for t in sharp[name].values())
            <= 20_000
        )
        points = found.tie_points
        worst = int(np.where(points.inlier, points.residual_px, 0).argmax())
        x, y = (points.ref_xy[worst] // 64).astype(int)
        assert f"{x},{y}" in sharp["reference"]
        assert set(sharp["reference"]) == set(sharp["target"])

    def test_nothing_fits_into_nothing(self, found: Registration) -> None:
        assert self.tiles(found, 10) is None


class TestDocuments:
    def test_points_and_pictures_of_a_pair(self, found: Registration) -> None:
        document = pair_document(found, 3_000_000)
        (view,) = document["views"]
        layers = [document["layers"][view[name]] for name in ("reference", "target", "before")]
        assert [layer["step"] for layer in layers] == [1.0, 1.0, 1.0]
        assert "sharp" not in view
        points = view["points"]
        np.testing.assert_allclose(points["tgt_x"], found.tie_points.tgt_xy[:, 0], atol=6e-4)
        assert points["scale"] == pytest.approx(1.0, abs=0.01)
        assert json.loads(json.dumps(document, allow_nan=False)) == document

    def test_a_refusal_is_shown_as_it_came(self) -> None:
        rng = np.random.default_rng(0)
        one, other = rng.random((2, 90, 90))
        failed = imatch.match(one, other, matcher="sift")
        (view,) = pair_document(failed, 900_000, one, other)["views"]
        assert failed.status == "failed"
        assert "target" not in view
        assert view["before"] == 1

    def test_a_refusal_of_large_images_is_sharp_in_places(self) -> None:
        rng = np.random.default_rng(0)
        one, other = rng.random((2, 600, 600))
        failed = imatch.match(one, other, matcher="sift", size=128)
        shares: list[float] = []
        document = pair_document(failed, 250_000, one, other, shares.append)
        (view,) = document["views"]
        assert len(shares) == 1 + len(view["sharp"]["reference"])
        assert 0.5 < sum(shares) <= 1
        assert document["layers"][0]["step"] > 1
        assert set(view["sharp"]["reference"]) == set(view["sharp"]["before"]) != set()
        assert not view["sharp"]["whole"]

    def test_of_a_batch_without_its_images_the_table_stays(self, tmp_path: Path) -> None:
        pair = tmp_path / SAMPLE[0].name, tmp_path / SAMPLE[1].name
        for path, copy in zip(SAMPLE, pair, strict=True):
            copy.write_bytes(path.read_bytes())
        found = imatch.match(*pair, matcher="phase")
        (tmp_path / "run" / "results").mkdir(parents=True)
        found.save(tmp_path / "run" / "results" / "one.json")
        row = BatchResult.of(BatchPair("one", str(pair[0]), str(pair[1])), found)
        write_rows(tmp_path / "run" / "results.csv", BatchResult, [row])
        pair[0].unlink()
        document = batch_document(tmp_path / "run", 900_000)
        assert "bouconne_2018-08.tif" in document["views"][0]["note"]
        assert document["table"]["rows"][0][1] == document["views"][0]["status"]


class TestFunction:
    def test_the_page_lies_beside_the_result(self, found: Registration, tmp_path: Path) -> None:
        found.save(tmp_path / "r.json")
        page = imatch.view(tmp_path / "r.json")
        assert page == tmp_path / "r_view.html"
        text = page.read_text()
        assert text.count("<script") == 2
        assert "http" not in text.replace("http://www.w3.org", "")
        with pytest.raises(OutputError, match="exists"):
            imatch.view(tmp_path / "r.json")
        imatch.view(tmp_path / "r.json", overwrite=True)

    def test_arrays_are_given(self, tmp_path: Path) -> None:
        ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        one, other = ground[:, :280], ground[:, 20:300]
        found = imatch.match(one, other, matcher="sift")
        with pytest.raises(InputError, match="was an array"):
            imatch.view(found, tmp_path / "a.html")
        assert not (tmp_path / "a.html").exists()
        assert imatch.view(found, tmp_path / "a.html", ref=one, tgt=other).stat().st_size > 9999

    @pytest.mark.parametrize(("display", "opened"), [(":0", 1), ("", 0)])
    def test_it_opens_where_there_is_a_display(
        self,
        found: Registration,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        display: str,
        opened: int,
    ) -> None:
        calls: list[str] = []
        monkeypatch.setattr("webbrowser.open", calls.append)
        monkeypatch.setattr("sys.platform", "linux")
        monkeypatch.setenv("DISPLAY", display)
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        page = imatch.view(found, tmp_path / "a.html", max_bytes=300_000, open_page=True)
        assert calls == [page.as_uri()] * opened

    def test_what_cannot_be_shown_is_told(self, found: Registration, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            imatch.view(tmp_path / "none.json")
        with pytest.raises(InputError, match=r"neither results\.csv of a batch nor stack\.json"):
            imatch.view(tmp_path, tmp_path / "a.html")
        with pytest.raises(ConfigError, match=r"is no \.html"):
            imatch.view(found, tmp_path / "a.txt")
        with pytest.raises(ConfigError, match="too little"):
            imatch.view(found, tmp_path / "a.html", max_bytes=9)
        (tmp_path / "stack.json").write_text('{"images": 3}')
        with pytest.raises(InputError, match="no document of a stack"):
            imatch.view(tmp_path, tmp_path / "a.html")
        assert not list(tmp_path.glob("*.html"))
