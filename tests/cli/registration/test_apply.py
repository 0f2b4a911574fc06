"""``imatch apply``: what it accepts, writes, says and refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from rasterio.shutil import copy
from shapely.geometry import Point

# What comes of the work is asked here, not how its processes begin.
pytestmark = pytest.mark.usefixtures("warm_workers")

Run = Callable[..., Result]


@pytest.fixture
def solved(pair: tuple[Path, Path], run: Run, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A reference, a target that lies 30 m too far east, and the result of matching them."""
    result = tmp_path / "result.json"
    done = run("match", *pair, "-m", "sift", "-o", result)
    assert done.exit_code == 0, done.stderr
    return *pair, result


def change(result: Path, **values: Any) -> None:
    document = json.loads(result.read_text())
    result.write_text(json.dumps(document | values))


def test_rasters_and_vectors(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, write_image: Any
) -> None:
    ref, tgt, result = solved
    classes = np.zeros((128, 128), dtype=np.uint8)
    classes[::3] = 11
    scl = write_image("SCL_20m.tif", classes, transform=Affine(20, 0, 356_030, 0, -20, 4_835_000))
    drawn = tmp_path / "drawn.geojson"
    geopandas.GeoSeries([Point(356_130, 4_834_000)], crs=32631).to_crs(4326).to_file(drawn)
    out = tmp_path / "out"
    done = run("apply", result, tgt, scl, drawn, "-o", out)
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    assert f"wrote {out / 'tgt.tif'} (256 x 256 pixels, cubic)" in done.stderr
    assert (
        f"wrote {out / 'SCL_20m.tif'} (128 x 128 pixels, nearest: classes or flags by its name)"
        in done.stderr
    )
    assert f"wrote {out / 'drawn.geojson'} (1 features)" in done.stderr
    with rasterio.open(ref) as before, rasterio.open(out / "tgt.tif") as after:
        assert (after.transform, after.crs, after.shape) == (
            before.transform, before.crs, before.shape,
        )  # fmt: skip
        inner = np.s_[8:-8, 8:-8]
        apart = after.read(1)[inner].astype(float) - before.read(1)[inner]
        assert np.sqrt((apart**2).mean()) < 0.2 * before.read(1).std()
    with rasterio.open(out / "SCL_20m.tif") as after:
        assert set(np.unique(after.read(1))) == {0, 11}
    point = geopandas.read_file(out / "drawn.geojson").to_crs(32631).geometry[0]
    assert (point.x, point.y) == pytest.approx((356_100, 4_834_000), abs=2)


def test_options_reach_the_writer(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path
) -> None:
    _, tgt, result = solved
    out = tmp_path / "out"
    options = ["--res", 20, "--bounds", 356_000, 4_833_000, 357_000, 4_834_000]
    options += ["--resampling", "bilinear", "--co", "compress=lzw", "--co", "BLOCKXSIZE=256"]
    assert run("apply", result, tgt, "-o", out, *options).exit_code == 0
    with rasterio.open(out / "tgt.tif") as dataset:
        assert dataset.shape == (50, 50)
        assert dataset.transform == Affine(20, 0, 356_000, 0, -20, 4_834_000)
        assert dataset.profile["compress"] == "lzw"
    again = run("apply", result, tgt, "-o", out)
    assert again.exit_code == 1
    assert "already exists; pass --overwrite" in again.stderr
    done = run("apply", result, tgt, "-o", out, "--overwrite", "--cog", "--grid", "target", "-q")
    assert (done.exit_code, done.stderr) == (0, "")
    with rasterio.open(out / "tgt.tif") as dataset:
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert dataset.transform.c == 356_030
    bad = run("apply", result, tgt, "-o", out, "--overwrite", "--co", "COMPRESS=FOO")
    assert bad.exit_code == 2
    assert bad.stderr.startswith("imatch: error: --co COMPRESS=FOO: GDAL refuses it (")
    for wrong in (["--co", "COMPRESS"], ["--bounds", 5, 5, 4, 4], ["--res", 0], ["--grid", "x"]):
        assert run("apply", result, tgt, "-o", out, *wrong).exit_code == 2


