from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from imatch.raster.gdal import opened

_IO = Path("/proc/self/io")


@pytest.mark.skipif(not _IO.exists(), reason="the bytes read are counted by Linux alone")
def test_blocks_are_kept_while_they_are_needed(tmp_path: Path) -> None:
    """GDAL asks for a block once a row; a cache in the wrong unit reads each 100 times over."""
    path = tmp_path / "tiled.tif"
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 4000, (1, 1024, 1024), dtype=np.uint16)
    shape = {"width": 1024, "height": 1024, "count": 1, "dtype": "uint16", "nodata": 0}
    tiles = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    with rasterio.open(
        path, "w", driver="GTiff", transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **shape, **tiles
    ) as out:
        out.write(pixels)
    with opened(str(path)) as dataset:
        before = _bytes_read()
        mask = dataset.read_masks(1, out_shape=(300, 300))
        assert _bytes_read() - before < 3 * path.stat().st_size
    assert mask.all()


def _bytes_read() -> int:
    line = next(line for line in _IO.read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])
