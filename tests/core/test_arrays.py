"""NumPy and zip archives that are damaged."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from imatch.core.arrays import check_archive, read_arrays
from imatch.core.errors import InputError


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", x=np.arange(100), y=np.ones((3, 2)))
    return tmp_path / "a.npz"


def test_arrays_come_back_in_the_order_wanted(archive: Path) -> None:
    y, x = read_arrays(archive, ("y", "x"))
    assert (y.shape, x.sum()) == ((3, 2), 4950)
    assert check_archive(archive) is None


def _flipped(content: bytes) -> bytes:
    at = content.index(b"NUMPY") + 200
    return content[:at] + b"\xee" + content[at + 1 :]


def _claiming(_: bytes) -> bytes:
    """A header of 10**15 numbers over none."""
    inner, whole = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        inner, {"descr": "<f8", "fortran_order": False, "shape": (10**15,)}
    )
    with zipfile.ZipFile(whole, "w") as out:
        for name in ("x", "y"):
            out.writestr(f"{name}.npy", inner.getvalue())
    return whole.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:100] + b"\0" * 7 + whole[100:],
        lambda whole: b"no archive at all",
        _flipped,
        _claiming,
    ],
)
def test_damaged_ones_are_refused(archive: Path, damage: object) -> None:
    assert callable(damage)
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InputError, match=r"a\.npz: is damaged"):
        read_arrays(archive, ("x", "y"))


def test_an_array_that_is_missing(archive: Path) -> None:
    with pytest.raises(InputError, match="damaged"):
        read_arrays(archive, ("z",))


def test_checksums_that_no_reader_compares_are_compared(archive: Path) -> None:
    archive.write_bytes(_flipped(archive.read_bytes()))
    assert "x.npy" in (check_archive(archive) or "")
