import pickle

import pytest

from imatch.core.errors import (
    ConfigError,
    ImatchError,
    InputError,
    MatcherError,
    NoOverlapError,
    OutputError,
    WeightsError,
)


def test_the_text_has_subject_cause_and_next_step_in_that_order() -> None:
    error = InputError("the file is empty", subject="a.tif", hint="download it again")
    assert str(error) == "a.tif: the file is empty; download it again"


def test_subject_and_hint_may_be_absent() -> None:
    assert str(ImatchError("no network")) == "no network"
    assert str(ImatchError("no network", hint="retry")) == "no network; retry"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (ImatchError, 1),
        (InputError, 1),
        (NoOverlapError, 1),
        (WeightsError, 1),
        (MatcherError, 1),
        (OutputError, 1),
        (ConfigError, 2),
    ],
)
def test_exit_codes(kind: type[ImatchError], code: int) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, ImatchError)


def test_an_error_survives_the_journey_from_a_worker_process() -> None:
    error = NoOverlapError("share no ground", subject="b.tif", hint="check the CRS")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is NoOverlapError
    assert (back.cause, back.subject, back.hint) == (error.cause, error.subject, error.hint)
