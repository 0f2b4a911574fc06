from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import Result
from rasterio.enums import ColorInterp

DATA = Path(__file__).parents[2] / "data"
SAMPLE = [DATA / "sample" / f"bouconne_2018-{month}.tif" for month in ("08", "11")]


def test_it_is_a_pair_of_at_most_one_megabyte() -> None:
    assert sorted((DATA / "sample").iterdir()) == SAMPLE
    assert sum(path.stat().st_size for path in SAMPLE) <= 1_000_000


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_the_card_names_the_very_files(path: Path) -> None:
    card = (DATA / "README.md").read_text()
    assert path.name in card
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card


@pytest.mark.parametrize("path", SAMPLE, ids=lambda path: path.stem)
def test_each_is_georeferenced_and_says_what_it_is(path: Path) -> None:
    with rasterio.open(path) as image:
        assert image.crs.to_epsg() == 32631
        assert image.res == (10, 10)
        assert image.descriptions == ("B4", "B3", "B2", "B8")
        assert image.colorinterp[:3] == (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        assert image.dtypes == ("uint16",) * 4
        assert image.nodata == 0
        assert image.dataset_mask().all()
        tags = image.tags()
        assert tags["ACQUISITION_DATE"] == f"{path.stem.removeprefix('bouconne_')}-15"
        assert "Copernicus" in tags["TIFFTAG_COPYRIGHT"]
        # Vegetation: the near infrared is far brighter than the red.
        red, infrared = image.read(1), image.read(4)
        assert np.median(infrared) > 4 * np.median(red)


def test_the_demonstration_finds_the_pair_in_place(run: Callable[..., Result]) -> None:
    result = run(
        "match", *SAMPLE, "--bands", "B8", "--device", "cpu", "--offline", "--format", "json"
    )
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["matcher"] == "auto"
    assert document["n_inliers"] > 200
    assert np.hypot(*document["shift_px"]) < 0.3
    assert document["coverage"] > 0.9
