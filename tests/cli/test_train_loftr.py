from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from click.testing import Result

from imatch.models.weights import sha256_of
from imatch.training.checkpoint import Checkpoints
from tests.support.training_runs import SMALL

Run = Callable[..., Result]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL["loftr"]))
    return path


def test_is_listed(run: Run) -> None:
    assert "loftr" in run("train", "--list").stdout


def test_template_is_a_configuration(run: Run, tmp_path: Path) -> None:
    result = run("train", "loftr", "--template")
    assert result.exit_code == 0
    settings = yaml.safe_load(result.stdout)
    assert {"mixture", "size"} <= settings["data"].keys()
    assert settings["data"]["mixture"]["self"] == 0.1
    path = tmp_path / "all.yaml"
    path.write_text(result.stdout)
    refused = run("train", "loftr", path, "-o", tmp_path / "run")
    # It is read; what is missing are data.
    assert refused.exit_code == 2
    assert "there is nothing to learn from" in refused.stderr


def test_train_resume_export_match(run: Run, config: Path, tmp_path: Path) -> None:
    folder, file = tmp_path / "run", tmp_path / "own.safetensors"
    first = run("train", "loftr", config, "-o", folder, "-s", "steps=1")
    assert first.exit_code == 0, first.stderr
    assert "done at step 1" in first.stdout
    again = run("train", "loftr", config, "-o", folder)
    assert again.exit_code == 1
    assert "holds a run already" in again.stderr
    more = run("train", "loftr", "-o", folder, "--resume", "-s", "steps=2", "--export", file)
    assert more.exit_code == 0, more.stderr
    assert "auc_3" in more.stdout
    assert Checkpoints(folder / "checkpoints").steps()[-1] == 2
    assert "| refined | within the cells" in file.with_suffix(".md").read_text()
    image = tmp_path / "a.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (1, 64, 64), dtype=np.uint8)
    grid = {"crs": "EPSG:32631", "transform": Affine(10, 0, 0, 0, -10, 0)}
    with rasterio.open(
        image, "w", driver="GTiff", width=64, height=64, count=1, dtype="uint8", **grid
    ) as out:
        out.write(pixels)
    pinned = f"{file}#sha256={sha256_of(file)}"
    matched = run("match", image, image, "-m", "loftr-s2", "--weights", f"loftr-s2={pinned}")
    # Two steps teach nothing; but what was written is read and run.
    assert matched.exit_code in (0, 3), matched.stderr
    assert "loftr-s2" in matched.stdout


def test_overfit_batch(run: Run, config: Path, tmp_path: Path) -> None:
    result = run("train", "loftr", config, "-o", tmp_path / "run", "--overfit-batch")
    assert result.exit_code == 0, result.stderr
    assert "last_loss" in result.stdout
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("setting", "code", "said"),
    [
        ("model.start=none.pt", 1, "none.pt: does not exist"),
        ("model.round=2", 2, "model.round: is no setting"),
        ("data.size=63", 2, "data.size"),
        ("data.chips=none", 1, "no such folder"),
        ("data.mixture.landscape=0", 2, "there is nothing to learn from"),
    ],
)
def test_refuses(
    setting: str, code: int, said: str, run: Run, config: Path, tmp_path: Path
) -> None:
    result = run("train", "loftr", config, "-o", tmp_path / "run", "-s", setting)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr
