from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.fetch.kaggle import fetch_kaggle

NAME = "kaggle-deforestation"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Kaggle's client, replaced by one that writes the files there should be."""
    kagglehub = pytest.importorskip("kagglehub")
    calls: list[dict[str, Any]] = []

    def download(handle: str, *, output_dir: str, force_download: bool) -> str:
        calls.append({"handle": handle, "force": force_download})
        granule = Path(output_dir) / "T36UXA.SAFE" / "IMG_DATA"
        granule.mkdir(parents=True, exist_ok=True)
        (granule / "T36UXA_20180805T083601_TCI.jp2").touch()
        (Path(output_dir) / "deforestation_labels.geojson").touch()
        return output_dir

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    return calls


def test_images_and_a_card_arrive(hub: list[dict[str, Any]], tmp_path: Path) -> None:
    images = fetch_kaggle(NAME, tmp_path / "out", overwrite=True)
    assert [path.name for path in images] == ["T36UXA_20180805T083601_TCI.jp2"]
    assert hub == [{"handle": "isaienkov/deforestation-in-ukraine", "force": True}]
    assert "Copernicus" in (tmp_path / "out" / "README.md").read_text()


def test_what_kaggle_says_is_passed_on(
    hub: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import kagglehub

    def refuse(*_: Any, **__: Any) -> str:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    with pytest.raises(InputError, match=r"cannot be fetched from Kaggle \(Name or service"):
        fetch_kaggle(NAME, tmp_path)
    monkeypatch.setattr(kagglehub, "dataset_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(InputError, match=r"came without any \*_TCI\.jp2"):
        fetch_kaggle(NAME, tmp_path)
    assert not hub


def test_without_its_client_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ConfigError, match=r"pip install 'imatch\[fetch\]'"):
        fetch_kaggle(NAME, tmp_path)
    with pytest.raises(ConfigError, match="there is kaggle-deforestation"):
        fetch_kaggle("kaggle-cats", tmp_path)
