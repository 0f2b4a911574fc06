"""Working images of a registration that was read back from a file, which holds none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.core.types import Matches
from imatch.geometry.fit import least_squares
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.match import images_of
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.result import Preview, Registration
from imatch.pipeline.registration.to_registration import preview_of
from imatch.raster import RasterInfo, WorkPair, read_pair, render

#: Nodes along each side of the reference through which the transform is fitted.
_NODES = 17


def restored_preview(registration: Registration) -> Preview:
    """Reads the images of a registration again, as they were matched.

    Args:
        registration: A registration without working images.

    Raises:
        InputError: An image was no file, is not there any more, or cannot be read.
    """
    kept = registration.provenance.get("config", {})
    shape = ("size", "margin", "use_geocoding", "gsd_m")
    config: MatchConfig = make_config(**{name: kept[name] for name in shape if name in kept})
    sources = images_of(registration)
    pair = read_pair(
        *sources, size=config.size, margin=config.margin, use_geocoding=config.use_geocoding
    )
    rendered = [render(image, 3 if len(image.pixels) > 2 else 1) for image in (pair.ref, pair.tgt)]
    points = registration.tie_points
    return preview_of(
        None
        if registration.transform is None
        else _work_matrix(registration, pair, sources[1].info),
        Matches(
            pair.ref_map.to_work(points.ref_xy), pair.tgt_map.to_work(points.tgt_xy), points.scores
        ),
        pair,
        (rendered[0], rendered[1]),
        registration.reference.gsd_m,
    )


def _work_matrix(
    registration: Registration, pair: WorkPair, target: RasterInfo
) -> NDArray[np.float64]:
    """(3, 3) working reference pixel to working target pixel, as near as a matrix comes."""
    width, height = pair.ref.size
    x, y = np.linspace(0, width - 1, _NODES), np.linspace(0, height - 1, _NODES)
    nodes = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    convert = GeoCorrection.of(registration).from_reference(target)
    there = pair.tgt_map.to_work(convert(pair.ref_map.to_native(nodes)))
    good = np.isfinite(there).all(axis=1)
    return least_squares("homography", nodes[good], there[good])
