from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from imatch.core.errors import ConfigError, InputError, WeightsError
from imatch.models.loftr.backbone import KeypointBackbone
from imatch.models.loftr.network import LoFTR, coarse_parts
from imatch.models.superpoint.network import load_superpoint
from imatch.models.weights import require_weights
from imatch.training.initialisation import Initialisation
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.initialisation import make_initialisation

Configure = Callable[..., LoFTRConfig]
TEACHER = Path(__file__).parents[3] / ".." / "shared" / "weights" / "coarse_loftr_teacher.pt"


def begun(config: LoFTRConfig) -> Initialisation[LoFTR]:
    return make_initialisation(config.model, config.shape)


@pytest.fixture
def coarse(configure: Configure, tmp_path: Path) -> Path:
    """What a run of the coarse stage ends with."""
    shape = replace(configure().shape, refined=False)
    told = {
        "architecture": {"kind": "loftr", "shape": shape.to_dict()},
        "licence": "CC-BY-4.0",
        "start": {"origin": "scratch", "sha256": ""},
    }
    path = tmp_path / "coarse.safetensors"
    save_file(LoFTR(shape).state_dict(), path, {"imatch": json.dumps(told)})
    return path


def test_scratch(configure: Configure) -> None:
    start = begun(configure())
    assert (start.origin, start.licence, start.sha256) == ("scratch", "Apache-2.0", "")
    assert all(value.requires_grad for value in start.network.parameters())


def test_what_was_learnt_is_taken_and_the_rest_begins(configure: Configure, coarse: Path) -> None:
    from safetensors.torch import load_file

    start = begun(configure(f"model.start={coarse}"))
    saved, own = load_file(coarse), start.network.state_dict()
    assert torch.equal(own["backbone.conv1.weight"], saved["backbone.conv1.weight"])
    assert torch.equal(own["backbone.bn1.running_var"], saved["backbone.bn1.running_var"])
    fine = "loftr_fine.layers.0.merge.weight"
    assert not torch.equal(own[fine], saved[fine])
    assert start.licence == "CC-BY-4.0"
    assert start.parent == {"origin": "scratch", "sha256": ""}
    assert start.origin == "coarse.safetensors"
    assert len(start.sha256) == 64


def test_frozen(configure: Configure, coarse: Path) -> None:
    network = begun(configure(f"model.start={coarse}", "model.freeze_coarse=true")).network
    frozen = {id(value) for part in coarse_parts(network) for value in part.parameters()}
    assert all(value.requires_grad != (id(value) in frozen) for value in network.parameters())


def test_a_checkpoint_of_a_run(configure: Configure, tmp_path: Path) -> None:
    shape = configure().shape
    save_file(LoFTR(shape).state_dict(), tmp_path / "weights.safetensors", {"format": "pt"})
    about = {"architecture": {"kind": "loftr", "shape": shape.to_dict()}, "licence": "MIT"}
    (tmp_path / "about.json").write_text(json.dumps(about))
    start = begun(configure(f"model.start={tmp_path / 'weights.safetensors'}"))
    assert start.licence == "MIT"


SEASONS = (
    "model.shape=seasons",
    *(f"model.{name}=null" for name in ("dims", "heads", "rounds", "fine_heads")),
)


class TestOnKeypoints:
    def test_begins_with_the_keypoints_network(self, configure: Configure) -> None:
        start = begun(configure(*SEASONS, "model.start=superpoint-s2"))
        found = require_weights("superpoint-s2")
        assert (start.origin, start.licence) == ("superpoint-s2", "Apache-2.0")
        assert start.sha256 == found.sha256
        source = load_superpoint(found, 3)
        images = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        backbone = start.network.eval().backbone
        assert isinstance(backbone, KeypointBackbone)
        with torch.inference_mode():
            own = backbone.superpoint
            torch.testing.assert_close(own.describe(own.encode(images)), source(images)[1])

    def test_frozen_stages_stay(self, configure: Configure) -> None:
        settings = (*SEASONS, "model.start=superpoint-s2", "model.frozen_stages=2")
        network = begun(configure(*settings)).network
        assert isinstance(network.backbone, KeypointBackbone)
        parts = network.backbone.superpoint.stages(2)
        frozen = {id(value) for part in parts for value in part.parameters()}
        assert len(frozen) == 16
        assert all(value.requires_grad != (id(value) in frozen) for value in network.parameters())

    def test_other_widths_are_refused(self, configure: Configure) -> None:
        settings = (*SEASONS, "model.start=superpoint-s2", "model.dims=[64, 64, 128, 96]")
        with pytest.raises(ConfigError, match="descriptors of 128, not 96"):
            begun(configure(*settings))

    @pytest.mark.parametrize("setting", ["model.start=superpoint-s2", "model.frozen_stages=1"])
    def test_another_shape_is_refused(self, configure: Configure, setting: str) -> None:
        with pytest.raises(ConfigError, match="for the shape seasons"):
            configure(setting)


class TestRefuses:
    def test_another_shape(self, configure: Configure, coarse: Path) -> None:
        with pytest.raises(ConfigError, match=r"rounds 1, not 2; set model.shape"):
            begun(configure(f"model.start={coarse}", "model.rounds=2"))

    def test_no_file(self, configure: Configure) -> None:
        with pytest.raises(InputError, match=r"none.pt: does not exist; model.start is scratch"):
            begun(configure("model.start=none.pt"))

    def test_no_loftr(self, configure: Configure, tmp_path: Path) -> None:
        torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "mine.pth")
        with pytest.raises(WeightsError, match="does not say what it is made of"):
            begun(configure(f"model.start={tmp_path / 'mine.pth'}"))


def test_a_stranger_has_no_licence_that_is_known(configure: Configure, tmp_path: Path) -> None:
    shape = configure().shape
    told = {"architecture": {"kind": "loftr", "shape": shape.to_dict()}}
    path = tmp_path / "own.safetensors"
    save_file(LoFTR(shape).state_dict(), path, {"imatch": json.dumps(told)})
    assert "unknown" in begun(configure(f"model.start={path}")).licence


def test_the_teachers_own_file(configure: Configure) -> None:
    if not TEACHER.exists():
        pytest.skip(f"{TEACHER} is not on this machine")
    widths = ["dims", "heads", "rounds", "fine_heads"]
    settings = ["model.shape=teacher", "loss.fine_weight=0", f"model.start={TEACHER}"]
    start = begun(configure(*settings, *(f"model.{name}=null" for name in widths)))
    assert (start.origin, start.licence) == ("Coarse_LoFTR_TRT", "Apache-2.0")
