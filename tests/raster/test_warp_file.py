"""Whole rasters through a mapping: where things lie, what is kept, and what missing ground does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags

from imatch.core.errors import InputError, OutputError
from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import render_landscape
from imatch.geometry.transform import DisplacementGrid, Transform
from imatch.raster import Grid
from imatch.raster.geodesy import apply_affine
from imatch.raster.sampling.interpolation import RESAMPLINGS
from imatch.raster.warp.warp import warp_file

UTM31 = CRS.from_epsg(32631)
PLACE = Affine(10, 0, 400000, 0, -10, 5000000)
DTYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64")


def shifted(dx: float, dy: float) -> Any:
    return lambda xy: np.add(xy, (dx, dy))


def lattice(width: int, height: int, transform: Affine = PLACE) -> Grid:
    return Grid(transform, UTM31, width, height)


def read(path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    with rasterio.open(path) as dataset:
        return dataset.read(), dataset.dataset_mask() > 0


@pytest.mark.parametrize(
    ("resampling", "limit"), [("bilinear", 0.01), ("cubic", 0.01), ("lanczos", 0.02)]
)
@pytest.mark.parametrize("shift", [(0.5, -0.5), (3.14, 7.77), (-12.03, 0.29)])
def test_centres_move_by_the_mapping(
    write: Any,
    blobs: Any,
    slip: Any,
    tmp_path: Path,
    resampling: Any,
    limit: float,
    shift: tuple[float, float],
) -> None:
    image, centres = blobs((613, 401), 9.0)
    path = write("a.tif", image.astype("uint16"))
    out = tmp_path / "out.tif"
    warp_file(path, out, lattice(613, 401), shifted(*shift), resampling=resampling)
    assert slip(read(out)[0][0], centres - shift, 9.0) < limit


@pytest.mark.parametrize("local", [False, True])
def test_a_landscape_is_where_it_would_have_been_seen(
    write: Any, tmp_path: Path, local: bool
) -> None:
    """Against the same ground rendered straight into the output, not against another warp."""
    ground = landscape((300, 260), seed=4)
    matrix = np.array([[0.998, 0.04, 12.3], [-0.04, 0.998, 17.9], [0, 0, 1.0]])
    seen, _ = render_landscape(ground, "summer", matrix=matrix, noise=0.0)
    truth, _ = render_landscape(ground, "summer", noise=0.0)
    path = write("a.tif", (10000 * seen).astype("uint16"))
    out = tmp_path / "out.tif"
    warp_file(path, out, lattice(300, 260), Transform("homography", matrix).apply)
    warped, valid = read(out)
    inner = np.s_[40:220, 40:260]
    assert valid[inner].all()
    if not local:
        for dx, dy in (_offset(warped[0][inner], 10000 * truth[0][inner]),):
            assert np.hypot(dx, dy) < 0.02
        return
    # A bend on top, undone by the next warp.
    field = DisplacementGrid(
        "spline", (-150.0, -150.0), (120.0, 120.0), np.random.default_rng(0).normal(0, 3, (7, 7, 2))
    )
    bend, bent, back = (
        Transform("translation", np.eye(3), field),
        tmp_path / "bent.tif",
        tmp_path / "back.tif",
    )
    warp_file(out, bent, lattice(300, 260), bend.apply)
    warp_file(bent, back, lattice(300, 260), bend.inverse)
    apart = np.hypot(*_offset(read(bent)[0][0][inner], 10000 * truth[0][inner]))
    again = np.hypot(*_offset(read(back)[0][0][inner], 10000 * truth[0][inner]))
    assert again < 0.02 < apart


def _offset(image: NDArray[Any], truth: NDArray[Any]) -> tuple[float, float]:
    """(x, y) by which one image lies off another: one least-squares step on its gradients."""
    image, truth = image.astype(np.float64), truth.astype(np.float64)
    dy, dx = np.gradient(truth)
    rows = np.column_stack([dx.ravel(), dy.ravel()])
    x, y = np.linalg.lstsq(rows, (truth - image).ravel(), rcond=None)[0]
    return float(x), float(y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("resampling", RESAMPLINGS)
def test_every_type_keeps_its_values(
    write: Any, tmp_path: Path, dtype: str, resampling: Any
) -> None:
    """A slope, which every kernel keeps, over as much of a type's range as fits."""
    kind = np.dtype(dtype)
    y, x = np.mgrid[:70, :90]
    if kind.kind == "f":
        pixels = (1e-3 * x - 2e-3 * y).astype(kind)
        step = 1e-3
    else:
        step = float(np.iinfo(kind).max // 256)
        pixels = (np.iinfo(kind).max - step * (x + y)).astype(kind)
    out = tmp_path / "out.tif"
    path = write("a.tif", pixels)
    warp_file(path, out, lattice(90, 70), shifted(2.0, 1.0), resampling=resampling)
    warped, valid = read(out)
    assert warped.dtype == kind
    np.testing.assert_array_equal(valid, (x < 88) & (y < 69))
    inner = np.s_[8:60, 8:78]
    assert np.isfinite(warped[0][inner]).all()
    expected = pixels[1:, 2:][inner].astype(np.float64)
    exact = {"lanczos": 0.02}.get(resampling, 1e-6)
    assert np.abs(warped[0][inner].astype(np.float64) - expected).max() <= exact * step + 0.5 * (
        kind.kind != "f" and resampling == "lanczos"
    )


def test_interpolation_is_clipped_not_wrapped(write: Any, tmp_path: Path) -> None:
    for dtype, low, high in (("uint8", 0, 255), ("int16", -32768, 32767), ("uint32", 0, 2**32 - 1)):
        pixels = np.full((40, 40), low, dtype=dtype)
        pixels[:, 20:] = high
        out = tmp_path / f"{dtype}.tif"
        warp_file(write(f"a{dtype}.tif", pixels), out, lattice(40, 40), shifted(0.4, 0.0))
        warped = read(out)[0][0, :, :39]
        assert warped[:, :18].max() == low
        # float64 and its weights add up to parts in 10**7 at the worst.
        assert warped[:, 21:].min() >= high * (1 - 1e-7)


@pytest.mark.parametrize("count", [1, 3, 13])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_all_bands_and_what_is_said_of_them(tmp_path: Path, count: int, interleave: str) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 4000, (count, 150, 1100), dtype=np.uint16)
    path, out = tmp_path / "a.tif", tmp_path / "out.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=1100, height=150, count=count, dtype="uint16",
        crs=UTM31, transform=PLACE, nodata=0, interleave=interleave,
    ) as dataset:  # fmt: skip
        dataset.write(pixels)
        dataset.update_tags(SENSOR="MSI", AREA_OR_POINT="Area")
        dataset.update_tags(ns="PRODUCT", LEVEL="2A")
        dataset.update_tags(1, WAVELENGTH="490", STATISTICS_MEAN="1")
        dataset.descriptions = [f"B{i:02}" for i in range(1, count + 1)]
        dataset.units = ["reflectance"] * count
        dataset.scales = [1e-4] * count
        dataset.offsets = [-0.1] * count
    seen: list[float] = []
    warp_file(
        path,
        out,
        lattice(1100, 150),
        shifted(1, 2),
        tags={"IMATCH_X": "1"},
        on_progress=seen.append,
    )
    assert sum(seen) == pytest.approx(1)
    with rasterio.open(out) as dataset:
        np.testing.assert_array_equal(dataset.read()[:, :-2, :-1], pixels[:, 2:, 1:])
        assert dataset.nodata == 0
        assert not dataset.read()[:, -2:].any()
        assert dataset.profile["interleave"] == (interleave if count > 1 else "band")
        assert dataset.profile["compress"] == "deflate"
        assert dataset.profile["tiled"]
        assert dataset.overviews(1) == [2, 4]
        assert dataset.descriptions == tuple(f"B{i:02}" for i in range(1, count + 1))
        assert set(dataset.units) == {"reflectance"}
        assert set(dataset.scales) == {1e-4}
        assert set(dataset.offsets) == {-0.1}
        assert dataset.tags()["SENSOR"] == "MSI"
        assert dataset.tags()["IMATCH_X"] == "1"
        assert dataset.tags(ns="PRODUCT") == {"LEVEL": "2A"}
        assert dataset.tags(1)["WAVELENGTH"] == "490"
        assert "STATISTICS_MEAN" not in dataset.tags(1)
        assert (dataset.crs, dataset.transform) == (UTM31, PLACE)


