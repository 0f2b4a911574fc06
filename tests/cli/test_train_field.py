from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from imatch.core.settings import load_settings
from imatch.training.fields.config import FieldConfig
from tests.support.training_runs import SMALL

Run = Callable[..., Result]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "experiments" / "fields").glob("*.yaml"))
)
def test_configurations_can_be_read(path: Path) -> None:
    assert load_settings(FieldConfig, path).data.held_out == 2


def test_train_and_export(run: Run, tmp_path: Path) -> None:
    config, folder, file = (tmp_path / name for name in ("a.yaml", "run", "own.safetensors"))
    config.write_text(yaml.safe_dump(SMALL["field"]))
    done = run("train", "field", config, "-o", folder, "-s", "steps=1", "--export", file)
    assert done.exit_code == 0, done.stderr
    assert "lead" in done.stdout
    card = file.with_suffix(".md").read_text()
    assert "8 channels at half size, dilations 1; 2 maps beside the directions" in card
    assert "Trained on procedural landscapes." in card
