"""Mechanics of the network matchers that need no published weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from kornia.feature import LightGlue as KorniaLightGlue
from kornia.feature import LoFTR as KorniaLoFTR

from imatch.core.errors import MatcherError, WeightsError
from imatch.core.types import Features, Rendered
from imatch.matchers import MATCHERS, MatcherOptions, load_matcher
from imatch.matchers.dense.loftr import LoFTRMatcher
from imatch.matchers.sparse.lightglue import LightGlue
from imatch.matchers.sparse.superpoint import SeasonsExtractor, SuperPointExtractor
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import sample
from imatch.models.weights import sha256_of

if TYPE_CHECKING:
    from tests.matchers.conftest import Landscape

State = dict[str, torch.Tensor]


def saved(path: Path, state: object) -> str:
    """Save a checkpoint and name it as one of our own."""
    torch.save(state, path)
    return f"{path}#sha256={sha256_of(path)}"


@pytest.fixture(scope="module")
def own_loftr(tmp_path_factory: pytest.TempPathFactory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = KorniaLoFTR(pretrained=None).state_dict()
    # Untrained features are alike everywhere. With the transformer passed through, their common
    # part taken out and the rest amplified, a cell prefers its own twin.
    for name, value in state.items():
        if name.startswith("loftr_coarse.") and ".norm2." in name:
            value.zero_()
    last = state["backbone.layer3_outconv.weight"]
    state["backbone.layer3_outconv.weight"] = 20 * (last - last.mean(dim=1, keepdim=True))
    # As published: nested, under "matcher.", and without the positional encoding.
    published = {f"matcher.{k}": v for k, v in state.items() if k != "pos_encoding.pe"}
    return saved(tmp_path_factory.mktemp("loftr") / "own.ckpt", {"state_dict": published})


class TestLoFTR:
    def load(self, own: str, **options: object) -> LoFTRMatcher:
        matcher = load_matcher("loftr", device="cpu", weights={"loftr-outdoor": own}, **options)
        assert isinstance(matcher, LoFTRMatcher)
        return matcher

    def test_identity_is_exact_in_our_frame(self, own_loftr: str, landscape: Landscape) -> None:
        image = landscape((128, 96))
        matches = self.load(own_loftr).match(image, image)
        assert len(matches) >= 5
        # Reference points are the coarse cells' positions 8 i, half a pixel off in LoFTR's frame.
        np.testing.assert_allclose((matches.ref_xy + 0.5) % 8, 0)
        # Cells find themselves; the untrained fine stage moves at most 4 pixels from there.
        assert np.abs(matches.tgt_xy - matches.ref_xy).max() <= 4

    def test_provenance_names_the_file_in_use(self, own_loftr: str) -> None:
        used = self.load(own_loftr).weights_used
        assert used == {"loftr-outdoor": own_loftr.rpartition("=")[2]}

    def test_size_limit(
        self, own_loftr: str, landscape: Landscape, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        matcher = self.load(own_loftr, max_side=80)
        seen = {}
        network = matcher.network

        def spy(data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            seen.update({k: tuple(v.shape) for k, v in data.items()})
            out: dict[str, torch.Tensor] = network(data)
            return out

        monkeypatch.setattr(matcher, "network", spy)
        ref, tgt = landscape((160, 120)), landscape((80, 120))
        matches = matcher.match(ref, tgt)
        assert seen == {"image0": (1, 1, 60, 80), "image1": (1, 1, 60, 40)}
        # Carried back by the rule of resizing: 8 i in LoFTR's frame is 16 i - 0.5 here.
        if len(matches):
            np.testing.assert_allclose((matches.ref_xy + 0.5) % 16, 0)

    def test_masks(self, own_loftr: str, landscape: Landscape) -> None:
        image = landscape((128, 96))
        valid = image.valid.copy()
        valid[:, :64] = False
        matcher = self.load(own_loftr)
        matches = matcher.match(Rendered(image.pixels, valid), image)
        assert len(matches) > 0
        assert matches.ref_xy[:, 0].min() > 64 + matcher.guard - 1
        both = matcher.match(Rendered(image.pixels, valid), Rendered(image.pixels, valid))
        assert both.tgt_xy[:, 0].min() > 64 + matcher.guard - 1

    def test_budget_keeps_the_best(self, own_loftr: str, landscape: Landscape) -> None:
        image = landscape((128, 96))
        full = self.load(own_loftr).match(image, image)
        few = self.load(own_loftr, max_keypoints=3).match(image, image)
        assert len(few) == 3
        np.testing.assert_array_equal(few.scores, full.scores[:3])

    def test_deterministic(self, own_loftr: str, landscape: Landscape) -> None:
        ref, tgt = landscape((96, 80)), landscape((96, 80), shift=(8, 0))
        first, second = (self.load(own_loftr).match(ref, tgt) for _ in range(2))
        np.testing.assert_array_equal(first.tgt_xy, second.tgt_xy)
        np.testing.assert_array_equal(first.scores, second.scores)

    def test_configuration_is_not_shared(self, own_loftr: str) -> None:
        from kornia.feature.loftr.loftr import default_cfg

        network = self.load(own_loftr).network
        assert not network.training
        assert network.config == default_cfg
        assert network.config["match_coarse"] is not default_cfg["match_coarse"]


@pytest.fixture(scope="module")
def state() -> State:
    """LighterGlue's parameters, random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        settings: dict[str, Any] = {**KorniaLightGlue.features["xfeat"], "weights": None}
        return dict(KorniaLightGlue(None, **settings).state_dict())  # type: ignore[arg-type]


