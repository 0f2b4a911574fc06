from __future__ import annotations

from pathlib import Path

import pytest

from imatch.core.errors import InputError
from imatch.pipeline.batch.table import read_pairs
from imatch.pipeline.pair.config import MatchConfig


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "pairs.csv"


def test_a_pair_has_its_own_tie_points(table: Path) -> None:
    table.write_text(
        "reference,target,points,points_only\na.tif,b.tif,a.points,true\nc.tif,d.tif,,\n"
    )
    first, second = read_pairs(table)
    points = str(table.parent / "a.points")
    assert first.settings == {"points": points, "points_only": True}
    assert first.config(MatchConfig()).points == Path(points)
    assert second.settings == {}


def test_paths_start_from_the_table_and_settings_are_the_pairs_own(table: Path) -> None:
    table.write_text(
        "reference,target,name,ref_bands,tgt_bands,ref_mask,size,use_geocoding,tolerance,#note\n"
        'a.tif,/data/b.tif,first,"4,3,2",B04 B03,clouds.gpkg,2048,false,0.3px,sunny\n'
        "\n"
        "sub/c.tif,https://example.org/d.tif,,,,,,,,\n"
    )
    first, second = read_pairs(table)
    folder = table.parent
    assert (first.name, first.reference, first.target) == (
        "first",
        str(folder / "a.tif"),
        "/data/b.tif",
    )
    assert first.settings == {
        "ref_bands": [4, 3, 2],
        "tgt_bands": ["B04", "B03"],
        "ref_mask": str(folder / "clouds.gpkg"),
        "size": 2048,
        "use_geocoding": False,
        "tolerance": "0.3px",
    }
    assert (second.name, second.reference) == ("c__d", str(folder / "sub" / "c.tif"))
    assert second.target == "https://example.org/d.tif"
    assert second.settings == {}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_as_spreadsheets_save_them(table: Path, separator: str) -> None:
    lines = [["reference", "target"], ["a.tif", "b.tif"]]
    table.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(separator.join(line) for line in lines).encode()
    )
    (pair,) = read_pairs(table)
    assert Path(pair.target) == table.parent / "b.tif"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "lacks the columns reference and target"),
        ("ref,target\na,b\n", "lacks the column reference; its first line is ref, target"),
        ("reference,target\n", "holds no pairs"),
        ("reference,target,ref_bnads\na,b,1\n", "unknown column 'ref_bnads'; did you mean"),
        ("reference,target,device\na,b,cpu\n", "unknown column 'device'"),
        ("reference,target,target\na,b,c\n", "two columns 'target'"),
        ("reference,target\na.tif,\n", "line 2 has no target"),
        ("reference,target,ref_bands\na,b,4,3,2\n", "line 2 has 5 values for 3 columns"),
        ('reference,target\n"a,b\nc,d\n', "check its quotes"),
    ],
)
def test_tables_that_are_none(table: Path, text: str, cause: str) -> None:
    table.write_text(text)
    with pytest.raises(InputError, match=cause) as caught:
        read_pairs(table)
    assert str(caught.value).startswith(str(table))


def test_files_that_are_no_tables(table: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_pairs(table)
    table.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(InputError, match="is not text in UTF-8"):
        read_pairs(table)
