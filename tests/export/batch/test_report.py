from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from imatch.core.errors import ConfigError
from imatch.export.batch.report import failures, pairs_table, write_report
from imatch.export.batch.writer import ResultWriter, preview_jpeg
from imatch.pipeline.batch.run import BatchPair, BatchResult, BatchRun
from imatch.pipeline.pair.match import match
from imatch.pipeline.registration.result import Registration


@pytest.fixture(scope="module")
def registration() -> Registration:
    ground = cv2.resize(np.random.default_rng(3).random((24, 24)), (192, 192))
    return match(ground[:160, :160], ground[:160, 12:172], matcher="sift")


@pytest.fixture
def run(tmp_path: Path, registration: Registration) -> BatchRun:
    """Three that worked (one outside its tolerance), and one of each failure."""
    fine = BatchResult.of(BatchPair("fine", "/r/a.tif", "/t/a.tif"), registration)
    fine = replace(fine, seconds=2.0, worker="host:1", extracted=2)
    rows = [
        fine,
        replace(fine, name="far", passes=0, bound_px=3.5, attempts=2, from_cache=1),
        replace(fine, name="met", passes=1, worker="host:2"),
        replace(fine, name="torn", status="uncertain", reason="two places fit <as well>"),
        BatchResult.failed(BatchPair("gone", "/r/b.tif", "/t/b.tif"), "b.tif: is 'empty' & sad"),
        BatchResult("blind", "failed", reason="no part of the images correlates"),
    ]
    session = {"command": "imatch batch <x>", "started": "2020-01-01", "engine": "local", "jobs": 2}
    return BatchRun(tmp_path, rows, {"matcher": "sift", "size": 1024}, [session])


def test_the_summary(run: BatchRun) -> None:
    returned = write_report(run)
    summary = json.loads((run.out / "summary.json").read_text())
    assert json.loads(json.dumps(returned, allow_nan=False)) == summary
    assert (summary["schema"], summary["pairs"]) == ("imatch.batch/1", 6)
    assert returned["registered"] == summary["registered"] == 2
    assert summary["counts"] == {"error": 1, "failed": 1, "uncertain": 1, "ok": 3}
    assert (summary["outside_tolerance"], summary["retried"]) == (1, 1)
    assert summary["failures"] == ["gone", "blind", "torn", "far"]
    assert summary["features"] == {"extracted": 8, "from_cache": 1}
    assert summary["workers"] == ["host:1", "host:2"]
    # Of the three that are ok; that of the uncertain one says nothing.
    assert summary["figures"]["bound_px"]["max"] == 3.5
    assert summary["figures"]["seconds"] == {"median": 2.0, "p90": 2.0, "max": 2.0}
    rows = {row["name"]: row for row in summary["results"]}
    assert rows["gone"]["shift_x_px"] is None
    assert rows["fine"]["shift_x_px"] == pytest.approx(-12, abs=0.1)
    assert rows["fine"]["shift_east_m"] is None


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.titles: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop() != tag:
            pass


def test_the_report_stands_alone_and_begins_with_failures(
    run: BatchRun, registration: Registration
) -> None:
    (run.out / "previews").mkdir()
    assert registration.preview is not None
    for name in ("fine", "torn"):
        (run.out / "previews" / f"{name}.jpg").write_bytes(preview_jpeg(registration.preview))
    write_report(run)
    text = (run.out / "report.html").read_text()
    seen = Seen()
    seen.feed(text)
    assert seen.titles == [
        "Not registered",
        "Shifts and accuracy",
        "Worst pairs",
        "Pairs",
        "How these numbers were made",
    ]
    assert all(link.startswith(("data:", "#")) for link in seen.links)
    # Texts are texts, whatever they hold.
    assert "b.tif: is &#39;empty&#39; &amp; sad" in text
    assert "two places fit &lt;as well&gt;" in text
    assert "2 of 6 pairs are registered: 3 ok, 1 uncertain, 1 failed, 1 error" in text
    # The uncertain one's picture comes before that of the sure one.
    pictures = text[text.index('id="worst-pairs"') :]
    assert pictures.index('alt="torn"') < pictures.index('alt="fine"')


def test_a_batch_in_which_nothing_worked(tmp_path: Path) -> None:
    rows = [BatchResult("blind", "failed", reason="nothing there")]
    write_report(BatchRun(tmp_path, rows, {}, []))
    text = (tmp_path / "report.html").read_text()
    assert "Shifts and accuracy" not in text
    assert "0 of 1 pairs are registered" in text
    assert json.loads((tmp_path / "summary.json").read_text())["figures"]["rmse_px"]["max"] is None


def test_tables_and_failures_keep_the_order_of_the_pairs(run: BatchRun) -> None:
    table = pairs_table(run.results)
    assert [row[0].text for row in table.rows] == [row.name for row in run.results]
    assert all(len(row) == len(table.header) for row in table.rows)
    twice = [replace(run.results[4], name=name) for name in "ba"]
    assert [row.name for row in failures(twice)] == ["b", "a"]


class TestFinishing:
    def test_formats_are_checked_before_anything_runs(self) -> None:
        assert ResultWriter.of(["GPKG", ".points", "json", "gpkg"]).suffixes == (".gpkg", ".points")
        with pytest.raises(ConfigError, match="xyz: unknown format; choose from json, geojson"):
            ResultWriter.of(["xyz"])

    def test_files_and_picture(self, registration: Registration, tmp_path: Path) -> None:
        (tmp_path / "results").mkdir()
        pair = BatchPair("p", "a", "b")
        ResultWriter.of(["csv", "npz"])(registration, pair, tmp_path)
        assert {path.name for path in (tmp_path / "results").iterdir()} == {"p.csv", "p.npz"}
        picture = cv2.imread(str(tmp_path / "previews" / "p.jpg"))
        assert picture is not None
        # Reference, target and checkerboard side by side.
        assert picture.shape == (240, 3 * 240 + 2 * 6, 3)
        assert picture[:, -240:].std() > 10
        assert registration.preview is not None
        bare = cv2.imdecode(
            np.frombuffer(preview_jpeg(replace(registration.preview, matrix=None)), np.uint8),
            cv2.IMREAD_COLOR,
        )
        assert bare is not None
        assert bare.shape == picture.shape
        assert (bare[:, -240:] > 250).all()

    def test_without_a_transform_there_are_no_control_points(
        self, registration: Registration, tmp_path: Path
    ) -> None:
        (tmp_path / "results").mkdir()
        (tmp_path / "results" / "p.points").write_text("of an earlier sitting")
        failed = replace(registration, status="failed", transform=None, preview=None)
        ResultWriter.of(["points", "csv"])(failed, BatchPair("p", "a", "b"), tmp_path)
        assert [path.name for path in (tmp_path / "results").iterdir()] == ["p.csv"]
        assert not (tmp_path / "previews").exists()
