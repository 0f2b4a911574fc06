from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from imatch.core.errors import ConfigError, InputError
from imatch.pipeline.pair.config import MatchConfig, load_config, make_config


def test_defaults_need_no_file() -> None:
    assert load_config(None) == MatchConfig() == make_config()


def test_a_file_then_overrides(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        "matcher: sift\nsize: 512\nref_bands: [4, B03]\ntgt_mask: clouds.gpkg\n"
        "weights: {aliked-n16: mine.pt}\ntolerance: 0.3px\n"
    )
    config = load_config(file, ["size=640", "seed = 7", "use_geocoding=false", "tgt_nodata=-9.5"])
    assert config == MatchConfig(
        matcher="sift",
        size=640,
        seed=7,
        ref_bands=(4, "B03"),
        tgt_mask=Path("clouds.gpkg"),
        use_geocoding=False,
        tgt_nodata=-9.5,
        weights={"aliked-n16": "mine.pt"},
        tolerance="0.3px",
    )


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing yet\n")
    assert load_config(file) == MatchConfig()


def test_an_override_may_take_a_setting_back(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("gsd_m: 10\ntolerance: 3m\n")
    config = load_config(file, ["gsd_m=null", "tolerance="])
    assert (config.gsd_m, config.tolerance) == (None, None)


def test_make_config_keeps_what_it_is_not_told() -> None:
    base = MatchConfig(matcher="sift", seed=4)
    assert make_config(base, seed=5) == MatchConfig(matcher="sift", seed=5)
    assert base.seed == 4


def test_it_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MatchConfig().size = 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("size=63", "size: input should be greater than or equal to 64"),
        ("size=big", "size: input should be a valid integer"),
        ("seed=-1", "seed: input should be greater than or equal to 0"),
        ("threshold_px=0", "threshold_px: input should be greater than 0"),
        ("model=cubic", "model: input should be 'auto', 'translation'"),
        ("gsd_m=0", "gsd_m: input should be greater than 0"),
        ("tolerance=3", "tolerance: '3' is no positive number with px or m: write 0.3px or 3m"),
        ("tolerance=-3m", "tolerance: '-3m' is no positive number"),
        ("tolerance=[1, 2]", "tolerance: '[1, 2]' is no positive number"),
        ("colour=red", "colour: is no setting; settings are matcher, "),
        ("size", "size: is not key=value; for example -s size=2048"),
        ("size=[", "size=[: the value is not YAML"),
    ],
)
def test_a_wrong_value_is_one_line(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, [override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_wrong_value_in_a_file_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("colour: red\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml: colour: is no setting"):
        load_config(file)


@pytest.mark.parametrize("name", ["colour", "size"])
def test_the_library_is_told_the_same(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        make_config(**{name: "red"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- a\n- b\n", "holds no mapping"),
        (b"size: [1\n", "is not YAML"),
        (b"\x89PNG\xff\xfe", "is not YAML"),
        (None, "No such file"),
    ],
)
def test_what_is_no_configuration(content: bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_config(file)
    assert caught.value.subject == str(file)
