from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from kornia.feature import LoFTR as KorniaLoFTR
from safetensors.torch import save_file

from imatch.core.errors import WeightsError
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import PUBLISHED, TEACHER, Shape
from imatch.models.loftr.weights import load_loftr
from imatch.models.weights import WEIGHTS, WeightsFile

TINY = Shape((8, 8, 12, 16), heads=2, rounds=1, fine_heads=2, threshold=0.3)
SHARED = Path(__file__).parents[3] / ".." / "shared"
TEACHER_SHA = "5446241c5713a91c868e0b1b2795c253b3d216b4011b6942fcc6a697fad3c554"


def found(path: Path) -> WeightsFile:
    return WeightsFile(WEIGHTS["loftr-s2"], path, "named file", "")


def told(shape: Shape) -> dict[str, object]:
    return {"architecture": {"kind": "loftr", "shape": shape.to_dict()}}


def saved(path: Path, shape: Shape, *, half: bool = False, metadata: bool = True) -> Path:
    state = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in LoFTR(shape).state_dict().items()
    }
    save_file(state, path, {"imatch": json.dumps(told(shape))} if metadata else None)
    return path


def test_ours_says_what_it_is(tmp_path: Path) -> None:
    network = load_loftr(found(saved(tmp_path / "own.safetensors", TINY, half=True)))
    assert network.shape == TINY
    assert not network.training
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_a_checkpoint_of_a_run(tmp_path: Path) -> None:
    path = saved(tmp_path / "weights.safetensors", TINY, metadata=False)
    with pytest.raises(WeightsError, match="does not say what it is made of"):
        load_loftr(found(path))
    (tmp_path / "about.json").write_text(json.dumps(told(replace(TINY, refined=False))))
    assert not load_loftr(found(path)).shape.refined


def test_published(tmp_path: Path) -> None:
    state = KorniaLoFTR(pretrained=None).state_dict()
    nested = {"state_dict": {f"matcher.{name}": value for name, value in state.items()}}
    torch.save(nested, tmp_path / "outdoor.ckpt")
    network = load_loftr(found(tmp_path / "outdoor.ckpt"))
    assert network.shape == PUBLISHED
    assert torch.equal(network.backbone.conv1.weight, state["backbone.conv1.weight"])


class TestRefuses:
    def test_another_network(self, tmp_path: Path) -> None:
        torch.save({"conv1a.weight": torch.zeros(2)}, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=r"other.pth: does not say .*--export FILE"):
            load_loftr(found(tmp_path / "other.pth"))

    def test_another_shape_than_it_says(self, tmp_path: Path) -> None:
        wrong = {"imatch": json.dumps(told(replace(TINY, rounds=2)))}
        save_file(LoFTR(TINY).state_dict(), tmp_path / "own.safetensors", wrong)
        with pytest.raises(WeightsError, match="another architecture: the file lacks"):
            load_loftr(found(tmp_path / "own.safetensors"))

    @pytest.mark.parametrize("shape", [{"dims": [8, 8, 16]}, {"dims": [8] * 4, "depth": 3}, {}])
    def test_no_shape(self, tmp_path: Path, shape: dict[str, object]) -> None:
        wrong = {"imatch": json.dumps({"architecture": {"kind": "loftr", "shape": shape}})}
        save_file(LoFTR(TINY).state_dict(), tmp_path / "own.safetensors", wrong)
        with pytest.raises(WeightsError, match="tells no LoFTR's shape"):
            load_loftr(found(tmp_path / "own.safetensors"))

    def test_no_checkpoint(self, tmp_path: Path) -> None:
        (tmp_path / "own.safetensors").write_bytes(b"half a downl")
        with pytest.raises(WeightsError, match="cannot be read"):
            load_loftr(found(tmp_path / "own.safetensors"))


def test_the_teachers_own_file() -> None:
    path = SHARED / "weights" / "coarse_loftr_teacher.pt"
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == TEACHER_SHA
    network = load_loftr(found(path))
    assert network.shape == TEACHER
