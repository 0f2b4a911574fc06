from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from experiments.mountains.gazetteer import load_gazetteer
from experiments.mountains.sampling import AugmentConfig, Varied, held_out
from experiments.mountains.searching import draw_settings, learning_curve, random_search
from experiments.mountains.sentences import Sentence, read_sentences, write_sentences
from experiments.mountains.sources import forerunner, other_sentences
from experiments.mountains.trainer import MountainConfig, MountainTrainer, load_tagger, train
from imatch.core.errors import ConfigError, InputError, WeightsError
from imatch.core.io.jsontext import parse_json
from imatch.core.settings import load_settings
from imatch.models.device import seeded
from imatch.training.checkpoint import Checkpoints
from tests.experiments.mountains.conftest import NAMES, learnable


def test_a_run_says_what_it_is(run: Path) -> None:
    tagger, about = load_tagger(run, device="cpu")
    assert about["labels"] == ["O", "B-MOUNTAIN", "I-MOUNTAIN"]
    assert set(about["data"]["names"]) <= set(NAMES)
    assert about["data"]["train"] + about["data"]["held out"] == len(learnable())
    assert tagger.temperature == parse_json((run / "calibration.json").read_text())["temperature"]


def test_a_run_that_is_cut_off_goes_on_to_the_same_weights(
    settings: list[str], tmp_path: Path
) -> None:
    short = [*settings, "steps=20", "validate_every=10", "checkpoint_every=10"]
    train(tmp_path / "whole", settings=short)
    outcome = train(tmp_path / "parts", settings=[*short, "max_minutes=1e-9"])
    assert (outcome.ended, outcome.step) == ("time", 1)
    outcome = train(tmp_path / "parts", settings=["max_minutes=null"], resume=True)
    assert (outcome.ended, outcome.step) == ("done", 20)
    one, other = (
        load_file(Checkpoints(tmp_path / name / "checkpoints").path(20) / "weights.safetensors")
        for name in ("whole", "parts")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("loss", ["crf", "focal"])
def test_a_batch_can_be_learnt_by_heart(loss: str, settings: list[str], tmp_path: Path) -> None:
    options = [*settings, "steps=30", f"loss={loss}", "dropout=0", "inner_dropout=0"]
    outcome = train(tmp_path / "run", settings=options, overfit=True)
    assert outcome.figures["last_loss"] < 0.2 * outcome.figures["first_loss"]


def test_frozen_embeddings_stay(settings: list[str], encoder: Path, tmp_path: Path) -> None:
    options = [*settings, "frozen=true", "steps=2", "validate_every=2", "schedule.warmup=0"]
    train(tmp_path / "run", settings=options)
    before = load_file(encoder / "model.safetensors")
    after = load_file(Checkpoints(tmp_path / "run" / "checkpoints").path(2) / "weights.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(before[name], after[f"members.0.encoder.{name}"])
    name = "encoder.layer.0.output.dense.weight"
    assert not torch.equal(before[name], after[f"members.0.encoder.{name}"])


def test_pieces_are_hidden_in_training_but_not_those_of_no_word(
    settings: list[str], tmp_path: Path
) -> None:
    config = load_settings(MountainConfig, None, [*settings, "masked=0.5"])
    work = MountainTrainer(config, tmp_path / "run")
    part = work.collate(work.training)[-1]
    with seeded(0):
        hidden = work._masked(part).pieces == work.encoder.tokenizer.mask_token_id
    of_words = part.pooling.sum(dim=1) > 0
    assert not hidden[~of_words].any()
    assert 0.3 < hidden[of_words].float().mean() < 0.7


def test_members_differ_and_their_scores_are_averaged(settings: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(run, settings=[*settings, "members=2", "steps=2", "validate_every=2"])
    tagger, _ = load_tagger(run, device="cpu")
    batch = tagger.batcher.batch(learnable()[:3])
    with torch.inference_mode():
        one, other = (member(batch) for member in tagger.network.members)
        mean = tagger.network(batch)
    assert not torch.allclose(one, other, atol=1e-3)
    assert torch.allclose(mean, (one + other) / 2)


def test_one_setting_leaves_the_others_of_its_group() -> None:
    config = load_settings(MountainConfig, None, ["optimiser.lr=0.001"])
    assert (config.optimiser.lr, config.optimiser.weight_decay) == (0.001, 0.01)


def test_what_cannot_be_trained_on_is_one_line(settings: list[str], tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    write_sentences(path, [one for one in learnable() if not one.spans])
    with pytest.raises(InputError, match="marks no mountain"):
        train(tmp_path / "run", settings=[*settings, f"train={path}"])
    with pytest.raises(ConfigError, match="holdout"):
        train(tmp_path / "run", settings=[*settings, "holdout=1"])
    with pytest.raises(WeightsError, match="is no encoder that can be had here"):
        train(tmp_path / "run", settings=[*settings, f"encoder={tmp_path}"])


def test_another_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run of the mountain tagger"):
        load_tagger(tmp_path)
    step = Checkpoints(run / "checkpoints").best
    assert step is not None
    about = Checkpoints(run / "checkpoints").path(step[0]) / "about.json"
    text = about.read_text()
    try:
        about.write_text(json.dumps(json.loads(text) | {"labels": ["O", "B-PER", "I-PER"]}))
        with pytest.raises(InputError, match=r"its labels are .*B-PER.*, not O, B-MOUNTAIN"):
            load_tagger(run)
    finally:
        about.write_text(text)


def test_names_are_exchanged_in_training_and_evened_out() -> None:
    sentences = learnable()
    config = AugmentConfig(substitute=0, most=1, abbreviated=0)
    varied = Varied(sentences, config, names=[("K2",)])
    index = next(k for k, one in enumerate(sentences) if one.spans)
    drawn = [varied[index, number] for number in range(200)]
    kept = sum(one.tokens == sentences[index].tokens for one in drawn)
    assert 30 < kept < 120  # A quarter, and where the same name was drawn.
    assert any("K2" in one.tokens for one in drawn)
    for one in drawn:
        assert len(one.spans) == 1
        assert one.names[0].split()[0] in ("Mount", "K2")
    assert varied[index, 5] == varied[index, 5]
    untouched = Varied(sentences, AugmentConfig(substitute=0, most=99, abbreviated=0))
    assert [untouched[k, k] for k in range(len(sentences))] == sentences


def test_mount_is_abbreviated_as_often_as_asked() -> None:
    one = Sentence(("We", "saw", "Mount", "Fuji", "and", "Ben", "Nevis"), ((2, 4), (5, 7)))
    varied = Varied([one], AugmentConfig(substitute=0, abbreviated=0.5))
    drawn = [varied[0, number] for number in range(200)]
    firsts = [name.split()[0] for each in drawn for name in each.names[:1]]
    assert {each.names[1] for each in drawn} == {"Ben Nevis"}
    assert 70 < firsts.count("Mount") < 130
    assert set(firsts) == {"Mount", "Mt.", "Mt"}


def test_sentences_without_a_mountain_are_drawn_as_often_as_asked() -> None:
    config = AugmentConfig(substitute=0, without=0.3, generated=0.2)
    varied = Varied(learnable()[:8], config, others=other_sentences(0, 50))
    drawn = [varied[k % 8, k] for k in range(300)]
    generated = sum(one.id.startswith("generated") for one in drawn)
    assert 40 < generated < 80
    assert not any(one.spans for one in other_sentences(1, 300))


def test_the_split_is_whole_and_repeats() -> None:
    kept, out = held_out(learnable(), 0.25, 3)
    assert len(out) == round(0.25 * len(learnable()))
    assert {one.id for one in kept} | {one.id for one in out} == {one.id for one in learnable()}
    assert held_out(learnable(), 0.25, 3) == (kept, out)


def test_the_forerunners_sentences_hold_98_names() -> None:
    made = forerunner(load_gazetteer())
    assert len({name for one in made for name in one.names}) == 98
    assert made == forerunner(load_gazetteer())


def test_a_search_goes_on_where_it_was_cut_off(settings: list[str], tmp_path: Path) -> None:
    options = [*settings, "steps=2", "validate_every=2"]
    first = random_search(tmp_path, None, trials=1, settings=options)
    assert draw_settings(0, 0) == first[0].settings.split()
    assert draw_settings(0, 1) != draw_settings(0, 0)
    began = (tmp_path / "trial-000" / "config.yaml").stat().st_mtime_ns
    both = random_search(tmp_path, None, trials=2, settings=options)
    assert {one.trial for one in both} == {0, 1}
    assert (tmp_path / "trial-000" / "config.yaml").stat().st_mtime_ns == began


def test_a_learning_curve_has_a_row_for_each_share(
    settings: list[str], data: Path, tmp_path: Path
) -> None:
    options = [*settings, "steps=10", "validate_every=10"]
    rows = learning_curve(tmp_path, None, read_sentences(data), shares=[0.5, 1.0], settings=options)
    assert [row["share"] for row in rows] == [0.5, 1.0]
    assert rows[0]["sentences"] * 2 == pytest.approx(rows[1]["sentences"], abs=1)
    assert (tmp_path / "curve.png").stat().st_size > 0
