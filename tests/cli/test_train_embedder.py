from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

Run = Callable[..., Result]


def test_listed_with_a_template_that_is_a_configuration(run: Run) -> None:
    assert "embedder" in run("train", "--list").stdout
    result = run("train", "embedder", "--template")
    assert result.exit_code == 0
    assert {"steps", "sampler", "mining", "loss"} <= yaml.safe_load(result.stdout).keys()
    assert "# Crops of a chip in training" in result.stdout


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "experiments" / "embedder").glob("*.yaml"))
)
def test_configurations_are_configurations(path: Path) -> None:
    from imatch.core.settings import load_settings
    from imatch.datasets.config import PrepareConfig
    from imatch.training.embedder.config import EmbedderConfig

    kind = PrepareConfig if "sources" in yaml.safe_load(path.read_text()) else EmbedderConfig
    if kind is EmbedderConfig:
        load_settings(EmbedderConfig, path)
    else:
        PrepareConfig(**yaml.safe_load(path.read_text()))


def test_nothing_to_learn_from_is_one_line(run: Run, tmp_path: Path) -> None:
    result = run("train", "embedder", "-o", tmp_path / "run", "-s", "model.start=scratch")
    assert result.exit_code == 2
    assert "data.chips: there is nothing to learn from" in result.stderr
    missing = f"data.chips={tmp_path / 'none'}"
    result = run("train", "embedder", "-o", tmp_path / "run", "-s", missing)
    assert result.exit_code == 1
    assert "no such folder" in result.stderr
