from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from imatch.benchmark.cases import read_cases
from imatch.benchmark.gallery import PER_MATCHER, false_accepts, result_figures, worst
from imatch.benchmark.report import to_html, to_markdown, write_report
from imatch.benchmark.results import Result
from imatch.benchmark.runner import BenchPlan, Run
from imatch.benchmark.summary import summarise
from imatch.export.html import HtmlCell, HtmlTable
from imatch.pipeline.pair.config import MatchConfig
from tests.support.html_tags import Tags

Make = Callable[..., Result]


def decoded(data: bytes) -> NDArray[np.uint8]:
    """(H, W) grey."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    return np.asarray(image, dtype=np.uint8)


@pytest.fixture
def done(table: Path, result: Make) -> tuple[Run, BenchPlan]:
    """Two matchers on the three places: right, nearly right, wrong, refused, broken."""
    cases = read_cases(table)
    configs = (MatchConfig(matcher="one"), MatchConfig(matcher="two"))
    nine = tuple(float(v) for v in np.eye(3).ravel())
    rows = []
    for name, errors in (("one", (0.4, 2.0, 40.0)), ("two", (None, 0.2, None))):
        for case, error in zip(cases, errors, strict=False):
            row = result(case.name, name, error, tag=case.tag, interval=(0.1, 0.3))
            rows.append(Result(**{**vars(row), "answer": nine, "variant": case.variant}))
        rows.append(
            result("c3", name, status="ok" if name == "one" else "error", variant="unrelated")
        )
    rows[-1] = Result(**{**vars(rows[-1]), "error": "<b>1.png</b>: is empty"})
    return Run(rows, [], []), BenchPlan(tuple(cases), table.parent, configs)


def test_the_page_loads_nothing_from_elsewhere(done: tuple[Run, BenchPlan]) -> None:
    html = to_html(summarise(*done), *done)
    page = Tags(html)
    assert not re.search(r"https?://", html)
    sources = [value for _, name, value in page.attributes if name in ("src", "href")]
    assert len(sources) > 15
    assert all(value.startswith(("data:image/", "#")) for value in sources)
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for value in sources if value.startswith("#")} == ids
    assert "script" not in {tag for tag, _, _ in page.attributes}


def test_every_plot_is_an_svg_that_refers_to_itself_only(done: tuple[Run, BenchPlan]) -> None:
    html = to_html(summarise(*done), *done)
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html)
    assert len(found) == 5  # Recall, conditions, time, reliability, tags.
    for data in found:
        root = ElementTree.fromstring(base64.b64decode(data))  # noqa: S314 - our own.
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert links
        assert all(link.startswith("#") for link in links)


def test_what_went_wrong_is_shown_and_escaped(done: tuple[Run, BenchPlan]) -> None:
    html = to_html(summarise(*done), *done)
    assert "&lt;b&gt;1.png&lt;/b&gt;: is empty" in html
    page = Tags(html)
    assert "two different places" in page.text
    assert "40.0 px off" in page.text


def test_the_three_files_are_written_and_agree(done: tuple[Run, BenchPlan], tmp_path: Path) -> None:
    summary = write_report(*done, tmp_path)
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert (tmp_path / "summary.md").read_text() == to_markdown(summary)
    assert "| one | 33 | 67 | 67 |" in to_markdown(summary)
    assert "2 (50.0 %)" in to_markdown(summary)
    assert (tmp_path / "report.html").read_text() == to_html(summary, *done)


def test_the_galleries_show_the_right_ones(done: tuple[Run, BenchPlan]) -> None:
    run, plan = done
    assert [r.case for r in false_accepts(run.results, "one")] == ["c3", "c2"]
    assert [r.case for r in worst(run.results, "one")] == ["c1"]
    assert worst(run.results, "two") == []
    cases = {case.name: case for case in plan.cases}
    shots = result_figures(false_accepts(run.results, "one"), cases, plan.root, plan.configs[0])
    titles = [[title for title, _ in shot.panels] for shot in shots]
    assert titles == [
        ["reference", "target"],
        ["reference", "target", "by the answer", "by the truth"],
    ]
    for shot in shots:
        for _, data in shot.panels:
            assert max(decoded(data).shape) == 240


def test_by_the_truth_the_checkerboard_fits(done: tuple[Run, BenchPlan]) -> None:
    run, plan = done
    cases = {case.name: case for case in plan.cases}
    wrong = next(r for r in run.results if r.case == "c2")
    (shot,) = result_figures([wrong], cases, plan.root, plan.configs[0])
    answer, truth = (decoded(dict(shot.panels)[f"by the {kind}"]) for kind in ("answer", "truth"))

    def seams(image: NDArray[np.uint8]) -> float:
        """Mean step across the borders of the squares, by that elsewhere."""
        steps = np.abs(np.diff(image.astype(float), axis=1)).mean(axis=0)
        side = image.shape[1] / 6
        at = [round(k * side) - 1 for k in range(1, 6)]
        return float(np.max([steps[a - 1 : a + 2].max() for a in at]) / np.median(steps))

    assert seams(truth) < seams(answer)


def test_a_gallery_is_not_endless(done: tuple[Run, BenchPlan]) -> None:
    run, plan = done
    cases = {case.name: case for case in plan.cases}
    many = [run.results[0]] * (PER_MATCHER + 5)
    assert len(result_figures(many, cases, plan.root, plan.configs[0])) == PER_MATCHER


def test_a_picture_whose_files_are_gone_is_left_out(done: tuple[Run, BenchPlan]) -> None:
    run, plan = done
    cases = {case.name: case for case in plan.cases}
    assert result_figures(run.results[:1], cases, plan.root / "gone", plan.configs[0]) == []


def test_bars_within_a_markdown_cell_are_escaped() -> None:
    table = HtmlTable("T", "", ("a", "b"), ((HtmlCell("x|y"), HtmlCell("1")),))
    assert table.to_markdown().splitlines()[-1] == "| x\\|y | 1 |"
