"""Fingerprints of everything that a source is read from, on this machine and on others."""

from __future__ import annotations

import hashlib
import re

from rasterio.windows import Window

from imatch.core.io.fingerprint import Fingerprint, fingerprints
from imatch.core.redaction import redacted
from imatch.raster.gdal import opened, reading
from imatch.raster.names import openable
from imatch.raster.read.source import Source

#: Side of the part that is looked at of a file without overviews.
_PART_PX = 256
_URL = re.compile(r"/vsicurl/(https?://.*)", re.IGNORECASE | re.DOTALL)


def fingerprints_of(source: Source) -> tuple[Fingerprint, ...]:
    """Takes the fingerprints of the files that a source is read from, masks among them.

    Raises:
        InputError: One cannot be read.
    """
    return (*fingerprints(source.files), *map(remote_fingerprint, source.remote))


def remote_fingerprint(name: str) -> Fingerprint:
    """Takes the fingerprint of a file on another host.

    Over HTTP it is what the server says: ``ETag``, time and size. Where it says nothing, and of an
    object store, it is the description of the image and its coarsest overview.

    Args:
        name: A URL or ``/vsi…`` path.

    Raises:
        InputError: It cannot be reached.
    """
    url = _URL.fullmatch(openable(name))
    found = None if url is None else Fingerprint.of_url(url[1])
    return _by_content(name) if found is None else found


def _by_content(name: str) -> Fingerprint:
    with opened(name) as dataset:
        facts = (dataset.profile, dataset.overviews(1), sorted(dataset.tags().items()))
        levels = len(dataset.overviews(1))
    digest = hashlib.sha256(repr(facts).encode())
    with opened(name, levels - 1 if levels else None) as dataset, reading(name):
        width, height = (
            side if levels else min(side, _PART_PX) for side in (dataset.width, dataset.height)
        )
        left, top = (dataset.width - width) // 2, (dataset.height - height) // 2
        digest.update(dataset.read(1, window=Window(left, top, width, height)).tobytes())
    return Fingerprint(redacted(name), 0, 0, "", False, f"overview {digest.hexdigest()}")
