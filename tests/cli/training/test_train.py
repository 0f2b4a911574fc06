from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import Result

from imatch.training.checkpoint import Checkpoints
from tests.support.training_runs import SMALL

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL["superpoint"]))
    return path


def test_list(run: Run) -> None:
    result = run("train", "--list")
    assert result.exit_code == 0
    assert "superpoint" in result.stdout


def test_template_is_a_configuration(run: Run) -> None:
    result = run("train", "superpoint", "--template")
    assert result.exit_code == 0
    assert {"steps", "objectives", "augment"} <= yaml.safe_load(result.stdout).keys()
    assert "# Length of the run" in result.stdout


def test_train_resume_export(run: Run, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = run("train", "superpoint", config, "-o", folder, "-s", "steps=1", "--device", "cpu")
    assert first.exit_code == 0, first.stderr
    assert "done at step 1" in first.stdout
    assert "licence of the start" in first.stderr
    again = run("train", "superpoint", config, "-o", folder)
    assert again.exit_code == 1
    assert "holds a run already" in again.stderr
    more = run("train", "superpoint", "-o", folder, "--resume", "-s", "steps=2")
    assert more.exit_code == 0, more.stderr
    assert "done at step 2" in more.stdout
    assert "auc_3" in more.stdout
    out = run("train", "superpoint", "-o", folder, "--export", tmp_path / "n.safetensors")
    assert out.exit_code == 0, out.stderr
    assert (tmp_path / "n.md").exists()
    assert Checkpoints(folder / "checkpoints").steps()[-1] == 2


def test_overfit_batch(run: Run, config: Path, tmp_path: Path) -> None:
    result = run("train", "superpoint", config, "-o", tmp_path / "run", "--overfit-batch")
    assert result.exit_code == 0, result.stderr
    assert "last_loss" in result.stdout
    assert not (tmp_path / "run" / "checkpoints").exists()


class TestRefuses:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "name a trainer"),
            (("superpiont", "--template"), "did you mean 'superpoint'"),
            (("superpoint",), "-o"),
            (("superpoint", "-o", "run"), "name a configuration"),
        ],
    )
    def test_usage(self, arguments: tuple[str, ...], said: str, run: Run) -> None:
        result = run("train", *arguments)
        assert result.exit_code == 2
        assert said in result.stderr

    def test_bad_setting(self, run: Run, config: Path, tmp_path: Path) -> None:
        result = run("train", "superpoint", config, "-o", tmp_path / "run", "-s", "stepz=3")
        assert result.exit_code == 2
        assert "stepz: is no setting" in result.stderr

    def test_no_chips(self, run: Run, config: Path, tmp_path: Path) -> None:
        missing = f"data.chips={tmp_path / 'none'}"
        result = run("train", "superpoint", config, "-o", tmp_path / "run", "-s", missing)
        assert result.exit_code == 1
        assert "no such folder" in result.stderr

    def test_nothing_to_resume(self, run: Run, tmp_path: Path) -> None:
        result = run("train", "superpoint", "-o", tmp_path / "run", "--resume")
        assert result.exit_code == 1
        assert "config.yaml" in result.stderr
