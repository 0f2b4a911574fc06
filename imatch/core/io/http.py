"""Asks other hosts over HTTP, with a time limit, and says in one line what went wrong."""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO
from urllib.parse import unquote, urlsplit, urlunsplit

from imatch._version import __version__
from imatch.core.errors import InputError
from imatch.core.io.offline import is_offline

#: Seconds that a host has to begin its answer, and for each part of it.
TIMEOUT_S = 30.0
_MEANINGS = {
    401: ("it wants credentials (HTTP 401)", "give them, or use a signed URL"),
    403: ("it refuses access (HTTP 403)", "sign the URL anew, or check the credentials"),
    404: ("there is no such file (HTTP 404)", "check the address"),
    410: ("it is gone (HTTP 410)", "check the address"),
    429: ("it is asked too often (HTTP 429)", "try again later"),
}


@dataclass(frozen=True)
class Response:
    """What a server answers.

    Attributes:
        status: HTTP's number, of success.
        headers: Names in lower case to values.
        body: The content, or the part of it that was asked for.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


def http_fault(status: int) -> tuple[str, str]:
    """Returns what a status other than success means, and the next step."""
    return _MEANINGS.get(status, (f"its server fails (HTTP {status})", "try again later"))


def ask(
    url: str, *, headers: Mapping[str, str] | None = None, most: int = 1 << 26, timeout: float = 0
) -> Response:
    """Gets what lies at an address.

    Args:
        url: Of http or https.
        headers: What to add to the request.
        most: Bytes at which a body is cut off.
        timeout: Seconds to wait, `TIMEOUT_S` when 0.

    Raises:
        InputError: It cannot be reached, refuses, or takes too long; or this process asks nobody.
    """
    if is_offline():
        raise InputError(
            "lies on another host, and no request is made offline",
            subject=url,
            hint="download it first, or leave --offline out",
        )
    if not url.lower().startswith(("http://", "https://")):
        raise InputError("is no address of http or https", subject=url, hint="download it first")
    seconds = timeout or TIMEOUT_S
    bare, authorization = _without_user(url)
    told = {"User-Agent": f"imatch/{__version__}", **authorization, **(headers or {})}
    asked = urllib.request.Request(bare, headers=told)  # noqa: S310 - one of these two.
    cause, hint = "", "check the address and the connection"
    try:
        with urllib.request.urlopen(asked, timeout=seconds) as answer:  # noqa: S310
            return _answer(answer, most)
    except urllib.error.HTTPError as error:
        with error:
            cause, hint = http_fault(error.code)
    except TimeoutError:
        cause, hint = f"it did not answer within {seconds:g} s", "try again later"
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            cause, hint = f"it did not answer within {seconds:g} s", "try again later"
        else:
            reason = getattr(error.reason, "strerror", None) or error.reason
            cause = f"its host cannot be reached ({reason})"
    except (OSError, http.client.HTTPException, ssl.SSLError, ValueError) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        cause = f"its host cannot be reached ({detail})"
    raise InputError(cause, subject=url, hint=hint)


def _without_user(url: str) -> tuple[str, dict[str, str]]:
    """A URL without its user and password, and the header that stands for them."""
    parts = urlsplit(url)
    user, mark, host = parts.netloc.rpartition("@")
    if not mark:
        return url, {}
    token = base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def _answer(answer: http.client.HTTPResponse | IO[bytes], most: int) -> Response:
    assert isinstance(answer, http.client.HTTPResponse)
    headers = {name.lower(): value for name, value in answer.headers.items()}
    return Response(answer.status, headers, answer.read(most))
