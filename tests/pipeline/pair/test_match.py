"""Files in, a registration out: every kind of input, refusal and record."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from shapely.geometry import box

import imatch
from imatch.core.errors import ConfigError, InputError, MatcherError
from imatch.pipeline.pair.match import match
from imatch.pipeline.registration.result import Registration
from imatch.raster import open_source

MakeScene = Callable[..., Any]
Register = Callable[..., Registration]

MISPLACED = (37.0, -12.0)
# What two dates cost SIFT on this ground, with room.
ERROR_PX = 0.05


def known(value: Any) -> NDArray[np.float64]:
    """A figure of a registration that must be there, as an array."""
    assert value is not None
    return np.asarray(value, dtype=np.float64)


class TestInputs:
    @pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
    def test_types(self, dtype: str, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif", noise=1, dtype=dtype)
        tgt = scene("tgt.tif", noise=2, dtype=dtype)
        r = register(ref, tgt)
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < ERROR_PX

    def test_each_file_is_opened_once(
        self, scene: MakeScene, register: Register, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Reading, what is asked of the pixels and the search for infrared bands share it."""
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2)
        names, genuine = list[str](), rasterio.open

        def counted(name: Any, *args: Any, **kwargs: Any) -> Any:
            names.append(str(name))
            return genuine(name, *args, **kwargs)

        monkeypatch.setattr(rasterio, "open", counted)
        assert register(ref, tgt).status == "ok"
        assert sorted(names) == sorted(map(str, (ref.path, tgt.path)))

    def test_one_band_of_thirteen(self, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif", noise=1, bands=13, band=7)
        tgt = scene("tgt.tif", noise=2, bands=13, band=11)
        r = register(ref, tgt, ref_bands=(8,), tgt_bands=(12,))
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < ERROR_PX
        assert len(r.reference.bands) == 1
        assert register(ref, tgt, ref_bands=(8,), tgt_bands=(1,)).status != "ok"

    def test_nodata_is_no_ground(self, scene: MakeScene, register: Register) -> None:
        def cut(pixels: NDArray[Any]) -> None:
            pixels[:, :, :100] = 0

        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, finish=cut, nodata=0)
        r = register(ref, tgt)
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < ERROR_PX
        assert r.tie_points.tgt_xy[:, 0].min() > 99
        assert r.preview is not None
        assert 0.6 < r.preview.tgt_valid.mean() < 0.7
        unsaid = scene("unsaid.tif", noise=2, finish=cut)
        assert register(ref, unsaid, tgt_nodata=0).n_matches == r.n_matches

    def test_masked_ground_is_not_matched(self, scene: MakeScene, register: Register) -> None:
        # Something that moved, and not as the ground did, under which the true ground is hidden.
        decoy = np.random.default_rng(5).integers(500, 3500, (35, 35)).repeat(4, 0).repeat(4, 1)

        def cover(at: int) -> Callable[[NDArray[Any]], None]:
            def put(pixels: NDArray[Any]) -> None:
                pixels[:, at : at + 140, at : at + 140] = decoy

            return put

        ref = scene("ref.tif", noise=1, finish=cover(40))
        tgt = scene("tgt.tif", noise=2, finish=cover(43), misplaced=MISPLACED)
        mask = scene("mask.tif", finish=lambda pixels: _draw_box(pixels))
        r = register(ref, tgt, ref_mask=mask.path, tgt_mask=mask.path)
        assert r.status == "ok"
        assert ref.error_px(tgt, r) < ERROR_PX
        assert not _in_box(r.tie_points.ref_xy).any()
        assert not _in_box(r.tie_points.tgt_xy).any()
        assert _in_box(register(ref, tgt).tie_points.ref_xy).any()


def _draw_box(pixels: NDArray[Any]) -> None:
    pixels[:] = 0
    pixels[:, 40:183, 40:183] = 1


