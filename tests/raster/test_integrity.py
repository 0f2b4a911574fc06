"""Files that lost, gained or changed bytes are refused, where a decoder would read on."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

from imatch.core.errors import InputError
from imatch.raster import open_source
from imatch.raster.gdal import opened
from imatch.raster.grid import Grid
from imatch.raster.read.samples import sampled
from imatch.raster.warp.set_geotransform import set_geotransform
from imatch.raster.write.free_value import free_value

RNG = np.random.default_rng(5)
#: Texture in blocks of 4 px: what no codec takes for noise.
GROUND = RNG.integers(1, 250, (60, 60)).repeat(4, 0).repeat(4, 1).astype("uint8")
FORMATS: list[tuple[str, int, dict[str, Any]]] = [
    ("a.jpg", 1, {"driver": "JPEG"}),
    ("a.jpg", 3, {"driver": "JPEG", "QUALITY": 95}),
    ("a.jpg", 3, {"driver": "JPEG", "PROGRESSIVE": "YES"}),
    ("a.png", 1, {"driver": "PNG"}),
    ("a.webp", 3, {"driver": "WEBP"}),
    ("a.webp", 3, {"driver": "WEBP", "LOSSLESS": "YES"}),
    ("a.jp2", 1, {"driver": "JP2OpenJPEG"}),
    ("a.jp2", 1, {"driver": "JP2OpenJPEG", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}),
]


def _made(write: Any, name: str, bands: int, options: dict[str, Any]) -> Path:
    pixels = np.broadcast_to(GROUND, (bands, *GROUND.shape))
    path: Path = write(name, pixels, crs=None, transform=None, **options)
    return path


@pytest.mark.parametrize(("name", "bands", "options"), FORMATS)
@pytest.mark.parametrize("change", ["insert", "delete", "repeat"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_displaced_bytes_are_refused(
    write: Any, name: str, bands: int, options: dict[str, Any], change: str, share: float
) -> None:
    path = _made(write, name, bands, options)
    assert open_source(path).read().valid.all()
    whole = path.read_bytes()
    at = int(share * len(whole))
    noise = random.Random(at).randbytes(200)  # noqa: S311 - reproducible.
    end = at + 200 * (change == "delete")
    between = {"insert": noise, "delete": b"", "repeat": whole[at - 200 : at]}[change]
    path.write_bytes(whole[:at] + between + whole[end:])
    with pytest.raises(InputError, match=path.name) as caught:
        open_source(path).read()
    assert caught.value.hint


def test_a_png_whose_pixels_changed_under_its_checksum_is_refused(write: Any) -> None:
    path = _made(write, "a.png", 1, {"driver": "PNG", "ZLEVEL": 1})
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    with pytest.raises(InputError, match=r"checksums do not agree \(chunk 'IDAT'\)"):
        open_source(path)


def test_what_stands_beside_the_pixels_may_be_damaged(write: Any) -> None:
    path = _made(write, "a.png", 1, {"driver": "PNG"})
    content = path.read_bytes()
    text = b"tEXtComment\0hello"
    chunk = len(text[4:]).to_bytes(4, "big") + text + b"\0\0\0\0"
    path.write_bytes(content[:33] + chunk + content[33:])
    np.testing.assert_array_equal(open_source(path).read().pixels[0], GROUND)


@pytest.mark.parametrize("padding", [b"", b"\0\0\0", b"\xff\xff"])
def test_jpegs_with_previews_padding_and_trailers_are_read(write: Any, padding: bytes) -> None:
    path = _made(write, "a.jpg", 1, {"driver": "JPEG"})
    content = path.read_bytes()
    # A picture within an application segment, padding before the end and another picture after.
    segment = b"\xff\xe5" + (len(content[:9000]) + 2).to_bytes(2, "big") + content[:9000]
    path.write_bytes(content[:2] + segment + content[2:-2] + padding + content[-2:] + content)
    assert open_source(path).read().valid.all()


def _free(path: Path) -> None:
    with opened(str(path)) as dataset:
        free_value(dataset, np.dtype("uint8"), [0.0])


def _sampled(path: Path) -> None:
    with opened(str(path)) as dataset:
        sampled(dataset, str(path), 1)


def _copied(path: Path) -> None:
    lattice = Grid(Affine.scale(10), None, 240, 240)
    set_geotransform(path, path.with_name("out.tif"), lattice, cog=True)


def _opened(path: Path) -> None:
    open_source(path).read()


@pytest.mark.parametrize("reader", [_opened, _sampled, _free, _copied])
def test_what_libtiff_only_warns_of_is_an_error_of_every_reader(
    write: Any, capfd: Any, reader: Callable[[Path], None]
) -> None:
    path = write("a.tif", GROUND, compress="JPEG", blockysize=240)
    content = bytearray(path.read_bytes())
    with rasterio.open(path) as dataset:
        at = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
        size = int(dataset.get_tag_item("BLOCK_SIZE_0_0", "TIFF", 1))
    content[at + size // 2 : at + size // 2 + 2] = b"\xff\xd9"  # An end too early.
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tif: its pixels cannot be read \(.*orrupt JPEG"):
        reader(path)
    assert capfd.readouterr() == ("", "")


def test_tags_that_libtiff_does_not_know_are_no_damage(write: Any, capfd: Any) -> None:
    path = _made(write, "a.tif", 1, {"compress": "JPEG"})
    content = bytearray(path.read_bytes())
    start = int.from_bytes(content[4:8], "little")
    count = int.from_bytes(content[start : start + 2], "little")
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        if int.from_bytes(content[entry : entry + 2], "little") == 339:  # SampleFormat, the default
            content[entry : entry + 2] = (60_000).to_bytes(2, "little")
    path.write_bytes(content)
    assert open_source(path).read().valid.all()
    assert capfd.readouterr() == ("", "")


def test_a_source_that_is_missing_is_told_every_time(write: Any, tmp_path: Path) -> None:
    whole = write("a.tif", np.ones((1, 64, 64), np.uint8))
    document = (
        '<VRTDataset rasterXSize="128" rasterYSize="64"><GeoTransform>0,9,0,0,0,-9</GeoTransform>'
        '<VRTRasterBand dataType="Byte" band="1">'
        + "".join(
            f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename>'
            f'<SourceBand>1</SourceBand><DstRect xOff="{x}" yOff="0" xSize="64" ySize="64"/>'
            "</SimpleSource>"
            for x, name in ((0, whole.name), (64, "gone.tif"))
        )
        + "</VRTRasterBand></VRTDataset>"
    )
    # GDAL tells of a source once while datasets of sources are open, whoever opened them.
    with ExitStack() as kept:
        for name in ("one.vrt", "two.vrt"):
            (tmp_path / name).write_text(document)
        (tmp_path / "open.vrt").write_text(document.replace("gone.tif", whole.name))
        kept.enter_context(rasterio.open(tmp_path / "open.vrt")).read()
        for name in ("one.vrt", "one.vrt", "two.vrt"):
            with pytest.raises(InputError, match=r"its source .*gone.tif cannot be opened"):
                open_source(tmp_path / name).read()


@pytest.mark.parametrize("field", range(4))
def test_a_jpeg_2000_whose_sizes_contradict_is_refused(write: Any, field: int) -> None:
    path = _made(write, "a.jp2", 1, {"driver": "JP2OpenJPEG"})
    content = bytearray(path.read_bytes())
    at = content.index(b"\xff\x4f\xff\x51") + 8 + 4 * field  # Right, bottom, left, top.
    (value,) = struct.unpack_from(">I", content, at)
    struct.pack_into(">I", content, at, value + 5)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jp2"):
        open_source(path).read()
