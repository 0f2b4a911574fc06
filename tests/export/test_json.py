from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imatch.core.errors import InputError
from imatch.core.io.jsontext import to_json
from imatch.export import write
from imatch.geometry.transform import MODEL_KINDS, DisplacementGrid, Transform
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints

finite = st.floats(-1e7, 1e7)
optional = st.none() | finite
pairs = st.none() | st.tuples(finite, finite)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


certificates = st.builds(
    Certificate,
    corner_ci95_px=optional,
    corner_ci95_m=optional,
    statistical_ci95_px=pairs,
    misfit_px=pairs,
    appearance_px=pairs,
    bands=st.lists(st.tuples(st.text(), finite, finite), max_size=2).map(tuple),
    bands_disagree=st.booleans(),
    evidence=optional,
    evidence_kind=st.sampled_from([None, "log_odds", "false_alarms"]),
    evidence_threshold=optional,
    tolerance=st.none() | st.just("0.3 px"),
    passes=st.none() | st.booleans(),
)
displacements = st.builds(
    DisplacementGrid,
    kind=st.sampled_from(["spline", "tps"]),
    origin=st.tuples(finite, finite),
    step=st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)),
    coefficients=arrays(np.float64, (4, 5, 2), elements=finite),
)


@st.composite
def registrations(draw: st.DrawFn) -> Registration:
    n = draw(st.integers(0, 4))

    def points(values: st.SearchStrategy[float] = finite) -> Any:
        return draw(arrays(np.float64, (n, 2), elements=values))

    def column(values: st.SearchStrategy[float] = finite) -> Any:
        return draw(arrays(np.float64, n, elements=values))

    with_nan = finite | st.just(float("nan"))
    flags = arrays(np.bool_, n)
    tie_points = TiePoints(
        points(),
        points(),
        column(),
        draw(flags),
        draw(flags),
        points(with_nan),
        column(with_nan),
        draw(st.none() | arrays(np.float64, (n, 2), elements=finite)),
    )
    matrix = draw(arrays(np.float64, (3, 3), elements=finite))
    matrix[2, 2] = 1
    image = st.builds(
        ImageSummary,
        path=st.none() | st.text(),
        width=st.integers(1, 10**5),
        height=st.integers(1, 10**5),
        bands=st.lists(st.text(), max_size=3).map(tuple),
        crs=st.none() | st.text(),
        transform=st.none() | st.tuples(*[finite] * 6),
        gsd_m=pairs,
    )
    counts = st.integers(0, 10**6)
    transforms = st.sampled_from(MODEL_KINDS).map(lambda kind: Transform(kind, matrix))
    return Registration(
        status=draw(st.sampled_from(["ok", "uncertain", "failed"])),
        reason=draw(st.text()),
        reference=draw(image),
        target=draw(image),
        matcher=draw(st.text()),
        seconds=draw(finite),
        tie_points=tie_points,
        transform=draw(st.none() | transforms),
        map_matrix=draw(st.none() | arrays(np.float64, (3, 3), elements=finite)),
        shift_px=draw(pairs),
        shift_m=draw(pairs),
        ci95_px=draw(pairs),
        ci95_m=draw(pairs),
        rmse_px=draw(optional),
        rmse_m=draw(optional),
        ce90_px=draw(optional),
        ce90_m=draw(optional),
        coverage=draw(finite),
        n_matches=draw(counts),
        n_inliers=draw(counts),
        n_check=draw(counts),
        certificate=draw(certificates),
        local=draw(st.none() | displacements),
        provenance=draw(st.dictionaries(st.text(), json_values, max_size=3)),
    )


