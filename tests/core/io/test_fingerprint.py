"""Files that are known again, and those that have changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from imatch.core.errors import InputError
from imatch.core.io import fingerprint as module
from imatch.core.io.fingerprint import Fingerprint, check_unchanged, fingerprints


def test_a_small_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")
    taken = Fingerprint.of(path)
    assert taken.to_dict()["sha256"] == hashlib.sha256(b"before").hexdigest()
    assert Fingerprint.from_dict(taken.to_dict()) == taken
    os.utime(path, ns=(1, 1))
    taken.check()
    path.write_bytes(b"beFore")
    os.utime(path, ns=(taken.modified_ns, taken.modified_ns))
    with pytest.raises(InputError, match="has changed while it was read"):
        taken.check()
    path.unlink()
    with pytest.raises(InputError, match="has changed"):
        check_unchanged([taken])


@pytest.mark.parametrize("size", [1001, 70_000, 3 << 20])
def test_a_large_file_is_known_by_parts_and_facts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(module, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(module, "_PART", 500)
    path = tmp_path / "a.bin"
    content = bytes(size)
    path.write_bytes(content)
    taken = Fingerprint.of(path)
    assert "sha256_of_parts" in taken.to_dict()
    assert Fingerprint.from_dict(taken.to_dict()) == taken
    taken.check()
    for changed in (b"x" + content[1:], content[:-1] + b"x"):
        path.write_bytes(changed)
        os.utime(path, ns=(taken.modified_ns, taken.modified_ns))
        with pytest.raises(InputError, match="has changed"):
            taken.check()
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="has changed"):
        taken.check()


def test_each_file_is_taken_once_and_folders_are_not(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"1")
    assert len(fingerprints([path, path, tmp_path])) == 1
    with pytest.raises(InputError, match="No such file"):
        Fingerprint.of(tmp_path / "absent")
