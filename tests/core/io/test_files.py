from __future__ import annotations

import threading
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from imatch.core.errors import InputError, OutputError
from imatch.core.io.files import (
    atomic_folder,
    atomic_path,
    check_output,
    inside,
    remove_leftovers,
    scratch,
)
from tests.support.kills import leave_half_made, made_by_the_dead


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


def test_what_killed_processes_left_goes_with_the_next_output(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    leave_half_made(tmp_path / "other.tif")
    (left,) = made_by_the_dead(tmp_path)
    with atomic_path(path) as temporary:
        assert not left.exists()
        temporary.write_text("whole")
    assert names(tmp_path) == ["result.json"]


def test_a_run_that_goes_on_looks_into_its_folders(tmp_path: Path) -> None:
    place = tmp_path / "run" / "labels"
    place.mkdir(parents=True)
    leave_half_made(place / "1.npz")
    remove_leftovers(tmp_path / "run")
    assert made_by_the_dead(place)
    remove_leftovers(tmp_path / "run", deep=True)
    assert names(place) == []
    remove_leftovers(tmp_path / "nowhere", deep=True)


def test_what_a_living_process_makes_is_kept(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "one.json") as one:
        one.write_text("1")
        # From another thread as from another process: the lock is the open file's.
        other = threading.Thread(target=remove_leftovers, args=(tmp_path,))
        other.start()
        other.join()
        with atomic_path(tmp_path / "two.json") as two:
            two.write_text("2")
    assert names(tmp_path) == ["one.json", "two.json"]


def test_what_is_not_ours_is_kept(tmp_path: Path) -> None:
    leave_half_made(tmp_path / "result.json")
    (ours,) = made_by_the_dead(tmp_path)
    mine = tmp_path / ".notes.abcdefgh.imatch"
    mine.mkdir()
    (mine / "note").touch()
    link = tmp_path / ".link.abcdefgh.imatch"
    link.symlink_to(ours, target_is_directory=True)
    (tmp_path / ".out.tif.imatch").mkdir()
    (tmp_path / "new").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == [".link.abcdefgh.imatch", mine.name, ".out.tif.imatch", "new"]


def test_a_process_killed_before_it_held_its_lock(tmp_path: Path) -> None:
    (tmp_path / ".result.json.abcdefgh.imatch").mkdir()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_a_folder_that_another_takes_for_a_leftover_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = FileLock.acquire
    swept: list[str] = []

    def late(lock: FileLock, *args: object, **options: object) -> object:
        if not swept:
            swept.append(Path(lock.lock_file).parent.name)
            monkeypatch.setattr(FileLock, "acquire", acquire)
            remove_leftovers(tmp_path)
        return acquire(lock, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FileLock, "acquire", late)
    with atomic_path(tmp_path / "result.json") as temporary:
        temporary.write_text("whole")
        assert swept
    assert names(tmp_path) == ["result.json"]


@pytest.mark.parametrize("refusal", [OSError(37, "No locks available"), NotImplementedError()])
def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Exception
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise refusal

    leave_half_made(tmp_path / "result.json")
    left = names(tmp_path)
    monkeypatch.setattr(FileLock, "acquire", refuse)
    with atomic_path(tmp_path / "result.json") as temporary:
        temporary.write_text("whole")
        remove_leftovers(tmp_path)
    # Nobody can tell whether its owner lives.
    assert names(tmp_path) == [*left, "result.json"]


def test_long_names(tmp_path: Path) -> None:
    for letter in "aé":
        name = letter * (250 // len(letter.encode())) + ".json"
        with atomic_path(tmp_path / name) as temporary:
            temporary.write_text("whole")
    assert len(names(tmp_path)) == 2


class TestFolder:
    def test_it_appears_whole_or_not_at_all(self, tmp_path: Path) -> None:
        path = tmp_path / "product"
        with atomic_folder(path) as made:
            (made / "part").touch()
            assert not path.exists()
        assert names(path) == ["part"]
        with (
            pytest.raises(OutputError, match="already exists; pass --overwrite"),
            atomic_folder(path),
        ):
            pass
        with atomic_folder(path, overwrite=True) as made:
            (made / "other").touch()
        assert names(path) == ["other"]
        assert names(tmp_path) == ["product"]

    def test_what_was_there_comes_back_if_the_new_does_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "product"
        path.mkdir()
        (path / "old").touch()
        rename = Path.rename

        def refuse(source: Path, target: Path) -> Path:
            if target == path and source.parent.name == "new":
                raise OSError(5, "Input/output error")
            return rename(source, target)

        monkeypatch.setattr(Path, "rename", refuse)
        with pytest.raises(OutputError, match="Input/output"), atomic_folder(path, overwrite=True):
            pass
        assert names(path) == ["old"]
        assert names(tmp_path) == ["product"]

    def test_what_was_there_comes_back_after_a_kill(self, tmp_path: Path) -> None:
        path = tmp_path / "product"
        leave_half_made(path)
        (left,) = made_by_the_dead(tmp_path)
        (left / "old" / "product").mkdir(parents=True)
        with scratch(tmp_path / "another"):
            assert path.is_dir()
        assert names(tmp_path) == ["product"]
