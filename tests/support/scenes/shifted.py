"""Two whole scenes of a procedural landscape at two seasons, the second shifted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rasterio
from affine import Affine
from rasterio.shutil import copy

from imatch.core.io.files import atomic_path
from imatch.datasets.synthetic.landscape import landscape
from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape

#: The target shows what lies at (x, y) in the reference at (x + dx, y + dy).
SHIFT = (137.0, -86.0)
_ZOOM = 8
_TILE = 512
FORMATS: dict[str, dict[str, Any]] = {
    "tif": {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 1,
    },
    "jp2": {
        "driver": "JP2OpenJPEG",
        "quality": 25,
        "reversible": "NO",
        "blockxsize": 1024,
        "blockysize": 1024,
    },
}


def make_scenes(folder: Path, side: int, bands: int) -> None:
    """Write ``ref.tif``, ``tgt.tif`` and their JPEG 2000 copies, row of tiles by row of tiles."""
    cv2.setNumThreads(1)
    margin = 32
    ground = landscape((side // _ZOOM + 2 * margin, side // _ZOOM + 2 * margin), 11)
    shape = {"width": side, "height": side, "count": bands, "dtype": "uint16", "nodata": 0}
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 300_000, 0, -10, 4_900_020)}
    for name, season, shift in (
        ("ref", SEASONS[1], (0.0, 0.0)),
        ("tgt", SEASONS[2], SHIFT),
    ):
        scene, _ = render_landscape(ground, season, noise=0.003, seed=len(name))
        scene = (1000 + 6000 * scene[:bands]).astype(np.float32)
        rng = np.random.default_rng(len(season))
        path = folder / f"{name}.tif"
        with (
            atomic_path(path, overwrite=True) as part,
            rasterio.open(part, "w", **shape, **place, **FORMATS["tif"]) as out,
        ):
            for top in range(0, side, _TILE):
                rows = min(_TILE, side - top)
                # From a pixel of these rows to the scene, corner-based.
                x, y = ((0.5 - s) / _ZOOM - 0.5 + margin for s in shift)
                back = np.array([[1 / _ZOOM, 0, x], [0, 1 / _ZOOM, y + top / _ZOOM]])
                for band in range(bands):
                    strip = cv2.warpAffine(
                        scene[band],
                        back,
                        (side, rows),
                        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                        borderMode=cv2.BORDER_REPLICATE,
                    )
                    noisy = np.asarray(strip) + rng.normal(0, 20, strip.shape)
                    window = ((top, top + rows), (0, side))
                    out.write(np.clip(noisy, 1, 65535).astype(np.uint16), band + 1, window=window)
        with atomic_path(folder / f"{name}.jp2", overwrite=True) as part:
            copy(path, part, **FORMATS["jp2"])
