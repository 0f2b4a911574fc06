from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imatch.core.errors import ConfigError, InputError
from imatch.core.settings import make_settings
from imatch.datasets.config import PrepareConfig
from imatch.datasets.prepare.scan import scan, tile_name

WriteImage = Callable[..., Path]
PIXELS = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64)


def config(root: Path, **source: Any) -> PrepareConfig:
    return make_settings(PrepareConfig, {"root": root, "sources": [{"name": "a", **source}]})


@pytest.mark.parametrize(
    ("path", "tile"),
    [
        ("data/T36UXA_20180805T083601_TCI.jp2", "T36UXA"),
        ("S2A_36UXA_20180805_0_L2A.tif", "T36UXA"),
        ("holiday_2018.tif", None),
    ],
)
def test_tiles_are_known_by_name(path: str, tile: str | None) -> None:
    assert tile_name(path) == tile


def test_images_are_sorted_by_what_places_them(write_image: WriteImage, tmp_path: Path) -> None:
    write_image("i/T31TCJ_20180805T100000.tif", PIXELS)
    write_image("i/p1_20190101.tif", PIXELS, crs=None)
    write_image("i/p1_20190201.tif", PIXELS, crs=None)
    write_image("i/left.tif", PIXELS)
    (tmp_path / "i" / "bad.tif").write_bytes(b"x")
    found = scan(config(tmp_path, images=["i/*.tif"], exclude=["*left*"], place=r"(p\d)_"))
    assert [(s.date, s.label) for s in found.geocoded] == [("20180805", "20180805")]
    (group,) = found.aligned
    assert (group.place, [s.date for s in group.scenes]) == ("p1", ["20190101", "20190201"])
    assert [(Path(s.path).name, bool(s.reason)) for s in found.skipped] == [("bad.tif", True)]


def test_two_images_of_one_day_are_told_apart(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("A_20180805", "B_20180805", "C_20190101"):
        write_image(f"{name}.tif", PIXELS)
    found = scan(config(tmp_path, images=["*.tif"]))
    assert [s.label for s in found.geocoded] == ["A_20180805", "B_20180805", "20190101"]


def test_a_table_of_pairs(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("a1", "a2"):
        write_image(f"{name}.tif", PIXELS, crs=None)
    write_image("small.tif", PIXELS[:, :32], crs=None)
    (tmp_path / "index.csv").write_text("path,date\na1.tif,before\na2.tif,after\n")
    (tmp_path / "pairs.csv").write_text(
        "ref,tgt,place,kind,dx,dy,tag\n"
        "a1.tif,a2.tif,E1/x,flood,0.5,-1,hard\n"
        "a1.tif,small.tif,E1/y,flood,0,0,\n"
        "a1.tif,gone.tif,E2/y,flood,0,0,\n"
        "a1.tif,gone.tif,E2/y,other,0,0,\n"
    )
    settings = make_settings(
        PrepareConfig,
        {
            "root": tmp_path,
            "index": "index.csv",
            "sources": [{"table": "pairs.csv", "where": {"kind": "flood"}, "place": r"^(E\d)"}],
        },
    )
    found = scan(settings)
    (pair,) = found.aligned
    assert (pair.place, pair.residual, pair.tag) == ("E1", (0.5, -1.0), "hard")
    assert [scene.date for scene in pair.scenes] == ["before", "after"]
    reasons = {Path(item.path).name: item.reason for item in found.skipped}
    assert reasons == {
        "small.tif": "the pair's sizes differ: 64x64 and 64x32",
        "gone.tif": "no such file",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("ref\nx\n", "has no column 'tgt'"),
        ("ref,tgt\n", "holds no rows"),
        (None, "No such file"),
    ],
)
def test_a_bad_table_is_explained(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "pairs.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        scan(config(tmp_path, table="pairs.csv"))


def test_conditions_that_no_row_meets_are_explained(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("ref,tgt\na,b\n")
    with pytest.raises(InputError, match="has no column 'kind'"):
        scan(config(tmp_path, table="pairs.csv", where={"kind": "x"}))
    with pytest.raises(InputError, match="has no row that fits"):
        scan(config(tmp_path, table="pairs.csv", where={"ref": "x"}))


def test_patterns_that_find_nothing_are_explained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="finds no image"):
        scan(config(tmp_path, images=["*.tif"]))
    with pytest.raises(InputError, match="no such file"):
        scan(config(tmp_path, images=["a.tif"]))


def test_a_world_file_gets_its_crs_from_the_settings(
    write_image: WriteImage, tmp_path: Path
) -> None:
    path = write_image("world_200401.png", PIXELS, driver="PNG", crs=None)
    path.with_suffix(".pgw").write_text("0.1\n0\n0\n-0.1\n10\n50\n")
    found = scan(config(tmp_path, images=["*.png"], crs="EPSG:4326", date=r"(\d{6})"))
    (scene,) = found.geocoded
    assert scene.date == "200401"
    assert scene.open(None).info.geocoded
    with pytest.raises(ConfigError, match="unknown CRS 'EPSG:x'"):
        scan(config(tmp_path, images=["*.png"], crs="EPSG:x"))