def test_colours_and_palettes(write: Any, tmp_path: Path) -> None:
    rgb = np.zeros((3, 64, 64), dtype=np.uint8)
    out = tmp_path / "rgb.tif"
    warp_file(write("a.tif", rgb, photometric="RGB"), out, lattice(64, 64), shifted(0.5, 0))
    with rasterio.open(out) as dataset:
        assert dataset.colorinterp == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    classes = np.arange(64 * 64, dtype=np.uint8).reshape(64, 64) % 7
    colours = {i: (i * 30, 255 - i, i, 255) for i in range(7)}
    path = write("c.tif", classes, photometric="palette", colormap=colours, nodata=0)
    out = tmp_path / "classes.tif"
    warp_file(path, out, lattice(64, 64), shifted(2.3, 0.9), resampling="cubic")
    with rasterio.open(out) as dataset:
        assert dataset.colorinterp == (ColorInterp.palette,)
        # What means no ground is drawn transparent by GDAL.
        assert {i: dataset.colormap(1)[i] for i in range(1, 7)} == {
            i: colours[i] for i in range(1, 7)
        }
        np.testing.assert_array_equal(dataset.read(1)[:62, :61], classes[1:63, 2:63])


@pytest.mark.parametrize("resampling", RESAMPLINGS)
@pytest.mark.parametrize("kind", ["nodata", "nan", "mask", "alpha", "imposed"])
def test_missing_ground_does_not_bleed(
    write: Any, tmp_path: Path, kind: str, resampling: Any
) -> None:
    dtype = "float32" if kind == "nan" else "uint16"
    pixels = np.full((1, 60, 80), 1000, dtype=dtype)
    hole = np.s_[20:35, 30:50]
    ground = np.ones((60, 80), dtype=bool)
    ground[hole] = False
    options: dict[str, Any] = {}
    if kind in ("nodata", "imposed"):
        pixels[0][hole] = 65535
        options = {"nodata": 65535} if kind == "nodata" else {}
    elif kind == "nan":
        pixels[0][hole] = np.nan
    elif kind == "mask":
        pixels[0][hole] = 7
        options = {"mask": ground}
    else:
        pixels = np.concatenate([pixels, pixels])
        pixels[0][hole], pixels[1] = 7, ground * 255
        options = {"alpha": True}
    out = tmp_path / "out.tif"
    imposed = 65535.0 if kind == "imposed" else None
    path = write("a.tif", pixels, **options)
    warp_file(path, out, lattice(80, 60), shifted(0.3, -0.4), resampling=resampling, nodata=imposed)
    with rasterio.open(out) as dataset:
        band, valid = dataset.read(1), dataset.dataset_mask() > 0
        flags = set(dataset.mask_flag_enums[0])
        expected = {
            "nodata": MaskFlags.nodata,
            "imposed": MaskFlags.nodata,
            "nan": MaskFlags.nodata,
            "mask": MaskFlags.per_dataset,
            "alpha": MaskFlags.alpha,
        }[kind]
        assert expected in flags
    y, x = np.mgrid[:60, :80]
    x_in, y_in = np.floor(x + 0.3 + 0.5).astype(int), np.floor(y - 0.4 + 0.5).astype(int)
    inside = (x + 0.3 <= 79.5) & (y - 0.4 >= -0.5)
    near = ground[np.clip(y_in, 0, 59), np.clip(x_in, 0, 79)]
    np.testing.assert_array_equal(valid, inside & near)
    np.testing.assert_allclose(band[valid], 1000, atol=1e-3)


