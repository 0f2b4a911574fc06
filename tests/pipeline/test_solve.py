from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import MatcherError
from imatch.core.types import Matches, Rendered
from imatch.geometry.estimate import EstimateOptions
from imatch.matchers.base import Matcher
from imatch.pipeline.auto import Auto
from imatch.pipeline.config import MatchConfig
from imatch.pipeline.load import load_solver
from imatch.pipeline.match import match
from imatch.pipeline.solve import MatcherSolver

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
    solver = MatcherSolver("oracle", Oracle())
    solution = solver.solve(image, image, EstimateOptions(), on_stage=told.append)
    assert solution.found_by == "oracle"
    assert told == ["matching with oracle", "estimating"]
    assert len(solution.matches) == 200
    assert solution.estimate.status == "ok"
    assert solution.estimate.inlier.sum() == pytest.approx(150, abs=3)
    assert solution.estimate.transform is not None
    np.testing.assert_allclose(
        solution.estimate.transform.matrix, [[1, 0, 5], [0, 1, 3], [0, 0, 1]], atol=1e-3
    )


def test_it_passes_on_what_the_matcher_is() -> None:
    solver = MatcherSolver("oracle", Oracle())
    assert (solver.name, solver.channels) == ("oracle", 1)
    assert solver.weights_used == {"oracle": "0" * 64}


def test_the_options_reach_the_estimate(image: Rendered) -> None:
    solver = MatcherSolver("oracle", Oracle())
    solution = solver.solve(image, image, EstimateOptions(model="homography"))
    assert solution.estimate.transform is not None
    assert solution.estimate.transform.kind == "homography"


def test_load_solver_wraps_matchers_and_leaves_solvers() -> None:
    sift = load_solver(MatchConfig(matcher="sift", max_keypoints=99, seed=4))
    assert isinstance(sift, MatcherSolver)
    assert (sift.matcher.options.max_keypoints, sift.matcher.options.seed) == (99, 4)
    assert isinstance(load_solver(MatchConfig(matcher="auto")), Auto)
    with pytest.raises(MatcherError, match="unknown matcher"):
        load_solver(MatchConfig(matcher="shift"))


@pytest.mark.parametrize("wrapped", [False, True])
def test_one_loaded_before_serves_many_pairs(wrapped: bool, scene: MakeScene) -> None:
    ref, tgt = scene("ref.tif", noise=1), scene("tgt.tif", noise=2)
    matcher = Oracle()
    loaded = MatcherSolver("oracle", matcher) if wrapped else matcher
    r = match(ref.path, tgt.path, MatchConfig(matcher="oracle"), loaded=loaded)
    assert r.matcher == "oracle"
    assert r.n_matches == 200
    assert r.provenance["weights"] == {"oracle": "0" * 64}
