"""Every way to fail, as one line on stderr and an exit code."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from imatch.core.errors import ImatchError
from imatch.core.redaction import redacted

DEBUG = "imatch.debug"
NOT_REGISTERED = 3
INTERRUPTED = 130
# What torch says of sizes that no memory holds, in errors of no kind of their own.
_TOO_LARGE = re.compile("can't allocate memory|size calculation overflowed|when unpacking long")


@contextmanager
def reported(ctx: click.Context | None) -> Iterator[None]:
    """Turn exceptions into one line on stderr and the exit code that belongs to them.

    It works inside any click application (``rio imatch`` too), since it leaves by click's own
    `Exit`. With ``--debug`` the traceback is printed before the line.

    Args:
        ctx: The context whose ``meta`` says whether to debug, None where there is none yet.
    """
    try:
        yield
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError, BrokenPipeError):
        raise  # Click ends these as they should: by their code, the help, silence.
    except (KeyboardInterrupt, click.Abort) as error:
        raise _exit("interrupted", INTERRUPTED) from error
    except click.ClickException as error:
        raise _exit(f"error: {_usage(error)}", error.exit_code) from error
    except Exception as error:
        if ctx is not None and ctx.meta.get(DEBUG):
            click.echo(redacted(traceback.format_exc()), err=True, nl=False)
        raise _exit(f"error: {explain(error)}", getattr(error, "exit_code", 1)) from error


def explain(error: Exception) -> str:
    """One clause saying what went wrong and what to do about it."""
    if isinstance(error, ImatchError):
        return str(error)
    text = str(error)
    # By name, since asking torch for its class would import it.
    if (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError | TypeError) and _TOO_LARGE.search(text))
    ):
        return "out of memory; pass a smaller --size or --max-keypoints, or --device cpu"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    kind = type(error).__name__
    return (
        f"{kind}: {text}; this is a bug: run again with --debug for the traceback"
        if text
        else f"{kind}; this is a bug: run again with --debug for the traceback"
    )


def _usage(error: click.ClickException) -> str:
    """Click's own message in our manner, and where to read more unless it suggests something."""
    text = error.format_message().strip().rstrip(".")
    text = text[:1].lower() + text[1:]
    ctx = getattr(error, "ctx", None)
    return text if ctx is None or text.endswith("?") else f"{text}; see {ctx.command_path} --help"


def _exit(line: str, code: int) -> click.exceptions.Exit:
    line = " ".join(part.strip() for part in redacted(line).splitlines())
    click.echo(f"imatch: {line}", err=True)
    return click.exceptions.Exit(code)
