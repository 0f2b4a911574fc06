from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from imatch.raster.write.classes import class_tables


def test_what_was_decoded_is_kept(tmp_path: Path) -> None:
    """Looking for class tables leaves the decoded blocks of an open raster where they are."""
    path = tmp_path / "image.tif"
    pixels = np.random.default_rng(0).integers(1, 60_000, (1, 128, 128)).astype(np.uint16)
    shape = {"width": 128, "height": 128, "count": 1, "dtype": "uint16", "compress": "deflate"}
    place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 300_000, 0, -10, 4_900_020)}
    with rasterio.open(
        path, "w", driver="GTiff", tiled=True, blockxsize=64, blockysize=64, **shape, **place
    ):
        pass
    with rasterio.open(path, "r+") as dataset:
        dataset.write(pixels)
    with rasterio.open(path) as dataset:
        before = dataset.read()
        at = int(dataset.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", 1))
        # Who decodes that tile again finds nothing to decode.
        with path.open("r+b") as file:
            file.seek(at)
            file.write(bytes(64))
        assert class_tables(dataset) == {}
        assert np.array_equal(dataset.read(), before)
