"""Checks a registration in bands that were not matched, and widens its bounds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from imatch.core.errors import ImatchError
from imatch.core.io.fingerprint import Fingerprint
from imatch.geometry.alignment.systematic import band_shifts_of, with_bands
from imatch.geometry.estimate import BandShift, Estimate
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import Source, WorkPair, open_source, render
from imatch.raster.image import GeoImage
from imatch.raster.remote.versions import fingerprints_of

# Season and sun change the infrared otherwise than the visible: vegetation is bright there, shadows
# are soft. What products call the near and the short-wave infrared.
# Common names first: B8 and B11 of Landsat are other bands.
_INFRARED = (("nir", "nir08", "B08", "B8", "B8A"), ("swir16", "swir1", "swir", "B11"))


def ask_other_bands(
    found: Estimate, sources: tuple[Source, Source], pair: WorkPair, config: MatchConfig
) -> tuple[Estimate, tuple[tuple[Fingerprint, ...], ...]]:
    """Measures a registration in the infrared of both files and returns it with its bounds renewed.

    Args:
        found: The estimate of the bands that were matched.
        sources: Reference and target.
        pair: How they were read.
        config: The settings.

    Returns:
        The estimate; and the fingerprints of the files that were read besides, of each image.
    """
    if found.transform is None:
        return found, ((), ())
    shifts: list[BandShift] = []
    files: tuple[list[Fingerprint], list[Fingerprint]] = [], []
    for opened in infrared(sources, config):
        before = [fingerprints_of(source) for source in opened]
        read = _read(opened, pair)
        if read is not None:
            ref, tgt = read
            shift = band_shifts_of(render(ref, 1), render(tgt, 1), found.transform.matrix)
            name = opened[1].info.band_names[0]
            shifts += [replace(one, name=name) for one in shift]
            for side, known in zip(files, before, strict=True):
                side += known
    besides = tuple(
        tuple({f.path: f for f in side if Path(f.path) not in known}.values())
        for side, known in zip(
            files, ({p.absolute() for p in s.files} for s in sources), strict=True
        )
    )
    return with_bands(found, shifts) if shifts else found, besides


def infrared(
    sources: tuple[Source, Source], config: MatchConfig
) -> Iterator[tuple[Source, Source]]:
    """Opens the infrared bands that both files have and that were not matched, one by one.

    None where someone named the bands: who does wants these.

    Args:
        sources: Reference and target.
        config: The settings.
    """
    asked = config.ref_bands is not None or config.tgt_bands is not None
    if asked or any(source.info.path is None for source in sources):
        return
    for names in _INFRARED:
        ref = _open(names, sources[0], config, "ref")
        tgt = None if ref is None else _open(names, sources[1], config, "tgt")
        if ref is not None and tgt is not None:
            yield ref, tgt


def _read(opened: tuple[Source, Source], pair: WorkPair) -> tuple[GeoImage, GeoImage] | None:
    images: list[GeoImage] = []
    for source, work in zip(opened, (pair.ref, pair.tgt), strict=True):
        try:
            if pair.grid is not None:
                images.append(source.read_on(pair.grid))
            else:
                height, width = work.valid.shape
                images.append(source.read(size=(width, height)))
        except ImatchError:
            return None
        if not images[-1].valid.any():
            return None
    return images[0], images[1]


def _open(names: tuple[str, ...], source: Source, config: MatchConfig, side: str) -> Source | None:
    """The first of the bands that a file has and that was not matched; None without one."""
    known = {name.lower() for name in source.info.band_names}
    for name in names:
        try:
            opened = open_source(
                str(source.info.path),
                bands=[name],
                nodata=getattr(config, f"{side}_nodata"),
                mask=getattr(config, f"{side}_mask"),
                dem=config.dem,
                product_mask=getattr(config, f"{side}_product_mask"),
            )
        except ImatchError:
            continue
        return None if opened.info.band_names[0].lower() in known else opened
    return None
