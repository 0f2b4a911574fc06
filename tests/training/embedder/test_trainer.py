from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from imatch.core.errors import ConfigError, InputError
from imatch.models.embedding.network import Architecture, EmbeddingNetwork, save_network
from imatch.retrieval.embedders import load_embedder
from imatch.training.checkpoint import Checkpoints
from imatch.training.embedder.config import EmbedderConfig
from imatch.training.embedder.export import export
from imatch.training.embedder.figures import plane, scatter
from imatch.training.embedder.miners import confusions
from imatch.training.embedder.trainer import EmbedderTrainer
from imatch.training.tracking import read_log

Configure = Callable[..., EmbedderConfig]


@pytest.fixture
def label_map(tmp_path: Path) -> Path:
    import rasterio
    from affine import Affine

    path = tmp_path / "map.tif"
    values = np.full((20, 24), 1, np.uint8)
    values[:, 12:] = 2
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=1,
        height=20,
        width=24,
        dtype="uint8",
        crs="EPSG:32631",
        transform=Affine(100, 0, 356_000, 0, -100, 4_835_000),
    ) as out:
        out.write(values, 1)
    return path


KINDS = {
    "recipe": ["sampler.kind=recipe", "loss.kind=triplet"],
    "random": ["sampler.kind=random", "mining.kind=multi-similarity"],
    "cluster": ["sampler.kind=cluster", "loss.kind=magnet", "mining.kind=none"],
    "tile-distance": ["sampler.kind=tile-distance", "sampler.negative=[2,9]", "loss.kind=bce"],
}


@pytest.mark.parametrize("name", KINDS)
def test_every_sampler_trains(name: str, configure: Configure, tmp_path: Path) -> None:
    work = EmbedderTrainer(configure(*KINDS[name]), tmp_path / "run")
    assert work.fit().ended == "done"
    log = read_log(tmp_path / "run" / "log.jsonl")
    losses = [line["train/loss"] for line in log if "train/loss" in line]
    assert len(losses) == 4
    assert np.isfinite(losses).all()
    # Whatever the sampler makes of a batch's size, chips are what was seen.
    assert all(line["train/chips_per_s"] > 0 for line in log if "train/loss" in line)
    assert not any("train/pairs_per_s" in line for line in log)
    batch = next(iter(work.build_loaders(0).train))
    assert work.count(batch) == len(batch.image)
    assert {"val/top_1", "val/top_20", "val/map", "val/map_r"} <= log[-1].keys()


@pytest.mark.parametrize("kind", ["labels", "proportions"])
def test_label_maps_teach(kind: str, label_map: Path, configure: Configure, tmp_path: Path) -> None:
    settings = [f"sampler.kind={kind}", f"labels.path={label_map}", "loss.kind=triplet"]
    config = configure(*settings, "model.semantics=true", "steps=1", "validate_every=1")
    work = EmbedderTrainer(config, tmp_path / "run")
    assert sorted(np.unique(work.targets)) == [0, 1]
    work.fit()
    about = Checkpoints(tmp_path / "run" / "checkpoints").load().about
    assert about["architecture"]["classes"] == 2
    assert about["classes"] == [1, 2]
    assert about["figures"]["queries"] == 18


@pytest.mark.parametrize("workers", [0, 1])
# PyTorch forks a process that has threads; its workers start none.
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_resumed_bit_for_bit(workers: int, configure: Configure, tmp_path: Path) -> None:
    settings = ["steps=3", "validate_every=3", "mining.kind=random-hard-negative"]
    settings += ["loss.kind=triplet"]
    EmbedderTrainer(configure(*settings), tmp_path / "straight").fit()
    broken = [*settings, f"workers={workers}"]
    cut = EmbedderTrainer(configure(*broken, "max_minutes=1e-9"), tmp_path / "run").fit()
    assert cut.step == 1
    EmbedderTrainer(configure(*broken), tmp_path / "run").fit(resume=True)
    _check_same(tmp_path, 3)


@pytest.mark.parametrize("at", [1, 2])
def test_resumed_bit_for_bit_between_minings(at: int, configure: Configure, tmp_path: Path) -> None:
    # A constant rate, so that a shorter run is the beginning of the longer one.
    settings = ["validate_every=9", "checkpoint_every=1", "schedule.kind=constant"]
    settings += ["mining.offline_every=1", "mining.neighbours=3", "validation.chips=4"]
    whole = configure(*settings, "steps=3")
    EmbedderTrainer(whole, tmp_path / "straight").fit()
    EmbedderTrainer(configure(*settings, f"steps={at}"), tmp_path / "run").fit()
    EmbedderTrainer(whole, tmp_path / "run").fit(resume=True)
    _check_same(tmp_path, 3)
    tables = [sorted((tmp_path / name / "mined").iterdir()) for name in ("straight", "run")]
    assert len(tables[0]) == 2
    for one, two in zip(*tables, strict=True):
        assert np.array_equal(np.load(one), np.load(two))


def _check_same(folder: Path, step: int) -> None:
    one, two = (
        Checkpoints(folder / name / "checkpoints").load(step) for name in ("straight", "run")
    )
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
    assert all(torch.equal(one.average[name], two.average[name]) for name in one.average)


