from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from numpy.typing import NDArray

from imatch.cli.registration.register import register
from imatch.pipeline.scene.config import SceneConfig

Run = Callable[..., Result]
WriteImage = Callable[..., Path]
Pair = tuple[Path, Path]
FAST = ("-m", "phase", "--local", "none", "--jobs", 1)


def shown(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as image:
        return np.asarray(image.read(1))


def test_the_target_is_laid_on_the_reference(run: Run, pair: Pair, tmp_path: Path) -> None:
    ref, tgt = pair
    out, document = tmp_path / "out.tif", tmp_path / "result.json"
    result = run("register", ref, tgt, out, "-o", document, *FAST)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("ok")
    assert f"wrote {out} (256x256 pixels, cubic)" in result.stderr
    with rasterio.open(ref) as first, rasterio.open(out) as second:
        assert second.transform == first.transform
        assert second.crs == first.crs
        assert second.dtypes == first.dtypes
    inner = np.s_[20:-20, 20:-20]
    missed = shown(out)[inner].astype(float) - shown(ref)[inner]
    # The same ground again, but for what interpolation takes.
    assert np.abs(missed).mean() < 0.05 * shown(ref)[inner].std()
    assert json.loads(document.read_text())["provenance"]["scene"]["levels"]
    assert list(tmp_path.glob(".out.tif*")) == []


def test_json_on_stdout_is_the_whole_document(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = run("register", *pair, tmp_path / "out.tif", "--format", "json", "-q", *FAST)
    document = json.loads(result.stdout)
    assert document["status"] == "ok"
    assert document["local"] is None
    assert result.stderr == ""


def test_the_geocoding_alone_is_corrected(run: Run, pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    result = run("register", *pair, out, "--geotransform-only", "--model", "translation", *FAST)
    assert result.exit_code == 0, result.stderr
    np.testing.assert_array_equal(shown(out), shown(pair[1]))
    with rasterio.open(out) as image:
        assert image.transform.c == pytest.approx(356_000, abs=1.0)


def test_a_grid_of_one_s_own(run: Run, pair: Pair, tmp_path: Path) -> None:
    out = tmp_path / "out.tif"
    bounds = (356_500, 4_833_000, 357_500, 4_834_000)
    result = run("register", *pair, out, "--res", 20, "--bounds", *bounds, "--cog", *FAST)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as image:
        assert tuple(image.bounds) == bounds
        assert image.res == (20, 20)


class TestRefusal:
    @pytest.fixture
    def unrelated(self, write_image: WriteImage, pair: Pair) -> Pair:
        rng = np.random.default_rng(5)
        pixels = cv2.resize(rng.random((64, 64)), (256, 256))
        return pair[0], write_image("other.tif", (3000 * pixels).astype(np.uint16))

    def test_nothing_is_written(self, run: Run, unrelated: Pair, tmp_path: Path) -> None:
        out, document = tmp_path / "out.tif", tmp_path / "result.json"
        result = run("register", *unrelated, out, "-o", document, *FAST)
        assert result.exit_code == 3
        assert not out.exists()
        assert f"not written: {out}" in result.stderr
        # The refusal itself is a result.
        assert json.loads(document.read_text())["status"] != "ok"

    def test_a_tolerance_that_is_not_met(self, run: Run, pair: Pair, tmp_path: Path) -> None:
        out = tmp_path / "out.tif"
        strict = ("--tolerance", "0.0001px")
        result = run("register", *pair, out, *strict, *FAST)
        assert result.exit_code == 3
        assert "tolerance not met" in result.stderr
        assert not out.exists()
        forced = run("register", *pair, out, *strict, "--force", *FAST)
        assert forced.exit_code == 3
        assert out.exists()


class TestPlaces:
    def test_an_output_that_exists(self, run: Run, pair: Pair, tmp_path: Path) -> None:
        out = tmp_path / "out.tif"
        out.write_text("old")
        result = run("register", *pair, out, *FAST)
        assert result.exit_code == 1
        assert "already exists; pass --overwrite" in result.stderr
        assert out.read_text() == "old"
        assert run("register", *pair, out, "--overwrite", *FAST).exit_code == 0

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (("out.png",), "out.png: is no .tif"),
            (("ref.tif", "--overwrite"), "is also an input"),
            (("out.tif", "--report", "out.pdf"), "out.pdf: is no .html or .json"),
            (("out.tif", "--report", "r.json", "-o", "r.json"), "is named twice as output"),
            (("absent/out.tif",), "its folder does not exist"),
            (("out.tif", "--geotransform-only", "--res", "20"), "--res has no meaning"),
            (("out.tif", "--plot", "plot.pdf"), "--plot draws a .png"),
        ],
    )
    def test_what_cannot_be_written_is_told_at_once(
        self,
        run: Run,
        pair: Pair,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        said: str,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = run("register", *pair, *options)
        assert result.exit_code in (1, 2)
        assert said in result.stderr

    def test_a_folder_of_rasters(self, run: Run, pair: Pair, tmp_path: Path) -> None:
        result = run("register", pair[0], tmp_path, tmp_path / "out.tif")
        assert result.exit_code == 2
        assert "folder of many rasters" in result.stderr


class TestInterruption:
    @pytest.fixture
    def interrupted(
        self, run: Run, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Path, Path]:
        """An output whose run broke off after its tiles, and the state that was kept."""
        out = tmp_path / "out.tif"

        def interrupt(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("imatch.pipeline.scene.register.fit_scene", interrupt)
            result = run("register", *pair, out, *FAST)
        assert result.exit_code == 130
        state = tmp_path / ".out.tif.imatch"
        assert f"finished tiles are kept in {state}" in result.stderr
        assert "--resume" in result.stderr
        return out, state

    def test_it_goes_on(self, run: Run, pair: Pair, interrupted: tuple[Path, Path]) -> None:
        out, state = interrupted
        before = (state / "tiles.jsonl").read_bytes()
        assert before
        refused = run("register", *pair, out, *FAST)
        assert refused.exit_code == 1
        assert "an earlier run was interrupted; pass --resume" in refused.stderr
        assert (state / "tiles.jsonl").read_bytes() == before
        resumed = run("register", *pair, out, "--resume", *FAST)
        assert resumed.exit_code == 0, resumed.stderr
        assert out.exists()
        assert not state.exists()

    def test_other_options_cannot_go_on(
        self, run: Run, pair: Pair, interrupted: tuple[Path, Path]
    ) -> None:
        out, state = interrupted
        result = run("register", *pair, out, "--resume", *FAST, "--spacing", 50)
        assert result.exit_code == 2
        assert "cannot resume: spacing was None and is 50.0" in result.stderr
        assert state.exists()
        assert run("register", *pair, out, "--overwrite", *FAST).exit_code == 0
        assert not state.exists()


def test_a_raster_that_cannot_be_written_keeps_the_tiles(
    run: Run, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imatch.core.errors import OutputError

    def full(*_: object, **__: object) -> None:
        raise OutputError("no space left on device", subject="out.tif")

    out = tmp_path / "out.tif"
    with monkeypatch.context() as patch:
        patch.setattr("imatch.workflows.register.apply_raster", full)
        result = run("register", *pair, out, *FAST)
    assert result.exit_code == 1
    assert "no space left on device" in result.stderr
    assert run("register", *pair, out, "--resume", *FAST).exit_code == 0


def test_a_missing_file_leaves_no_state(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = run("register", pair[0], tmp_path / "absent.tif", tmp_path / "out.tif", *FAST)
    assert result.exit_code == 1
    assert "no such file" in result.stderr
    assert list(tmp_path.glob(".*")) == []


def test_the_report_shows_the_evidence(run: Run, pair: Pair, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    result = run("register", *pair, tmp_path / "out.tif", "--report", report, *FAST)
    assert result.exit_code == 0, result.stderr
    assert f"wrote {report}" in result.stderr
    assert report.read_text().lstrip().lower().startswith("<!doctype html")


def test_options_and_settings_are_the_same_thing() -> None:
    choices = {param.name: getattr(param.type, "choices", ()) for param in register.params}
    assert get_args(SceneConfig.model_fields["local"].annotation) == tuple(choices["local"])
    options = {option for parameter in register.params for option in parameter.opts}
    assert {"--local", "--spacing", "--matcher", "--tolerance", "--jobs"} <= options


LOCAL_GRID = 'LOCAL_CS["site",UNIT["metre",1]]'


@pytest.mark.parametrize("crs", [None, LOCAL_GRID])
def test_a_local_grid_is_kept(
    run: Run, tmp_path: Path, write_image: Any, ground: Any, crs: str | None
) -> None:
    """A world file has no CRS, and a survey's own is none of the Earth's."""
    place = Affine(0.5, 0, 1000, 0, -0.5, 2000)
    ref = write_image("a.tif", ground[:256, :256], crs=crs, transform=place)
    tgt = write_image("b.tif", ground[5:261, 7:263], crs=crs, transform=place)
    out = tmp_path / "out.tif"
    assert run("register", ref, tgt, out, *FAST).exit_code == 0
    with rasterio.open(out) as dataset, rasterio.open(ref) as before:
        assert (dataset.transform, dataset.crs) == (before.transform, before.crs)
        inner = np.s_[8:-8, 8:-8]
        apart = dataset.read(1)[inner].astype(float) - before.read(1)[inner]
        assert np.sqrt((apart**2).mean()) < 0.2 * before.read(1).std()
    bounds = ["--res", 1, "--bounds", 1020, 1900, 1080, 1950, "--overwrite"]
    assert run("register", ref, tgt, out, *bounds, *FAST).exit_code == 0
    with rasterio.open(out) as dataset:
        assert (dataset.crs is None) == (crs is None)
        assert dataset.transform == Affine(1, 0, 1020, 0, -1, 1950)
        assert dataset.shape == (50, 60)
    in_place = ["--geotransform-only", "--overwrite"]
    result = run("register", ref, tgt, out, *in_place, *FAST)
    assert result.exit_code == 0, result.stderr
    with rasterio.open(out) as dataset, rasterio.open(tgt) as target:
        assert (dataset.crs is None) == (crs is None)
        assert (dataset.transform.c, dataset.transform.f) == pytest.approx(
            (1003.5, 1997.5), abs=0.1
        )
        np.testing.assert_array_equal(dataset.read(1), target.read(1))


def test_a_reference_of_bare_pixels_has_no_geotransform_to_give(
    run: Run, tmp_path: Path, ground: Any
) -> None:
    paths = tmp_path / "a.png", tmp_path / "b.png"
    for path in paths:
        cv2.imwrite(str(path), (ground[:256, :256] // 16).astype(np.uint8))
    out = tmp_path / "out.tif"
    result = run("register", *paths, out, "--geotransform-only", *FAST)
    assert result.exit_code == 1
    assert "a.png: the reference is not geocoded" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_an_answer_that_is_not_near_enough_is_applied_by_force_only(
    run: Run, pair: Pair, tmp_path: Path
) -> None:
    out, document = tmp_path / "out.tif", tmp_path / "result.json"
    strict = ("--tolerance", "0.000001px")
    assert run("register", *pair, out, "-o", document, *strict, *FAST).exit_code == 3
    assert not out.exists()
    folder = tmp_path / "applied"
    done = run("apply", document, pair[1], "-o", folder)
    assert done.exit_code == 3
    assert "is not to be applied, tolerance not met" in done.stderr
    assert not folder.exists()
    assert run("apply", document, pair[1], "-o", folder, "--force").exit_code == 0
    assert (folder / pair[1].name).exists()


def test_a_target_that_changes_before_it_is_written_is_not_written(
    run: Run, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imatch.raster.warp.warp import warp_file

    content = pair[0].read_bytes()

    def late(*arguments: Any, **options: Any) -> None:
        pair[1].write_bytes(content)
        warp_file(*arguments, **options)

    monkeypatch.setattr("imatch.pipeline.apply.raster.warp_file", late)
    out = tmp_path / "out.tif"
    result = run("register", *pair, out, *FAST)
    assert result.exit_code == 1
    assert f"{pair[1]}: has changed while it was read" in result.stderr
    assert not out.exists()


class TestRelief:
    def test_a_report_holds_residuals_against_heights(
        self, run: Run, pair: Pair, write_image: WriteImage, tmp_path: Path
    ) -> None:
        rows, columns = np.indices((90, 90), dtype=np.float32)
        heights = 300 + 200 * np.sin(rows / 9) * np.cos(columns / 7)
        dem = write_image("dem.tif", heights, transform=Affine(30, 0, 356_000, 0, -30, 4_835_000))
        report, moved = tmp_path / "report.json", tmp_path / "dxdy.tif"
        result = run(
            "register", *pair, tmp_path / "out.tif", "--dem", dem, "--report", report,
            "--displacement", moved, *FAST,
        )  # fmt: skip
        assert result.exit_code == 0, result.stderr
        assert f"wrote {moved}" in result.stderr
        relief = json.loads(report.read_text())["relief"]
        assert relief["dem"] == str(dem)
        assert relief["relief_explains"] is False
        with rasterio.open(moved) as dataset:
            np.testing.assert_allclose(dataset.read(1, masked=True).mean(), 30, atol=0.5)

    def test_heights_that_are_missing_are_told_before_the_work(
        self, run: Run, pair: Pair, tmp_path: Path
    ) -> None:
        report = tmp_path / "r.html"
        result = run(
            "register", *pair, tmp_path / "out.tif", "--dem", "none.tif", "--report", report, *FAST
        )
        assert result.exit_code == 1
        assert result.stderr.startswith("imatch: error: none.tif: ")
        assert result.stderr.count("\n") == 1
        assert not list(tmp_path.glob("out.tif*"))
