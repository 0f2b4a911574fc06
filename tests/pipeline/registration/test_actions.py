from __future__ import annotations

import pickle
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import geopandas
import matplotlib.pyplot as plt
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from shapely import Point

import imatch
from imatch.export.formats import FORMATS
from imatch.pipeline.pair.restored import restored_preview
from imatch.pipeline.registration.actions import WORK, Actions

SHIFT = (12, -7)
PLACE = Affine(10, 0, 500_000, 0, -10, 4_800_000)


@pytest.fixture(scope="module")
def ground() -> NDArray[np.uint16]:
    """Fields of 320 x 300 pixels."""
    coarse = np.random.default_rng(3).random((30, 32))
    return (cv2.resize(coarse, (320, 300), interpolation=cv2.INTER_CUBIC) * 4000 + 1000).astype(
        np.uint16
    )


@pytest.fixture(scope="module")
def files(ground: NDArray[np.uint16], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two geocoded files of one ground, the target's geocoding off by `SHIFT` pixels."""
    folder = tmp_path_factory.mktemp("files")
    x, y = SHIFT
    views = {
        "ref.tif": (ground[20:260, 20:260], PLACE),
        "tgt.tif": (ground[20 + y : 260 + y, 20 + x : 260 + x], PLACE),
    }
    for name, (pixels, transform) in views.items():
        with rasterio.open(
            folder / name,
            "w",
            driver="GTiff",
            width=240,
            height=240,
            count=1,
            dtype="uint16",
            crs="EPSG:32631",
            transform=transform,
        ) as dataset:
            dataset.write(pixels[None])
    return tuple(folder / name for name in views)


@pytest.fixture(scope="module")
def found(files: tuple[Path, ...]) -> imatch.Registration:
    registration = imatch.match(files[0], files[1], matcher="sift")
    assert registration.status == "ok", registration.reason
    return registration


def test_what_does_the_work_is_there_and_stands_in_a_room_above() -> None:
    for name, target in WORK.items():
        assert callable(getattr(Actions, name))
        module, _, function = target.partition(":")
        assert callable(getattr(import_module(module), function))


def test_it_is_printed_on_one_screen(found: imatch.Registration) -> None:
    lines = repr(found).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert lines[0].startswith("Registration: ok, ")
    (shift,) = [line for line in lines if line.startswith("  shift")]
    assert " px (" in shift
    assert shift.count("±") == 2
    assert any("within" in line and "at 95%" in line for line in lines)


def test_a_long_reason_is_wrapped(found: imatch.Registration) -> None:
    lines = repr(replace(found, reason="so many words " * 20)).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("  so many" if lines[1][2] == "s" else "  ")


def test_notebooks_show_a_table_and_a_small_picture(found: imatch.Registration) -> None:
    page = found._repr_html_()
    assert ">ok<" in page
    assert "±" in page
    assert " px (" in page
    assert "certificate" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert len(page) < 60_000
    odd = replace(found, reason="<b>a & b</b>", preview=None)
    assert "&lt;b&gt;a &amp; b&lt;/b&gt;" in odd._repr_html_()
    assert "<img" not in odd._repr_html_()


@pytest.mark.parametrize("suffix", FORMATS)
def test_it_is_saved_in_every_format(
    found: imatch.Registration, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"result{suffix}"
    found.save(str(path))
    assert path.stat().st_size > 0
    with pytest.raises(imatch.ImatchError, match="already exists"):
        found.save(path)
    found.save(path, overwrite=True)


def test_it_is_loaded_again(found: imatch.Registration, tmp_path: Path) -> None:
    found.save(tmp_path / "result.json")
    for back in (
        imatch.Registration.load(tmp_path / "result.json"),
        imatch.read_registration(str(tmp_path / "result.json")),
    ):
        assert back.to_dict() == found.to_dict()
        assert repr(back) == repr(found)
    with pytest.raises(imatch.ImatchError, match="unknown format"):
        found.save(tmp_path / "result.xyz")


def test_pickles_keep_all_of_it(found: imatch.Registration) -> None:
    back = pickle.loads(pickle.dumps(found))  # noqa: S301 - it is our own.
    assert back.to_dict() == found.to_dict()
    assert back.preview is not None
    assert found.preview is not None
    np.testing.assert_array_equal(back.preview.tgt, found.preview.tgt)


def test_a_newer_schema_says_what_to_do(found: imatch.Registration) -> None:
    newer = {**found.to_dict(), "schema": "imatch.registration/2"}
    with pytest.raises(imatch.ImatchError, match="of a newer imatch: pip install --upgrade"):
        imatch.Registration.from_dict(newer)


@pytest.mark.parametrize("panel", ["matches", "before", "after", "residuals"])
def test_a_panel_is_drawn_into_given_axes(found: imatch.Registration, panel: Any) -> None:
    figure, axes = plt.subplots()
    try:
        assert found.plot(axes, panel=panel) is figure
        assert axes.images or axes.collections
    finally:
        plt.close(figure)


def test_all_panels_are_drawn_where_no_axes_are_given(found: imatch.Registration) -> None:
    figure = found.plot()
    assert len(figure.axes) == 4
    assert plt.get_fignums() == []
    assert figure._repr_png_()[:4] == b"\x89PNG"  # type: ignore[attr-defined]
    with pytest.raises(imatch.ImatchError, match="panels are matches, before, after, residuals"):
        found.plot(figure.axes[0], panel="all")  # type: ignore[arg-type]


def test_what_was_read_back_is_drawn_from_its_images(
    found: imatch.Registration, tmp_path: Path
) -> None:
    found.save(tmp_path / "result.json")
    back = imatch.read_registration(tmp_path / "result.json")
    assert back.preview is None
    again, first = restored_preview(back), found.preview
    assert first is not None
    np.testing.assert_array_equal(again.ref, first.ref)
    np.testing.assert_array_equal(again.tgt_valid, first.tgt_valid)
    np.testing.assert_allclose(again.tgt_xy, first.tgt_xy, atol=1e-6)
    assert again.matrix is not None
    assert first.matrix is not None
    np.testing.assert_allclose(again.matrix, first.matrix, atol=1e-4)
    assert len(back.plot().axes) == 4
    elsewhere = replace(back, target=replace(back.target, path=str(tmp_path / "gone.tif")))
    with pytest.raises(imatch.ImatchError, match="holds no images to draw"):
        elsewhere.plot()


def test_the_evidence_is_written_from_the_files_or_from_what_is_given(
    found: imatch.Registration, ground: NDArray[np.uint16], tmp_path: Path
) -> None:
    found.report(tmp_path / "report.html")
    assert "<html" in (tmp_path / "report.html").read_text()
    ref, tgt = ground[20:260, 20:260], ground[13:253, 32:272]
    arrays = imatch.match(ref, tgt, matcher="sift")
    with pytest.raises(imatch.ImatchError, match="ref: was an array"):
        arrays.report(tmp_path / "figures.json")
    arrays.report(tmp_path / "figures.json", ref=ref, tgt=tgt)
    assert "imatch.quality/1" in (tmp_path / "figures.json").read_text()


def test_it_is_applied_to_one_file(
    found: imatch.Registration, files: tuple[Path, ...], tmp_path: Path
) -> None:
    told: list[tuple[str, float]] = []
    out = found.apply(
        files[1],
        tmp_path / "moved.tif",
        cog=True,
        progress=lambda label, done, _total: told.append((label, done)),
    )
    assert out == tmp_path / "moved.tif"
    assert {label for label, _ in told} == {"tgt.tif"}
    assert told[-1][1] == pytest.approx(100)
    with rasterio.open(out) as moved, rasterio.open(files[0]) as reference:
        assert moved.transform == reference.transform
        inner = np.s_[30:210, 30:210]
        np.testing.assert_allclose(moved.read(1)[inner], reference.read(1)[inner], atol=60)
    assert found.apply(files[1], tmp_path) == tmp_path / "tgt.tif"
    only = found.apply(files[1], tmp_path / "place.tif", geotransform_only=True)
    with rasterio.open(only) as placed:
        assert placed.transform.c == pytest.approx(PLACE.c + 10 * SHIFT[0], abs=0.5)
    fields = geopandas.GeoDataFrame(geometry=[Point(501_000, 4_799_000)], crs="EPSG:32631")
    fields.to_file(tmp_path / "fields.gpkg")
    corrected = geopandas.read_file(
        found.apply(tmp_path / "fields.gpkg", tmp_path / "corrected.geojson")
    )
    assert corrected.geometry[0].x != 501_000
    with pytest.raises(imatch.ImatchError, match="already exists"):
        found.apply(files[1], tmp_path / "moved.tif")
    with pytest.raises(imatch.ImatchError, match="pass force=True"):
        replace(found, status="uncertain").apply(files[1], tmp_path / "b.tif")


def test_tie_points_are_a_geodataframe(found: imatch.Registration, tmp_path: Path) -> None:
    frame = found.to_geodataframe()
    assert len(frame) == len(found.tie_points)
    assert frame.crs == "EPSG:32631"
    assert frame["inlier"].sum() == found.n_inliers
    found.save(tmp_path / "points.gpkg")
    written = geopandas.read_file(tmp_path / "points.gpkg", layer="tie_points")
    assert list(written.columns) == list(frame.columns)


class TestWarp:
    """Arrays of the target, laid on the reference."""

    def test_it_lies_on_the_reference(
        self, found: imatch.Registration, files: tuple[Path, ...], tmp_path: Path
    ) -> None:
        with rasterio.open(files[1]) as dataset:
            pixels = dataset.read()
        warped = found.warp(pixels)
        assert isinstance(warped, np.ma.MaskedArray)
        assert (warped.shape, warped.dtype) == ((1, 240, 240), np.uint16)
        with rasterio.open(found.apply(files[1], tmp_path / "file.tif")) as dataset:
            written = dataset.read(masked=True)
        np.testing.assert_array_equal(warped.mask, written.mask)
        np.testing.assert_array_equal(warped.filled(0), written.filled(0))

    @pytest.mark.parametrize("shape", ["yx", "cyx", "yxc"])
    def test_bands_stay_where_they_are(self, found: imatch.Registration, shape: str) -> None:
        axes = {"yx": (240, 240), "cyx": (3, 240, 240), "yxc": (240, 240, 3)}
        pixels = np.full(axes[shape], 7.5)
        warped = found.warp(pixels)
        assert warped.shape == pixels.shape
        assert warped.dtype == np.float64
        assert np.isnan(warped).any()
        np.testing.assert_allclose(warped[~np.isnan(warped)], 7.5)

    def test_missing_ground_is_marked_as_asked(self, found: imatch.Registration) -> None:
        pixels = np.full((240, 240), 9, np.int16)
        pixels[100:110, 100:110] = -1
        warped = found.warp(pixels, nodata=-1)
        assert not isinstance(warped, np.ma.MaskedArray)
        assert set(np.unique(warped)) == {-1, 9}
        masked = found.warp(np.ma.masked_equal(pixels, -1))
        np.testing.assert_array_equal(masked.mask, warped == -1)
        # What is masked costs no value: 0 stays 0.
        assert (found.warp(np.zeros((240, 240), np.uint8)) == 0).all()

    def test_what_cannot_be_warped_is_refused(self, found: imatch.Registration) -> None:
        with pytest.raises(imatch.ImatchError, match="has 9x8 pixels, the target 240x240"):
            found.warp(np.zeros((8, 9)))
        with pytest.raises(imatch.ImatchError, match="holds complex"):
            found.warp(np.zeros((240, 240), complex))
        with pytest.raises(imatch.ImatchError, match="is no resampling: nearby"):
            found.warp(np.zeros((240, 240)), resampling="nearby")  # type: ignore[arg-type]
        with pytest.raises(imatch.ImatchError, match="not to be applied"):
            replace(found, status="uncertain").warp(np.zeros((240, 240)))