class TestLightGlue:
    def pairing(self, path: Path, state: State, features: str = "xfeat") -> LightGlue:
        own = saved(path, state)
        options = MatcherOptions(device="cpu", weights={"xfeat-lighterglue": own})
        return LightGlue(features, "xfeat-lighterglue", options)

    def features(self, n: int, seed: int = 0) -> Features:
        rng = np.random.default_rng(seed)
        descriptors = rng.standard_normal((n, 64)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        xy = rng.uniform(0, 99, (n, 2)).astype(np.float32)
        return Features(xy, np.ones(n, np.float32), descriptors, (100, 100))

    def test_old_names_are_understood(self, tmp_path: Path, state: State) -> None:
        old = {}
        for name, value in state.items():
            parts = name.split(".")
            if parts[0] == "transformers":
                name = ".".join([parts[2], parts[1], *parts[3:]])
            old[f"matcher.{name}"] = value
        old |= {"log_assignment.0.r": torch.zeros(1), "extractor.model.a": torch.zeros(1)}
        del old["matcher.confidence_thresholds"]
        network = self.pairing(tmp_path / "old.pt", old).network
        for name, value in network.state_dict().items():
            assert torch.equal(value, state[name])
        assert not network.training

    def test_other_architecture(self, tmp_path: Path, state: State) -> None:
        pairing = self.pairing(tmp_path / "small.pt", state, features="disk")
        with pytest.raises(WeightsError, match="another architecture"):
            _ = pairing.network

    def test_missing_parameter(self, tmp_path: Path, state: State) -> None:
        partial = {k: v for k, v in state.items() if k != "log_assignment.5.final_proj.bias"}
        with pytest.raises(WeightsError, match=r"lacks log_assignment\.5\.final_proj\.bias"):
            _ = self.pairing(tmp_path / "partial.pt", partial).network

    @pytest.mark.parametrize(("n0", "n1"), [(0, 0), (0, 5), (5, 0), (1, 1), (40, 30)])
    def test_any_number_of_keypoints(self, tmp_path: Path, state: State, n0: int, n1: int) -> None:
        pairing = self.pairing(tmp_path / "net.pt", state)
        i0, i1, scores = pairing.pair(self.features(n0), self.features(n1, seed=1))
        assert len(i0) == len(i1) == len(scores) <= min(n0, n1)
        assert len(set(i0.tolist())) == len(i0)
        assert len(set(i1.tolist())) == len(i1)


def test_device_that_is_not_there(
    own_loftr: str, landscape: Landscape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    matcher = load_matcher("loftr", device="cuda", weights={"loftr-outdoor": own_loftr})
    with pytest.raises(MatcherError, match="cuda: not available"):
        matcher.match(landscape((64, 64)), landscape((64, 64)))


@pytest.fixture(scope="module")
def own_superpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = SuperPoint(3, 128, batch_norm=True).state_dict()
    return saved(tmp_path_factory.mktemp("superpoint") / "own.pth", state)


class TestSuperPoint:
    def image(self, landscape: Landscape) -> Rendered:
        """Three bands, of no whole number of cells, with a corner that shows no ground."""
        seen = landscape((101, 90), channels=3)
        valid = seen.valid.copy()
        valid[:30, :40] = False
        return Rendered(seen.pixels, valid)

    def test_keypoints_of_all_strengths_up_to_the_budget(
        self, own_superpoint: str, landscape: Landscape
    ) -> None:
        named = {"superpoint-s2": own_superpoint}
        few = SeasonsExtractor(MatcherOptions(max_keypoints=20, weights=named))
        features = few.extract(self.image(landscape))
        assert features.xy.shape == (20, 2)
        assert features.descriptors.shape == (20, 128)
        assert (np.diff(features.scores) <= 0).all()
        np.testing.assert_allclose(np.linalg.norm(features.descriptors, axis=1), 1, atol=1e-5)
        assert not ((features.xy[:, 0] < 39) & (features.xy[:, 1] < 29)).any()
        all_of_them = SeasonsExtractor(MatcherOptions(weights=named))
        assert len(all_of_them.extract(self.image(landscape))) > 100

    def test_descriptors_are_read_where_cells_are(
        self, own_superpoint: str, landscape: Landscape
    ) -> None:
        part = SeasonsExtractor(MatcherOptions(weights={"superpoint-s2": own_superpoint}))
        image = self.image(landscape)
        features = part.extract(image)
        padded = np.pad(image.pixels, ((0, 0), (0, 6), (0, 3)), mode="edge")
        with torch.inference_mode():
            _, dense = part.network(torch.from_numpy(padded)[None])
        wanted = sample(dense[0], torch.from_numpy(features.xy), convention="centred")
        np.testing.assert_allclose(features.descriptors, wanted.numpy(), atol=1e-5)

    def test_bands_follow_the_matcher(self, own_superpoint: str, landscape: Landscape) -> None:
        named = MatcherOptions(weights={"superpoint-v1": own_superpoint})
        part = SuperPointExtractor(named)
        assert part.network.in_channels == 1
        assert len(part.extract(landscape((64, 64), channels=1))) > 0

    @pytest.mark.parametrize("name", ["superpoint", "superpoint-s2"])
    def test_pairs_nearest_neighbours(
        self, name: str, own_superpoint: str, landscape: Landscape
    ) -> None:
        (needed,) = MATCHERS[name].weights
        matcher = load_matcher(name, device="cpu", weights={needed: own_superpoint})
        image = landscape((96, 96), channels=3)
        matches = matcher.match(image, image)
        assert len(matches) > 20
        # Untrained descriptors are much alike: many are outdone by rounding.
        assert (matches.ref_xy == matches.tgt_xy).all(axis=1).mean() > 0.5
        assert (np.diff(matches.scores) <= 0).all()

    def test_descriptors_of_another_length_do_not_fit_lightglue(
        self, tmp_path: Path, landscape: Landscape
    ) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            own = saved(tmp_path / "long.pth", SuperPoint(3, 256, batch_norm=True).state_dict())
        image = landscape((64, 64), channels=3)
        part = SeasonsExtractor(MatcherOptions(weights={"superpoint-s2": own}), dimension=128)
        with pytest.raises(WeightsError, match=r"256 numbers, LightGlue .* 128; use it with"):
            part.extract(image)
