from __future__ import annotations

from pathlib import Path

import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.core.settings import as_yaml, load_settings, template
from imatch.training.config import CHANGEABLE, ScheduleConfig, TrainerConfig
from imatch.training.superpoint.config import SuperPointConfig


def test_overrides_reach_into_groups(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("steps: 50\noptimiser:\n  lr: 1.0e-3\n")
    config = load_settings(TrainerConfig, path, ["optimiser.clip_norm=2", "batch_size=3"])
    assert (config.steps, config.batch_size) == (50, 3)
    assert (config.optimiser.lr, config.optimiser.clip_norm) == (1e-3, 2.0)


def test_nothing_can_be_changed_later() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainerConfig().steps = 3


@pytest.mark.parametrize("kind", [TrainerConfig, SuperPointConfig])
def test_template_holds_the_defaults_and_what_they_mean(
    kind: type[TrainerConfig], tmp_path: Path
) -> None:
    path = tmp_path / "template.yaml"
    path.write_text(template(kind))
    assert load_settings(kind, path) == kind()
    lines = path.read_text().splitlines()
    settings = [i for i, line in enumerate(lines) if not line.strip().startswith("#")]
    assert all(lines[i - 1].strip().startswith("#") for i in settings), "a setting is unexplained"


def test_written_and_read_again(tmp_path: Path) -> None:
    config = load_settings(
        SuperPointConfig, None, ["objectives.self=0.5", "objectives.season=2", "seed=4"]
    )
    (tmp_path / "c.yaml").write_text(as_yaml(config))
    assert load_settings(SuperPointConfig, tmp_path / "c.yaml") == config
    assert "self: 0.5" in as_yaml(config)


class TestRefuses:
    def test_unknown_setting(self) -> None:
        with pytest.raises(ConfigError, match=r"steppes: is no setting.*steps"):
            load_settings(TrainerConfig, None, ["steppes=3"])

    def test_unknown_setting_in_a_group(self) -> None:
        with pytest.raises(ConfigError, match=r"schedule.warm: .*kind, warmup, floor"):
            load_settings(TrainerConfig, None, ["schedule.warm=3"])

    def test_impossible_value(self, tmp_path: Path) -> None:
        path = tmp_path / "run.yaml"
        path.write_text("steps: -1\n")
        with pytest.raises(ConfigError, match=r"run.yaml: steps: .*greater than"):
            load_settings(TrainerConfig, path)

    @pytest.mark.parametrize(
        "setting", ["batch_size=1.0e+12", "data.size=1000000", "model.bands=1000000000"]
    )
    def test_sizes_that_no_memory_holds(self, setting: str) -> None:
        with pytest.raises(ConfigError, match=r"less than or equal to 16384"):
            load_settings(SuperPointConfig, None, [setting])

    def test_no_objective(self) -> None:
        with pytest.raises(ConfigError, match="at least one objective"):
            load_settings(SuperPointConfig, None, ["objectives.self=0"])

    def test_distilling_into_other_descriptors(self) -> None:
        with pytest.raises(ConfigError, match=r"distil needs model.descriptor_dim=128"):
            load_settings(SuperPointConfig, None, ["objectives.distil=1"])

    @pytest.mark.parametrize(
        ("text", "said"), [("steps", "not key=value"), ("steps=[", "not YAML")]
    )
    def test_overrides(self, text: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            load_settings(TrainerConfig, None, [text])

    @pytest.mark.parametrize(("content", "said"), [("- 1", "no mapping"), ("a: [", "not YAML")])
    def test_files(self, content: str, said: str, tmp_path: Path) -> None:
        path = tmp_path / "bad.yaml"
        path.write_text(content)
        with pytest.raises(InputError, match=said):
            load_settings(TrainerConfig, path)

    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            load_settings(TrainerConfig, tmp_path / "none.yaml")


def test_changeable_settings_exist() -> None:
    assert set(TrainerConfig.model_fields) >= CHANGEABLE
    assert as_yaml(ScheduleConfig()).startswith("kind: cosine")
