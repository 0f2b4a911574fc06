"""Fill values that nobody declared, and numbers that name classes."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from imatch.raster import open_source
from imatch.raster.read.samples import Sample, sampled, undeclared_fill
from imatch.raster.write.classes import class_evidence, class_tables, count_classes

RNG = np.random.default_rng(0)
GROUND = RNG.gamma(4, 300, (400, 400))


def one(pixels: NDArray[Any]) -> list[Sample]:
    return [(pixels, np.ones(pixels.shape, dtype=bool))]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("int16", -9999),
        ("int16", -32768),
        ("int32", -99999),
        ("float32", -9999),
        ("float32", 3.4028235e38),
        ("float64", -1e30),
        ("uint16", 65535),
        ("uint16", 41000),
        ("int32", 10**9),
    ],
)
def test_a_fill_value_far_from_the_rest_is_found(dtype: str, fill: float) -> None:
    pixels = GROUND.astype(dtype)
    pixels[:90, 310:] = fill
    found = undeclared_fill(one(pixels))
    assert found is not None
    assert found[0] == pytest.approx(fill)
    assert found[1] == pytest.approx(90 * 90 / 400**2, rel=0.01)


@pytest.mark.parametrize(
    "pixels",
    [
        GROUND.astype("uint16"),
        np.clip(GROUND, 0, 1400).astype("uint16"),  # Saturated, but no further than the rest.
        (GROUND - 1200).astype("float32"),
        np.full((80, 80), -9999, dtype="int16"),
        (GROUND > 1000).astype("uint8"),
    ],
    ids=["plain", "saturated", "negative", "constant", "binary"],
)
def test_ground_is_no_fill_value(pixels: NDArray[Any]) -> None:
    assert undeclared_fill(one(pixels)) is None


def test_opening_names_the_value_and_the_option_once(write: Any, caplog: Any) -> None:
    pixels = GROUND.astype("int16")
    pixels[:90, 310:] = -9999
    path = write("filled.tif", pixels)
    with caplog.at_level(logging.WARNING, logger="imatch"):
        open_source(path)
        open_source(path)
        open_source(path, nodata=-9999)
        open_source(write("declared.tif", pixels, nodata=-9999))
    (record,) = caplog.records
    assert "filled.tif: band 1 holds -9999" in record.getMessage()
    assert "--nodata -9999" in record.getMessage()


def test_a_turned_photograph_is_told(write: Any, caplog: Any) -> None:
    path = write("a.tif", GROUND.astype("uint16"))
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(EXIF_Orientation="6")
    with caplog.at_level(logging.WARNING, logger="imatch"):
        open_source(path)
    assert "EXIF orientation (6) is not applied" in caplog.text


def test_windows_lie_on_the_edges_and_in_the_middle(write: Any) -> None:
    pixels = np.arange(900 * 1500, dtype=np.int32).reshape(900, 1500)
    path = write("a.tif", pixels)
    with rasterio.open(path) as dataset:
        windows = sampled(dataset, str(path), 1)
    assert len(windows) == 25
    assert windows[0][0][0, 0] == 0
    assert windows[-1][0][-1, -1] == 900 * 1500 - 1
    assert all(valid.all() for _, valid in windows)
    small = write("small.tif", pixels[:20, :30])
    with rasterio.open(small) as dataset:
        assert [found.shape for found, _ in sampled(dataset, str(small), 1)] == [(20, 30)]


LABELS = RNG.choice(np.array([10, 20, 30, 80]), (6, 6)).repeat(40, 0).repeat(40, 1)


@pytest.mark.parametrize(
    ("pixels", "count"),
    [
        (LABELS.astype("uint8"), 4),
        (LABELS.astype("float32"), 4),
        (RNG.choice(np.array([11, 21, 95]), (100, 100)).astype("uint16"), 3),
        ((LABELS // 10).astype("uint8"), 4),
        ((GROUND > 1000).astype("uint8") * 255, 2),
        (RNG.integers(1, 8, (12, 12)).repeat(20, 0).repeat(20, 1), 7),
    ],
    ids=["land cover", "floats", "speckled", "numbered", "mask", "seven"],
)
def test_few_whole_numbers_are_classes(pixels: NDArray[Any], count: int) -> None:
    assert count_classes(one(pixels)) == count


@pytest.mark.parametrize(
    "pixels",
    [
        GROUND.astype("uint16"),
        GROUND.astype("float32"),
        np.full((80, 80), 7, dtype="uint8"),
        RNG.integers(3, 13, (200, 200)).astype("uint8"),  # Noise over water.
        (np.mgrid[:200, :200][1] // 20).astype("uint8"),  # A gentle slope in whole metres.
        LABELS[:2, :3].astype("uint8"),
    ],
    ids=["imagery", "floats", "flat", "noise", "slope", "tiny"],
)
def test_measurements_are_no_classes(pixels: NDArray[Any]) -> None:
    assert count_classes(one(pixels)) is None


def test_what_gives_classes_away(write: Any, tmp_path: Any) -> None:
    def evidence(path: Any) -> tuple[list[int], str]:
        with rasterio.open(path) as dataset:
            return class_evidence(dataset, str(path))

    imagery = GROUND.astype("uint8")
    assert evidence(write("measured.tif", imagery)) == ([], "")
    table = {value: (value, 0, 0, 255) for value in range(256)}
    assert evidence(write("coloured.tif", imagery, colormap=table)) == ([1], "a colour table")
    named = write("named.tif", imagery)
    (tmp_path / "named.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><CategoryNames><Category>sea &amp; ice</Category>'
        "</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    assert evidence(named) == ([1], "category names")
    with rasterio.open(named) as dataset:
        assert "<Category>sea &amp; ice</Category>" in class_tables(dataset)[1]
    # Control characters in tags, of which XML knows none.
    odd = write("odd.tif", imagery)
    with rasterio.open(odd, "r+") as dataset:
        dataset.update_tags(note="a\x01b\x1fc")
    assert evidence(odd) == ([], "")
    stack = np.stack([imagery, np.resize(LABELS, imagery.shape).astype("uint8")])
    assert evidence(write("stack.tif", stack))[0] == [2]
    transparent = np.stack([np.resize(LABELS, imagery.shape).astype("uint8"), imagery * 0 + 255])
    path = write("alpha.tif", transparent, alpha=True)
    with rasterio.open(path) as dataset:
        assert dataset.colorinterp[1] is ColorInterp.alpha
    assert evidence(path) == ([1], "4 distinct whole numbers")
