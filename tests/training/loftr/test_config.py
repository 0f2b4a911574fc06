from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imatch.core.errors import ConfigError
from imatch.core.settings import as_yaml, load_settings
from imatch.models.loftr.shape import COMPACT, PUBLISHED, TEACHER
from imatch.training.loftr.config import LoFTRConfig

Configure = Callable[..., LoFTRConfig]
EXPERIMENTS = Path(__file__).parents[3] / "experiments" / "loftr"


def load(*overrides: str) -> LoFTRConfig:
    return load_settings(LoFTRConfig, None, overrides)


def test_shapes() -> None:
    assert load().shape == COMPACT
    assert load("model.shape=published").shape == PUBLISHED
    assert not load("loss.fine_weight=0").shape.refined
    teacher = load("model.shape=teacher", "loss.fine_weight=0").shape
    assert teacher == TEACHER
    assert load("model.rounds=2", "model.threshold=0.1").shape.rounds == 2


def test_is_read_back_as_written(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(configure("data.mixture.self=0.7")))
    assert "self: 0.7" in path.read_text()
    assert load_settings(LoFTRConfig, path) == configure("data.mixture.self=0.7")


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.dims=[8, 8, 12]", "dims are 4 or 5"),
        ("model.heads=7", "multiples of the heads"),
        ("model.shape=tiny", "model.shape"),
        ("model.freeze_coarse=true", "freeze_coarse needs a start"),
        ("data.size=100", "multiple of 8"),
        ("distil.agree=3", "3 cannot agree of 1"),
        ("loss.coarse=sinkhorn", "loss.coarse"),
    ],
)
def test_refuses(setting: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(setting)


def test_refuses_what_does_not_go_together() -> None:
    with pytest.raises(ConfigError, match="at least one loss"):
        load("loss.coarse_weight=0", "loss.fine_weight=0")
    with pytest.raises(ConfigError, match="nothing to learn"):
        load("model.freeze_coarse=true", "model.start=x.pt", "loss.fine_weight=0")
    with pytest.raises(ConfigError, match=r"validation\.size must be a multiple of 16"):
        load("model.shape=teacher", "validation.size=264")


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_experiments_are_configurations(path: Path) -> None:
    config = load_settings(LoFTRConfig, path)
    assert config.data.chips == Path("chips")