def test_values_are_not_turned_into_nodata(write: Any, tmp_path: Path) -> None:
    pixels = np.full((30, 40), 1, dtype=np.uint8)
    pixels[:, 20:] = 250
    out = tmp_path / "out.tif"
    # The overshoot of the kernel falls below 1, on what marks no ground.
    warp_file(write("a.tif", pixels, nodata=0), out, lattice(39, 29), shifted(0.5, 0.5))
    assert (read(out)[0] > 0).all()


def test_a_file_that_marks_nothing_loses_no_value(write: Any, tmp_path: Path) -> None:
    pixels = np.zeros((2, 50, 60), dtype=np.uint16)
    out = tmp_path / "out.tif"
    warp_file(write("a.tif", pixels), out, lattice(60, 50), shifted(10, 5))
    with rasterio.open(out) as dataset:
        assert dataset.nodata is None
        valid = dataset.dataset_mask() > 0
        assert not [name for name in dataset.files if name.endswith(".msk")]
    np.testing.assert_array_equal(valid.sum(), 50 * 45)


@pytest.mark.parametrize("factor", [2, 3, 6, 2.5])
def test_coarser_outputs_are_averaged(
    write: Any, blobs: Any, slip: Any, tmp_path: Path, factor: float
) -> None:
    image, centres = blobs((1200, 900), 4 * factor)
    rng = np.random.default_rng(0)
    noisy = (image + rng.normal(0, 300, image.shape) + 2000).astype("uint16")
    out, clean = tmp_path / "out.tif", tmp_path / "clean.tif"
    size = int(1200 / factor), int(900 / factor)
    to_fine = Affine.translation(-0.5, -0.5) @ Affine.scale(factor) @ Affine.translation(0.5, 0.5)

    def convert(xy: Any) -> Any:
        return np.add(apply_affine(to_fine, xy), (1.3, 0.2))

    coarse = lattice(*size, PLACE @ Affine.scale(factor))
    warp_file(write("a.tif", noisy), out, coarse, convert)
    warp_file(write("b.tif", image.astype("uint16")), clean, coarse, convert)
    seen = read(clean)[0][0].astype(float)
    expected = (centres - (1.3, 0.2) + 0.5) / factor - 0.5
    assert slip(seen, expected, 4.0) < 0.02
    noise = read(out)[0][0].astype(float)[2:-2, 2:-2] - 2000 - seen[2:-2, 2:-2]
    # One pixel in factor**2 would keep the noise whole.
    assert noise.std() < 1.3 * 300 / factor


