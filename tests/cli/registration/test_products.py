"""Products and their masks on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from numpy.typing import NDArray

from tests.support.products import HLS

Run = Callable[..., Result]


@pytest.fixture
def granules(
    write_image: Callable[..., Path], ground: NDArray[np.uint16], tmp_path: Path
) -> list[Path]:
    """The same ground in an L30 and an S30 granule; a cloud covers a quarter of the first."""
    for kind, band in (("L30", "B04"), ("S30", "B04")):
        scene = HLS.format(kind)
        (tmp_path / scene).mkdir()
        place = {"transform": Affine(30, 0, 300000, 0, -30, 5000000)}
        pixels = np.asarray(ground[:256, :256] // 8, dtype=np.int16)
        flags = np.full((256, 256), 64, np.uint8)
        if kind == "L30":
            pixels[:128, :128], flags[:128, :128] = 9000, 64 | 2
        write_image(f"{scene}/{scene}.{band}.tif", pixels, nodata=-9999, **place)
        write_image(f"{scene}/{scene}.Fmask.tif", flags, nodata=255, **place)
    return [tmp_path / HLS.format(kind) for kind in ("L30", "S30")]


def test_the_summary_and_the_document_say_which_mask_was_used(
    run: Run, granules: list[Path]
) -> None:
    result = run("match", *granules, "--bands", "red", "-m", "sift")
    assert result.exit_code == 0
    assert "masks        Fmask (fill, clouds, their rims and shadows)" in result.stdout
    result = run("match", *granules, "--bands", "red", "-m", "sift", "--format", "json")
    document = json.loads(result.stdout)
    mask = "Fmask (fill, clouds, their rims and shadows)"
    masked = {"reference": mask, "target": mask}
    assert document["provenance"]["masked_by"] == masked
    assert len(document["provenance"]["files"][0]["files"]) == 2
    ref = np.column_stack([document["tie_points"][name] for name in ("ref_x", "ref_y")])
    assert not (ref < 127).all(axis=1).any()
    result = run(
        *("match", *granules, "--bands", "red", "-m", "sift", "--format", "json"),
        *("--product-mask", "none"),
    )
    document = json.loads(result.stdout)
    assert set(document["provenance"]["masked_by"].values()) == {"none (--product-mask none)"}
    assert document["provenance"]["config"]["ref_product_mask"] == "none"
    assert document["provenance"]["config"]["tgt_product_mask"] == "none"


def test_what_a_product_lacks_is_one_line(run: Run, granules: list[Path]) -> None:
    result = run("match", *granules, "--bands", "nir")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "its band 'nir' is missing: there is no HLS.L30" in result.stderr


def test_a_product_is_no_single_raster_to_write(run: Run, granules: list[Path]) -> None:
    out = granules[0].parent / "out.tif"
    result = run("register", *granules, out, "--bands", "red")
    assert result.exit_code == 2
    assert "is a folder of many rasters; name one of them" in result.stderr
    assert not out.exists()
