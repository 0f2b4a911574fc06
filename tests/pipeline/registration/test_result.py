from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import InputError
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.result import SCHEMA, ImageSummary, Registration, TiePoints

KEYS = [
    "schema",
    "status",
    "reason",
    "model",
    "matrix",
    "map_matrix",
    "local",
    "shift_px",
    "shift_m",
    "ci95_px",
    "ci95_m",
    "rmse_px",
    "rmse_m",
    "ce90_px",
    "ce90_m",
    "coverage",
    "n_matches",
    "n_inliers",
    "n_check",
    "certificate",
    "matcher",
    "seconds",
    "reference",
    "target",
    "provenance",
    "tie_points",
]


@pytest.fixture
def found() -> Registration:
    points = TiePoints(
        np.array([[1.5, 2], [3, 4]]),
        np.array([[2.5, 2], [9, 4]]),
        np.array([0.9, 0.1]),
        np.array([True, False]),
        np.array([True, False]),
        np.array([[0.1, -0.2], [5, 0]]),
        np.array([2.2, np.nan]),
        np.array([[500_015.0, 4e6], [500_030, 4e6]]),
    )
    return Registration(
        "ok",
        "2 of 2 agree",
        ImageSummary("a.tif", 10, 8, ("B4",), "EPSG:32631", (10, 0, 5e5, 0, -10, 4e6), (10, 10)),
        ImageSummary(None, 12, 9, ("1", "2")),
        "sift",
        0.25,
        points,
        Transform("affine", np.array([[1, 0.1, 2], [0, 1, 3], [0, 0, 1]])),
        np.diag([1.0, 1, 1]),
        (1.0, 2.0),
        (10.0, -20.0),
        (0.1, np.inf),
        (1.0, np.nan),
        0.5,
        5.0,
        float("nan"),
        None,
        0.75,
        2,
        1,
        1,
        Certificate(corner_ci95_px=0.2, tolerance="0.3 px", passes=True, evidence=3.5),
        {"config": {"seed": 0}, "files": [None]},
    )


def test_the_keys_are_the_contract(found: Registration) -> None:
    document = found.to_dict()
    assert list(document) == KEYS
    assert document["schema"] == SCHEMA == "imatch.registration/1"
    assert document["model"] == "affine"
    assert document["certificate"]["passes"] is True


def test_every_key_is_described(found: Registration) -> None:
    document = found.to_dict()
    said = Registration.__doc__ or ""
    nested = [*document["reference"], *document["tie_points"]]
    assert [key for key in (*document, *nested) if f"``{key}``" not in said] == []
    described = Certificate.__doc__ or ""
    own = [key for key in document["certificate"] if key not in document]
    assert [key for key in own if f"{key}:" not in described] == []


def test_it_survives_json(found: Registration) -> None:
    text = json.dumps(found.to_dict(), allow_nan=False)
    back = Registration.from_dict(json.loads(text))
    assert back.to_dict() == found.to_dict()
    assert back.certificate == found.certificate
    assert back.reference == found.reference
    assert back.target == found.target
    np.testing.assert_array_equal(back.tie_points.map_xy, found.tie_points.map_xy)
    np.testing.assert_array_equal(back.tie_points.inlier, [True, False])
    assert back.preview is None


def test_what_is_unbounded_is_so_again_when_read(found: Registration) -> None:
    unbounded = (np.inf, np.inf)
    open_ended = replace(found, ci95_px=unbounded, ci95_m=(0.5, np.inf))
    back = Registration.from_dict(json.loads(json.dumps(open_ended.to_dict(), allow_nan=False)))
    assert back.ci95_px == unbounded
    assert back.ci95_m == (0.5, np.inf)
    # The figures of nothing are no figures.
    assert Registration.from_dict(replace(found, ci95_m=None).to_dict()).ci95_m is None


def test_what_is_not_a_number_is_null(found: Registration) -> None:
    document = found.to_dict()
    assert document["ci95_px"] == [0.1, None]
    assert document["ci95_m"] == [1.0, None]
    assert document["ce90_px"] is None
    assert document["tie_points"]["residual_m"] == [2.2, None]


def test_null_residuals_come_back_as_nan(found: Registration) -> None:
    back = Registration.from_dict(found.to_dict())
    np.testing.assert_array_equal(back.tie_points.residual_m, [2.2, np.nan])


def test_a_failure_has_no_figures(found: Registration) -> None:
    failed = replace(found, status="failed", transform=None, map_matrix=None, shift_px=None)
    document = failed.to_dict()
    assert (document["model"], document["matrix"], document["map_matrix"]) == (None, None, None)
    back = Registration.from_dict(document)
    assert (back.transform, back.matrix, back.model, back.shift_px) == (None, None, None, None)


def test_points_without_geocoding_have_no_map_columns(found: Registration) -> None:
    bare = replace(found, tie_points=replace(found.tie_points, map_xy=None))
    columns = bare.to_dict()["tie_points"]
    assert "map_x" not in columns
    assert {len(column) for column in columns.values()} == {2}
    assert Registration.from_dict(bare.to_dict()).tie_points.map_xy is None


@pytest.mark.parametrize("schema", [None, "imatch.registration/2", 1])
def test_another_schema_is_refused(schema: Any, found: Registration) -> None:
    with pytest.raises(InputError, match="its schema is"):
        Registration.from_dict({**found.to_dict(), "schema": schema})
