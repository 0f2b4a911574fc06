from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from imatch.core.errors import OutputError
from imatch.export.stack.figure import graph_svg, label
from imatch.export.stack.files import check_folder, report_html, write_stack
from imatch.export.stack.tables import (
    headline,
    images_table,
    loops_table,
    pairs_table,
    print_stack,
    summary,
)
from imatch.geometry.acceptance import Status
from imatch.geometry.transform import Transform
from imatch.pipeline.registration.certificate import Certificate
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import ImageSummary, Registration, TiePoints
from imatch.pipeline.stack.result import Stack, StackImage, StackLoop, StackPair

MakeStack = Callable[..., Stack]


def tied(name: str, status: Status, shift: tuple[float, float], **more: object) -> StackImage:
    none, column, flags = np.zeros((0, 2)), np.zeros(0), np.zeros(0, dtype=bool)
    found = Registration(
        status,
        f"because of {name} <&>",
        ImageSummary("ref.tif", 100, 80),
        ImageSummary(f"{name}.tif", 100, 80),
        "sift",
        1.0,
        TiePoints(none, none, column, flags, flags, none, column),
    )
    if status != "failed":
        matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1]])
        metres = shift[0] * 10, -shift[1] * 10
        found = replace(
            found,
            transform=Transform("similarity", matrix),
            shift_px=shift,
            ci95_px=(0.1, 0.1),
            shift_m=metres,
            ci95_m=(1.0, 1.0),
            certificate=Certificate(corner_ci95_px=0.25, corner_ci95_m=2.5),
        )
    day = date.fromisoformat(name[-10:]) if name[-1].isdigit() else None
    return StackImage(name, f"{name}.tif", day, found, pairs=3, **more)  # type: ignore[arg-type]


@pytest.fixture
def solved() -> Stack:
    """Four images, one of each status, and pairs of every verdict."""
    images = (
        tied("s_2018-01-15", "ok", (0.0, 0.0), counting=3),
        tied("s_2018-07-15", "ok", (3.0, -4.0), counting=2, ways=2.0),
        tied("s_2019-01-20", "uncertain", (8.0, 1.0), counting=1, aside=1, ways=1.0),
        tied("undated", "failed", (0.0, 0.0)),
    )
    names = [image.name for image in images]
    pairs = (
        StackPair(
            names[0], names[1], "ok", "agrees", "counts", 0.05, 0.04, 0.12, 1.2, 0.9, 0.5, 1.5
        ),
        StackPair(
            names[0], names[2], "ok", "agrees", "counts", 0.05, 0.04, 0.40, 4.0, 1.4, 0.3, 1.5
        ),
        StackPair(
            names[1], names[2], "ok", "agrees", "aside", 0.05, 0.04, 9.5, 95.0, 999.0, 1.0, 1.5
        ),
        StackPair(names[0], names[3], "uncertain", "chance", "unconfirmed", 0.5, 0.4, seconds=1.0),
        StackPair(names[1], names[3], "failed", "clouds", "unused"),
    )
    loop = StackLoop((names[0], names[1], names[2]), 9.4, 94.0, False)
    return Stack(
        names[0],
        "similarity",
        True,
        images,
        pairs,
        (loop,),
        0.21,
        2.1,
        3.9,
        4,
        12.0,
        {"config": {"matcher": "sift"}, "pairs": {"choice": "all"}, "reference": "given"},
    )


def test_every_file_is_written_and_reads_back(solved: Stack, tmp_path: Path) -> None:
    written = write_stack(solved, tmp_path / "out")
    assert all(path.stat().st_size > 0 for path in written)
    assert written[-1] == tmp_path / "out" / "stack.json"
    for image in solved.images:
        back = read_registration(tmp_path / "out" / "transforms" / f"{image.name}.json")
        assert back.status == image.status
        assert back.reason == image.reason
        assert (back.matrix is None) == (image.status == "failed")
    # Nothing of an earlier stack is left behind.
    fewer = replace(solved, images=solved.images[:2], pairs=solved.pairs[:1])
    write_stack(fewer, tmp_path / "out")
    assert len(list((tmp_path / "out" / "transforms").iterdir())) == 2


def test_the_document_is_strict_json_with_every_key(solved: Stack, tmp_path: Path) -> None:
    write_stack(solved, tmp_path / "out")
    text = (tmp_path / "out" / "stack.json").read_text(encoding="utf-8")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    document = json.loads(text, parse_constant=refuse)
    assert document["schema"] == "imatch.stack/1"
    assert document["counts"] == {"ok": 2, "uncertain": 1, "failed": 1}
    assert document["scatter_m"] == 2.1
    assert document["images"][1]["date"] == "2018-07-15"
    assert document["images"][1]["corner_ci95_m"] == 2.5
    assert document["images"][3]["matrix"] is None
    assert document["pairs"][4]["residual_px"] is None
    assert document["loops"] == [
        {
            "images": ["s_2018-01-15", "s_2018-07-15", "s_2019-01-20"],
            "closure_px": 9.4,
            "closure_m": 94.0,
            "counts": False,
        }
    ]


