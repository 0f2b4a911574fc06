from __future__ import annotations

import logging
import warnings

import pytest

from imatch.cli.logs import logging_to_stderr

OURS, THEIRS = "imatch.pipeline", "rasterio._env"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@pytest.mark.parametrize(
    ("verbosity", "ours", "theirs"),
    [
        (-1, LEVELS[3:], ()),
        (0, LEVELS[2:], ()),
        (1, LEVELS[1:], LEVELS[2:]),
        (2, LEVELS, LEVELS[1:]),
        (3, LEVELS, LEVELS),
        (9, LEVELS, LEVELS),
    ],
)
def test_how_loud_each_level_is(
    verbosity: int,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with logging_to_stderr(verbosity):
        for name in (OURS, THEIRS):
            for level in LEVELS:
                logging.getLogger(name).log(logging.getLevelName(level), "said")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        f"{level} {name}: said"
        for name, levels in ((OURS, ours), (THEIRS, theirs))
        for level in levels
    ]


def test_warnings_are_silent_until_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(0):
        warnings.warn("not georeferenced", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""
    with logging_to_stderr(1):
        warnings.simplefilter("always")
        warnings.warn("not georeferenced", UserWarning, stacklevel=1)
    assert "not georeferenced" in capsys.readouterr().err


def test_what_was_set_before_comes_back() -> None:
    root, package = logging.getLogger(), logging.getLogger("imatch")
    before = root.handlers[:], root.level, package.level, warnings.showwarning, warnings.filters[:]
    with logging_to_stderr(3):
        assert root.handlers != before[0]
    after = root.handlers[:], root.level, package.level, warnings.showwarning, warnings.filters[:]
    assert after == before
