"""Infrared bands in files of their own: asked beside the matched ones, and on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine

from imatch.core.errors import InputError
from imatch.geometry.alignment import systematic
from imatch.pipeline.pair import other_bands
from imatch.pipeline.pair.match import match
from imatch.pipeline.pair.provenance import inputs_of
from tests.support.ground import waves

SIDE = 320
Product = Callable[[str, float], Path]


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """A miniature Sentinel-2 product whose near infrared is a file of its own."""

    def make(day: str, off: float) -> Path:
        folder = tmp_path / f"S2A_MSIL1C_{day}T105021_N0206_R051_T31TCJ_{day}T131540.SAFE"
        data = folder / "GRANULE" / f"L1C_T31TCJ_A016438_{day}T105020" / "IMG_DATA"
        data.mkdir(parents=True)
        (folder / "MTD_MSIL1C.xml").write_text("<xml/>")
        place = {"crs": "EPSG:32631", "transform": Affine(10, 0, 300000, 0, -10, 5000000)}
        for band, dx in (("TCI", 0.0), ("B08", off)):
            grey = 40 + 170 * waves(3, (SIDE, SIDE), 2.0 * (off > 0) + dx, 0.0, noise=0.01)
            count, kind = (3, "uint8") if band == "TCI" else (1, "uint16")
            pixels = np.repeat(grey[None], count, axis=0).astype(kind)
            path = data / f"T31TCJ_{day}T105021_{band}.jp2"
            shape = {"count": count, "dtype": kind, "width": SIDE, "height": SIDE}
            with rasterio.open(
                path, "w", driver="JP2OpenJPEG", QUALITY=100, REVERSIBLE="YES", **shape, **place
            ) as out:
                out.write(pixels)
        return folder

    return make


def test_a_band_that_was_asked_is_fingerprinted(product: Product) -> None:
    pair = product("20180815", 0.0), product("20180904", 0.6)
    found = match(*pair, matcher="phase")
    assert found.status == "ok", found.reason
    shifts = {name: x for name, x, _ in found.certificate.bands}
    assert shifts["B08"] == pytest.approx(2.6, abs=0.1)
    names = [Path(file.path).name for file in inputs_of(found)]
    assert (
        sorted(name.rsplit("_")[-1] for name in names) == ["B08.jp2", "B08.jp2"] + ["TCI.jp2"] * 2
    )
    assert len(set(names)) == 4
    # Whoever names bands wants these, and no other file is read.
    plain = match(*pair, matcher="phase", ref_bands=("TCI",), tgt_bands=("TCI",))
    assert all("B08" not in file.path for file in inputs_of(plain))


def test_a_band_that_changes_while_it_is_asked_costs_the_answer(
    product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = product("20180815", 0.0), product("20180904", 0.6)
    infrared = next(pair[1].rglob("*B08.jp2"))
    real = systematic.band_shifts_of

    def meanwhile(*arguments: object) -> object:
        infrared.write_bytes(infrared.read_bytes() + b"more")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(other_bands, "band_shifts_of", meanwhile)
    with pytest.raises(InputError, match="has changed while it was read"):
        match(*pair, matcher="phase")
