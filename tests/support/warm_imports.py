"""What workers of imatch import, for a server that forks them; see `tests.support.warm_workers`."""

from __future__ import annotations

import gc
from importlib import import_module

for _name in (
    "cv2",
    "rasterio.warp",
    "scipy.fft",
    "scipy.spatial",
    "tests.support.saboteur",
    "imatch.benchmark.worker",
    "imatch.matchers.dense.phase",
    "imatch.matchers.registry",
    "imatch.matchers.sparse.sift",
    "imatch.pipeline.apply.files",
    "imatch.pipeline.batch.worker",
    "imatch.pipeline.scene.measure",
):
    import_module(_name)
# Shared with the forked ones as long as nobody writes to it, which a collection would.
gc.freeze()