def test_nearest_takes_whole_pixels_in_even_steps(write: Any, tmp_path: Path) -> None:
    classes = np.arange(60, dtype=np.uint8)[None, :].repeat(40, 0)
    out = tmp_path / "out.tif"
    to_fine = Affine.translation(0.5, 0.5) @ Affine.scale(2)
    warp_file(
        write("a.tif", classes),
        out,
        lattice(30, 20, PLACE @ Affine.scale(2)),
        lambda xy: apply_affine(to_fine, xy),
        resampling="nearest",
    )
    np.testing.assert_array_equal(read(out)[0][0, 3], np.arange(30) * 2 + 1)


def test_odd_sizes_and_seams(write: Any, tmp_path: Path) -> None:
    """Blocks meet without a seam: a slope through a turned mapping is still the slope."""
    y, x = np.mgrid[:1301, :2049]
    pixels = (1000 + 3 * x + 5 * y).astype(np.float32)
    turn = Affine.rotation(3, pivot=(1000, 600)) @ Affine.scale(0.97)
    out = tmp_path / "out.tif"
    warp_file(
        write("a.tif", pixels), out, lattice(1537, 1111), lambda xy: apply_affine(turn, xy) + 20
    )
    warped, valid = read(out)
    v, u = np.mgrid[:1111, :1537]
    native = apply_affine(turn, np.column_stack([u.ravel(), v.ravel()])) + 20
    inner = ((native > 2) & (native < (2046, 1298))).all(axis=1).reshape(valid.shape)
    assert valid[inner].all()
    expected = (1000 + native @ (3.0, 5.0)).reshape(valid.shape)
    # 0.005 px of interpolated positions along each axis, and float32.
    assert np.abs(warped[0] - expected)[inner].max() < 0.005 * 8 + 0.01


