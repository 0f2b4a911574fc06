from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from imatch.core.errors import InputError, OutputError
from imatch.datasets.chip_files import Coding, load_mask, read_chip, save_mask, write_chip


@pytest.mark.parametrize(("dtype", "bands"), [("uint8", 1), ("uint8", 3), ("uint16", 13)])
def test_chips_come_back_as_they_were(tmp_path: Path, dtype: str, bands: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, np.iinfo(dtype).max, (bands, 40, 50), dtype=dtype, endpoint=True)
    valid = rng.random((40, 50)) > 0.2
    path = tmp_path / "a" / "b" / "20180805.tif"
    names = tuple(f"B{i}" for i in range(bands))
    transform = Affine(10, 0, 3e5, 0, -10, 5e6)
    crs = CRS.from_epsg(32631)
    coding = Coding(dtype)
    write_chip(path, pixels, valid, coding=coding, bands=names, transform=transform, crs=crs)
    again, mask = read_chip(path)
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(mask, valid)
    with rasterio.open(path) as file:
        assert (file.crs, file.transform, file.descriptions) == (crs, transform, names)
    assert [item.name for item in path.parent.iterdir()] == ["20180805.tif"]


def test_a_whole_chip_without_map(tmp_path: Path) -> None:
    pixels = np.ones((1, 8, 8), np.uint8)
    valid = np.ones((8, 8), bool)
    write_chip(tmp_path / "a.tif", pixels, valid, coding=Coding("uint8"), bands=("1",))
    _, mask = read_chip(tmp_path / "a.tif")
    assert mask.all()


@settings(max_examples=30, deadline=None, derandomize=True)
@given(low=st.floats(-1e4, 1e4), span=st.floats(1e-3, 1e5))
def test_other_types_lose_no_more_than_a_step(low: float, span: float) -> None:
    coding = Coding.of(("float32",), low, low + span)
    values = np.linspace(low - 0.4 * span, low + 1.4 * span, 50, dtype=np.float32)
    back = coding.encode(values[None, None])[0, 0] * coding.scale + coding.offset
    rounding = np.finfo(np.float32).eps * max(abs(low), span) * 4
    assert np.abs(back - values).max() <= coding.scale / 2 + rounding


def test_unsigned_numbers_are_kept() -> None:
    assert Coding.of(("uint8", "uint8"), 3, 4) == Coding("uint8")
    assert Coding.of(("uint8", "uint16"), 3, 4) == Coding("uint16")
    assert Coding("uint8").encode(np.array([[[-3.0, 7.4, 300.0]]], np.float32)).tolist() == [
        [[0, 7, 255]]
    ]


def test_a_disk_that_refuses_is_an_error_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    pixels, valid = np.ones((1, 8, 8), np.uint8), np.ones((8, 8), bool)
    path = tmp_path / "a" / "b.tif"
    with pytest.raises(OutputError, match=r"b\.tif"):
        write_chip(path, pixels, valid, coding=Coding("uint8"), bands=("1",))
    with pytest.raises(OutputError, match=r"b\.png"):
        save_mask(tmp_path / "a" / "b.png", valid)


def test_masks_come_back(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((33, 41)) > 0.5
    save_mask(tmp_path / "m" / "a.png", mask)
    np.testing.assert_array_equal(load_mask(tmp_path / "m" / "a.png"), mask)


def test_damaged_files_are_errors(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\x00rubbish")
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError):
        read_chip(tmp_path / "a.tif")
    with pytest.raises(InputError):
        load_mask(tmp_path / "a.png")
    with pytest.raises(InputError):
        load_mask(tmp_path / "b.png")