def test_geotransform_only(solved: tuple[Path, Path, Path], run: Run, tmp_path: Path) -> None:
    _, tgt, result = solved
    out = tmp_path / "out"
    done = run("apply", result, tgt, "-o", out, "--geotransform-only")
    assert done.exit_code == 0, done.stderr
    assert "(geotransform only, exact)" in done.stderr
    with rasterio.open(tgt) as before, rasterio.open(out / "tgt.tif") as after:
        np.testing.assert_array_equal(before.read(), after.read())
        assert after.transform.c == pytest.approx(356_000, abs=2)
    local = {
        "kind": "spline",
        "origin": [355_000, 4_831_000],
        "step": [1000, 1000],
        "coefficients": (20 * np.random.default_rng(0).normal(size=(6, 6, 2))).tolist(),
    }
    change(result, local=local)
    curved = run("apply", result, tgt, "-o", out, "--geotransform-only", "--overwrite")
    assert curved.exit_code == 1
    assert "wrong by up to" in curved.stderr
    for how, said in (("gcps", "by control points"), ("accept", "wrong by up to")):
        done = run(
            "apply", result, tgt, "-o", out, "--geotransform-only", "--inexact", how, "--overwrite"
        )
        assert done.exit_code == 0, done.stderr
        assert said in done.stderr


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_failure_does_not_cost_the_others(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, jobs: int
) -> None:
    ref, tgt, result = solved
    text = tmp_path / "notes.txt"
    text.write_text("neither a raster nor vectors")
    out = tmp_path / "out"
    done = run("apply", result, text, tgt, tmp_path / "none.tif", ref, "-o", out, "--jobs", jobs)
    assert done.exit_code == 1
    assert sorted(file.name for file in out.iterdir()) == ["ref.tif", "tgt.tif"]
    lines = done.stderr.splitlines()
    assert sum(line.startswith("wrote ") for line in lines) == 2
    assert any("notes.txt: cannot be opened as an image" in line for line in lines)
    assert any("none.tif: no such file" in line for line in lines)
    assert lines[-1].startswith("imatch: error:")
    assert "2 of 4 files could not be done" in lines[-1]
    single = run("apply", result, text, "-o", out)
    assert single.exit_code == 1
    assert len(single.stderr.splitlines()) == 1


def test_a_result_that_is_not_ok(solved: tuple[Path, Path, Path], run: Run, tmp_path: Path) -> None:
    _, tgt, result = solved
    change(result, status="uncertain", reason="two positions fit")
    out = tmp_path / "out"
    done = run("apply", result, tgt, "-o", out)
    assert done.exit_code == 3
    assert "uncertain: two positions fit; pass --force" in done.stderr
    assert not out.exists()
    assert run("apply", result, tgt, "-o", out, "--force").exit_code == 0
    change(result, status="failed", reason="no pattern", matrix=None, map_matrix=None, model=None)
    done = run("apply", result, tgt, "-o", out, "--force")
    assert done.exit_code == 1
    assert f"{result}: the registration is failed: no pattern; there is no" in done.stderr


