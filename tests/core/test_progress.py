import io
import json
import sys

import pytest

from imatch.core.progress import ProgressOption, ProgressStages, progress, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_is_written_where_no_one_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("fetching", 10) as advance:
        advance(10)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(("total", "unit"), [(None, ""), (3, ""), (3e6, "B")])
def test_a_terminal_sees_the_label(
    total: float | None, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress("fetching", total, unit=unit) as advance:
        advance(1)
    assert "fetching" in terminal.getvalue()


@pytest.mark.parametrize("total", [None, 400])
def test_a_program_is_told_stages_as_lines_of_json(
    total: float | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("IMATCH_PROGRESS", "json")
    with progress("fetching", total) as advance:
        for _ in range(400):
            advance(1)
    with progress("quiet", total, enabled=False) as advance:
        advance(1)
    captured = capsys.readouterr()
    assert captured.out == ""
    told = [json.loads(line) for line in captured.err.splitlines()]
    assert told[0] == {"stage": "fetching", "done": 0, "total": total}
    # Not every step is a line; the last is.
    assert len(told) < 40
    assert {line["stage"] for line in told} == {"fetching"}
    if total is not None:
        assert told[-1] == {"stage": "fetching", "done": 400, "total": 400}


def test_quiet_wins_over_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("fetching", 3, enabled=False) as advance:
        advance(3)
    assert terminal.getvalue() == ""


def test_a_callback_is_told_of_every_stage() -> None:
    told: list[tuple[str, float, float | None]] = []
    with ProgressStages(lambda *step: told.append(step)) as stages:
        stages.begin("reading")
        stages.begin("matching", 2)
        stages.advance(1)
        stages.show("matching", 2, 2)
        stages.show("writing", 30, 100)
    assert told == [
        ("reading", 0, None),
        ("matching", 0, 2),
        ("matching", 1, 2),
        ("matching", 2, 2),
        ("writing", 0, 100),
        ("writing", 30, 100),
    ]


def test_a_stage_without_steps_is_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with ProgressStages(True) as stages:
        stages.begin("loading")
    assert terminal.getvalue() == "\r\x1b[Kloading …\r\r\x1b[K"


@pytest.mark.parametrize("option", [None, False])
def test_nothing_is_shown_unless_asked_for(
    option: ProgressOption, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with shown(option)("matching", 3) as advance:
        advance(3)
    assert terminal.getvalue() == ""


def test_a_notebook_has_a_line_that_is_written_over(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    monkeypatch.setitem(sys.modules, "ipykernel", io)
    with ProgressStages(True) as stages:
        stages.begin("matching", 2)
        stages.advance(1)  # Too soon after the one before to be worth a line.
        stages.advance(1)
    lines = [line.strip() for line in written.getvalue().split("\r")]
    assert lines == ["", "matching 0/2", "matching 2/2", "", ""]
