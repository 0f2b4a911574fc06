from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from imatch.core.errors import WeightsError
from imatch.core.types import Rendered
from imatch.matchers import load_matcher
from imatch.matchers.dense.loftr_s2 import LoFTRS2
from imatch.matchers.images import convert_bands
from imatch.matchers.tiling import Tiling
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import Shape
from imatch.models.weights import sha256_of

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape

TINY = Shape((8, 8, 12, 16), heads=2, rounds=1, fine_heads=2)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network whose features, amplified, tell cells apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = LoFTR(TINY).state_dict()
    for name, value in state.items():
        if name.startswith("loftr_coarse.") and ".norm2." in name:
            value.zero_()
    last = state["backbone.layer3_outconv.weight"]
    state["backbone.layer3_outconv.weight"] = 20 * (last - last.mean(dim=1, keepdim=True))
    path = tmp_path_factory.mktemp("loftr") / "own.safetensors"
    told = {"architecture": {"kind": "loftr", "shape": TINY.to_dict()}}
    save_file(state, path, {"imatch": json.dumps(told)})
    return path


def load(own: Path, **options: object) -> LoFTRS2:
    pinned = f"{own}#sha256={sha256_of(own)}"
    matcher = load_matcher("loftr-s2", device="cpu", weights={"loftr-s2": pinned}, **options)
    assert isinstance(matcher, LoFTRS2)
    return matcher


def test_what_ships_matches(landscape: Landscape) -> None:
    ref = landscape((192, 160))
    moved = landscape((192, 160), shift=(11, -6))
    tgt = Rendered((0.1 + 0.6 * moved.pixels).astype(np.float32), moved.valid)
    matches = load_matcher("loftr-s2", device="cpu").match(ref, tgt)
    gap = matches.tgt_xy - matches.ref_xy
    off = np.linalg.norm(gap - np.median(gap, axis=0), axis=1)
    assert len(matches) > 30
    assert np.abs(np.abs(np.median(gap, axis=0)) - (11, 6)).max() < 1
    assert (off < 3).mean() > 0.7


def test_another_file_is_refused(tmp_path: Path, landscape: Landscape) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"conv1a.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match="does not say what it is made of"):
        load(path).match(landscape(), landscape())


def test_cells_alone_are_refused(tmp_path: Path, landscape: Landscape) -> None:
    shape = replace(TINY, refined=False)
    told = {"architecture": {"kind": "loftr", "shape": shape.to_dict()}}
    path = tmp_path / "coarse.safetensors"
    save_file(LoFTR(shape).state_dict(), path, {"imatch": json.dumps(told)})
    with pytest.raises(WeightsError, match=r"coarse\.safetensors: has learnt no fine stage yet"):
        load(path).match(landscape(), landscape())


def test_provenance_names_the_file_in_use(own: Path) -> None:
    assert load(own).weights_used == {"loftr-s2": sha256_of(own)}


def test_identity_and_bounds(own: Path, landscape: Landscape) -> None:
    image = landscape((128, 97))
    matches = load(own).match(image, image)
    assert len(matches) >= 5
    # An untrained refinement moves one end of a point, and by no more than its reach.
    assert np.abs(matches.tgt_xy - matches.ref_xy).max() <= 4
    assert (np.diff(matches.scores) <= 0).all()


def test_a_network_of_one_band_sees_luminance(own: Path, landscape: Landscape) -> None:
    image = landscape((96, 80))
    luminance = Rendered(convert_bands(image.pixels, 1), image.valid)
    grey, colour = load(own).match(luminance, luminance), load(own).match(image, image)
    assert len(grey) > 0
    np.testing.assert_allclose(colour.ref_xy, grey.ref_xy, atol=1e-3)


def test_masks(own: Path, landscape: Landscape) -> None:
    image = landscape((128, 96))
    valid = image.valid.copy()
    valid[:, :48] = False
    matcher = load(own)
    matches = matcher.match(Rendered(image.pixels, valid), image)
    assert len(matches) > 0
    assert matches.ref_xy[:, 0].min() > 48 + matcher.guard - 1


def test_deterministic(own: Path, landscape: Landscape) -> None:
    ref, tgt = landscape((96, 80)), landscape((96, 80), shift=(8, 0))
    first, second = (load(own).match(ref, tgt) for _ in range(2))
    np.testing.assert_array_equal(first.tgt_xy, second.tgt_xy)
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (33, 31)])
def test_smallest(own: Path, landscape: Landscape, size: tuple[int, int]) -> None:
    image = landscape(size)
    assert (load(own).match(image, image).ref_xy < size).all()


def test_size_limits(own: Path, landscape: Landscape, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []
    pair = LoFTRS2._pair

    def spy(self: LoFTRS2, ref: Rendered, tgt: Rendered) -> object:
        seen.append((max(ref.size), max(tgt.size)))
        return pair(self, ref, tgt)

    monkeypatch.setattr(LoFTRS2, "_pair", spy)
    monkeypatch.setattr(
        "imatch.matchers.dense.loftr_s2.TILING", Tiling(whole=160, side=128, overlap=32)
    )
    image = landscape((256, 192))
    found = load(own).match(image, image)
    assert seen[0] == (160, 160)
    assert set(seen[1:]) == {(128, 128)}
    assert len(seen) > 3
    assert np.abs(found.tgt_xy - found.ref_xy).max() <= 4
    seen.clear()
    load(own, max_side=200).match(image, image)
    assert seen == [(200, 200)]
