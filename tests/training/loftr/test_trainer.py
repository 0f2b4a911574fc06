from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imatch.core.types import Matches
from imatch.datasets.sample import PairSample
from imatch.models.loftr.network import coarse_parts
from imatch.models.loftr.shape import COMPACT
from imatch.training.checkpoint import Checkpoints
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.data import as_matched
from imatch.training.loftr.trainer import LoFTRTrainer
from imatch.training.loftr.truth import truth_of
from imatch.training.tracking import read_log
from imatch.training.validation import match_figures
from tests.support.resumed_training import check_resumed_bit_for_bit

Configure = Callable[..., LoFTRConfig]


def trainer(config: LoFTRConfig, folder: Path, pairs: Any) -> LoFTRTrainer:
    return LoFTRTrainer(config, folder, train=pairs, validation=pairs)


def losses(folder: Path) -> list[dict[str, Any]]:
    return [line for line in read_log(folder / "log.jsonl") if "train/loss" in line]


class TestStages:
    def test_both(self, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        assert trainer(configure(), tmp_path / "run", pairs).fit().ended == "done"
        log = losses(tmp_path / "run")
        assert len(log) == 4
        for line in log:
            total = line["train/coarse"] + line["train/fine"]
            assert line["train/loss"] == pytest.approx(total, rel=1e-5)
            assert line["train/cells"] > 5
        figures = read_log(tmp_path / "run" / "log.jsonl")[-1]
        assert {"val/auc_3", "val/mma_3", "val/matches"} <= figures.keys()

    def test_the_coarse_stage_alone(self, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        work = trainer(configure("loss.fine_weight=0"), tmp_path / "run", pairs)
        work.fit()
        assert all("train/fine" not in line for line in losses(tmp_path / "run"))
        about = Checkpoints(tmp_path / "run" / "checkpoints").load().about
        assert about["architecture"]["shape"]["refined"] is False

    def test_then_the_fine_stage(self, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        trainer(configure("loss.fine_weight=0"), tmp_path / "coarse", pairs).fit()
        checkpoints = Checkpoints(tmp_path / "coarse" / "checkpoints")
        file = checkpoints.path(4) / "weights.safetensors"
        settings = [f"model.start={file}", "model.freeze_coarse=true", "loss.coarse_weight=0"]
        work = trainer(configure(*settings), tmp_path / "fine", pairs)
        parts = [
            value
            for part in coarse_parts(work.initialisation.network)
            for value in part.state_dict().values()
        ]
        before = [value.clone() for value in parts]
        work.fit()
        # Neither weights nor statistics of the coarse stage have changed, and the rest has.
        assert all(torch.equal(old, new) for old, new in zip(before, parts, strict=True))
        log = losses(tmp_path / "fine")
        assert all(line["train/loss"] == line["train/fine"] > 0 for line in log)
        start = checkpoints.load().average["loftr_fine.layers.0.merge.weight"]
        end = Checkpoints(tmp_path / "fine" / "checkpoints").load()
        assert not torch.equal(start, end.average["loftr_fine.layers.0.merge.weight"])
        assert end.about["architecture"]["shape"]["refined"] is True

    @pytest.mark.parametrize("loss", ["focal", "dual-softmax"])
    def test_every_loss(self, loss: str, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        config = configure(f"loss.coarse={loss}", "steps=1", "validate_every=1")
        trainer(config, tmp_path / "run", pairs).fit()
        assert losses(tmp_path / "run")[0]["train/coarse"] > 0

    def test_bfloat16(self, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        config = configure("precision=bf16", "steps=1", "validate_every=1")
        assert trainer(config, tmp_path / "run", pairs).fit().ended == "done"

    def test_other_shapes(self, pairs: Any, configure: Configure, tmp_path: Path) -> None:
        teacher = ["model.shape=teacher", "model.dims=[8, 8, 8, 16, 16]", "loss.fine_weight=0"]
        config = configure(*teacher, "steps=1", "validate_every=1")
        assert trainer(config, tmp_path / "run", pairs).fit().ended == "done"

    def test_unknown_pairs_alone_change_nothing_but_break_nothing(
        self, pairs: Any, configure: Configure, tmp_path: Path
    ) -> None:
        unknown = type(pairs)([replace(pair, sigma_px=float("nan")) for pair in pairs.pairs])
        work = LoFTRTrainer(configure(), tmp_path / "run", train=unknown, validation=pairs)
        work.fit()
        assert all(line["train/loss"] == 0 for line in losses(tmp_path / "run"))


@pytest.mark.parametrize("workers", [0, 1])
# PyTorch forks a process that has threads; its workers start none.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_resumed_bit_for_bit(
    workers: int, pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    settings = ["steps=3", "validate_every=3", "loss.fine_matches=10"]
    check_resumed_bit_for_bit(
        lambda folder, more: trainer(configure(*settings, *more), folder, pairs), tmp_path, workers
    )


def test_learns_a_batch_by_heart(
    pairs: Any, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ["steps=40", "schedule.warmup=0", "schedule.kind=constant", "optimiser.lr=3e-3"]
    work = trainer(configure(*settings), tmp_path / "run", pairs)
    learnt: list[Any] = []
    build = work.build_model

    def built() -> Any:
        learnt.append(build())
        return learnt[0]

    monkeypatch.setattr(work, "build_model", built)
    found = work.fit(overfit=True).figures
    assert found["last_loss"] < 0.02 * found["first_loss"]
    log = losses(tmp_path / "run" / "overfit")
    assert log[-1]["train/matched"] < 0.3
    assert log[-1]["train/fine"] < 0.25
    # True cells are the most alike; statistics are of the batch, as in training.
    batch = next(iter(work.build_loaders(0).train))
    truth = truth_of(batch, COMPACT, 2.0)
    model = learnt[0].train()
    with torch.no_grad():
        maps, _ = model.features(torch.cat([batch.a, batch.b]))
        tokens = model.attend(maps[:2], maps[2:], truth.seen_a, truth.seen_b)
        alike = model.similarity(*tokens, truth.seen_a, truth.seen_b)
    best = alike.argmax(dim=2)[truth.cells.pair, truth.cells.a]
    assert (best == truth.cells.b).float().mean() > 0.9


def test_a_checkpoint_tells_where_it_comes_from(
    pairs: Any, configure: Configure, tmp_path: Path
) -> None:
    trainer(configure("steps=1", "validate_every=1"), tmp_path / "run", pairs).fit()
    about = Checkpoints(tmp_path / "run" / "checkpoints").load().about
    assert about["licence"] == "Apache-2.0"
    assert about["data"] == {"chips": None, "sha256": None, "pairs": {"given": 4}}
    assert about["architecture"]["kind"] == "loftr"
    assert about["architecture"]["shape"]["dims"] == [8, 8, 12, 16]
    assert "torch" in about["environment"]["versions"]
    assert about["figures"].keys() >= {"auc_3", "auc_10", "mma_3"}


def test_from_prepared_chips(chips: Path, configure: Configure, tmp_path: Path) -> None:
    settings = [f"data.chips={chips}", "distil.matchers=[sift]", "distil.max_ci_px=3"]
    work = LoFTRTrainer(configure(*settings, "steps=2", "validate_every=2"), tmp_path / "run")
    assert work.fit().ended == "done"
    kinds = {"season": 2, "hard": 2, "self": 6, "distil": 2}
    assert work.about()["data"] == {"chips": str(chips), "sha256": "ab", "pairs": kinds}
    made = sorted((tmp_path / "run" / "labels").glob("*/*.npz"))
    assert len(made) == 2
    # Other settings must not find these labels.
    other = configure(*settings, "distil.apart_px=2")
    assert LoFTRTrainer(other, tmp_path / "run")._label_key() != work._label_key()
    farther = configure(*settings, "distil.reach_px=30")
    assert LoFTRTrainer(farther, tmp_path / "run")._label_key() == work._label_key()


def figures(pair: PairSample, matches: Matches) -> dict[str, float]:
    return match_figures(pair, matches, mma_px=(1, 3, 8), auc_px=(3, 5, 10))


class TestFigures:
    def grid(self) -> np.ndarray:
        x, y = np.meshgrid(np.arange(5.0, 90, 8), np.arange(5.0, 90, 8))
        return np.column_stack([x.ravel(), y.ravel()])

    def test_right(self, pairs: Any) -> None:
        xy = self.grid()
        pair = as_matched(pairs[2])
        found = figures(pair, Matches(xy, xy + np.array([6, -2]), np.ones(len(xy))))
        assert found["mma_1"] == found["mma_8"] == found["within_3"] == 1
        assert found["auc_3"] > 0.99

    def test_wrong_and_none(self, pairs: Any) -> None:
        xy = self.grid()
        pair = as_matched(pairs[2])
        off = figures(pair, Matches(xy, xy + np.array([10, -2]), np.ones(len(xy))))
        assert (off["mma_3"], off["mma_8"], off["auc_3"]) == (0, 1, 0)
        assert 0.5 < off["auc_10"] < 0.7
        none = figures(pair, Matches())
        assert none["matches"] == none["mma_3"] == none["auc_10"] == 0


def test_pictures(pairs: Any, configure: Configure, tmp_path: Path) -> None:
    work = trainer(configure(), tmp_path / "run", pairs)
    example_images = work.example_images(work.build_model())
    assert example_images["matches"].shape == (64, 128, 3)
    assert example_images["matches"].dtype == np.uint8
