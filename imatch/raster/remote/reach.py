"""Detects local files (VRT, service descriptions) that make GDAL request other hosts."""

from __future__ import annotations

import logging
import os
import re
from functools import lru_cache
from os import PathLike, fspath
from pathlib import Path

from imatch.core.errors import InputError
from imatch.core.io.offline import is_offline
from imatch.core.redaction import redacted
from imatch.raster.names import REMOTE_FS, is_remote

_LOG = logging.getLogger(__name__)
# Documents in which GDAL's drivers look for what to fetch; elsewhere a URL is the name of something
# (a namespace, a reference system), which nobody fetches.
_REACHING = re.compile(
    r"<(?:\w+:)?(?:VRTDataset|OGRVRTDataSource|GDALTileIndexDataset|GDAL_WM\w+|WCS_GDAL|"
    r"OGRWFSDataSource|OGRCSWDataSource|\w*Capabilities|TileMap(?:Service)?|PAMDataset|MRF_META)\b"
    r"|\"(?:stac_version|refs)\"\s*:"
)
# What is not fetched there: namespaces, and metadata but for the place of overviews.
_NAMES_ONLY = re.compile(
    r"\b(?:xmlns(?::\w+)?|\w+:schemaLocation)\s*=\s*(?:\"[^\"]*\"|'[^']*')"
    r"|<Metadata\b(?![^>]*OVERVIEWS)[^>]*>.*?</Metadata>|<(SRS|Abstract|Title)\b.*?</\1>",
    re.DOTALL,
)
# In a tile index that is a table: whatever names a host but its own format's standards.
_STANDARDS = {"www.opengis.net", "www.geopackage.org", "www.isotc211.org", "opengis.net"}
_ADDRESS = re.compile(rf"(?:{REMOTE_FS}|\b(?:https?|ftp|s3|gs)://)[^\s\"'<>]*", re.IGNORECASE)
_HOST = re.compile(r"(?:://(?:[^/?#\s\"'<>]*@)?|%3A%2F%2F)([^/?#:\s\"'<>%&]+)", re.IGNORECASE)
# The files that a virtual one is made of.
_PARTS = re.compile(
    r"<(?:SourceFilename|SourceDataset|SrcDataSource|IndexDataset|DstOverviewDataset|File|"
    r"MaskFilename)(\s[^>]*)?>([^<]+)<"
)
_LARGEST = 64 * 1024**2
_DEEPEST = 8


def check_reach(path: str | PathLike[str]) -> None:
    """Logs the hosts that a file makes GDAL request, or refuses it offline.

    A URL that somebody typed is asked for as it says, and said nothing about.

    Raises:
        InputError: Reading it takes requests, and this process makes none (``--offline``).
    """
    name = fspath(path)
    if is_remote(name):
        if is_offline():
            raise InputError(
                "lies on another host, and no request is made offline",
                subject=name,
                hint="download it first, or leave --offline out",
            )
        return
    for file, host in reached(name):
        if is_offline():
            raise InputError(
                f"reaches out to {host}, and no request is made offline",
                subject=file,
                hint="leave --offline out, or make it name local files",
            )
        _log_once(file, host)


def reached(name: str) -> tuple[tuple[str, str], ...]:
    """The files of a virtual dataset that reach out, each with a host it names."""
    try:
        facts = os.stat(name)  # noqa: PTH116 - names that are no paths, too.
    except (OSError, ValueError):
        return ()
    return _scan_hosts(name, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=4096)
def _scan_hosts(name: str, _modified: int, _size: int) -> tuple[tuple[str, str], ...]:
    found: dict[tuple[str, str], None] = {}
    seen: set[str] = set()
    waiting = [(Path(name), 0)]
    while waiting:
        path, depth = waiting.pop()
        if str(path) in seen or depth > _DEEPEST:
            continue
        seen.add(str(path))
        for file in (path, path.with_name(f"{path.name}.aux.xml")):
            text = _document(file)
            found.update(dict.fromkeys((str(file), host) for host in _hosts(text)))
            waiting += [(part, depth + 1) for part in _parts(text, file)]
    return tuple(found)


def _document(path: Path) -> str:
    """The text of a file in which GDAL looks for others, empty for any other file."""
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            return ""
        if ".gti." in path.name.lower():
            return path.read_bytes().decode("latin-1")
        with path.open("rb") as file:
            start = file.read(64)
            if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] not in (b"<", b"{"):
                return ""
            text = (start + file.read()).decode("utf-8", "replace")
    except OSError:
        return ""
    return _NAMES_ONLY.sub("", text) if _REACHING.search(text) else ""


def _hosts(text: str) -> list[str]:
    hosts = []
    for match in _ADDRESS.finditer(text):
        host = _HOST.search(match[0])
        # A bucket has no host in its name.
        hosts.append(host[1] if host else redacted(match[0]))
    return [host for host in dict.fromkeys(hosts) if host not in _STANDARDS]


def _parts(text: str, document: Path) -> list[Path]:
    parts = []
    for attributes, name in _PARTS.findall(text):
        if is_remote(name):
            continue
        relative = re.search(r"relative\w*\s*=\s*[\"'](?:1|yes|true)", attributes, re.IGNORECASE)
        parts.append(document.parent / name if relative else Path(name))
    return parts


@lru_cache(maxsize=4096)
def _log_once(file: str, host: str) -> None:
    """Logs a file's host, once a process."""
    _LOG.warning("%s reaches out to %s", file, host)
