"""Removes credentials (URL queries, user:password) from texts and log records.

URLs are used whole where something is read from them, and compared by digests of the whole. In all
that is shown or kept (documents, tables, tags, logs, errors) they are as `redacted` leaves them.
"""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote

# A URL in a sentence, a document, a quoted command line: GDAL puts its names in `such' quotes.
_WORD = re.compile(r"[^\s\"'`<>{}\\]+")
_REMOTE = re.compile(
    r"://|\b(?:https?|ftp|s3|gs|az|oss|swift):/"
    r"|/vsi(?:curl|s3|gs|az|adls|oss|swift|webhdfs|hdfs)(?:_streaming)?/"
)
_ITEM = re.compile(r"(?:\.(?:geo)?json|/items/[^/]+)$", re.IGNORECASE)
_ASSETS = re.compile(r"(#[\w.-]+(?:,[\w.-]+)*)[),.;:\]]*$")
_USER = re.compile(r"(:/{1,2})[^/?#]*@")
# /vsicurl?pc_url_signing=yes&url=https%3A%2F%2F…: GDAL's own options, credentials among them.
_OPTIONS = re.compile(r"(/vsicurl(?:_streaming)?)\?(.*)")
# PLMOSAIC:api_key=…, PG:password=…, and what is left of a query that was torn apart.
_SECRET = re.compile(
    r"(?<![\w/.-])((?:x-(?:amz|goog|ms)-[\w-]+|sig|signature|api_?key|(?:aws_)?access_?key(?:_?id)?"
    r"|(?:\w+_)?secret\w*|(?:\w+_)?token|password|passwd|pwd)=)[^,;&]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """A text whose URLs have lost their queries, user names and passwords.

    Args:
        text: A URL, a name that GDAL understands, or a sentence, document or command line that
            holds some.

    Examples:
        >>> redacted("cannot read '/vsizip//vsicurl/https://me:pw@host/a.zip?sig=x' (HTTP 403)")
        "cannot read '/vsizip//vsicurl/https://host/a.zip' (HTTP 403)"
        >>> redacted("/vsicurl?empty_dir=yes&url=https%3A%2F%2Fhost%2Fa.tif%3Fsig%3Dx")
        '/vsicurl/https://host/a.tif'
        >>> redacted("https://host/item.json?sig=x#B04,B03")
        'https://host/item.json#B04,B03'
    """
    return _WORD.sub(_cleaned, text)


def _cleaned(match: re.Match[str]) -> str:
    word = _OPTIONS.sub(_only_url, match[0])
    if (remote := _REMOTE.search(word)) is not None:
        query = re.compile(r"[?#]").search(word, remote.end())
        if query is not None:
            # The assets asked of a catalogue's item are no secret, and the sentence goes on behind.
            assets = _ASSETS.search(word)
            kept = assets[1] if assets and _ITEM.search(word[: query.start()]) else ""
            word = word[: query.start()] + kept + word[len(word.rstrip("),.;:]")) :]
        word = _USER.sub(r"\1", word)
    return _SECRET.sub(r"\1...", word)


def _only_url(match: re.Match[str]) -> str:
    options = (option.partition("=") for option in match[2].split("&"))
    url = next((unquote(value) for name, _, value in options if name == "url"), "")
    return f"{match[1]}/{url}"


class _Redacting(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redacted(record.getMessage()), None
        return True


def get_logger(name: str) -> logging.Logger:
    """The logger of a module, whose records are redacted whoever handles them."""
    logger = logging.getLogger(name)
    if not logger.filters:
        logger.addFilter(_Redacting())
    return logger
