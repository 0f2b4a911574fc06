"""Opening files: formats, bands, missing ground, and everything users break."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.windows import Window

from imatch.core.errors import InputError
from imatch.raster import Grid, open_source
from imatch.raster.read.overviews import strips

RNG = np.random.default_rng(0)
GREY = RNG.integers(1, 250, (60, 81)).astype("uint8")
RGB = RNG.integers(1, 250, (3, 60, 81)).astype("uint8")


@pytest.mark.parametrize(
    ("name", "driver"),
    [
        ("a.tif", "GTiff"),
        ("a.cog.tif", "COG"),
        ("a.png", "PNG"),
        ("a.jp2", "JP2OpenJPEG"),
        ("a.webp", "WEBP"),
        ("a.jpg", "JPEG"),
    ],
)
def test_formats(write: Any, name: str, driver: str) -> None:
    lossless: dict[str, dict[str, Any]] = {
        "JP2OpenJPEG": {"QUALITY": 100, "REVERSIBLE": "YES"},
        "WEBP": {"LOSSLESS": "YES"},
    }
    path = write(name, RGB, driver=driver, crs=None, transform=None, **lossless.get(driver, {}))
    source = open_source(path)
    image = source.read()
    assert source.info.size == image.size == (81, 60)
    assert not source.info.geocoded
    assert image.path == path
    assert image.pixels.dtype == np.float32
    assert image.valid.all()
    assert np.abs(image.pixels - RGB).mean() < (60 if driver == "JPEG" else 1e-6)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "uint32", "float32", "float64"]
)
def test_dtypes(write: Any, dtype: str) -> None:
    source = open_source(write("a.tif", GREY.astype(dtype)))
    np.testing.assert_array_equal(source.read().pixels[0], GREY)
    assert source.info.dtypes == (dtype,)
    assert source.info.gsd_m == pytest.approx((10, 10))


def test_of_complex_numbers_the_amplitude_is_taken(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    phase = np.exp(2j * np.pi * np.random.default_rng(0).random(GREY.shape))
    source = open_source(write("a.tif", (GREY * phase).astype("complex64")))
    assert source.info.modality == "sar"
    assert source.info.dtypes == ("float32",)
    assert "complex numbers, of which the amplitude is taken" in caplog.text
    np.testing.assert_allclose(source.read().pixels[0], GREY, rtol=1e-5)
    # Reduced, it is the mean power of what is averaged, which a mean of the numbers is not.
    small = source.read(Window(0, 0, 80, 60), size=(20, 15)).pixels[0]
    power = np.sqrt((GREY[:60, :80].astype(float) ** 2).reshape(15, 4, 20, 4).mean((1, 3)))
    assert np.corrcoef(small.ravel(), power.ravel())[0, 1] > 0.99
    assert np.median(small / power) == pytest.approx(1, abs=0.05)


def test_world_file_is_no_geocoding(write: Any) -> None:
    path = write("a.png", GREY, driver="PNG", crs=None, transform=None)
    path.with_suffix(".pgw").write_text("2\n0\n0\n-2\n1001\n1999\n")
    info = open_source(path).info
    assert info.transform == Affine(2, 0, 1000, 0, -2, 2000)
    assert info.crs is None
    assert not info.geocoded


def test_vrt(write: Any, tmp_path: Path) -> None:
    import rasterio.shutil

    write("a.tif", GREY)
    rasterio.shutil.copy(tmp_path / "a.tif", tmp_path / "a.vrt", driver="VRT")
    source = open_source(tmp_path / "a.vrt")
    assert source.info.geocoded
    np.testing.assert_array_equal(source.read().pixels[0], GREY)


def test_gdal_paths_pass_through(write: Any) -> None:
    path = write("a.tif", GREY)
    source = open_source(f"/vsisubfile/0_{path.stat().st_size},{path}")
    assert source.info.path is None
    assert source.info.name.startswith("/vsisubfile/")
    np.testing.assert_array_equal(source.read().pixels[0], GREY)


def test_gcps_geocode_where_an_affine_explains_them(write: Any, utm31: Affine) -> None:
    corners = [(0, 0), (80, 0), (80, 60), (0, 60), (33, 20)]
    gcps = [GroundControlPoint(y, x, *(utm31 @ (x, y))) for x, y in corners]
    crs = CRS.from_epsg(32631)
    plain: dict[str, Any] = {"transform": None, "crs": None}
    info = open_source(write("a.tif", GREY, gcps=(gcps, crs), **plain)).info
    assert info.geocoded
    assert info.transform.almost_equals(utm31, 1e-6)
    gcps[-1] = GroundControlPoint(20, 33, *(utm31 @ (60, 40)))
    assert not open_source(write("b.tif", GREY, gcps=(gcps, crs), **plain)).info.geocoded


def test_window_and_decimation_carry_their_transform(write: Any, utm31: Affine) -> None:
    source = open_source(write("a.tif", GREY))
    image = source.read(Window(10, 20, 40, 30), size=(20, 15))
    np.testing.assert_allclose(
        image.pixels[0], GREY[20:50, 10:50].reshape(15, 2, 20, 2).mean((1, 3)), atol=0.5
    )
    assert image.transform == utm31 @ Affine.translation(10, 20) @ Affine.scale(2)
    enlarged = source.read(Window(10, 20, 4, 4), size=(8, 8))
    assert enlarged.size == (8, 8)
    for window in (Window(-1, 0, 10, 10), Window(0, 0, 82, 10), Window(0, 0, 0, 0)):
        with pytest.raises(InputError, match="not within its 81x60 pixels"):
            source.read(window)


def test_large_files_are_never_held_whole(write: Any, utm31: Affine) -> None:
    side = 6000
    blank = np.zeros((1, 1, 1), dtype="uint16")
    path = write("a.tif", np.broadcast_to(blank, (1, side, side)), sparse_ok=True, tiled=True)
    source = open_source(path)
    grid = Grid(utm31 @ Affine.scale(side / 200), CRS.from_epsg(32631), 200, 200)
    window, factor = source._window_of(grid)
    assert window == Window(0, 0, side, side)
    (chunk,) = source._chunks(window, factor / 2, None)
    assert chunk.pixels.shape == (1, 400, 400)
    (chunk,) = source._chunks(window, factor, (200, 200))
    assert chunk.pixels.shape == (1, 200, 200)


def test_one_pixel_wide_is_readable(write: Any) -> None:
    assert open_source(write("a.tif", GREY[:, :1])).read().size == (1, 60)


# Bands ---------------------------------------------------------------------------------------

BANDS13 = np.stack([np.full((20, 20), i, dtype="uint16") for i in range(1, 14)])
NAMES13 = tuple(f"B{i:02d}, central wavelength" for i in range(1, 14))


@pytest.mark.parametrize(
    ("bands", "values"),
    [
        (None, [4, 3, 2]),
        ([13], [13]),
        (["B08", "b11"], [8, 11]),
        (["4", 2], [4, 2]),
        (["B02, central wavelength"], [2]),
        ([5, 5], [5, 5]),
    ],
)
def test_thirteen_bands(write: Any, bands: Any, values: list[int]) -> None:
    image = open_source(write("a.tif", BANDS13, descriptions=NAMES13), bands=bands).read()
    assert image.pixels[:, 5, 5].tolist() == values
    assert [name[:3] for name in image.bands] == [f"B{v:02d}" for v in values]


@pytest.mark.parametrize(
    ("count", "options", "names"),
    [
        (1, {}, ("1",)),
        (2, {}, ("1", "2")),
        (5, {}, ("1", "2", "3")),
        (4, {"descriptions": ("blue", "green", "red", "nir")}, ("red", "green", "blue")),
        (4, {"photometric": "RGB", "alpha": True}, ("red", "green", "blue")),
    ],
)
def test_default_bands(write: Any, count: int, options: Any, names: tuple[str, ...]) -> None:
    pixels = np.full((count, 20, 20), 7, dtype="uint8")
    info = open_source(write("a.tif", pixels, **options)).info
    assert info.band_names == names
    assert info.count == len(names)


@pytest.mark.parametrize("band", [0, 14, -1, "B99", "nir", "99"])
def test_missing_band_names_those_there_are(write: Any, band: Any) -> None:
    path = write("a.tif", BANDS13, descriptions=("alpha", *NAMES13[1:]))
    with pytest.raises(InputError, match=r"has no band .*its bands are 1 \(alpha\), 2 \(B02"):
        open_source(path, bands=[band])
    with pytest.raises(InputError, match="no band was asked for"):
        open_source(path, bands=[])


def test_palette_becomes_colours(write: Any) -> None:
    index = np.zeros((40, 40), dtype="uint8")
    index[:, 20:] = 1
    colours = {0: (10, 20, 30, 255), 1: (100, 110, 120, 255)}
    path = write("a.png", index, driver="PNG", colormap=colours, crs=None, transform=None)
    image = open_source(path).read(size=(4, 4))
    assert image.bands == ("red", "green", "blue")
    assert image.pixels[:, 0, 0].tolist() == [10, 20, 30]
    assert image.pixels[:, 0, 3].tolist() == [100, 110, 120]
    assert open_source(path, bands=["green"]).read().pixels[0, 0, 0] == 20


# Missing ground --------------------------------------------------------------------------------

HOLED = np.full((200, 200), 100, dtype="uint16")
HOLED[:, :50] = 0
HOLED[60:63, 100:103] = 0


def _holed(write: Any, kind: str) -> Any:
    missing = HOLED == 0
    marker = np.where(missing, 9999, HOLED).astype("uint16")
    if kind == "nodata":
        return open_source(write("a.tif", HOLED, nodata=0))
    if kind == "asked":
        return open_source(write("a.tif", HOLED, overviews=(2, 4)), nodata=0)
    if kind == "nan":
        return open_source(write("a.tif", np.where(missing, np.nan, HOLED).astype("float32")))
    if kind == "inf":
        return open_source(write("a.tif", np.where(missing, np.inf, HOLED).astype("float32")))
    if kind == "mask":
        return open_source(write("a.tif", marker, mask=~missing, overviews=(2, 4)))
    alpha = np.stack([marker, marker, marker, ~missing * np.uint16(65535)])
    return open_source(write("a.tif", alpha, alpha=True, photometric="RGB"))


@pytest.mark.parametrize("kind", ["nodata", "asked", "nan", "inf", "mask", "alpha"])
@pytest.mark.parametrize("size", [200, 100, 41])
def test_missing_ground_never_mixes_with_the_rest(write: Any, kind: str, size: int) -> None:
    image = _holed(write, kind).read(size=(size, size))
    assert np.unique(image.pixels[0][image.valid]).tolist() == [100]
    assert (image.pixels[:, ~image.valid] == 0).all()
    assert image.valid.mean() == pytest.approx(0.75, abs=0.02)
    if size == 200:
        np.testing.assert_array_equal(image.valid, HOLED > 0)


def test_nodata_must_fit_the_type(write: Any) -> None:
    path = write("a.tif", GREY)
    for value in (-9999, 0.5, float("nan")):
        with pytest.raises(InputError, match="cannot occur in a uint8 band"):
            open_source(path, nodata=value)
    assert open_source(path, nodata=7).info.nodata == 7


def test_black_collar_is_missing_black_water_is_not(write: Any) -> None:
    scene = RGB.copy()
    scene[:, :, :20] = 0
    scene[:, 30:40, 40:60] = 0
    image = open_source(write("a.tif", scene)).read()
    assert not image.valid[:, :20].any()
    assert image.valid[30:40, 40:60].all()
    assert image.valid[:, 22:].all()
    # One band alone, or a declared nodata value, says nothing of the kind.
    assert open_source(write("b.tif", scene[:1])).read().valid.all()
    assert open_source(write("c.tif", scene, nodata=255)).read().valid.all()
    # Nor does a sliver.
    sliver = RGB.copy()
    sliver[:, 5:8, 0] = 0
    assert open_source(write("d.tif", sliver)).read().valid.all()


def test_all_missing_reads_as_all_invalid(write: Any) -> None:
    assert not open_source(write("a.tif", np.zeros_like(RGB), nodata=0)).read().valid.any()


# Broken files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "driver", "options"),
    [
        ("a.tif", "GTiff", {}),
        ("a.tif", "GTiff", {"tiled": True, "blockxsize": 64, "blockysize": 64}),
        ("a.tif", "GTiff", {"compress": "deflate"}),
        ("a.jp2", "JP2OpenJPEG", {}),
        ("a.png", "PNG", {}),
        ("a.jpg", "JPEG", {}),
    ],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated(
    write: Any, capfd: Any, name: str, driver: str, options: Any, share: float
) -> None:
    noise = RNG.integers(1, 250, (300, 320)).astype("uint8")
    path = write(name, noise, driver=driver, crs=None, transform=None, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError) as caught:
        open_source(path).read(size=(100, 100))
    assert caught.value.subject == str(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_damaged_tiles_of_a_jp2_are_no_zeros(write: Any, capfd: Any) -> None:
    noise = RNG.integers(1, 250, (300, 320)).astype("uint8")
    options = {"BLOCKXSIZE": 64, "BLOCKYSIZE": 64}
    path = write("a.jp2", noise, driver="JP2OpenJPEG", **options)
    data = bytearray(path.read_bytes())
    # Another height of the tiles (YTsiz; ISO/IEC 15444-1, annex A.5.1).
    at = data.index(b"\xff\x51") + 26
    data[at : at + 4] = (5).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(InputError, match="pixels cannot be read"):
        open_source(path).read()
    assert capfd.readouterr() == ("", "")


def test_unusable_paths(tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("not an image" * 20)
    (tmp_path / "bad.zip").write_text("not a zip")
    for name, cause in {
        "missing.tif": "no such file",
        "empty.tif": "is empty",
        "text.tif": "cannot be opened as an image",
        "bad.zip": "cannot be read as a zip",
        "missing.zip": "no such file",
        "": "folder without a Sentinel-2 product",
    }.items():
        with pytest.raises(InputError, match=cause) as caught:
            open_source(tmp_path / name)
        assert caught.value.hint
    with pytest.raises(InputError, match="cannot be opened"):
        open_source("/vsizip//nowhere.zip/a.tif")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("how", ["nodata", "imposed", "mask", "jp2"])
def test_strips_do_not_show(write: Any, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read strip by strip is bit for bit what is read at once."""
    pixels = np.random.default_rng(1).integers(0, 9, (3, 333, 260)).astype("uint16")
    tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16, "interleave": "pixel"}
    options: dict[str, Any] = {
        "nodata": tiles | {"nodata": 0},
        "imposed": tiles,
        "mask": tiles,
    }.get(how, {"driver": "JP2OpenJPEG", "blockxsize": 64, "blockysize": 64, "quality": 100})
    if how == "mask":
        options = options | {"mask": pixels[0] > 0}
    path = write("a.jp2" if how == "jp2" else "a.tif", pixels, **options)
    source = open_source(path, nodata=0 if how in ("imposed", "jp2") else None)

    def read() -> list[Any]:
        images = [source.read(size=(97, 111)), source.read(Window(3.5, 2, 250, 330.2), (200, 222))]
        return [part for image in images for part in (image.pixels, image.valid)]

    whole = read()
    seen: list[int] = []

    def counted(*args: Any) -> Any:
        parts = strips(*args)
        seen.append(len(parts))
        return parts

    monkeypatch.setattr("imatch.raster.read.overviews._STRIP", 20_000)
    monkeypatch.setattr("imatch.raster.read.file_source.strips", counted)
    for part, expected in zip(read(), whole, strict=True):
        np.testing.assert_array_equal(part, expected)
    assert max(seen) > 1
