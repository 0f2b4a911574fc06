"""Each wrong input: one line on stderr, the right exit code, nothing half-written."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from numpy.typing import NDArray

Run = Callable[..., Result]
WriteImage = Callable[..., Path]
Pair = tuple[Path, Path]

ERROR, USAGE, NOT_REGISTERED = 1, 2, 3


@pytest.fixture
def refused(run: Run, tmp_path: Path) -> Callable[..., str]:
    """Run a match that must fail with the code; its only line on stderr."""

    def check(code: int, *arguments: object) -> str:
        before = snapshot(tmp_path)
        result = run("match", "-m", "sift", *arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        assert snapshot(tmp_path) == before
        if code != NOT_REGISTERED:
            assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert line.startswith("imatch: ")
        assert "this is a bug" not in line
        return line

    return check


def damage_tiles(jp2: Path) -> None:
    """State another height of the tiles (YTsiz, ISO/IEC 15444-1, annex A.5.1)."""
    content = bytearray(jp2.read_bytes())
    at = content.index(b"\xff\x51") + 26
    content[at : at + 4] = (5).to_bytes(4, "big")
    jp2.write_bytes(content)


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("side", [0, 1])
def test_missing_file(refused: Callable[..., str], pair: Pair, side: int) -> None:
    inputs: list[Path] = list(pair)
    inputs[side] = pair[0].with_name("nowhere.tif")
    line = refused(ERROR, *inputs)
    assert str(inputs[side]) in line
    assert "no such file" in line.lower() or "not exist" in line


def test_folder(refused: Callable[..., str], pair: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert str(folder) in refused(ERROR, pair[0], folder)


def test_truncated_file(refused: Callable[..., str], pair: Pair) -> None:
    cut = pair[0].with_name("cut.tif")
    cut.write_bytes(pair[0].read_bytes()[:40_000])
    assert str(cut) in refused(ERROR, pair[0], cut)


def test_truncated_header(refused: Callable[..., str], pair: Pair) -> None:
    cut = pair[0].with_name("cut.tif")
    cut.write_bytes(pair[0].read_bytes()[:6])
    line = refused(ERROR, pair[0], cut)
    assert f"{cut}: cannot be opened as an image (cannot read TIFF header)" in line


def test_empty_file(refused: Callable[..., str], pair: Pair) -> None:
    empty = pair[0].with_name("empty.tif")
    empty.touch()
    line = refused(ERROR, empty, pair[1])
    assert str(empty) in line
    assert "empty" in line.replace(str(empty), "")


def test_text_file(refused: Callable[..., str], pair: Pair) -> None:
    text = pair[0].with_name("notes.tif")
    text.write_text("This is no image.\n" * 100)
    line = refused(ERROR, text, pair[1])
    assert f"{text}: cannot be opened as an image (its format is unknown)" in line


@pytest.mark.parametrize("bands", ["7", "B8", "1,7"])
def test_missing_band(refused: Callable[..., str], pair: Pair, bands: str) -> None:
    line = refused(ERROR, *pair, "--bands", bands)
    assert bands.rsplit(",", maxsplit=1)[-1] in line
    assert str(pair[0]) in line


@pytest.mark.parametrize("bands", ["", "1,,2", "0", "-1"])
def test_malformed_bands(refused: Callable[..., str], pair: Pair, bands: str) -> None:
    assert "--bands" in refused(USAGE, *pair, "--bands", bands)


def test_all_nodata(refused: Callable[..., str], pair: Pair, write_image: WriteImage) -> None:
    void = write_image("void.tif", np.zeros((256, 256), np.uint16), nodata=0)
    line = refused(ERROR, pair[0], void)
    assert str(void) in line


def test_all_nan(refused: Callable[..., str], pair: Pair, write_image: WriteImage) -> None:
    void = write_image("void.tif", np.full((256, 256), np.nan, np.float32))
    assert str(void) in refused(ERROR, void, pair[1])


def test_some_nan_and_infinity_are_only_holes(
    run: Run, write_image: WriteImage, ground: NDArray[np.uint16]
) -> None:
    holed = ground[:256, :256].astype(np.float32)
    holed[40:60, 40:60], holed[100:110, 200:220], holed[0, 0] = np.nan, np.inf, -np.inf
    image = write_image("holed.tif", holed)
    result = run("match", image, image, "-m", "sift")
    assert result.exit_code == 0, result.stderr


def test_one_pixel_wide(refused: Callable[..., str], pair: Pair, write_image: WriteImage) -> None:
    thin = write_image("thin.tif", np.arange(256, dtype=np.uint16).reshape(256, 1))
    line = refused(ERROR, pair[0], thin)
    assert str(thin) in line
    assert "1" in line.replace(str(thin), "")


def test_blank_image(refused: Callable[..., str], pair: Pair, write_image: WriteImage) -> None:
    blank = write_image("blank.tif", np.full((256, 256), 900, np.uint16))
    assert refused(NOT_REGISTERED, pair[0], blank).startswith("imatch: failed: ")


def test_another_place_is_refused(
    refused: Callable[..., str], pair: Pair, write_image: WriteImage
) -> None:
    rng = np.random.default_rng(99)
    noise = rng.integers(0, 3000, (64, 64), dtype=np.uint16).repeat(4, 0).repeat(4, 1)
    line = refused(NOT_REGISTERED, pair[0], write_image("noise.tif", noise))
    assert line.startswith(("imatch: failed: ", "imatch: uncertain: "))


def test_no_overlap_in_one_crs(
    refused: Callable[..., str], pair: Pair, write_image: WriteImage, ground: NDArray[np.uint16]
) -> None:
    far = write_image("far.tif", ground, transform=Affine(10, 0, 500_000, 0, -10, 4_835_000))
    line = refused(ERROR, pair[0], far)
    assert "they miss each other by 141 km; choose images of one place, or pass --no-geo" in line


def test_no_overlap_across_crs(
    refused: Callable[..., str], pair: Pair, write_image: WriteImage, ground: NDArray[np.uint16]
) -> None:
    far = write_image(
        "far.tif", ground, crs="EPSG:32736", transform=Affine(10, 0, 356_000, 0, -10, 8_000_000)
    )
    line = refused(ERROR, pair[0], far)
    assert re.search(r"they miss each other by \d,\d\d0 km;", line)


def test_existing_output_is_refused_before_the_work(
    refused: Callable[..., str], pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("the work was begun")

    # By the module's own name: the package exports a function of that name.
    monkeypatch.setattr(import_module("imatch.pipeline.pair.match"), "match", never)
    path = tmp_path / "result.json"
    path.write_text("precious")
    line = refused(ERROR, *pair, "-o", path)
    assert line == f"imatch: error: {path}: already exists; pass --overwrite to replace it"


def test_output_in_a_missing_folder(refused: Callable[..., str], pair: Pair) -> None:
    path = pair[0].parent / "nowhere" / "result.json"
    assert "mkdir -p" in refused(ERROR, *pair, "-o", path)


def test_output_into_a_folder_that_cannot_be_written(
    refused: Callable[..., str], pair: Pair
) -> None:
    # /proc refuses even the super-user.
    assert "/proc/result.json" in refused(ERROR, *pair, "-o", "/proc/result.json")


def test_output_over_an_input(refused: Callable[..., str], pair: Pair) -> None:
    picture = pair[0].rename(pair[0].with_suffix(".png"))
    line = refused(ERROR, picture, pair[1], "-o", picture, "--overwrite")
    assert "also an input" in line


def test_unknown_output_format(refused: Callable[..., str], pair: Pair) -> None:
    line = refused(USAGE, *pair, "-o", "result.jsn")
    assert "did you mean .json" in line


def test_unknown_matcher(refused: Callable[..., str], pair: Pair) -> None:
    line = refused(USAGE, *pair, "-m", "aliked-lightgleu")
    assert "did you mean 'aliked-lightglue'?" in line


def test_unknown_device(refused: Callable[..., str], pair: Pair) -> None:
    assert "tpu" in refused(ERROR, *pair, "-m", "xfeat", "--device", "tpu", "--offline")


@pytest.mark.parametrize("matcher", ["xfeat", "auto"])
def test_a_wrong_path_is_told_before_weights_are_sought(
    refused: Callable[..., str], pair: Pair, empty_cache: Path, matcher: str
) -> None:
    line = refused(ERROR, pair[0], "nowhere.tif", "-m", matcher)
    assert "nowhere.tif: no such file" in line
    assert not empty_cache.exists()


def test_missing_weights_offline(
    refused: Callable[..., str], pair: Pair, empty_cache: Path
) -> None:
    line = refused(ERROR, *pair, "-m", "xfeat", "--offline")
    assert "xfeat.pt" in line
    assert "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b" in line
    assert "Apache-2.0" in line
    assert str(empty_cache) in line
    assert "imatch weights fetch xfeat" in line


def test_corrupt_weights_in_the_cache(
    refused: Callable[..., str], pair: Pair, empty_cache: Path
) -> None:
    empty_cache.mkdir(parents=True)
    file = empty_cache / "xfeat.pt"
    file.write_bytes(b"not a network")
    line = refused(ERROR, *pair, "-m", "xfeat", "--offline")
    assert str(file) in line
    assert "corrupt" in line


def test_corrupt_weights_that_were_named(
    refused: Callable[..., str], pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "mine.pt"
    file.write_bytes(b"not a network")
    line = refused(ERROR, *pair, "-m", "xfeat", "--weights", f"xfeat={file}", "--offline")
    assert str(file) in line
    assert "sha256" in line


@pytest.mark.parametrize("value", ["mine.pt", "=mine.pt", "xfeat="])
def test_malformed_weights(refused: Callable[..., str], pair: Pair, value: str) -> None:
    assert "NAME=FILE" in refused(USAGE, *pair, "--weights", value)


def test_unknown_setting(refused: Callable[..., str], pair: Pair) -> None:
    assert "colour" in refused(USAGE, *pair, "-s", "colour=red")


def test_setting_without_a_value(refused: Callable[..., str], pair: Pair) -> None:
    assert "key=value" in refused(USAGE, *pair, "-s", "size")


def test_missing_configuration(refused: Callable[..., str], pair: Pair) -> None:
    assert "nowhere.yaml" in refused(ERROR, *pair, "--config", "nowhere.yaml")


def test_missing_mask(refused: Callable[..., str], pair: Pair) -> None:
    assert "nowhere.gpkg" in refused(ERROR, *pair, "--ref-mask", "nowhere.gpkg")


def test_gdal_and_torch_stay_silent_in_a_process_of_their_own(
    pair: Pair, write_image: WriteImage, ground: NDArray[np.uint16]
) -> None:
    cut = pair[0].with_name("cut.tif")
    cut.write_bytes(pair[0].read_bytes()[:40_000])
    tiled = write_image("tiled.jp2", ground, driver="JP2OpenJPEG", BLOCKXSIZE=64, BLOCKYSIZE=64)
    damage_tiles(tiled)
    for bad in (cut, pair[0].with_name("nowhere.tif"), tiled):
        done = subprocess.run(
            [sys.executable, "-m", "imatch", "match", pair[0], bad, "-m", "sift"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == ERROR
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert str(bad) in done.stderr


@pytest.mark.parametrize("where", ["name", "text"])
def test_a_virtual_raster_that_is_no_text(pair: Pair, tmp_path: Path, where: str) -> None:
    """In a process of its own: what rasterio cannot raise Python prints."""
    odd = b"\xe9\xff" if where == "name" else b"tgt.tif"
    vrt = tmp_path / "odd.vrt"
    vrt.write_bytes(
        b'<VRTDataset rasterXSize="256" rasterYSize="256"><VRTRasterBand dataType="UInt16"'
        b' band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        + odd
        + b"</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        + (b"" if where == "name" else b"<\xe9>")
        + b"</VRTDataset>"
    )
    command = [sys.executable, "-m", "imatch", "match", str(pair[0]), str(vrt), "-m", "sift"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == ERROR
    (line,) = done.stderr.splitlines()
    assert line.startswith("imatch: error: ")
    assert "odd.vrt" in line


@pytest.mark.parametrize("verb", ["batch", "duplicates"])
def test_a_table_with_a_nul(run: Run, pair: Pair, tmp_path: Path, verb: str) -> None:
    table = tmp_path / "pairs.csv"
    first = "reference,target" if verb == "batch" else "a,b"
    table.write_text(f"{first}\n{pair[0].name},{pair[1].name[:2]}\0.tif\n")
    result = run(verb, table, "-o", tmp_path / "out")
    assert result.exit_code == ERROR
    (line,) = result.stderr.splitlines()
    assert str(table) in line
    assert not (tmp_path / "out").exists()
