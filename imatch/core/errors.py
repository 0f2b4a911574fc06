"""Exceptions with a subject, a cause and a hint, told in one line."""

from __future__ import annotations

from os import PathLike, fspath

from imatch.core.redaction import redacted


class ImatchError(Exception):
    """Base of every error a user can cause or mend; tells no secret of a URL (`redacted`).

    Args:
        cause: What is wrong, as a short clause (``"the file is empty"``).
        subject: The file, option or name it is about.
        hint: The next step (``"pass --bands 1"``).
    """

    exit_code = 1

    def __init__(
        self, cause: str, *, subject: str | PathLike[str] | None = None, hint: str | None = None
    ) -> None:
        self.cause: str = redacted(cause)
        self.subject: str | None = None if subject is None else redacted(fspath(subject))
        self.hint: str | None = None if hint is None else redacted(hint)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.cause if self.subject is None else f"{self.subject}: {self.cause}"
        return text if self.hint is None else f"{text}; {self.hint}"

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments do not survive the default pickling, and workers send errors home.
        return _rebuild, (type(self), self.cause, self.subject, self.hint)


def _rebuild(
    kind: type[ImatchError], cause: str, subject: str | None, hint: str | None
) -> ImatchError:
    return kind(cause, subject=subject, hint=hint)


class InputError(ImatchError):
    """An image, mask or table that cannot be used as it is."""


class NoOverlapError(InputError):
    """Two geocoded images that share no ground."""


class WeightsError(ImatchError):
    """A checkpoint that is missing, corrupt or of another architecture."""


class MatcherError(ImatchError):
    """An unknown matcher, or one that cannot run as asked."""


class EmbedderError(ImatchError):
    """An embedder that cannot run as asked."""


class ConfigError(ImatchError):
    """An option or configuration value that makes no sense."""

    exit_code = 2


class OutputError(ImatchError):
    """A result that cannot be written where it was asked for."""
