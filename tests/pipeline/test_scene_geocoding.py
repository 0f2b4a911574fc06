"""Scenes whose geocodings are of different kinds, from the two files to the written raster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from imatch.pipeline.apply.raster import apply_raster
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.scene.register import register_scene
from imatch.raster import open_source

MakeScene = Callable[..., Any]

# In this zone the procedural ground lies across the antimeridian.
ZONE_60, ZONE_1, DEGREES = "EPSG:32660", "EPSG:32601", "EPSG:4326"
PLACES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "both turned": ({"degrees": 25}, {"degrees": -10}),
    "south up": ({"south_up": True}, {}),
    "across the antimeridian": (
        {"crs": ZONE_60, "ground_crs": ZONE_60},
        {"crs": ZONE_1, "ground_crs": ZONE_60},
    ),
    "across the antimeridian, in degrees": (
        {"crs": ZONE_1, "ground_crs": ZONE_60},
        {"crs": DEGREES, "ground_crs": ZONE_60},
    ),
    "onto degrees, coarser": (
        {"crs": DEGREES, "ground_crs": ZONE_60},
        {"crs": ZONE_60, "ground_crs": ZONE_60, "gsd": 20.0},
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_the_target_lies_on_the_reference(place: str, scene: MakeScene, tmp_path: Path) -> None:
    first, second = PLACES[place]
    ref = scene("ref.tif", noise=1, **first)
    tgt = scene("tgt.tif", noise=2, misplaced=(43.0, -28.0), nodata=0, **second)
    r = register_scene(ref.path, tgt.path, matcher="phase", size=140, window=32)
    assert r.status == "ok", r.reason
    assert r.shift_m is not None
    # In whichever grid the reference counts east and north.
    assert np.hypot(*r.shift_m) == pytest.approx(np.hypot(43, 28), abs=2.0)

    mapping = GeoCorrection.of(r)
    lattice = mapping.reference_lattice
    places = ref.places(tgt)
    found = mapping.to_pixels(lattice, open_source(tgt.path).info)(places)
    missed = np.hypot(*(found - ref.to(tgt, places)).T)
    assert np.sqrt((missed**2).mean()) < 0.2

    out = tmp_path / "out.tif"
    apply_raster(mapping, tgt.path, out, lattice=lattice)
    with rasterio.open(out) as written, rasterio.open(ref.path) as asked:
        assert written.crs == asked.crs
        assert written.transform.almost_equals(asked.transform)
        assert written.shape == asked.shape
        seen = written.read_masks(1) > 0
        pixels = written.read(1)
    # The rim, where the resampling reaches beyond the target, apart.
    assert seen.mean() > 0.6
    agreement = np.corrcoef(pixels[seen], ref.pixels[seen])[0, 1]
    shifted = np.corrcoef(np.roll(pixels, 2, axis=1)[seen], ref.pixels[seen])[0, 1]
    assert agreement > 0.9
    assert agreement > shifted + 0.02


def test_mostly_cloud_is_refused_or_right(scene: MakeScene) -> None:
    """Each date shows another quarter of the ground: nothing is common but cloud."""

    def cover(rows: slice) -> Callable[[Any], None]:
        def spoil(pixels: Any) -> None:
            pixels[:, rows] = 9000

        return spoil

    ref = scene("ref.tif", noise=1, finish=cover(np.s_[:210]))
    tgt = scene("tgt.tif", noise=2, finish=cover(np.s_[70:]))
    r = register_scene(ref.path, tgt.path)
    assert r.status != "ok"
    assert r.reason


def test_mostly_nodata_keeps_what_can_be_seen(scene: MakeScene) -> None:
    def blank(pixels: Any) -> None:
        pixels[:, :, 90:] = 0

    ref = scene("ref.tif", noise=1)
    tgt = scene("tgt.tif", noise=2, misplaced=(43.0, -28.0), nodata=0, finish=blank)
    r = register_scene(ref.path, tgt.path)
    assert r.status in ("ok", "uncertain")
    if r.status == "ok":
        assert ref.error_px(tgt, r) < 1.0
    assert (r.tie_points.tgt_xy[r.tie_points.inlier, 0] < 95).all()