def test_turned_lattices_and_none(write: Any, tmp_path: Path) -> None:
    path = write("a.tif", np.ones((30, 20), dtype=np.uint8))
    turned = PLACE @ Affine.rotation(20)
    out = tmp_path / "out.tif"
    warp_file(path, out, lattice(20, 30, turned), shifted(0, 0))
    with rasterio.open(out) as dataset:
        assert dataset.transform.almost_equals(turned, 1e-6)
    # A world file's plane has no CRS.
    warp_file(path, out, Grid(turned, None, 20, 30), shifted(0, 0), overwrite=True)
    with rasterio.open(out) as dataset:
        assert dataset.crs is None
        assert dataset.transform.almost_equals(turned, 1e-6)
    bare = tmp_path / "bare.tif"
    warp_file(path, bare, Grid(Affine.identity(), None, 20, 30), shifted(0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(bare) as dataset:
            assert dataset.crs is None
            assert dataset.transform == Affine.identity()


def test_complex_numbers(write: Any, tmp_path: Path) -> None:
    pixels = (np.arange(600).reshape(20, 30) * (1 + 2j)).astype(np.complex64)
    path, out = write("a.tif", pixels), tmp_path / "out.tif"
    with pytest.raises(InputError, match=r"complex numbers.*nearest"):
        warp_file(path, out, lattice(30, 20), shifted(1, 1))
    assert not out.exists()
    warp_file(path, out, lattice(30, 20), shifted(1, 1), resampling="nearest")
    np.testing.assert_array_equal(read(out)[0][0, :19, :29], pixels[1:, 1:])


def test_64_bit_integers_survive_the_nearest(write: Any, tmp_path: Path) -> None:
    pixels = np.full((20, 30), 2**62 + 1, dtype=np.int64)
    path, out = write("a.tif", pixels), tmp_path / "out.tif"
    warp_file(path, out, lattice(30, 20), shifted(0, 0), resampling="nearest")
    np.testing.assert_array_equal(read(out)[0][0], pixels)
    warp_file(path, out, lattice(30, 20), shifted(0.5, 0), overwrite=True)
    assert abs(float(read(out)[0][0, 0, 0]) / 2**62 - 1) < 1e-9


def test_a_truncated_source_leaves_nothing(write: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 60000, (700, 600), dtype=np.uint16)
    path = write("a.tif", pixels, tiled=True, blockxsize=256, blockysize=256)
    cut = tmp_path / "cut.tif"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(InputError, match=r"cut.tif: its pixels cannot be read.*truncated"):
        warp_file(cut, folder / "out.tif", lattice(600, 700), shifted(0, 0))
    assert not list(folder.iterdir())
    for name, said in (("none.tif", "no such file"), ("text.tif", "cannot be opened")):
        if name == "text.tif":
            (tmp_path / name).write_text("no image")
        with pytest.raises(InputError, match=said):
            warp_file(tmp_path / name, folder / "out.tif", lattice(6, 7), shifted(0, 0))


def test_existing_files_are_kept(write: Any, tmp_path: Path) -> None:
    path = write("a.tif", np.ones((20, 30), dtype=np.uint8))
    out = tmp_path / "out.tif"
    out.write_bytes(b"precious")
    with pytest.raises(OutputError, match="already exists"):
        warp_file(path, out, lattice(30, 20), shifted(0, 0))
    assert out.read_bytes() == b"precious"
    with pytest.raises(OutputError, match="file to be read"):
        warp_file(path, path, lattice(30, 20), shifted(0, 0), overwrite=True)
    warp_file(path, out, lattice(30, 20), shifted(0, 0), overwrite=True)
    assert read(out)[0].all()


def test_beyond_the_source_all_is_missing(write: Any, tmp_path: Path) -> None:
    path, out = write("a.tif", np.ones((20, 30), dtype=np.uint8)), tmp_path / "out.tif"
    for convert in (shifted(1000, 0), lambda xy: np.full((len(xy), 2), np.nan)):
        warp_file(path, out, lattice(30, 20), convert, overwrite=True)
        pixels, valid = read(out)
        assert not pixels.any()
        assert not valid.any()


def test_a_raster_that_changes_while_it_is_read_is_not_written(write: Any, tmp_path: Path) -> None:
    path, out = write("a.tif", np.ones((30, 20), dtype=np.uint8)), tmp_path / "out.tif"
    again = write("b.tif", np.full((30, 20), 9, dtype=np.uint8)).read_bytes()
    told = lambda _share: path.write_bytes(again)  # noqa: E731
    with pytest.raises(InputError, match="has changed while it was read"):
        warp_file(path, out, lattice(20, 30), shifted(0, 0), on_progress=told)
    assert not out.exists()