def test_learns_a_batch_by_heart(configure: Configure, tmp_path: Path) -> None:
    settings = ["steps=15", "schedule.warmup=0", "schedule.kind=constant", "optimiser.lr=1e-3"]
    work = EmbedderTrainer(configure(*settings, "loss.kind=nt-xent"), tmp_path / "run")
    figures = work.fit(overfit=True).figures
    assert figures["last_loss"] < 0.8 * figures["first_loss"]


def test_export_is_an_embedder(configure: Configure, data: Path, tmp_path: Path) -> None:
    work = EmbedderTrainer(configure("steps=2", "validate_every=2"), tmp_path / "run")
    work.fit()
    path = tmp_path / "mine.safetensors"
    card = export(tmp_path / "run", path)
    assert "| top_1 |" in card.read_text()
    assert "| embedding | 8 numbers, of unit length |" in card.read_text()
    embedder = load_embedder(path)
    assert (embedder.dim, embedder.bands, embedder.chip_px) == (8, 3, 32)
    image, valid = work.validation_chips.read(0)
    vector = embedder.embed(image[None], valid[None])[0]
    model = work.build_model()
    model.load_state_dict(dict(Checkpoints(tmp_path / "run" / "checkpoints").load(2).average))
    model.eval()
    with torch.inference_mode():
        expected = model(torch.from_numpy(image)[None], torch.from_numpy(valid)[None])[0]
    assert float(expected @ torch.from_numpy(vector)) > 0.999


def test_starts_from_a_file_of_ours(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    network = EmbeddingNetwork(Architecture(dim=8, chip_px=224))
    parent = {"origin": "imagenet", "sha256": "ab" * 32}
    save_network(network, path, {"licence": "CC-BY-4.0", "start": parent})
    work = EmbedderTrainer(configure(f"model.start={path}"), tmp_path / "run")
    assert work.initialisation.licence == "CC-BY-4.0"
    assert work.about()["start"]["origin"] == "start.safetensors"
    assert work.about()["start"]["parent"] == parent
    assert work.initialisation.network.shape.chip_px == 32
    state = work.build_model().state_dict()
    assert torch.equal(state["project.weight"], network.state_dict()["project.weight"])
    with pytest.raises(ConfigError, match="has dim=8, the configuration 16"):
        EmbedderTrainer(configure(f"model.start={path}", "model.dim=16"), tmp_path / "other")
    with pytest.raises(InputError, match="does not exist"):
        EmbedderTrainer(configure("model.start=absent.safetensors"), tmp_path / "other")


def test_frozen_stages_stay(configure: Configure, tmp_path: Path) -> None:
    settings = ["model.frozen_stages=3", "steps=1", "validate_every=1", "optimiser.lr=0.01"]
    work = EmbedderTrainer(configure(*settings), tmp_path / "run")
    before = {name: value.clone() for name, value in work.build_model().state_dict().items()}
    work.fit()
    after = Checkpoints(tmp_path / "run" / "checkpoints").load().weights
    kept, moved = "backbone._blocks.2._project_conv.weight", "backbone._conv_head.weight"
    assert torch.equal(before[kept], after[kept])
    assert not torch.equal(before[moved], after[moved])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["data.chips=null"], "there is nothing to learn from"),
        (["sampler.kind=labels"], "labels.path is needed"),
        (["sampler.kind=recipe", "loss.kind=magnet"], "needs a loss of triplets or pairs"),
        (["sampler.kind=recipe", "loss.kind=triplet", "mining.kind=hard"], "set mining.kind=none"),
        (["mining.offline_every=5", "workers=2"], "needs workers=0"),
        (["sampler.unlike=0.9"], "unlike must be less than alike"),
        (["sampler.positive=[3,1]"], "a nearest and a farthest distance"),
    ],
)
def test_settings_that_make_no_sense_are_explained(
    settings: list[str], said: str, configure: Configure, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        EmbedderTrainer(configure(*settings), tmp_path / "run")


def test_missing_packages_are_named(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ConfigError, match=r"umap-learn: is not installed; pip install umap-learn"):
        EmbedderTrainer(configure("validation.picture=umap"), tmp_path / "run")
    monkeypatch.setitem(sys.modules, "pytorch_metric_learning.losses", None)
    with pytest.raises(ConfigError, match=r"run pip install 'imatch\[retrieval\]'"):
        EmbedderTrainer(configure(), tmp_path / "run")


def test_confusions_are_the_nearest_of_other_places() -> None:
    angles = np.array([0.0, 0.1, 0.3, 1.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = confusions(vectors, np.array([0, 0, 1, 2]), 2, batch=3)
    assert found.tolist() == [[2, 3], [2, 3], [1, 0], [2, 1]]


def test_plane_keeps_groups_apart() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 20)
    vectors = (rng.normal(size=(40, 6)) + 9 * groups[:, None]).astype(np.float32)
    xy = plane(vectors, "pca")
    assert xy.shape == (40, 2)
    assert abs(xy[:20, 0].mean() - xy[20:, 0].mean()) > 10
    image = scatter(xy, groups)
    assert image.shape == (512, 512, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 2
