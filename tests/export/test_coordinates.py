from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.core.errors import OutputError
from imatch.export.coordinates import geocoded_xy, gis_xy, reference_xy
from imatch.pipeline.registration.result import ImageSummary, Registration

coefficient = st.floats(-1e3, 1e3)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(st.tuples(*[coefficient] * 6), st.tuples(coefficient, coefficient))
def test_pixels_land_where_the_affine_puts_their_centres(
    coefficients: tuple[float, ...], xy: tuple[float, float]
) -> None:
    image = ImageSummary(None, 9, 9, crs="EPSG:32631", transform=coefficients)
    a, b, c, d, e, f = coefficients
    expected = Affine(a, b, c, d, e, f) @ (xy[0] + 0.5, xy[1] + 0.5)
    assert gis_xy(image, np.array([xy]))[0] == pytest.approx(expected)


def test_a_perfect_pair_claims_what_is_true(make: Callable[..., Registration]) -> None:
    registration = make(matrix=np.eye(3), noise=0.0, outliers=0)
    claimed = geocoded_xy(registration)
    assert claimed is not None
    np.testing.assert_allclose(claimed, reference_xy(registration))


def test_nothing_is_claimed_without_geocoding(make: Callable[..., Registration]) -> None:
    assert geocoded_xy(make(geocoded=False)) is None
    registration = make()
    plain = replace(registration.target, crs=None, transform=None)
    assert geocoded_xy(replace(registration, target=plain)) is None


def test_crss_that_cannot_be_related_are_an_error(make: Callable[..., Registration]) -> None:
    registration = make()
    moon = replace(registration.target, crs="+proj=eqc +R=1737400 +units=m +no_defs")
    with pytest.raises(OutputError, match="cannot be related"):
        geocoded_xy(replace(registration, target=moon))
