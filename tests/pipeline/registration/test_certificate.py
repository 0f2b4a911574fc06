from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imatch.pipeline.registration.certificate import Certificate, Tolerance, verdict


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("0.3px", 0.3, "px"),
        ("3m", 3, "m"),
        (" 3 m ", 3, "m"),
        ("1e-2PX", 0.01, "px"),
        (".5px", 0.5, "px"),
        ("2.m", 2, "m"),
    ],
)
def test_a_number_and_its_unit(text: str, value: float, unit: str) -> None:
    assert Tolerance.parse(text) == Tolerance(value, unit)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    ["", "0.3", "px", "-1px", "0px", "0m", "nanpx", "infm", "1e999m", "3 km", "3px4", "0,3px"],
)
def test_anything_else_is_told_what_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no positive number .* write 0\.3px or 3m"):
        Tolerance.parse(text)


def test_it_reads_as_it_is_written() -> None:
    assert str(Tolerance.parse("0.30px")) == "0.3 px"
    assert Tolerance.parse(str(Tolerance(2.5, "m"))) == Tolerance(2.5, "m")


@pytest.mark.parametrize(
    ("tolerance", "ok", "bound_px", "bound_m", "expected"),
    [
        (None, True, 0.1, 1.0, None),
        ("0.3px", True, 0.1, 99.0, True),
        ("0.3px", True, 0.3, None, True),
        ("0.3px", True, 0.31, 0.0, False),
        ("0.3px", False, 0.1, 1.0, False),
        ("0.3px", True, None, None, False),
        ("3m", True, 99.0, 2.9, True),
        ("3m", True, 0.0, 3.1, False),
        ("3m", True, 0.1, None, None),
        ("3m", False, 0.1, None, False),
    ],
)
def test_the_verdict(
    tolerance: str | None,
    ok: bool,
    bound_px: float | None,
    bound_m: float | None,
    expected: bool | None,
) -> None:
    asked = None if tolerance is None else Tolerance.parse(tolerance)
    assert verdict(asked, ok=ok, bound_px=bound_px, bound_m=bound_m) is expected


finite = st.floats(-1e9, 1e9)


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.builds(
        Certificate,
        corner_ci95_px=st.none() | finite,
        corner_ci95_m=st.none() | finite,
        evidence=st.none() | finite,
        evidence_kind=st.sampled_from([None, "log_odds", "false_alarms"]),
        evidence_threshold=st.none() | finite,
        tolerance=st.none() | st.just("3 m"),
        passes=st.none() | st.booleans(),
    )
)
def test_it_survives_json(certificate: Certificate) -> None:
    document = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert list(document) == [field.name for field in fields(Certificate)]
    assert Certificate.from_dict(document) == certificate


def test_what_is_unbounded_is_null() -> None:
    document = Certificate(corner_ci95_px=math.inf, evidence=math.nan).to_dict()
    assert document["corner_ci95_px"] is None
    assert document["evidence"] is None
