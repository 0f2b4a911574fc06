"""Offline mode: blocks network requests of every library in the process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from imatch.core.errors import ConfigError

#: Set to 1, no verb makes a request; what ``--offline`` stands for.
VARIABLE = "IMATCH_OFFLINE"
# A proxy that nobody runs (tcpmux, RFC 1078). Whatever speaks HTTP here goes by these: GDAL's
# drivers and file systems, and PROJ, through libcurl; urllib, requests and pip. The list of hosts
# that need no proxy has to be empty for that; GDAL's own variables come before curl's.
_NOWHERE = "http://127.0.0.1:1"
_PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy")
_SETTINGS = {
    **{name: _NOWHERE for lower in _PROXIES for name in (lower, lower.upper())},
    "GDAL_HTTP_PROXY": _NOWHERE,
    "GDAL_HTTPS_PROXY": _NOWHERE,
    "no_proxy": "",
    "NO_PROXY": "",
    "PROJ_NETWORK": "OFF",
    VARIABLE: "1",
}


def is_offline() -> bool:
    """Whether this process may make no request."""
    return os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")


def check_online(subject: str) -> None:
    """Refuses an operation that is nothing but network requests, in offline mode.

    Raises:
        ConfigError: This process makes none.
    """
    if is_offline():
        raise ConfigError(
            "takes requests, and none are made offline",
            subject=subject,
            hint=f"leave --offline out, and {VARIABLE} unset",
        )


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables inside the block and restores what they were after it."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def offline(enabled: bool = True) -> Iterator[None]:
    """Make no request inside the block, nor let processes that are begun in it.

    Args:
        enabled: False to change nothing.
    """
    with environment(_SETTINGS if enabled else {}):
        yield
