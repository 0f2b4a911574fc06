from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imatch.core.errors import ConfigError, ImatchError, OutputError
from imatch.export import FORMATS, check_outputs, write
from imatch.pipeline.registration.result import Registration

PROC = Path("/proc")


def test_formats_say_what_they_are() -> None:
    assert list(FORMATS) == [
        ".json",
        ".geojson",
        ".gpkg",
        ".points",
        ".csv",
        ".npz",
        ".vrt",
        ".png",
    ]
    assert all(text and "\n" not in text for text in FORMATS.values())


def test_importing_export_loads_nothing_slow() -> None:
    slow = ["matplotlib", "geopandas", "pandas", "rasterio", "cv2", "rich"]
    code = (
        "import sys; before = set(sys.modules); import imatch.pipeline.registration.result;"
        "known = set(sys.modules); import imatch.export;"
        f"print([m for m in {slow} if m in sys.modules and m not in known])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", sorted(set(FORMATS) - {".vrt", ".png"}))
def test_every_format_of_data_writes_every_kind(
    suffix: str, every: Registration, tmp_path: Path
) -> None:
    path = tmp_path / f"result{suffix}"
    write(every, path)
    assert path.stat().st_size > 0
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_the_suffix_may_be_in_capitals(registration: Registration, tmp_path: Path) -> None:
    write(registration, tmp_path / "R.CSV")
    assert (tmp_path / "R.CSV").read_text().startswith("id,ref_x")


@pytest.mark.parametrize("suffix", [".json", ".gpkg", ".csv"])
def test_an_existing_file_stays_unless_told(
    suffix: str, registration: Registration, tmp_path: Path
) -> None:
    path = tmp_path / f"r{suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="already exists; pass --overwrite"):
        write(registration, path)
    assert path.read_bytes() == b"precious"
    write(registration, path, overwrite=True)
    assert path.read_bytes() != b"precious"


def test_a_writer_that_fails_leaves_nothing_and_spoils_nothing(
    registration: Registration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half_written(registration: Registration, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("imatch.export.tables.write_csv", half_written)
    path = tmp_path / "r.csv"
    with pytest.raises(OutputError, match=r"r\.csv: No space left on device"):
        write(registration, path)
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(OutputError):
        write(registration, path, overwrite=True)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_format_that_lacks_something_names_the_file(
    registration: Registration, tmp_path: Path
) -> None:
    with pytest.raises(OutputError) as caught:
        write(registration, tmp_path / "r.vrt")
    assert caught.value.subject == str(tmp_path / "r.vrt")
    assert caught.value.hint is not None
    assert list(tmp_path.iterdir()) == []


class TestCheckOutputs:
    def test_what_can_be_written_passes(self, tmp_path: Path) -> None:
        (tmp_path / "old.png").touch()
        check_outputs([tmp_path / "a.json", tmp_path / "a.gpkg"], overwrite=False)
        check_outputs([tmp_path / "old.png"], overwrite=True)
        assert [file.name for file in tmp_path.iterdir()] == ["old.png"]

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("a.geojsn", r"unknown format \.geojsn; did you mean \.geojson\? the formats are"),
            ("a.gpk", r"did you mean \.gpkg\?"),
            ("a.jpeg2000", r"unknown format \.jpeg2000; the formats are \.json, "),
            ("a", r"has no suffix to tell the format; use \.json, "),
        ],
    )
    def test_unknown_formats_are_refused_with_advice(
        self, name: str, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            check_outputs([tmp_path / name], overwrite=False)

    def test_existing_files_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").touch()
        with pytest.raises(OutputError, match="already exists"):
            check_outputs([tmp_path / "b.csv", tmp_path / "a.json"], overwrite=False)

    def test_the_same_file_twice_is_refused_however_it_is_spelt(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        twice = [tmp_path / "a.json", tmp_path / "sub" / ".." / "a.json"]
        with pytest.raises(ConfigError, match="named twice"):
            check_outputs(twice, overwrite=True)

    def test_an_input_is_never_written_over(self, tmp_path: Path) -> None:
        image, link = tmp_path / "b.png", tmp_path / "link.png"
        image.touch()
        link.symlink_to(image)
        for output in (image, link):
            with pytest.raises(OutputError, match="is also an input"):
                check_outputs([output], overwrite=True, inputs=[tmp_path / "a.png", image])

    @pytest.mark.parametrize("name", ["none/a.json", "file/a.json"])
    def test_a_folder_that_is_none_is_refused(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="its folder does not exist; run mkdir -p"):
            check_outputs([tmp_path / name], overwrite=False)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder_is_refused(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o555)
        with pytest.raises(OutputError, match="not writable"):
            check_outputs([tmp_path / "a.json"], overwrite=False)


@pytest.mark.skipif(not PROC.is_dir(), reason="needs /proc, where even root cannot write")
def test_a_place_that_refuses_is_one_clear_error(registration: Registration) -> None:
    with pytest.raises(ImatchError) as caught:
        write(registration, PROC / "imatch.json")
    assert isinstance(caught.value, OutputError)
    assert caught.value.subject == "/proc/imatch.json"
