from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from imatch.models.superpoint.network import SuperPoint
from imatch.training.checkpoint import Checkpoints
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.trainer import SuperPointTrainer
from imatch.training.tracking import read_log
from tests.support.resumed_training import check_resumed_bit_for_bit

Configure = Callable[..., SuperPointConfig]
OBJECTIVES = {
    "self": ["objectives.self=1"],
    "polygon": ["objectives.self=0", "objectives.polygon=1"],
    "season": ["objectives.self=0", "objectives.season=1"],
    "all": ["objectives.polygon=1", "objectives.season=1"],
}


def trainer(config: SuperPointConfig, folder: Path, pairs: Any) -> SuperPointTrainer:
    return SuperPointTrainer(config, folder, train=pairs, validation=pairs)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains(
    name: str, pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    work = trainer(configure(*OBJECTIVES[name]), tmp_path / "run", pairs)
    assert work.fit().ended == "done"
    log = read_log(tmp_path / "run" / "log.jsonl")
    losses = [line for line in log if "train/loss" in line]
    assert len(losses) == 4
    assert all(line["train/detector"] > 0 for line in losses)
    assert {"val/repeatability", "val/mma_3", "val/auc_3"} <= log[-1].keys()


@pytest.mark.parametrize("workers", [0, 1])
# PyTorch forks a process that has threads; its workers start none.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_resumed_bit_for_bit(
    workers: int, pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    settings = [*OBJECTIVES["all"], "steps=3", "validate_every=3"]
    check_resumed_bit_for_bit(
        lambda folder, more: trainer(configure(*settings, *more), folder, pairs), tmp_path, workers
    )


def test_labels_of_other_settings_are_not_taken(
    pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    few = trainer(configure("labels.count=3"), run, pairs)
    few.fit(overfit=True)
    many = trainer(configure("labels.count=30"), run, pairs)
    for index in range(len(pairs)):
        assert len(many.labels.of(index, pairs[index], many.device).a.xy) > 3
    again = trainer(configure("labels.count=30"), run, pairs)
    assert again.labels.folder == many.labels.folder


def test_labels_are_made_in_full_precision(
    pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    settings = [*OBJECTIVES["season"], "steps=1", "validate_every=1"]
    half = trainer(configure(*settings, "precision=bf16"), tmp_path / "half", pairs)
    half.fit()
    full = trainer(configure(*settings), tmp_path / "full", pairs)
    made = sorted(half.labels.folder.glob("*.npz"))
    assert made
    for path in made:
        index = int(path.stem)
        found = half.labels.of(index, pairs[index], half.device)
        wanted = full.labels.of(index, pairs[index], full.device)
        np.testing.assert_array_equal(found.a.xy, wanted.a.xy)
        np.testing.assert_array_equal(found.season_b.weight, wanted.season_b.weight)


def test_learns_a_batch_by_heart(pairs: Any, configure: Configure, tmp_path: Path) -> None:
    settings = ["steps=12", "schedule.warmup=0", "schedule.kind=constant", "optimiser.lr=1e-3"]
    work = trainer(configure(*OBJECTIVES["season"], *settings), tmp_path / "run", pairs)
    figures = work.fit(overfit=True).figures
    assert figures["last_loss"] < 0.8 * figures["first_loss"]


def test_frozen_statistics_stay(
    pairs: Any, configure: Configure, network: SuperPoint, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "start.pth")
    settings = [f"model.start={tmp_path / 'start.pth'}", "steps=1", "validate_every=1"]
    trainer(configure(*settings), tmp_path / "run", pairs).fit()
    after = Checkpoints(tmp_path / "run" / "checkpoints").load().weights
    before = network.state_dict()
    assert torch.equal(after["bn1a.running_mean"], before["bn1a.running_mean"])
    assert not torch.equal(after["bn1a.weight"], before["bn1a.weight"])


def test_frozen_stages_rest_for_a_while(
    pairs: Any, configure: Configure, network: SuperPoint, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "start.pth")
    settings = [f"model.start={tmp_path / 'start.pth'}", "model.frozen_stages=1"]
    settings += ["model.frozen_steps=2", "checkpoint_every=1", "keep=9"]
    trainer(configure(*settings), tmp_path / "run", pairs).fit()
    kept = Checkpoints(tmp_path / "run" / "checkpoints")
    before, after = network.state_dict(), [kept.load(step).weights for step in (1, 2, 3)]
    for name in ("conv1b.weight", "bn1b.weight"):
        assert torch.equal(after[1][name], before[name])
        assert not torch.equal(after[2][name], before[name])
    assert not torch.equal(after[0]["conv2a.weight"], before["conv2a.weight"])


def test_statistics_are_fitted_before_the_first_step(
    pairs: Any, configure: Configure, network: SuperPoint, tmp_path: Path
) -> None:
    torch.save(network.state_dict(), tmp_path / "start.pth")
    settings = [f"model.start={tmp_path / 'start.pth'}", "model.fit_statistics=3"]
    model = trainer(configure(*settings), tmp_path / "run", pairs).build_model()
    assert isinstance(model, SuperPoint)
    before, after = network.state_dict(), model.state_dict()
    assert not torch.equal(after["bn2a.running_var"], before["bn2a.running_var"])
    assert torch.equal(after["conv2a.weight"], before["conv2a.weight"])


def test_a_checkpoint_tells_where_it_comes_from(
    pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    trainer(configure("steps=1", "validate_every=1"), tmp_path / "run", pairs).fit()
    about = Checkpoints(tmp_path / "run" / "checkpoints").load().about
    assert about["licence"] == "Apache-2.0"
    assert about["data"] == {"chips": None, "sha256": None, "pairs": 4}
    assert about["architecture"]["descriptor_dim"] == 16
    assert about["config"]["objectives"]["self"] == 1
    assert "torch" in about["environment"]["versions"]
    assert about["figures"].keys() >= {"auc_3", "repeatability"}


class AlikedLike:
    """A teacher of 128-dimensional descriptors, by a formula."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        generator = torch.Generator().manual_seed(0)
        self.filters = torch.randn(128, 1, 9, 9, generator=generator)

    def detect(self, images: torch.Tensor) -> Any:
        dense = nn.functional.conv2d(images, self.filters, padding=4)

        class Seen:
            heat = dense[:, 0].abs()

            def describe(self, index: int, xy: torch.Tensor) -> torch.Tensor:
                x, y = xy.round().long().T
                return nn.functional.normalize(dense[index, :, y, x].T, dim=1)

        return Seen()


@pytest.mark.parametrize("sees", ["views", "chips"])
def test_distils(
    sees: str, pairs: Any, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("imatch.training.superpoint.trainer.AlikedTeacher", AlikedLike)
    settings = ["objectives.self=0.5", "objectives.season=1", "objectives.distil=1"]
    settings += ["model.descriptor_dim=128", "distil.fit_pairs=3", "labels.source=aliked"]
    settings += [f"distil.sees={sees}", "distil.points=24"]
    work = trainer(configure(*settings), tmp_path / "run", pairs)
    started = SuperPoint(1, 128, batch_norm=True)
    started.load_state_dict(work.initialisation.network.state_dict())
    fitted = work.build_model()
    assert isinstance(fitted, SuperPoint)
    assert not torch.equal(fitted.convDb.weight, started.convDb.weight)
    assert torch.equal(fitted.conv1a.weight, started.conv1a.weight)
    work.fit()
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert any("train/distil" in line for line in log)
    assert any("train/matching" in line for line in log)
