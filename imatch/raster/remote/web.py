"""How GDAL reads files that lie on other hosts, and what its errors over them mean."""

from __future__ import annotations

import os
import re

from imatch.core.io.http import http_fault

_OPTIONS: dict[str, str | int] = {
    # Neither the folder nor side-cars are asked for: each would be one more request.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_HTTP_CONNECTTIMEOUT": 20,
    # Of each request: for a range of some megabytes this is slow.
    "GDAL_HTTP_TIMEOUT": 60,
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    # Bytes that came once are kept: files are opened again for each window.
    "CPL_VSIL_CURL_CACHE_SIZE": 64 << 20,
}
# Signatures that are good for GET alone, of which GDAL knows Amazon's only.
_SIGNED_GET = re.compile(r"[?&](?:X-Goog-)?Signature=", re.IGNORECASE)
_DOWNLOAD = "download it first, and name the file"
_FAULTS = (
    (r"range downloading not supported", "its server serves no ranges of bytes", _DOWNLOAD),
    (r"timed? ?out", "its server did not answer in time", "try again later, or download it first"),
    (r"could ?n.t (?:resolve|connect)|connection refused", "its host cannot be reached", ""),
    (
        r"InvalidCredentials|no valid \w+ credentials|AccessDenied|InvalidAccessKeyId|"
        r"SignatureDoesNotMatch|credentials",
        "the store refuses access",
        "set its credentials, as GDAL takes them (AWS_ACCESS_KEY_ID and the like)",
    ),
    (
        r"NoSuchKey|NoSuchBucket|specified (?:key|bucket) does not",
        "there is no such file",
        "check the address",
    ),
)


def web_options(name: str = "") -> dict[str, str | int]:
    """Returns GDAL's settings for remote files, but for those that the environment has.

    Args:
        name: What is to be opened.
    """
    options = dict(_OPTIONS)
    if _SIGNED_GET.search(name):
        options["CPL_VSIL_CURL_USE_HEAD"] = "NO"
    return {key: value for key, value in options.items() if key not in os.environ}


def web_fault(text: str) -> tuple[str, str] | None:
    """Returns what GDAL's message about a remote file means, and the next step.

    Args:
        text: The message.

    Returns:
        Both; None where the message is not about the transfer.

    Examples:
        >>> web_fault("HTTP response code: 404")
        ('there is no such file (HTTP 404)', 'check the address')
        >>> web_fault("Cannot read TIFF header") is None
        True
    """
    code = re.search(r"HTTP (?:response code|error code)\s*:\s*(\d{3})", text, re.IGNORECASE)
    if code is not None:
        return http_fault(int(code[1]))
    for pattern, cause, hint in _FAULTS:
        if re.search(pattern, text, re.IGNORECASE):
            return cause, hint or "check the address and the connection"
    return None
