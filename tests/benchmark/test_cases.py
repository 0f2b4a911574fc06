from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from imatch.benchmark.cases import (
    COLUMNS,
    Case,
    check_images,
    fingerprint,
    parse_filters,
    read_cases,
    select_cases,
    write_cases,
)
from imatch.core.errors import ConfigError, InputError

SHARED = Path(__file__).parents[2] / ".." / "shared" / "data" / "bench_cases.csv"


def case(name: str, source: str = "s", variant: str = "near", tag: str = "") -> Case:
    truth = None if variant == "unrelated" else np.array([[1, 0, 0.25], [0, 1, -3], [0, 0, 1.0]])
    return Case(name, source, variant, tag, "r.tif", "t.tif", np.eye(3), truth)


def edited(path: Path, old: str, new: str) -> Path:
    path.write_text(path.read_text().replace(old, new))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    cases = [case("a", tag="snow/clear"), case("b", variant="unrelated")]
    write_cases(tmp_path / "c.csv", cases)
    read = read_cases(tmp_path / "c.csv")
    assert [c.row() for c in read] == [c.row() for c in cases]
    assert [c.positive for c in read] == [True, False]
    assert fingerprint(read) == fingerprint(cases)


@pytest.mark.parametrize(
    ("cell", "tolerance"), [("", 0.0), ("2.5", 2.5), ("-1", None), ("nan", None), ("inf", None)]
)
def test_a_truth_is_known_to_its_tolerance(
    tmp_path: Path, cell: str, tolerance: float | None
) -> None:
    path = tmp_path / "c.csv"
    write_cases(path, [case("a")])
    head, row = path.read_text().splitlines()
    path.write_text(f"{head}\n{row.rpartition(',')[0]},{cell}\n")
    if tolerance is None:
        with pytest.raises(InputError, match="tol_px must be 0 or more"):
            read_cases(path)
        return
    (read,) = read_cases(path)
    assert read.tol_px == tolerance
    write_cases(path, [read])
    assert read_cases(path)[0].tol_px == tolerance
    path.write_text(f"{head.removesuffix(',tol_px')}\n{row.rpartition(',')[0]}\n")
    assert read_cases(path)[0].tol_px == 0


def test_the_fingerprint_sees_one_digit(tmp_path: Path) -> None:
    write_cases(tmp_path / "c.csv", [case("a")])
    before = fingerprint(read_cases(tmp_path / "c.csv"))
    assert fingerprint(read_cases(edited(tmp_path / "c.csv", "0.25", "0.26"))) != before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; name a table of cases"),
        (",".join(COLUMNS) + "\n", "holds no cases"),
        ("case,source\na,b\n", "has no column 'variant' and 21 more"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_cases(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: No such file"):
        read_cases(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.25", "a quarter", "line 2: a cell holds no number"),
        ("0.25", "", "line 2: h00…h22 must be numbers"),
        ("near", "unrelated", "NaN only where the variant is 'unrelated'"),
        ("r.tif", "", "line 2: case, source, variant, ref or tgt is blank"),
        ("t.tif,1,", "t.tif,0,", "line 2: w00…w22 cannot be inverted"),
        ("t.tif,1,", "t.tif,1e308,", "line 2: a matrix holds a number beyond any image"),
        ("0.25", "-1e300", "line 2: a matrix holds a number beyond any image"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    write_cases(tmp_path / "c.csv", [case("a")])
    with pytest.raises(InputError) as caught:
        read_cases(edited(tmp_path / "c.csv", old, new))
    assert message in str(caught.value)


def test_two_cases_of_one_name_are_refused(tmp_path: Path) -> None:
    write_cases(tmp_path / "c.csv", [case("a"), case("a")])
    with pytest.raises(InputError, match="names the case 'a' twice"):
        read_cases(tmp_path / "c.csv")


def test_filters_combine() -> None:
    cases = [
        case("a", "x", "near", "snow/clear"),
        case("b", "x", "free", "clear/snow"),
        case("c", "y", "near", "clear/clear"),
        case("d", "z", "near"),
    ]

    def names(*filters: str) -> list[str]:
        return [c.name for c in select_cases(cases, parse_filters(filters))]

    assert names("source=x", "source=y") == ["a", "b", "c"]
    assert names("source=x", "variant=near") == ["a"]
    assert names("tag=*snow*") == ["a", "b"]
    assert names() == ["a", "b", "c", "d"]
    with pytest.raises(ConfigError, match="no case passes the filters; there are x/free, x/near"):
        names("source=w")


@pytest.mark.parametrize("text", ["near", "place=x"])
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a filter"):
        parse_filters([text])


def test_a_limit_does_not_fall_into_step_with_the_table() -> None:
    cases = [case(f"{i:03}", variant=("near", "free")[i % 2]) for i in range(400)]
    chosen = select_cases(cases, {}, 40)
    assert len(chosen) == 40
    assert 15 <= sum(c.variant == "near" for c in chosen) <= 25
    names = [c.name for c in chosen]
    assert names == sorted(names)
    # Spread over the whole table, and the fewer are among the more.
    assert max(int(b) - int(a) for a, b in pairwise(names)) <= 21
    assert {c.name for c in select_cases(cases, {}, 10)} <= set(names)
    assert select_cases(cases, {}, 1000) == cases


def test_missing_images_are_refused_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "r.tif").touch()
    with pytest.raises(InputError, match=r"t\.tif: does not exist; name with --root"):
        check_images([case("a"), case("b")], tmp_path)
    with pytest.raises(InputError, match="nor do 1 more of the cases' images"):
        check_images([case("a")], tmp_path / "elsewhere")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/bench_cases.csv")
def test_the_reference_benchmark_is_read_whole() -> None:
    cases = read_cases(SHARED)
    assert sum(c.positive for c in cases) == 422
    check_images(cases, SHARED.parent)
