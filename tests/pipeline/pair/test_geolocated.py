"""Pairs located by GCPs or RPCs on one side or both, from files to a registered raster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from numpy.typing import NDArray

from imatch import match
from imatch.cli import cli
from imatch.core.errors import InputError
from imatch.pipeline.apply.geotransform import apply_geotransform
from imatch.pipeline.apply.raster import apply_raster
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration, write_json
from imatch.raster.geodesy import apply_affine
from imatch.raster.geolocation.models import ControlPoints
from imatch.raster.read.file_source import raster_info
from tests.support.geolocated import (
    GRID,
    UTM,
    camera,
    grid_gcps,
    sine,
    write_heights,
    write_located,
)

SIDE = 400


@pytest.fixture(scope="module")
def ground() -> NDArray[np.float32]:
    rng = np.random.default_rng(4)
    scales = [cv2.GaussianBlur(rng.normal(0, s, (SIDE, SIDE)), (0, 0), s) for s in (1.5, 4, 12)]
    image = sum(scale / scale.std() for scale in scales)
    return np.asarray(np.clip(120 + 35 * image, 1, 255), dtype=np.float32)


def plain(path: Path, pixels: NDArray[Any]) -> Path:
    kind = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": UTM, "transform": GRID}
    with rasterio.open(path, "w", height=SIDE, width=SIDE, **kind) as dataset:
        dataset.write(pixels.astype(np.uint8), 1)
    return path


def bent(ground: NDArray[np.float32], amplitude: float) -> NDArray[np.uint8]:
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    # Bends are of corner-based pixels.
    moved = x + sine(amplitude)(x + 0.5, y + 0.5).astype(np.float32)
    seen = cv2.remap(ground, moved, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    return np.clip(seen, 1, 255).astype(np.uint8)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("amplitude", [4.0, 12.0])
def test_exact_gcps_leave_no_shift(
    tmp_path: Path, ground: NDArray[np.float32], amplitude: float, swapped: bool
) -> None:
    reference = plain(tmp_path / "ref.tif", ground)
    target = write_located(
        tmp_path / "tgt.tif", bent(ground, amplitude), gcps=grid_gcps(sine(amplitude))
    )
    pair = (target, reference) if swapped else (reference, target)
    found = match(*pair)
    assert found.status == "ok"
    assert found.shift_px is not None
    assert found.ci95_px is not None
    assert np.all(np.abs(found.shift_px) < np.array(found.ci95_px) + 0.03)
    side = ("target", "reference")[swapped]
    assert found.provenance["located_by"][side] == "121 GCPs"

    # Everywhere: where the target's GCPs put the corners and where the registration does is one.
    written = tmp_path / "r.json"
    write_json(found, written)
    mapping = GeoCorrection.of(read_registration(written))
    corners = np.array([(20, 20), (380, 20), (380, 380), (20, 380), (200, 200)], dtype=float)
    if swapped:
        to_target = mapping.from_reference(raster_info(reference))
        truth = corners + np.column_stack([sine(amplitude)(*(corners + 0.5).T), np.zeros(5)])
    else:
        to_target = mapping.from_reference(raster_info(target))
        truth = corners.copy()
        for _ in range(50):
            truth[:, 0] = corners[:, 0] - sine(amplitude)(*(truth + 0.5).T)
    bound = found.certificate.corner_ci95_px
    assert bound is not None
    # Between the outermost GCPs a spline errs by up to a hundredth of the bend.
    assert np.abs(to_target(corners) - truth).max() < bound + 0.01 * amplitude

    out = tmp_path / "out.tif"
    lattice = apply_raster(mapping, pair[1], out)
    assert lattice.crs == UTM
    with rasterio.open(out) as dataset:
        assert not dataset.gcps[0]
        made, valid = dataset.read(1).astype(float), dataset.read_masks(1) > 0
        x, y = np.meshgrid(np.arange(dataset.width) + 0.5, np.arange(dataset.height) + 0.5)
        place = ~GRID @ dataset.transform
        columns, rows = place.a * x + place.b * y + place.c, place.d * x + place.e * y + place.f
    truly = cv2.remap(
        ground,
        (columns - 0.5).astype(np.float32),
        (rows - 0.5).astype(np.float32),
        cv2.INTER_CUBIC,
    )
    inner = valid & (columns > 20) & (columns < SIDE - 20) & (rows > 5) & (rows < SIDE - 5)
    assert inner.mean() > 0.8
    assert np.abs(made - truly)[inner].mean() < 3  # Of a standard deviation of 60.


def test_a_geotransform_alone_is_refused(tmp_path: Path, ground: NDArray[np.float32]) -> None:
    target = write_located(tmp_path / "tgt.tif", bent(ground, 12), gcps=grid_gcps(sine(12)))
    found = match(plain(tmp_path / "ref.tif", ground), target, matcher="phase")
    mapping = GeoCorrection.of(found)
    with pytest.raises(InputError, match="the correction is curved"):
        apply_geotransform(mapping, target, tmp_path / "out.tif")
    apply_geotransform(mapping, target, tmp_path / "out.tif", inexact="gcps")
    info = raster_info(tmp_path / "out.tif")
    assert info.geolocation is not None
    at = np.array([(50.0, 50), (350, 80), (200, 300)])
    off = info.to_map(at) - raster_info(target).to_map(at)
    assert np.abs(off).max() < 3  # metres, of pixels of 10


@pytest.mark.parametrize("noise", [0.4, 1.0])
def test_what_gcps_err_by_is_in_the_interval(
    tmp_path: Path, ground: NDArray[np.float32], noise: float
) -> None:
    """A spline goes through each of them, right or wrong, and errs as much in between."""
    gcps = grid_gcps(sine(8.0), noise=noise)
    target = write_located(tmp_path / "tgt.tif", bent(ground, 8.0), gcps=gcps)
    found = match(plain(tmp_path / "ref.tif", ground), target)
    bend = raster_info(target).geolocation
    assert bend is not None
    assert isinstance(bend.model, ControlPoints)
    stated = bend.model.agreement_px
    assert stated > noise
    assert found.ci95_px is not None
    assert min(found.ci95_px) > 1.85 * stated / np.sqrt(2)
    # Where the GCPs and the registration put pixels of the target, against where they lie.
    rows, columns = np.mgrid[20:380:15, 20:380:15]
    at = np.column_stack([columns.ravel(), rows.ravel()]).astype(float)
    moved = np.column_stack([sine(8.0)(*(at + 0.5).T), np.zeros(len(at))])
    back = GeoCorrection.of(found).to_map(raster_info(target))(at)
    error = np.hypot(*((back - apply_affine(GRID, at + moved + 0.5)) / 10).T)
    bound = found.certificate.corner_ci95_px
    assert bound is not None
    assert (error <= bound).mean() >= 0.95


def test_contradicting_gcps_are_matched_by_pixels(
    tmp_path: Path, ground: NDArray[np.float32]
) -> None:
    gcps = grid_gcps(sine(0))
    gcps[50].x += 500
    target = write_located(tmp_path / "tgt.tif", ground.astype(np.uint8), gcps=gcps)
    found = match(plain(tmp_path / "ref.tif", ground), target, matcher="phase")
    assert found.map_matrix is None
    assert found.target.unlocated is not None
    assert "contradict each other" in found.target.unlocated
    assert found.provenance["located_by"]["target"].startswith("nothing: its 121 GCPs contradict")


def seen_by(rpcs: Any, ground: NDArray[np.float32], dem: Path, path: Path) -> Path:
    """An image that a camera takes of ground on a map in degrees, over a DEM."""
    from imatch.raster import open_source

    empty = write_located(path, ground.astype(np.uint8), rpcs=rpcs)
    info = open_source(empty, dem=dem).info
    y, x = np.mgrid[:SIDE, :SIDE]
    places = info.to_map(np.column_stack([x.ravel(), y.ravel()]).astype(float))
    to_ground = ~DEGREES
    column = to_ground.a * places[:, 0] + to_ground.b * places[:, 1] + to_ground.c - 0.5
    row = to_ground.d * places[:, 0] + to_ground.e * places[:, 1] + to_ground.f - 0.5
    shape = SIDE, SIDE
    pixels = cv2.remap(
        ground,
        column.reshape(shape).astype(np.float32),
        row.reshape(shape).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    return write_located(path, np.clip(pixels, 1, 255).astype(np.uint8), rpcs=rpcs)


DEGREES = Affine(0.00015, 0, 29.97, 0, -0.0001, 50.02)


def test_rpcs_over_a_dem_leave_no_shift(tmp_path: Path, ground: NDArray[np.float32]) -> None:
    dem = write_heights(tmp_path / "dem.tif")
    target = seen_by(camera(parallax=0.05), ground, dem, tmp_path / "tgt.tif")
    reference = tmp_path / "ref.tif"
    kind = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    with rasterio.open(
        reference, "w", height=SIDE, width=SIDE, transform=DEGREES, **kind
    ) as dataset:
        dataset.write(ground.astype(np.uint8), 1)
    over, without, raised = (match(reference, target, dem=d) for d in (dem, None, 800.0))
    assert over.status == "ok"
    assert over.shift_px is not None
    assert over.ci95_px is not None
    assert np.all(np.abs(over.shift_px) < np.array(over.ci95_px) + 0.05)
    assert over.provenance["located_by"]["target"] == "RPCs over dem.tif"
    assert any("dem.tif" in str(file) for file in over.provenance["files"][1]["files"])
    # Relief of 100 m displaces by 2 px, and 500 m more of height displace all by 10 px.
    assert without.certificate.corner_ci95_px is None or (
        over.certificate.corner_ci95_px is not None
        and without.certificate.corner_ci95_px > over.certificate.corner_ci95_px
    )
    assert "relief is not accounted for" in without.provenance["located_by"]["target"]
    assert raised.shift_px is not None
    assert raised.shift_px[0] == pytest.approx(-10, abs=2.5)


def test_bare_pixels_are_laid_on_the_map_of_a_bent_reference(
    tmp_path: Path, ground: NDArray[np.float32]
) -> None:
    pixels = bent(ground, 12)
    reference = write_located(tmp_path / "ref.tif", pixels, gcps=grid_gcps(sine(12)))
    found = match(reference, pixels, matcher="phase")
    assert found.map_matrix is None
    mapping = GeoCorrection.of(found)
    bare = write_located(tmp_path / "bare.tif", pixels)
    out = tmp_path / "out.tif"
    lattice = apply_raster(mapping, bare, out)
    assert lattice.crs == UTM
    at = np.array([(60.0, 60), (330, 90), (200, 350)])
    place = raster_info(reference).to_map(at)
    np.testing.assert_allclose(mapping.to_map(raster_info(bare))(at), place, atol=0.5)
    pixel = np.array([~lattice.transform @ tuple(p) for p in place]) - 0.5
    back = mapping.to_pixels(lattice, raster_info(bare))(pixel)
    np.testing.assert_allclose(back, at, atol=0.05)


def test_the_command_takes_a_height(tmp_path: Path, ground: NDArray[np.float32]) -> None:
    path = write_located(tmp_path / "a.tif", ground.astype(np.uint8), rpcs=camera())
    arguments = ["match", str(path), str(path), "-m", "phase", "-o", str(tmp_path / "r.json")]
    done = CliRunner().invoke(cli, [*arguments, "--dem", "420", "--offline"])
    assert done.exit_code == 0, done.output
    kept = read_registration(tmp_path / "r.json")
    assert kept.provenance["config"]["dem"] == 420
    assert kept.target.geolocation is not None
    assert kept.target.geolocation.dem == 420
    assert "RPCs at a height of 420 m" in kept.provenance["located_by"]["target"]
