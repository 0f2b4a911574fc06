from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from imatch.core.errors import InputError
from imatch.pipeline.batch.folders import list_images, pair_folders, pair_series
from imatch.pipeline.batch.pairs import BatchPair

Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    def make(name: str, *files: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file in files:
            path = folder / file
            path.mkdir() if file.endswith(".SAFE") else path.touch()
        return folder

    return make


def couples(pairs: list[BatchPair]) -> list[tuple[str, str]]:
    return [(Path(pair.reference).name, Path(pair.target).name) for pair in pairs]


def test_what_is_an_image(fill: Fill) -> None:
    folder = fill("f", "b.JP2", "a.tif", "notes.txt", ".hidden.tif", "S2A.SAFE", "a.tif.aux.xml")
    (folder / "sub.tif").mkdir()
    assert [path.name for path in list_images(folder)] == ["S2A.SAFE", "a.tif", "b.JP2"]
    with pytest.raises(InputError, match="holds no images"):
        list_images(fill("empty", "notes.txt"))
    with pytest.raises(InputError, match="does not exist"):
        list_images(folder / "gone")


def test_two_folders_by_name(fill: Fill, caplog: pytest.LogCaptureFixture) -> None:
    ref, tgt = fill("r", "a.tif", "b.tif", "x.tif"), fill("t", "B.jp2", "a.png", "y.tif")
    with caplog.at_level(logging.WARNING):
        pairs = pair_folders(ref, tgt)
    assert couples(pairs) == [("a.tif", "a.png"), ("b.tif", "B.jp2")]
    assert [pair.name for pair in pairs] == ["a", "b__B"]
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "x.tif" in said
    assert "y.tif" in said


def test_two_folders_by_name_that_is_no_name(fill: Fill) -> None:
    with pytest.raises(InputError, match=r"a\.png and a\.tif have one name"):
        pair_folders(fill("r", "a.tif"), fill("t", "a.tif", "a.png"))
    with pytest.raises(InputError, match=r"none of its images has a partner in .* by name"):
        pair_folders(fill("r2", "a.tif"), fill("t2", "b.tif"))


def test_two_folders_by_order(fill: Fill) -> None:
    ref, tgt = fill("r", "2.tif", "1.tif"), fill("t", "a.tif", "b.tif")
    assert couples(pair_folders(ref, tgt, "order")) == [("1.tif", "a.tif"), ("2.tif", "b.tif")]
    with pytest.raises(InputError, match=r"holds 1 images, and .* 2"):
        pair_folders(ref, fill("one", "a.tif"), "order")


def test_two_folders_by_date(fill: Fill) -> None:
    ref = fill(
        "r",
        "S2A_MSIL1C_20180812T104021_N0206_R008_T31TCJ_20181001T125319.SAFE",
        "S2B_MSIL1C_20180822T104019_N0206_R008_T31TCJ_20180822T150703.SAFE",
    )
    tgt = fill("t", "L8_2018-08-12.tif", "L8_2018-08-20.tif", "L8_2018-12-20.tif")
    assert [tgt for _, tgt in couples(pair_folders(ref, tgt, "date"))] == ["L8_2018-08-12.tif"]
    within = couples(pair_folders(ref, tgt, "date", max_gap=5))
    assert [(ref[4:6], tgt) for ref, tgt in within] == [
        ("MS", "L8_2018-08-12.tif"),
        ("MS", "L8_2018-08-20.tif"),
    ]
    assert within[1][0].startswith("S2B")
    with pytest.raises(InputError, match=r"1 names hold no date: undated\.tif"):
        pair_folders(ref, fill("u", "undated.tif"), "date")
    with pytest.raises(InputError, match="by date within 0 days; widen --max-gap"):
        pair_folders(ref, fill("v", "2017-01-01.tif"), "date")


def test_a_series_against_one(fill: Fill, tmp_path: Path) -> None:
    folder = fill("s", "2020-01-01.tif", "2020-02-01.tif", "2020-03-01.tif")
    inside = couples(pair_series(folder, Path("2020-02-01.tif")))
    assert inside == [
        ("2020-02-01.tif", "2020-01-01.tif"),
        ("2020-02-01.tif", "2020-03-01.tif"),
    ]
    other = tmp_path / "base.tif"
    other.touch()
    assert len(pair_series(folder, other)) == 3
    near = couples(pair_series(folder, Path("2020-02-01.tif"), max_gap=30))
    assert near == [("2020-02-01.tif", "2020-03-01.tif")]
    with pytest.raises(InputError, match=r"gone\.tif: does not exist"):
        pair_series(folder, Path("gone.tif"))
    with pytest.raises(InputError, match="holds no image besides"):
        pair_series(fill("one", "a.tif"), Path("a.tif"))


def test_all_pairs_of_a_series_begin_with_the_earlier(fill: Fill) -> None:
    folder = fill("s", "a_20200301.tif", "b_20200101.tif", "c_20200201.tif")
    assert couples(pair_series(folder)) == [
        ("b_20200101.tif", "c_20200201.tif"),
        ("b_20200101.tif", "a_20200301.tif"),
        ("c_20200201.tif", "a_20200301.tif"),
    ]
    assert len(pair_series(folder, max_gap=31)) == 2
    with pytest.raises(InputError, match="no two of its images are within 3 days"):
        pair_series(folder, max_gap=3)
    with pytest.raises(InputError, match="1 names hold no date"):
        pair_series(fill("u", "a_20200301.tif", "b.tif"), max_gap=3)
    assert len(pair_series(fill("w", "a_20200301.tif", "b.tif"))) == 1
