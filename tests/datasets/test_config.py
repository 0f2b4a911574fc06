from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.core.settings import make_settings
from imatch.datasets.config import PrepareConfig, load_prepare_config

SOURCE = {"name": "a", "images": ["*.tif"]}


def test_shares_are_normalised_and_empty_splits_left_out() -> None:
    config = make_settings(PrepareConfig, {"sources": [SOURCE], "split": "8/1/1"})
    assert config.shares == pytest.approx({"train": 0.8, "val": 0.1, "test": 0.1})
    assert make_settings(PrepareConfig, {"split": "1/0"}).shares == {"train": 1.0}


def test_the_guard_is_never_less_than_chips_overlap() -> None:
    config = make_settings(PrepareConfig, {"sources": [SOURCE], "chip": 100, "stride": 40})
    assert config.guard_chips == pytest.approx(0.6)
    assert make_settings(PrepareConfig, {"sources": [SOURCE]}).guard_chips == 0.25
    with pytest.raises(ConfigError, match=r"a guard of 0\.5 chips is less than chips overlap"):
        make_settings(
            PrepareConfig, {"sources": [SOURCE | {"stride": 40}], "chip": 100, "guard": 0.5}
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"chips": 3}, "chips: is no setting; settings are root, "),
        ({"sources": [SOURCE | {"image": 1}]}, r"sources\.0\.image: is no setting; settings of a"),
        ({"sources": [{"name": "a"}]}, "a source has either images or a table"),
        ({"sources": [SOURCE, SOURCE]}, "two sources have one name"),
        ({"sources": [SOURCE | {"date": "("}]}, "is no regular expression"),
        ({"sources": [SOURCE | {"bounds": (1, 1, 0, 2)}]}, "left, bottom, right, top"),
        ({"sources": [SOURCE], "stride": 300}, "the stride is larger than the chip"),
        ({"split": "0.5/x"}, "split.1"),
        ({"split": "0/0"}, "two or three shares"),
        ({"chip": 8}, "chip: input should be greater"),
    ],
)
def test_mistakes_are_explained(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_settings(PrepareConfig, values)


def test_files_named_on_the_command_line_start_from_here(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("root: elsewhere\nchip: 64\nsources:\n  - {name: a, images: ['*.jp2']}\n")
    config = load_prepare_config(path, {"bands": (1,), "chip": 128}, images=["x.tif"])
    assert (config.chip, config.root) == (128, Path("elsewhere"))
    assert [source.bands for source in config.sources] == [(1,), (1,)]
    assert config.sources[1].images == (str(Path("x.tif").absolute()),)


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n", "holds no mapping"), ("a: [", "is not YAML"), (None, "No such file")],
)
def test_a_bad_file_is_explained(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "c.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_prepare_config(path)


def test_nothing_to_cut_is_said() -> None:
    with pytest.raises(ConfigError, match="no images were given"):
        load_prepare_config(None)


@pytest.mark.parametrize("name", ["shared_train", "kaggle"])
def test_the_ready_configurations_are_valid(name: str) -> None:
    folder = Path(__file__).parents[2] / "experiments" / "data"
    config = load_prepare_config(folder / f"{name}.yaml")
    patterns = [text for source in config.sources for text in (*source.images, *source.polygons)]
    assert not any("bench" in text for text in patterns)
    assert config.shares.keys() == {"train", "val"}
