from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

import imatch
from imatch.core.errors import ConfigError, OutputError
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.pipeline.apply import displacement as module
from imatch.pipeline.apply.displacement import write_displacement
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints
from imatch.raster import open_source
from tests.support.geotiffs import ORIGIN, textured, write_geotiff

SIDE = 160
NONE = TiePoints(
    np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0, bool), np.zeros(0, bool),
    np.zeros((0, 2)), np.zeros(0),
)  # fmt: skip


def made(folder: Path, *, place: Affine = ORIGIN, crs: str = "EPSG:32631") -> Registration:
    """A shift, a turn and a smooth bend; the target has no ground in its first columns."""
    pixels = textured(SIDE)
    write_geotiff(folder / "ref.tif", pixels, transform=place, crs=crs)
    pixels[:, :20] = 0
    write_geotiff(folder / "tgt.tif", pixels, transform=place, crs=crs, nodata=0)
    unit = abs(place.a)
    middle = np.array(place @ (SIDE / 2, SIDE / 2))
    matrix = np.array([[1, 1e-3, 0], [-1e-3, 1, 0], [0, 0, 1.0]])
    matrix[:2, 2] = middle - matrix[:2, :2] @ middle + (2 * unit, -unit)
    rng = np.random.default_rng(0)
    step = 40 * unit
    field = DisplacementGrid(
        "spline", tuple(middle - 5 * step), (step, step), rng.normal(0, 0.3 * unit, (11, 11, 2))
    )
    ref, tgt = (
        ImageSummary(
            str(folder / f"{name}.tif"), SIDE, SIDE, ("1",), crs, tuple(place)[:6], (10.0, 10.0)
        )
        for name in ("ref", "tgt")
    )
    return Registration(
        "ok", "made", ref, tgt, "test", 1.0, NONE, Transform("affine", np.eye(3)), matrix,
        local=field, certificate=Certificate(corner_ci95_m=4.5),
    )  # fmt: skip


def written(found: Registration, folder: Path) -> tuple[np.ma.MaskedArray, rasterio.DatasetReader]:
    sources = open_source(folder / "ref.tif"), open_source(folder / "tgt.tif")
    write_displacement(found, *sources, folder / "dxdy.tif")
    with rasterio.open(folder / "dxdy.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.units == ("m", "m", "m")
        return dataset.read(masked=True), dataset


def expected(found: Registration, xy: tuple[float, float]) -> np.ndarray:
    """Map units by which the correction moves the ground of a reference pixel."""
    assert found.map_matrix is not None
    true = found.reference.to_own(np.array([xy]))
    moved = Transform("affine", found.map_matrix, found.local).apply(true)
    return np.asarray((moved - true)[0])


def test_it_is_what_the_registration_moves_in_metres(tmp_path: Path) -> None:
    found = made(tmp_path)
    values, dataset = written(found, tmp_path)
    assert dataset.transform == ORIGIN
    for x, y in ((40, 30), (100, 140), (150, 8)):
        np.testing.assert_allclose(values[:2, y, x], expected(found, (x, y)), atol=1e-3)
    assert np.ptp(values[0].compressed()) > 5
    np.testing.assert_allclose(values[2].compressed(), 4.5)


def test_its_mask_is_where_both_show_ground(tmp_path: Path) -> None:
    values, _ = written(made(tmp_path), tmp_path)
    mask = np.ma.getmaskarray(values)[0]
    # 2 pixels are what the shift moves.
    assert mask[:, :15].all()
    assert not mask[20:-20, 30:-20].any()


def test_degrees_become_metres_of_their_latitude(tmp_path: Path) -> None:
    found = made(tmp_path, place=Affine(1e-4, 0, 10, 0, -1e-4, 60.0), crs="EPSG:4326")
    values, _ = written(found, tmp_path)
    moved = expected(found, (100, 90))
    assert values[0, 90, 100] == pytest.approx(
        moved[0] * 111_412 * np.cos(np.radians(60)), rel=0.01
    )
    assert values[1, 90, 100] == pytest.approx(moved[1] * 111_412, rel=0.01)


def test_a_large_scene_is_written_coarser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST", 60)
    found = made(tmp_path)
    values, dataset = written(found, tmp_path)
    assert values.shape == (3, 54, 54)
    assert dataset.transform == ORIGIN @ Affine.scale(3)
    # The middle of three pixels.
    np.testing.assert_allclose(values[:2, 20, 30], expected(found, (91, 61)), atol=1e-3)


def test_nothing_is_left_of_what_cannot_be_written(tmp_path: Path) -> None:
    found = made(tmp_path)
    (tmp_path / "dxdy.tif").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        written(found, tmp_path)
    assert (tmp_path / "dxdy.tif").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dxdy.tif", "ref.tif", "tgt.tif"]


class TestRegister:
    def test_refusals_come_before_the_work(self, tmp_path: Path) -> None:
        made(tmp_path)
        pair = tmp_path / "ref.tif", tmp_path / "tgt.tif"
        with pytest.raises(ConfigError, match=r"dxdy\.png: is no \.tif"):
            imatch.register(*pair, displacement=tmp_path / "dxdy.png")
        with pytest.raises(ConfigError, match="two geocoded images only"):
            imatch.register(*pair, displacement=tmp_path / "d.tif", use_geocoding=False)
        with pytest.raises(OutputError, match="is also an input"):
            imatch.register(*pair, displacement=pair[0], overwrite=True)

    def test_it_is_written_of_an_accepted_registration_only(self, tmp_path: Path) -> None:
        made(tmp_path)
        noise = np.random.default_rng(1).integers(1, 999, (SIDE, SIDE)).astype(np.uint16)
        write_geotiff(tmp_path / "noise.tif", noise)
        out = tmp_path / "dxdy.tif"
        found = imatch.register(
            tmp_path / "ref.tif", tmp_path / "noise.tif", displacement=out, matcher="phase"
        )
        assert found.status != "ok"
        assert not out.exists()
        found = imatch.register(
            tmp_path / "ref.tif", tmp_path / "tgt.tif", displacement=out, matcher="phase", window=32
        )
        assert found.status == "ok"
        assert found.shift_m is not None
        with rasterio.open(out) as dataset:
            middle = dataset.read(masked=True).mean(axis=(1, 2))
        np.testing.assert_allclose(middle[:2], found.shift_m, atol=0.5)
        assert middle[2] == pytest.approx(found.certificate.corner_ci95_m)