def _in_box(xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(((xy > 40) & (xy < 179)).all(axis=1))


class TestRefusals:
    def test_a_blank_image(self, scene: MakeScene, register: Register) -> None:
        ref = scene("ref.tif", noise=1)
        blank = scene("blank.tif", finish=lambda pixels: pixels.fill(900))
        r = register(ref, blank)
        refuses(r)
        assert r.n_matches == 0

    def test_another_place(self, scene: MakeScene, register: Register) -> None:
        refuses(register(scene("ref.tif", noise=1), scene("tgt.tif", noise=2, ground=2)))

    @pytest.mark.parametrize("side", [0, 1])
    def test_a_wrong_path_costs_no_checkpoint(
        self, side: int, scene: MakeScene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_args: Any, **_kwargs: Any) -> None:
            raise AssertionError("a checkpoint was asked for")

        monkeypatch.setattr(import_module("imatch.pipeline.pair.registrar"), "load_matcher", never)
        paths = [scene("ref.tif").path, scene("ref.tif").path]
        paths[side] = paths[side].with_name("nowhere.tif")
        with pytest.raises(InputError, match="no such file"):
            imatch.match(*paths, matcher="loftr", fetch=True)

    def test_an_unknown_matcher_is_told_first(self) -> None:
        with pytest.raises(MatcherError, match="did you mean 'sift'"):
            imatch.match("nowhere.tif", "nowhere.tif", matcher="sfit")


def refuses(r: Registration) -> None:
    """No figure that someone could take for an answer."""
    assert r.status == "failed"
    assert r.reason
    assert r.transform is None
    assert r.matrix is None
    assert (r.map_matrix, r.shift_px, r.shift_m, r.rmse_px, r.ce90_m) == (None,) * 5
    assert r.n_inliers == 0
    assert np.isnan(r.tie_points.residual_xy).all()
    assert r.certificate.corner_ci95_px is None


@pytest.mark.parametrize("matcher", ["sift", "auto"])
def test_the_same_file_twice_is_the_identity(
    matcher: str, scene: MakeScene, register: Register
) -> None:
    ref = scene("ref.tif", bands=3)
    r = register(ref, ref, matcher=matcher, ref_bands=(1,), tgt_bands=(1,))
    assert r.status == "ok"
    np.testing.assert_allclose(known(r.matrix), np.eye(3), atol=1e-3)
    np.testing.assert_allclose(known(r.shift_m), [0, 0], atol=1e-2)


@pytest.mark.parametrize("matcher", ["sift", "auto"])
def test_the_answer_repeats(matcher: str, scene: MakeScene, register: Register) -> None:
    ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, degrees=3)

    def once() -> str:
        document = register(ref, tgt, matcher=matcher).to_dict()
        del document["seconds"]
        return json.dumps(document)

    assert once() == once()


class TestProvenance:
    def test_it_says_how_to_make_the_answer_again(
        self, scene: MakeScene, register: Register
    ) -> None:
        ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2)
        record = register(ref, tgt, seed=3, size=256, tolerance="1px").provenance
        assert json.loads(json.dumps(record)) == record
        assert record["config"]["matcher"] == "sift"
        assert (record["config"]["seed"], record["config"]["tolerance"]) == (3, "1px")
        assert record["weights"] == {}
        assert record["found_by"] == "sift"
        for scene_, file in zip((ref, tgt), record["files"], strict=True):
            assert file["path"] == str(scene_.path)
            assert file["bytes"] == scene_.path.stat().st_size
            assert file["sha256"] == hashlib.sha256(scene_.path.read_bytes()).hexdigest()
        assert record["versions"]["imatch"] == imatch.__version__
        assert {"python", "numpy", "rasterio"} <= record["versions"].keys()
        working = record["working"]
        assert working["common_grid"]["crs"] == "EPSG:32631"
        assert max(working["reference_size"]) <= 256

    def test_what_has_no_file_is_named(self, scene: MakeScene) -> None:
        ref = scene("ref.tif")
        inside = open_source(f"/vsisubfile/0,/{ref.path}")
        r = imatch.match(ref.pixels, inside, matcher="sift", use_geocoding=False)
        assert r.provenance["files"][0] == {"name": "array"}
        assert r.provenance["files"][1]["name"] == inside.info.name
        assert r.reference.path is None
        assert r.target.path == inside.info.name
        assert r.provenance["working"]["common_grid"] is None


class TestTolerance:
    @pytest.fixture
    def pair(self, scene: MakeScene) -> tuple[Any, Any]:
        return scene("ref.tif", noise=1), scene("tgt.tif", noise=2, misplaced=MISPLACED, gsd=20)

    def test_without_one_there_is_a_bound_but_no_verdict(
        self, pair: tuple[Any, Any], register: Register
    ) -> None:
        r = register(*pair)
        certificate = r.certificate
        assert certificate.passes is None
        assert certificate.tolerance is None
        written = r.to_dict()
        for name in ("shift_px", "shift_m", "ci95_px", "ci95_m", "coverage"):
            assert written["certificate"][name] == written[name]
        assert certificate.evidence_kind == "log_odds"
        assert known(certificate.evidence) > known(certificate.evidence_threshold) > 0
        # The corners are the least certain of all places, so the bound is no smaller than the
        # centre's; 20 m pixels make 20 m of each.
        bound_px = float(known(certificate.corner_ci95_px))
        assert bound_px >= known(r.ci95_px).max() * 0.99
        assert certificate.corner_ci95_m == pytest.approx(20 * bound_px, rel=0.01)

    @pytest.mark.parametrize(
        ("tolerance", "passes"),
        [("0.3px", True), ("1e-4px", False), ("6m", True), ("1e-3 m", False)],
    )
    def test_the_bound_decides(
        self, tolerance: str, passes: bool, pair: tuple[Any, Any], register: Register
    ) -> None:
        r = register(*pair, tolerance=tolerance)
        assert r.status == "ok"
        assert r.certificate.passes is passes

    def test_no_answer_passes_nothing(self, scene: MakeScene, register: Register) -> None:
        ref, other = scene("ref.tif", noise=1), scene("tgt.tif", noise=2, ground=2)
        certificate = register(ref, other, tolerance="1000px").certificate
        assert certificate.passes is False
        assert certificate.corner_ci95_px is None

    def test_metres_need_a_gsd_before_any_work(
        self, scene: MakeScene, monkeypatch: pytest.MonkeyPatch, register: Register
    ) -> None:
        ref, tgt = scene("ref.tif", geocoded=False), scene("tgt.tif", geocoded=False)
        assert register(ref, tgt, tolerance="3m", gsd_m=10).certificate.passes is True

        def never(*_args: Any, **_kwargs: Any) -> None:
            raise AssertionError("pixels were read")

        # By the module's own name: the package exports a function of that name.
        monkeypatch.setattr(import_module("imatch.pipeline.pair.match"), "read_pair", never)
        with pytest.raises(ConfigError, match=r"tolerance 3 m: neither image says.*--gsd"):
            register(ref, tgt, tolerance="3m")

    def test_auto_states_its_odds(self, pair: tuple[Any, Any], register: Register) -> None:
        certificate = register(*pair, matcher="auto", tolerance="0.5px").certificate
        assert certificate.evidence_kind == "log_odds"
        assert known(certificate.evidence) > known(certificate.evidence_threshold)
        assert certificate.passes is True


