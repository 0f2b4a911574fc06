"""The way to the map and back is one, whatever the bend."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.core.io.jsontext import parse_json, to_json
from imatch.raster.geolocation.geolocation import Geolocation
from imatch.raster.geolocation.models import ControlPoints, Model, RationalPolynomials
from tests.support.geolocated import camera, grid_gcps, sine

SIZE = (400, 400)


@st.composite
def models(draw: st.DrawFn) -> Model:
    amplitude = draw(st.floats(0, 20))
    if draw(st.booleans()):
        bend = sine(amplitude, draw(st.floats(80, 300)), draw(st.floats(80, 300)))
        gcps = grid_gcps(bend, step=draw(st.sampled_from([40, 50, 80])))
        points = tuple((g.col, g.row, g.x, g.y) for g in gcps)
        return ControlPoints(points, "EPSG:32636", len(points), 0.1)
    rpcs = camera(parallax=draw(st.floats(-0.2, 0.2)), bend=amplitude / 400)
    height = draw(st.floats(0, 800))
    return RationalPolynomials(tuple(sorted(rpcs.to_gdal().items())), height)


@settings(max_examples=40, deadline=None)
@given(models(), st.integers(0, 2**32 - 1), st.integers(-50, 50), st.integers(-50, 50))
def test_there_and_back(model: Model, seed: int, left: int, top: int) -> None:
    bend = Geolocation.over(model, SIZE)
    assert bend is not None
    xy = np.random.default_rng(seed).uniform(0, 400, (50, 2))
    np.testing.assert_allclose(bend.to_native(bend.to_flat(xy)), xy, atol=1e-4)
    window = bend.within(left, top)
    first = np.array([left, top])
    moved = window.to_flat(xy - first) + first
    np.testing.assert_allclose(moved, bend.to_flat(xy), atol=1e-6)
    kept = Geolocation.from_dict(parse_json(to_json(window.to_dict()).encode()))
    assert kept == window
    assert pickle.loads(pickle.dumps(window)) == window  # noqa: S301 - our own


@given(models())
@settings(max_examples=10, deadline=None)
def test_far_away_there_is_nothing(model: Model) -> None:
    bend = Geolocation.over(model, SIZE)
    assert bend is not None
    far = np.array([[-1e4, 0], [0, 1e5], [np.nan, 1], [np.inf, 0]])
    assert np.isnan(bend.to_native(far)).all()
    assert np.isnan(bend.to_flat(far)).all()