def test_outputs_that_would_collide(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, write_image: Any
) -> None:
    _, tgt, result = solved
    (tmp_path / "other").mkdir()
    other = write_image("other/tgt.tif", np.ones((10, 10), dtype=np.uint8))
    done = run("apply", result, tgt, other, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "would both be written to tgt.tif" in done.stderr
    inside = run("apply", result, tgt, "-o", tgt.parent, "--overwrite")
    assert inside.exit_code == 1
    assert "is the file to be read" in inside.stderr


def test_what_is_no_result(run: Run, tmp_path: Path, pair: tuple[Path, Path]) -> None:
    for name, text in (("none.json", None), ("a.json", "{}"), ("b.json", "no")):
        if text is not None:
            (tmp_path / name).write_text(text)
        done = run("apply", tmp_path / name, pair[1], "-o", tmp_path / "out")
        assert done.exit_code == 1
        assert len(done.stderr.splitlines()) == 1
        assert name in done.stderr
    (tmp_path / "file").write_text("")
    assert run("apply", "-h").exit_code == 0
    assert run("apply", tmp_path / "a.json", "-o", tmp_path / "out").exit_code == 2


def test_resampling_is_chosen_by_content_told_and_set_for_single_files(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, write_image: Any
) -> None:
    _, tgt, result = solved
    cover = np.random.default_rng(0).choice(np.array([10, 20, 80]), (16, 16))
    pixels = cover.repeat(8, 0).repeat(8, 1).astype(np.uint8)
    place = Affine(20, 0, 356_037, 0, -20, 4_835_000)
    paths = [write_image(name, pixels, transform=place) for name in ("cover.tif", "other.tif")]
    out = tmp_path / "out"
    done = run("apply", result, tgt, *paths, "-o", out, "--resampling", "other*=bilinear")
    assert done.exit_code == 0, done.stderr
    assert "tgt.tif (256 x 256 pixels, cubic)" in done.stderr
    assert "cover.tif (128 x 128 pixels, nearest: classes by 3 distinct" in done.stderr
    assert "other.tif (128 x 128 pixels, bilinear)" in done.stderr
    with rasterio.open(out / "cover.tif") as dataset:
        assert set(np.unique(dataset.read(1))) <= {0, 10, 20, 80}
    with rasterio.open(out / "other.tif") as dataset:
        assert len(np.unique(dataset.read(1))) > 8
    wrong = run("apply", result, tgt, "-o", out, "--resampling", "other*=cubist")
    assert wrong.exit_code == 2
    assert "'other*=cubist' is not METHOD or PATTERN=METHOD" in wrong.stderr


def test_a_value_for_missing_ground_reaches_the_writer(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, write_image: Any, ground: Any
) -> None:
    _, tgt, result = solved
    pixels = ground[:256, :256].astype(np.int16)
    pixels[100:160, 60:130] = -9999
    with rasterio.open(tgt) as dataset:
        place = dataset.transform
    path, out = write_image("filled.tif", pixels, transform=place), tmp_path / "out"
    done = run("apply", result, path, "-o", out)
    assert done.exit_code == 0
    assert "filled.tif: band 1 holds -9999" in done.stderr
    assert "pass --nodata -9999" in done.stderr
    done = run("apply", result, path, "-o", out, "--nodata", -9999, "--overwrite")
    assert done.exit_code == 0
    assert "holds" not in done.stderr
    with rasterio.open(out / "filled.tif") as dataset:
        assert dataset.nodata == -9999
        valid = dataset.read(1)[dataset.read_masks(1) != 0]
        # No fringe: nothing between the fill and the ground.
        assert valid.min() > 500
        missing = dataset.read_masks(1)[90:170, 40:140] == 0
        assert missing.sum() == pytest.approx(60 * 70, abs=140)
    wrong = run("apply", result, path, "-o", out, "--nodata", 1, "--geotransform-only")
    assert wrong.exit_code == 2
    assert "--nodata has no meaning" in wrong.stderr


def test_a_geotransform_needs_coordinates_before_anything_is_made(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path
) -> None:
    _, tgt, result = solved
    document = json.loads(result.read_text())
    for side in ("reference", "target"):
        document[side] |= {"crs": None, "transform": None}
    result.write_text(json.dumps(document | {"map_matrix": None}))
    out = tmp_path / "out"
    done = run("apply", result, tgt, "-o", out, "--geotransform-only")
    assert done.exit_code == 1
    assert "there is no geotransform to give" in done.stderr
    assert not out.exists()


def test_parts_of_files_and_complex_numbers(
    solved: tuple[Path, Path, Path], run: Run, tmp_path: Path, ground: Any, write_image: Any
) -> None:
    _, tgt, result = solved
    copy(tgt, tmp_path / "two.nc", driver="netCDF")
    pages = write_image("pages.tif", ground[:256, :256])
    write_image("pages.tif", ground[:256, :256], APPEND_SUBDATASET="YES")
    out = tmp_path / "out"
    done = run(
        "apply", result, f'NETCDF:"{tmp_path / "two.nc"}":Band1', f"GTIFF_DIR:2:{pages}", "-o", out
    )
    assert done.exit_code == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"two_Band1.tif", "pages_2.tif"}
    with rasterio.open(tgt) as dataset:
        values, place = dataset.read(1), dataset.transform
    waves = write_image("waves.tif", values.astype(np.complex64) * 1j, transform=place)
    done = run("apply", result, waves, "-o", out)
    assert done.exit_code == 1
    assert "waves.tif: holds complex numbers (complex64); pass --resampling nearest" in done.stderr
    assert run("apply", result, waves, "-o", out, "--resampling", "nearest").exit_code == 0
    with rasterio.open(out / "waves.tif") as dataset:
        assert dataset.dtypes == ("complex64",)
        assert dataset.read(1).imag.max() > 1000
