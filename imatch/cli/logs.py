"""What a run says on stderr beside its answer: log records, and by default no chatter."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

from imatch.cli.errors import DEBUG
from imatch.core.io.offline import is_offline, offline
from imatch.core.redaction import redacted

VERBOSITY = "imatch.verbosity"
OFFLINE = "imatch.offline"

# Thresholds at -q, none, -v, -vv, -vvv: for our own records, and for other packages'.
_OURS = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
_LOG = logging.getLogger(__name__)
_SILENT = logging.CRITICAL + 1
_THEIRS = (_SILENT, _SILENT, logging.WARNING, logging.INFO, logging.DEBUG)


class _Formatter(logging.Formatter):
    """Formats log records with the secrets of URLs removed, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class Verb(click.Command):
    """A command whose log records go to stderr, as loud as ``-v`` and ``-q`` ask.

    With ``--offline`` it makes no request, nor does any process that it begins.
    """

    def __init__(self, *arguments: Any, **attrs: Any) -> None:
        super().__init__(*arguments, **attrs)
        add_verbosity(self)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command under the logging that was asked for."""
        with (
            logging_to_stderr(verbosity(ctx)),
            offline(ctx.meta.get(OFFLINE, False) or is_offline()),
        ):
            return super().invoke(ctx)


def add_verbosity(command: click.Command) -> None:
    """Adds ``-v``, ``-q`` and ``--debug`` to a command: before and after a verb they mean the same.

    Args:
        command: A verb, or the group of all.
    """

    def remember(key: str, value: Any = None) -> Callable[..., None]:
        def callback(ctx: click.Context, _param: click.Parameter, given: Any) -> None:
            if given:
                ctx.meta[key] = given if value is None else value

        return callback

    command.params += [
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=remember(VERBOSITY),
            help="Log what happens on stderr; twice or thrice for more.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=remember(VERBOSITY, -1),
            help="Say nothing but errors and the answer.",
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=remember(DEBUG),
            help="Show the traceback of an error.",
        ),
    ]


def verbosity(ctx: click.Context) -> int:
    """The count of ``-v`` less 1 for ``-q``; ``rio -v`` and ``rio -q`` count too."""
    own = ctx.meta.get(VERBOSITY)
    if own is not None:
        return int(own)
    return int(ctx.obj.get("verbosity", 0)) if isinstance(ctx.obj, dict) else 0


def is_quiet() -> bool:
    """Whether ``-q`` was given to the running command."""
    return verbosity(click.get_current_context()) < 0


def note(text: str) -> None:
    """Tell the person at the terminal something that is not the answer; silent with ``-q``."""
    if not is_quiet():
        click.echo(redacted(text), err=True)


class Skipped(Protocol):
    """A file that was left out and the reason."""

    @property
    def path(self) -> object:
        """The file."""

    @property
    def reason(self) -> str:
        """Why it was left out."""


def note_skipped(items: Iterable[Skipped]) -> None:
    """Tells of each file that was left out."""
    for item in items:
        note(f"skipped {item.path}: {item.reason}")


@contextmanager
def logging_to_stderr(level: int) -> Iterator[None]:
    """Log to stderr inside the block; what was set before comes back after it.

    By default nothing but errors of ours is shown: GDAL, rasterio, kornia and torch speak in terms
    of their own insides, and what matters of it reaches the user as an `ImatchError`.

    Args:
        level: -1 errors only, 0 warnings of ours, 1 informs and lets libraries warn, 2 everything.
    """
    if level <= 0:
        # GDAL prints what no thread of ours listens to: OpenJPEG's own, and PROJ on unknown CRSs.
        os.environ.setdefault("CPL_LOG", os.devnull)
    ours = _OURS[min(max(level, -1) + 1, len(_OURS) - 1)]
    theirs = _THEIRS[min(max(level, -1) + 1, len(_THEIRS) - 1)]
    root, package = logging.getLogger(), logging.getLogger("imatch")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(levelname)s %(name)s: %(message)s"))

    def wanted(record: logging.LogRecord) -> bool:
        return record.levelno >= (ours if record.name.split(".")[0] == "imatch" else theirs)

    # Libraries set levels on their own loggers, so the threshold sits on the only handler instead.
    handler.addFilter(wanted)
    handlers, root_level, package_level = root.handlers[:], root.level, package.level
    hook = sys.unraisablehook
    root.handlers = [handler]
    # The warnings of decoders are listened for, too (see `raster.gdal.warned`).
    root.setLevel(min(ours, theirs, logging.WARNING))
    package.setLevel(ours)
    try:
        with warnings.catch_warnings():
            if level <= 0 and not sys.warnoptions:
                warnings.simplefilter("ignore")
            logging.captureWarnings(level > 0)
            # What GDAL says of a damaged file may be no text; rasterio then raises where nobody
            # can catch it, and Python prints a traceback.
            sys.unraisablehook = lambda args: _LOG.debug("%s: %s", args.err_msg, args.exc_value)
            yield
    finally:
        sys.unraisablehook = hook
        logging.captureWarnings(False)
        root.handlers = handlers
        root.setLevel(root_level)
        package.setLevel(package_level)
