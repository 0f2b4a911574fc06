from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imatch.core.errors import InputError, OutputError
from imatch.core.files import atomic_path, check_output, inside


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert temporary.suffix == ".json"
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.json"]


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_path(tmp_path / "result.json") as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert names(tmp_path) == []


def test_an_exception_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")

    def fail() -> None:
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.json"]


def test_side_cars_move_along(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "image.png") as temporary:
        temporary.write_text("image")
        temporary.with_name("image.png.aux.xml").write_text("side-car")
    assert names(tmp_path) == ["image.png", "image.png.aux.xml"]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="nothing was written"),
        atomic_path(tmp_path / "result.json"),
    ):
        pass
    assert names(tmp_path) == []


def test_the_disk_refusing_is_an_output_error(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(OutputError, match=r"result\.json: No space left"), atomic_path(path):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == []


def test_an_existing_file_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(OutputError, match=r"already exists; pass --overwrite"):
        check_output(path, overwrite=False)
    check_output(path, overwrite=True)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder does not exist; run mkdir -p .*nowhere"):
        check_output(tmp_path / "nowhere" / "result.json", overwrite=False)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs Linux's /proc")
def test_a_folder_that_takes_no_files_is_refused() -> None:
    # Not by chmod: the super-user may write anywhere but there.
    with pytest.raises(OutputError, match="not writable"):
        check_output(Path("/proc/result.json"), overwrite=False)


def test_checking_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "result.json", overwrite=False)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/etc/passwd", "", ".", "C:\\a", "c:a", "..\\a", "\\\\host\\a", "a\0b",
     "link/a", "loop/a"],
)  # fmt: skip
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    with pytest.raises(InputError, match="leads out of its folder"):
        inside(folder, name)


@given(st.lists(st.text(min_size=1, max_size=8), max_size=5).map("/".join))
def test_no_name_leaves_its_folder(name: str) -> None:
    folder = Path("/nowhere/folder")
    try:
        path = inside(folder, name)
    except InputError:
        return
    assert path.resolve().is_relative_to(folder)
    assert path != folder


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_is_an_output_that_exists(tmp_path: Path, dangling: bool) -> None:
    target, path = tmp_path / "target", tmp_path / "out.txt"
    if not dangling:
        target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(OutputError, match="already exists"), atomic_path(path):
        pass
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text("new")
    assert not path.is_symlink()
    assert path.read_text() == "new"
    assert not target.exists() if dangling else target.read_text() == "precious"
