from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import NoReturn

import click
import pytest
from click.testing import CliRunner, Result

from imatch.cli.errors import explain
from imatch.cli.group import VerbGroup
from imatch.cli.logs import Verb
from imatch.core.errors import ConfigError, InputError


def fail_with(error: BaseException) -> Callable[..., Result]:
    """A program whose only verb raises the error."""

    @click.command(cls=Verb)
    def fail() -> NoReturn:
        raise error

    class Program(VerbGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return fail if cmd_name == "fail" else None

    @click.group(cls=Program, verbs={"fail": ("", "Fail.")})
    def program() -> None:
        pass

    return lambda *arguments: CliRunner().invoke(program, arguments or ("fail",))


def test_our_errors_keep_their_text_and_code() -> None:
    result = fail_with(InputError("is empty", subject="a.tif", hint="get it again"))()
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "imatch: error: a.tif: is empty; get it again\n"
    assert fail_with(ConfigError("is no setting"))().exit_code == 2


def test_a_cause_of_several_lines_stays_one_line() -> None:
    result = fail_with(InputError("first\n  second\nthird"))()
    assert result.stderr == "imatch: error: first second third\n"


def test_two_blanks_in_a_file_name_survive() -> None:
    assert "a  b.tif" in fail_with(InputError("is empty", subject="a  b.tif"))().stderr


def test_the_unexpected_is_called_a_bug() -> None:
    result = fail_with(ZeroDivisionError("division by zero"))()
    assert result.exit_code == 1
    assert result.stderr == (
        "imatch: error: ZeroDivisionError: division by zero; this is a bug: "
        "run again with --debug for the traceback\n"
    )


@pytest.mark.parametrize("arguments", [("fail", "--debug"), ("--debug", "fail")])
def test_debug_shows_the_traceback_and_keeps_the_code(arguments: tuple[str, ...]) -> None:
    result = fail_with(ConfigError("is no setting"))(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.endswith("\nimatch: error: is no setting\n")


def test_interruption() -> None:
    result = fail_with(KeyboardInterrupt())()
    assert result.exit_code == 130
    assert result.stderr == "imatch: interrupted\n"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "out of memory; pass a smaller --size"),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), "out of memory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (PermissionError(13, "Permission denied", "a.tif"), "a.tif: Permission denied"),
        (KeyError(), "KeyError; this is a bug"),
    ],
)
def test_what_the_machine_says_is_put_in_words(error: Exception, text: str) -> None:
    assert explain(error).startswith(text)


@pytest.mark.parametrize(
    ("arguments", "end"),
    [
        (("fail", "extra"), "see program fail --help"),
        (("fail", "--bogus"), ""),
        (("--bogus",), ""),
        (("fial",), "did you mean 'fail'?"),
        (("zzzzzz",), "choose one of fail; see program --help"),
    ],
)
def test_usage_errors_are_one_line_too(arguments: tuple[str, ...], end: str) -> None:
    result = fail_with(AssertionError("never run"))(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("imatch: error: ")
    assert line.endswith(end)


def test_no_arguments_show_the_help() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imatch"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "Commands:" in done.stdout + done.stderr


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = [sys.executable, "-m", "imatch", "weights", "list", "--format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # Before the first line, as `| head -0` does.
        said = process.stderr.read()
    assert said == b""
    assert process.returncode == 1
