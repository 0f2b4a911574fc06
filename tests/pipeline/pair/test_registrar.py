from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import ConfigError, MatcherError
from imatch.core.types import Matches, Rendered
from imatch.matchers.base import Matcher
from imatch.pipeline.pair.auto import Auto
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.registrar import MatcherRegistrar, load_registrar, refined

MakeScene = Callable[..., Any]


class Oracle(Matcher):
    """Knows that everything lies 5 px right and 3 px below, but for a quarter of its points."""

    name = "oracle"
    channels = 1

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        rng = np.random.default_rng(self.options.seed)
        xy = rng.uniform(10, 80, (200, 2))
        moved = xy + np.array([5, 3])
        moved[::4] = rng.uniform(0, 99, (50, 2))
        return Matches(xy, moved, np.ones(200))

    @property
    def weights_used(self) -> dict[str, str]:
        return {"oracle": "0" * 64}


@pytest.fixture
def image() -> Rendered:
    pixels = np.random.default_rng(0).random((1, 100, 100), dtype=np.float32)
    return Rendered(pixels, np.ones((100, 100), dtype=bool))


def test_one_matcher_and_one_estimate(image: Rendered) -> None:
    told: list[str] = []
    registrar = MatcherRegistrar(Oracle(), MatchConfig(matcher="oracle"))
    moved = Rendered(np.roll(image.pixels, (3, 5), axis=(1, 2)), image.valid)
    solution = registrar.solve(image, moved, on_stage=told.append)
    assert solution.found_by == "oracle"
    assert told == ["matching with oracle", "estimating", "certifying"]
    assert len(solution.matches) == 200
    assert solution.status == "ok"
    assert solution.inlier.sum() == pytest.approx(150, abs=3)
    assert solution.transform is not None
    np.testing.assert_allclose(
        solution.transform.matrix, [[1, 0, 5], [0, 1, 3], [0, 0, 1]], atol=1e-3
    )


def test_it_passes_on_what_the_matcher_is() -> None:
    registrar = MatcherRegistrar(Oracle(), MatchConfig(matcher="oracle"))
    assert (registrar.name, registrar.channels) == ("oracle", 1)
    assert registrar.weights_used == {"oracle": "0" * 64}


def test_the_options_reach_the_estimate(image: Rendered) -> None:
    registrar = MatcherRegistrar(Oracle(), MatchConfig(matcher="oracle", model="homography"))
    solution = registrar.solve(image, image)
    assert solution.transform is not None
    assert solution.transform.kind == "homography"


def test_load_registrar_wraps_matchers_and_leaves_registrars() -> None:
    sift = load_registrar(MatchConfig(matcher="sift", max_keypoints=99, seed=4))
    assert isinstance(sift, MatcherRegistrar)
    assert (sift.matcher.options.max_keypoints, sift.matcher.options.seed) == (99, 4)
    assert isinstance(load_registrar(MatchConfig(matcher="auto")), Auto)
    with pytest.raises(MatcherError, match="unknown matcher"):
        load_registrar(MatchConfig(matcher="shift"))


def test_one_loaded_before_serves_many_pairs(scene: MakeScene) -> None:
    ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2)
    r = match(ref.path, tgt.path, MatcherRegistrar(Oracle(), MatchConfig(matcher="oracle")))
    assert r.matcher == "oracle"
    assert r.n_matches == 200
    assert r.provenance["weights"] == {"oracle": "0" * 64}


class Rough(Matcher):
    """Knows where things lie to within two pixels."""

    channels = 1
    shift = (5.25, 3.5)

    def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
        rng = np.random.default_rng(1)
        xy = rng.uniform(20, 230, (200, 2))
        return Matches(xy, np.rint(xy + self.shift + 1.3), np.ones(200))


class TestRefine:
    @staticmethod
    def view(shift: tuple[float, float] = (0.0, 0.0), seed: int = 0) -> Rendered:
        """A 256 x 256 view of ground made of waves, exact at any shift."""
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[0:256, 0:256].astype(np.float64)
        total = np.zeros((256, 256))
        for _ in range(60):
            fx, fy, phase = *rng.uniform(-0.9, 0.9, 2), rng.uniform(0, 6.28)
            total += np.sin(fx * (x - shift[0]) + fy * (y - shift[1]) + phase)
        pixels = ((total / np.abs(total).max() + 1) / 2).astype(np.float32)[None]
        return Rendered(pixels, np.ones((256, 256), dtype=bool))

    def test_it_pulls_a_rough_answer_tight(self) -> None:
        ref, tgt = self.view(), self.view(Rough.shift)
        config = MatchConfig(matcher="rough", model="translation")
        rough = MatcherRegistrar(Rough(), config).solve(ref, tgt)
        told: list[str] = []
        registrar = MatcherRegistrar(Rough(), make_config(config, refine=True))
        solution = registrar.solve(ref, tgt, on_stage=told.append)
        found = solution
        assert told[-1] == "certifying"
        assert (found.status, solution.found_by) == ("ok", "rough")
        assert found.transform is not None
        assert rough.transform is not None
        np.testing.assert_allclose(found.transform.matrix[:2, 2], Rough.shift, atol=0.1)
        apart = np.abs(rough.transform.matrix[:2, 2] - Rough.shift)
        assert apart.min() > 1
        # The matches' own answer is no surer than it is far from what the windows say.
        assert (rough.ci95 > apart - 0.1).all()
        assert rough.corner_ci95 > np.hypot(*apart) - 0.1
        assert found.evidence is not None

    def test_matches_that_agree_on_other_ground_are_not_believed(self) -> None:
        config = MatchConfig(matcher="rough")
        views = self.view(), self.view(seed=1)
        for refine in (False, True):
            found = MatcherRegistrar(Rough(), make_config(config, refine=refine)).solve(*views)
            assert found.status in ("uncertain", "failed")
            assert "correlates" in str(found.reason) or "windows agree" in str(found.reason)

    def test_without_matches_there_is_nothing_to_refine(self) -> None:
        class Silent(Rough):
            def _match(self, ref: Rendered, tgt: Rendered) -> Matches:
                return Matches()

        registrar = MatcherRegistrar(Silent(), MatchConfig(matcher="silent", refine=True))
        assert registrar.solve(self.view(), self.view()).status == "failed"

    @pytest.mark.parametrize(
        ("asked", "name", "done"),
        [(None, "sift", False), (True, "sift", True), (None, "loftr-s2", True),
         (False, "loftr-s2", False), (None, "of-my-own", False)],
    )  # fmt: skip
    def test_who_is_refined(self, asked: bool | None, name: str, done: bool) -> None:
        assert refined(MatchConfig(matcher=name, refine=asked)) is done

    @pytest.mark.parametrize(("asked", "side"), [(True, 640), (False, None), (None, None)])
    def test_what_is_refined_is_matched_reduced(self, asked: bool | None, side: int | None) -> None:
        registrar = load_registrar(MatchConfig(matcher="sift", refine=asked))
        assert isinstance(registrar, MatcherRegistrar)
        assert registrar.matcher.options.max_side == side

    def test_auto_cannot_do_without(self) -> None:
        with pytest.raises(ConfigError, match="auto always refines"):
            load_registrar(MatchConfig(refine=False))