@settings(max_examples=40, derandomize=True, deadline=None)
@given(registration=registrations())
def test_a_registration_survives_the_file(
    registration: Registration, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("document") / "r.json"
    write(registration, path)
    back = read_registration(path)
    assert back.to_dict() == registration.to_dict()
    assert back.certificate == registration.certificate
    np.testing.assert_array_equal(back.tie_points.ref_xy, registration.tie_points.ref_xy)
    np.testing.assert_array_equal(back.tie_points.residual_m, registration.tie_points.residual_m)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(registration=registrations())
def test_a_registration_survives_a_pickle(registration: Registration) -> None:
    back = pickle.loads(pickle.dumps(registration))  # noqa: S301 - it is our own.
    assert back.to_dict() == registration.to_dict()
    assert back.certificate == registration.certificate
    assert "Registration" in repr(back)
    np.testing.assert_array_equal(back.tie_points.tgt_xy, registration.tie_points.tgt_xy)


def test_every_kind_is_strict_json(every: Registration, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write(every, path)

    def refuse(token: str) -> None:
        raise AssertionError(f"{token} is not JSON")

    document = json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    assert document == every.to_dict()
    assert read_registration(path).preview is None


def test_columns_of_tie_points_take_one_line_each(
    registration: Registration, tmp_path: Path
) -> None:
    path = tmp_path / "r.json"
    write(registration, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) < 100
    (scores,) = [line for line in lines if line.startswith('    "score": [')]
    assert scores.count(",") == len(registration.tie_points)
    assert sum(line.startswith("    [") for line in lines) == 6, "two matrices of three rows"


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        [[], [1]],
        {"a": {"b": [{"c": 1}, []]}},
        'a\nb"ü',
        [1, 2.5, None, True, "x"],
        1e300,
        [[[1]]],
    ],
)
def test_to_json_is_what_json_reads(value: object) -> None:
    assert json.loads(to_json(value)) == value


def test_to_json_takes_what_provenance_may_hold() -> None:
    value = {
        Path("a"): Path("b.tif"),
        "nan": float("nan"),
        "inf": [float("-inf")],
        "array": np.arange(3),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "set": {1},
    }
    assert json.loads(to_json(value)) == {
        "a": "b.tif",
        "nan": None,
        "inf": [None],
        "array": [0, 1, 2],
        "scalar": 0.5,
        "flag": True,
        "set": [1],
    }
    with pytest.raises(TypeError):
        to_json({"a": object()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "is not JSON"),
        (b'{"schema": NaN}', "NaN is not a JSON number"),
        (b"[1, 2]", "is not a registration"),
        (b"{}", "its schema is None"),
        (b'{"schema": "imatch.registration/99"}', "imatch.registration/99"),
        (b'{"schema": "imatch.registration/1"}', "lacks the key"),
    ],
)
def test_other_files_are_refused_with_a_reason(
    content: bytes, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_registration(path)
    assert caught.value.subject == str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "splendid"}, "unknown status 'splendid'"),
        ({"matrix": [[1, 2], [3, 4]]}, "not a 3x3"),
        ({"matrix": "identity"}, "makes no sense"),
        ({"shift_px": 3}, "makes no sense"),
        ({"reference": None}, "makes no sense"),
    ],
)
def test_damaged_documents_are_refused(
    change: dict[str, Any], message: str, registration: Registration, tmp_path: Path
) -> None:
    path = tmp_path / "damaged.json"
    path.write_text(to_json(registration.to_dict() | change), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_registration(path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_deep_documents_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text(text)
    with pytest.raises(InputError, match=r"deep.json: is not JSON"):
        read_registration(tmp_path / "deep.json")


def test_ragged_columns_are_refused(registration: Registration, tmp_path: Path) -> None:
    document = registration.to_dict()
    document["tie_points"]["score"].pop()
    path = tmp_path / "ragged.json"
    path.write_text(to_json(document), encoding="utf-8")
    with pytest.raises(InputError, match="columns differ in length"):
        read_registration(path)


def test_a_missing_file_or_a_folder_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.json: No such file"):
        read_registration(tmp_path / "none.json")
    with pytest.raises(InputError, match="Is a directory"):
        read_registration(tmp_path)