def test_stages_are_told(scene: MakeScene) -> None:
    told: list[str] = []
    ref = scene("ref.tif")
    imatch.match(
        Path(ref.path),
        str(ref.path),
        matcher="sift",
        progress=lambda label, _done, _total: told.append(label),
    )
    assert told == ["reading", "loading sift", "matching with sift", "estimating", "certifying"]


def test_settings_of_images_hold_for_arrays_too(scene: MakeScene, tmp_path: Path) -> None:
    ref, tgt = scene("a.tif"), scene("b.tif", noise=1)
    with rasterio.open(ref.path) as a, rasterio.open(tgt.path) as b:
        first, second = a.read(), b.read()
    stack = np.concatenate([np.zeros_like(second[:1]), second[:1]])
    stack[1, 40:80, 40:90] = 7777 if stack.dtype.itemsize > 1 else 255
    mark = float(stack[1, 50, 50])
    result = match(first, stack, matcher="sift", tgt_bands=(2,), tgt_nodata=mark)
    assert result.status == "ok"
    assert result.target.bands == ("2",)
    x, y = result.tie_points.tgt_xy.T
    assert not ((x > 42) & (x < 87) & (y > 42) & (y < 77)).any()
    mask = tmp_path / "mask.geojson"
    mask.write_text(geopandas.GeoSeries([box(0, 0, 100, 400)]).to_json())
    result = match(first, stack, matcher="sift", tgt_bands=(2,), tgt_mask=mask)
    assert result.tie_points.tgt_xy[:, 0].min() > 98
    with pytest.raises(InputError, match="has no band 3"):
        match(first, stack, matcher="sift", tgt_bands=(3,))
    with pytest.raises(InputError, match="no such file"):
        match(first, stack, matcher="sift", tgt_mask=tmp_path / "absent.geojson")


def test_an_open_source_takes_no_other_settings(scene: MakeScene) -> None:
    ref, tgt = scene("a.tif"), scene("b.tif", noise=1)
    source = open_source(tgt.path, nodata=0)
    assert match(ref.path, source, matcher="sift", tgt_nodata=0).status == "ok"
    nothing = open_source(tgt.path, nodata=None)
    assert nothing.opened_with == (None, None, None, None)
    floats = scene("c.tif", noise=1, dtype="float32")
    source_nan = open_source(floats.path, nodata=float("nan"))
    nan = float("1e400") - float("1e400")
    assert match(ref.path, source_nan, matcher="sift", tgt_nodata=nan).status == "ok"
    for setting in ({"tgt_nodata": 1}, {"tgt_bands": (1,)}, {"tgt_mask": ref.path}):
        with pytest.raises(ConfigError, match="is open already, and not with"):
            match(ref.path, source, matcher="sift", **setting)


@pytest.mark.parametrize("which", ["tgt", "tgt_mask"])
def test_a_file_that_changes_meanwhile_costs_the_answer(
    scene: MakeScene, tmp_path: Path, which: str
) -> None:
    """Even by as many bytes and at the same time."""
    ref, tgt, other = scene("a.tif"), scene("b.tif", noise=1), scene("c.tif", ground=2)
    mask = tmp_path / "mask.geojson"
    mask.write_text(geopandas.GeoSeries([box(0, 0, 20, 20)]).to_json())
    path, content = tgt.path, other.path.read_bytes()
    if which == "tgt_mask":
        path, content = mask, mask.read_bytes().replace(b"20.0", b"30.0")
    facts = path.stat()
    assert len(content) == facts.st_size

    def replace(stage: str) -> None:
        if stage == "estimating":
            path.write_bytes(content)
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    with pytest.raises(InputError, match="has changed while it was read") as caught:
        match(
            ref.path,
            tgt.path,
            matcher="sift",
            tgt_mask=mask,
            progress=lambda label, _done, _total: replace(label),
        )
    assert str(caught.value).startswith(str(path))
