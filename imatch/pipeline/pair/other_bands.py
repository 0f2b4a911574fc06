"""Checks a registration in bands that were not matched, and widens its bounds."""

from __future__ import annotations

from dataclasses import replace

from imatch.core.errors import ImatchError
from imatch.geometry.alignment.systematic import band_shifts_of, with_bands
from imatch.geometry.estimate import Estimate
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import Source, WorkPair, open_source, render
from imatch.raster.image import GeoImage

# Season and sun change the infrared otherwise than the visible: vegetation is bright there, shadows
# are soft. What products call the near and the short-wave infrared.
_INFRARED = (("B08", "B8", "nir", "nir08", "B8A"), ("B11", "swir16", "swir1", "swir"))


def ask_other_bands(
    found: Estimate, sources: tuple[Source, Source], pair: WorkPair, config: MatchConfig
) -> Estimate:
    """Measures a registration in the infrared of both files and returns it with its bounds renewed.

    Only where the bands were left to imatch: who names bands wants these.

    Args:
        found: The estimate of the bands that were matched.
        sources: Reference and target.
        pair: How they were read.
        config: The settings.
    """
    asked = config.ref_bands is not None or config.tgt_bands is not None
    if found.transform is None or asked or any(s.info.path is None for s in sources):
        return found
    shifts = []
    for names in _INFRARED:
        read = _read(names, sources, pair, config)
        if read is not None:
            name, ref, tgt = read
            shift = band_shifts_of(render(ref, 1), render(tgt, 1), found.transform.matrix)
            shifts += [replace(one, name=name) for one in shift]
    return with_bands(found, shifts) if shifts else found


def _read(
    names: tuple[str, ...], sources: tuple[Source, Source], pair: WorkPair, config: MatchConfig
) -> tuple[str, GeoImage, GeoImage] | None:
    images: list[GeoImage] = []
    name = names[0]
    for side, source in zip(("ref", "tgt"), sources, strict=True):
        opened = _open(names, source, config, side)
        if opened is None:
            return None
        work = pair.ref if side == "ref" else pair.tgt
        try:
            if pair.grid is not None:
                images.append(opened.read_on(pair.grid))
            else:
                height, width = work.valid.shape
                images.append(opened.read(size=(width, height)))
        except ImatchError:
            return None
        if not images[-1].valid.any():
            return None
        name = opened.info.band_names[0]
    return name, images[0], images[1]


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
            )
        except ImatchError:
            continue
        return None if opened.info.band_names[0].lower() in known else opened
    return None
