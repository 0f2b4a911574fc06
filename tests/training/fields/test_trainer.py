from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from imatch.core.errors import ConfigError
from imatch.core.settings import load_settings
from imatch.core.types import Rendered
from imatch.datasets.sample import SENSORS, PairSample
from imatch.datasets.synthetic.maps import MapPairs
from imatch.geometry.sensor_field import correlation, field_input, transformed
from imatch.models.fields.network import STRIDE, FieldNetwork
from imatch.training.fields.config import FieldConfig
from imatch.training.fields.data import (
    FieldViews,
    as_item,
    collate,
    open_mixture,
)
from imatch.training.fields.losses import (
    correlation_loss,
    padded,
    right_shifts,
    spectra,
    surfaces,
)
from imatch.training.fields.trainer import FieldTrainer
from imatch.training.tracking import read_log
from imatch.training.views import one_date
from tests.support.resumed_training import check_resumed_bit_for_bit
from tests.support.training_runs import FOUR_STEPS
from tests.training.loftr.conftest import Listed


def _config(*overrides: str) -> FieldConfig:
    tiny = ("model.width=8", "model.stem=4", "model.maps=2", "model.dilations=[1]")
    few = ("data.size=64", "data.maps=8", "validation.pairs=2")
    return load_settings(FieldConfig, None, [*tiny, *few, *FOUR_STEPS, *overrides])


def test_trains_and_measures(tmp_path: Path) -> None:
    assert FieldTrainer(_config(), tmp_path / "run").fit().ended == "done"
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert {"val/lead", "val/height", "val/right"} <= log[-1].keys()
    assert sum("train/loss" in line for line in log) == 4


@pytest.mark.parametrize("workers", [0])
def test_a_broken_run_goes_on(tmp_path: Path, workers: int) -> None:
    def make(folder: Path, more: list[str]) -> FieldTrainer:
        return FieldTrainer(_config("steps=3", "checkpoint_every=1", *more), folder)

    check_resumed_bit_for_bit(make, tmp_path, workers)


def test_one_batch_can_be_learnt(tmp_path: Path) -> None:
    config = _config("model.maps=4", "steps=30", "optimiser.lr=0.01")
    work = FieldTrainer(config, tmp_path / "run")
    batch = next(iter(work.build_loaders(0).train))
    torch.manual_seed(0)
    model = work.build_model()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(25):
        loss = work.training_step(model, batch)["loss"]
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_surfaces_are_those_that_judge() -> None:
    """Torch's and SciPy's are one formula."""
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(2, 3, 20, 20)).astype(np.float32)
    maps[:, :, :4] = 0
    side = padded(20)
    one, two = (spectra(torch.from_numpy(each[None]), side) for each in maps)
    height, enough = surfaces(one, two, side)
    own, other = (transformed(each, (side, side)) for each in maps)
    expected, where = correlation(own, other)
    np.testing.assert_array_equal(enough[0].numpy(), where)
    np.testing.assert_allclose(height[0].numpy(), expected, atol=1e-3)


def test_the_loss_is_small_at_the_right_shift_alone() -> None:
    rng = np.random.default_rng(1)
    ground = rng.normal(size=(2, 2, 40, 40)).astype(np.float32)
    ref = torch.from_numpy(ground[:, :, 4:36, 4:36])
    tgt = torch.from_numpy(ground[:, :, 2:34, 7:39])  # Moved by (-3, 2) cells, 2 px each.
    how: dict[str, Any] = {"temperature": 2.7, "tolerance_px": 2.0, "others": 1, "most": 25.0}
    right, wrong = (
        float(correlation_loss(ref, tgt, torch.tensor([shift, shift]), **how))
        for shift in ([-6.0, 4.0], [6.0, -4.0])
    )
    assert right < 0.1
    assert wrong > 10


def test_right_shifts_lie_within_reach() -> None:
    right = right_shifts(torch.tensor([[-6.0, 4.0]]), 32, 2.0)
    assert right[0, 2, -3]
    assert int(right.sum()) == 5


def test_views_know_where_the_ground_lies() -> None:
    """What is told of the shift is where the directions of one image correlate with another's."""
    pairs = [replace(one_date(MapPairs(3, 128, 8)[index]), source=SENSORS) for index in range(4)]
    views = FieldViews(Listed(pairs), _config().augment, 96, 0)
    steps = np.fft.fftfreq(72, 1 / 72) * STRIDE
    for index in range(4):
        item = views[(index, index)]
        maps = (told.directions[:2] * told.seen for told in (item.a, item.b))
        height, _ = correlation(*(transformed(each, (72, 72)) for each in maps))
        row, column = np.unravel_index(height.argmax(), height.shape)
        found = np.array([steps[column], steps[row]])
        assert np.abs(found - item.shift).max() <= STRIDE


def test_cases_teach_both_sensors_and_one_alone(table: Path) -> None:
    config = _config(f"data.cases={table}", "data.held_out=2", "data.case_sources=[sar]").data
    mixture, kinds = open_mixture(config, 0)
    assert kinds == {"sensors": 1, "optical": 1, "map": 8}
    samples = [mixture[0, index] for index in range(len(mixture))]
    assert {sample.source for sample in samples} == {SENSORS, "optical", "map"}


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to learn from"):
        FieldTrainer(_config("data.maps=0"), tmp_path / "run")


def test_a_view_of_invalid_ground_is_measured_as_wrong(tmp_path: Path) -> None:
    trainer = FieldTrainer(_config(), tmp_path / "run")
    pair: PairSample = MapPairs(3, 64, 8)[0]
    blank = replace(pair, valid_b=np.zeros_like(pair.valid_b))
    figures = trainer.validation_step(FieldNetwork(), blank)
    assert figures == {"height": 0.0, "lead": 0.0, "right": 0.0}


def test_the_network_starts_as_the_directions() -> None:
    pair: PairSample = MapPairs(3, 64, 8)[0]
    batch = collate([as_item(pair)])
    maps = FieldNetwork()(batch.bands, batch.directions, batch.seen).detach()
    first = (batch.directions[:, :2] * batch.seen).numpy().ravel()
    told = maps[:, :2].numpy().ravel()
    assert float(np.corrcoef(first, told)[0, 1]) > 0.95


def test_invalid_ground_says_nothing() -> None:
    seen = np.ones((50, 61), bool)
    seen[:, :20] = False
    pixels = np.random.default_rng(0).random((3, 50, 61), dtype=np.float32)
    told = field_input(Rendered(pixels, seen))
    assert told.bands.shape == (4, 50, 61)
    assert told.directions.shape == (4, 25, 31)
    assert told.seen.shape == (1, 25, 31)
    assert not told.bands[:, :, :20].any()
    maps = FieldNetwork()(*(torch.from_numpy(part)[None] for part in told))
    assert maps.shape == (1, 8, 25, 31)
    assert not maps[..., :12].any()
