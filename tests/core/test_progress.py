import io

import pytest

from imatch.core.progress import progress


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


def test_quiet_wins_over_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with progress("fetching", 3, enabled=False) as advance:
        advance(3)
    assert terminal.getvalue() == ""
