from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from imatch.core.errors import InputError, OutputError
from imatch.matchers import load_matcher
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import COMPACT
from imatch.models.weights import sha256_of
from imatch.training.checkpoint import Checkpoints
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.export import export
from imatch.training.loftr.trainer import LoFTRTrainer


@pytest.fixture
def run(pairs: Any, configure: Callable[..., LoFTRConfig], tmp_path: Path) -> Path:
    config = configure("steps=1", "validate_every=1")
    LoFTRTrainer(config, tmp_path / "run", train=pairs, validation=pairs).fit()
    return tmp_path / "run"


def test_what_is_written_is_what_the_matcher_takes(run: Path, tmp_path: Path, pairs: Any) -> None:
    path = tmp_path / "own.safetensors"
    card = export(run, path)
    pinned = f"{path}#sha256={sha256_of(path)}"
    matcher: Any = load_matcher("loftr-s2", device="cpu", weights={"loftr-s2": pinned})
    kept = Checkpoints(run / "checkpoints").load().average
    torch.testing.assert_close(
        matcher.network.backbone.conv1.weight, kept["backbone.conv1.weight"], atol=1e-3, rtol=1e-3
    )
    assert matcher.network.shape.dims == (8, 8, 12, 16)
    matches = matcher(pairs[0].a, pairs[0].b)
    assert len(matches) <= 144
    with safe_open(path, "pt") as file:
        assert '"licence": "Apache-2.0"' in file.metadata()["imatch"]
    text = card.read_text()
    for said in ("| licence of the start | Apache-2.0 |", "focal 1, fine 1", "4 given", "auc_3"):
        assert said in text


def test_compact_is_small(tmp_path: Path) -> None:
    state = {
        name: value.half() if value.is_floating_point() else value
        for name, value in LoFTR(COMPACT).state_dict().items()
    }
    save_file(state, tmp_path / "compact.safetensors")
    assert (tmp_path / "compact.safetensors").stat().st_size < 12_000_000


def test_refuses(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.safetensors"
    path.touch()
    with pytest.raises(OutputError, match="already exists"):
        export(run, path)
    export(run, path, overwrite=True)
    with pytest.raises(InputError, match="holds no checkpoint"):
        export(tmp_path / "none", tmp_path / "other.safetensors")