def test_pairs_are_a_table_of_plain_numbers(solved: Stack, tmp_path: Path) -> None:
    write_stack(solved, tmp_path / "out")
    with (tmp_path / "out" / "edges.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == [pair.verdict for pair in solved.pairs]
    assert float(rows[2]["residual_m"]) == 95.0
    assert rows[4]["residual_px"] == ""


def test_the_report_is_one_page_that_needs_nothing_else(solved: Stack) -> None:
    text = report_html(solved)
    seen: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)
            for name, value in attrs:
                if name in ("src", "href"):
                    assert (value or "").startswith(("data:", "#"))

    Reader().feed(text)
    assert seen.count("table") == 3
    assert seen.count("img") == 1
    # Reasons are text, not markup.
    assert "because of s_2018-07-15 &lt;&amp;&gt;" in text
    assert "2 of 4 images tied to s_2018-01-15, 1 uncertain, 1 not tied" in text


def test_without_loops_the_report_says_so(solved: Stack) -> None:
    bare = replace(solved, loops=(), freedom=0, scatter_m=math.nan)
    assert loops_table(bare) is None
    assert "no loop checks anything" in report_html(bare)


def test_tables_put_first_what_matters(solved: Stack) -> None:
    table = pairs_table(solved)
    assert [row[2].text for row in table.rows][:3] == ["aside", "counts", "counts"]
    # Of those that count the larger residual first.
    assert [row[5].text for row in table.rows][:3] == ["9.50", "0.40", "0.12"]
    images = images_table(solved)
    assert images.header[5] == "east, m"
    assert images.rows[1][5].text == "+30.0 ± 1.0"
    assert images.rows[0][5].text == ""
    pixels = replace(
        solved,
        images=tuple(
            replace(i, registration=replace(i.registration, shift_m=None, ci95_m=None))
            for i in solved.images
        ),
    )
    assert images_table(pixels).rows[1][5].text == "+3.00 ± 0.10"


def test_only_the_worst_of_many_loops_are_listed(solved: Stack) -> None:
    many = replace(solved, loops=tuple(solved.loops[0] for _ in range(50)))
    table = loops_table(many)
    assert table is not None
    assert len(table.rows) == 20
    assert "20 that close worst of 50" in table.note


def test_the_network_is_drawn_the_same_each_time(solved: Stack) -> None:
    first = graph_svg(solved)
    assert first == graph_svg(solved)
    assert first.startswith(b"<svg")
    assert first.rstrip().endswith(b"</svg>")
    # A marker each, and a line for every verdict there is.
    unconfirmed = replace(solved, pairs=tuple(p for p in solved.pairs if p.verdict != "aside"))
    assert graph_svg(unconfirmed).count(b"stroke-dasharray") < first.count(b"stroke-dasharray")


def test_a_name_in_a_script_that_the_font_lacks_is_drawn_without_a_warning(solved: Stack) -> None:
    images = (replace(solved.images[0], name="\N{CJK UNIFIED IDEOGRAPH-5C71}", date=None),)
    graph_svg(replace(solved, images=images, pairs=(), reference=images[0].name))


def test_a_large_network_is_drawn_without_labels(solved: Stack) -> None:
    images = tuple(replace(solved.images[1], name=f"i{number}") for number in range(60))
    pairs = tuple(
        replace(solved.pairs[0], reference=f"i{i}", target=f"i{i + 1}") for i in range(59)
    )
    large = replace(solved, images=images, pairs=pairs, reference="i0")
    few = replace(solved, images=images[:40], pairs=pairs[:39], reference="i0")
    assert len(graph_svg(large)) < len(graph_svg(few)) * 60 / 40


def test_images_are_called_by_their_date_or_a_name_that_fits(solved: Stack) -> None:
    assert label(solved.images[0]) == "2018-01-15"
    assert label(solved.images[3]) == "undated"
    long = replace(solved.images[3], name="x" * 60)
    assert len(label(long)) < 30


@pytest.mark.parametrize("plain", [True, False])
def test_the_terminal_shows_every_image(solved: Stack, plain: bool) -> None:
    console = Console(
        width=250, record=True, force_terminal=False, legacy_windows=False, highlight=False
    )
    if plain:
        console._encoding = "ascii"  # type: ignore[attr-defined]
    with console.capture() as capture:
        print_stack(solved, console)
    text = capture.get()
    assert headline(solved) in text
    for image in solved.images:
        assert f"because of {image.name}" in text
    assert "1 set aside" in text
    assert text.isascii() or not console.options.ascii_only


def test_the_summary_tells_the_worst_loop_that_counts(solved: Stack) -> None:
    good = replace(solved.loops[0], closure_px=1.3, closure_m=math.nan, counts=True)
    told = summary(replace(solved, loops=(solved.loops[0], good)))
    assert "worst loop that counts 1.30 px" in told
    assert "nan" not in told


def test_a_folder_that_holds_something_is_not_written_into(tmp_path: Path) -> None:
    check_folder(tmp_path / "new", resume=False, overwrite=False)
    check_folder(tmp_path, resume=False, overwrite=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        check_folder(tmp_path, resume=False, overwrite=False)
    (tmp_path / "stack.json").write_text("{}")
    with pytest.raises(OutputError, match="already holds a stack; pass --resume"):
        check_folder(tmp_path, resume=False, overwrite=False)
    check_folder(tmp_path, resume=True, overwrite=False)
    check_folder(tmp_path, resume=False, overwrite=True)
    with pytest.raises(OutputError, match=r"notes\.txt"):
        check_folder(tmp_path / "notes.txt", resume=False, overwrite=False)
