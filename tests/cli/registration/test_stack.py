from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result
from numpy.typing import NDArray

from imatch.pipeline.batch.local import LocalWorkers
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask, run_pair

# What comes of the work is asked here, not how its processes begin.
pytestmark = pytest.mark.usefixtures("warm_workers")

Run = Callable[..., Result]
WriteImage = Callable[..., Path]


class Here(LocalWorkers):
    """Pairs in this process: starting another takes longer than all of these pairs."""

    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        assert (retries, timeout) == (1, None)
        for pair in pairs:
            yield run_pair(task, pair)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imatch.pipeline.batch.run.LocalWorkers", Here)


@pytest.fixture
def dates(write_image: WriteImage, ground: NDArray[np.uint16]) -> list[Path]:
    """Three views of one ground, whose geocoding is 0, 30 and 50 m too far east."""
    return [
        write_image(
            f"t_{day}.tif",
            ground[:256, :256],
            transform=Affine(10, 0, 356_000 + off, 0, -10, 4_835_000),
        )
        for day, off in (("20180115", 0), ("20180415", 30), ("20180715", 50))
    ]


@pytest.mark.usefixtures("in_process")
def test_dates_are_tied_and_everything_is_written(
    run: Run, dates: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("stack", *dates, "-o", out, "-m", "sift", "--reference", "t_20180115", "--warp")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("3 of 3 images tied to t_20180115\n")
    assert "+30.0 ±" in result.stdout
    assert "+50.0 ±" in result.stdout
    assert result.stderr == f"wrote {out / 'report.html'}\n"
    assert {path.name for path in out.iterdir()} == {
        "stack.json",
        "transforms",
        "edges.csv",
        "report.html",
        "pairs",
        "registered",
    }
    # The same ground on the same pixels: where it was too far east, it now lies right.
    with rasterio.open(dates[0]) as reference:
        expected, transform = reference.read(1).astype(float), reference.transform
    for path in dates[1:]:
        with rasterio.open(out / "registered" / path.name) as warped:
            assert warped.transform == transform
            seen = warped.read(1).astype(float)
        inner = np.s_[20:-20, 20:-20]
        assert np.abs(seen[inner] - expected[inner]).mean() < 25


def test_json_is_the_whole_document_and_apply_takes_its_parts(
    run: Run, dates: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = run("stack", *dates[:2], "-o", out, "-m", "sift", "-q", "--format", "json")
    assert result.exit_code == 0
    assert result.stderr == ""
    document = json.loads(result.stdout)
    assert document["schema"] == "imatch.stack/1"
    assert document == json.loads((out / "stack.json").read_text())
    name = next(i["name"] for i in document["images"] if i["name"] != document["reference"])
    applied = run(
        "apply", out / "transforms" / f"{name}.json", tmp_path / f"{name}.tif", "-o", tmp_path / "x"
    )
    assert applied.exit_code == 0, applied.output


@pytest.mark.usefixtures("in_process")
def test_an_image_that_is_not_tied_exits_with_3(
    run: Run, dates: list[Path], write_image: WriteImage, tmp_path: Path
) -> None:
    flat = write_image("t_20190101.tif", np.full((256, 256), 500, np.uint16))
    result = run("stack", *dates[:2], flat, "-o", tmp_path / "out", "-m", "sift", "--warp")
    assert result.exit_code == 3
    assert "imatch: 2 of 3 images tied to" in result.stderr
    assert "not written: t_20190101: failed: no pair ties it" in result.stderr
    assert not (tmp_path / "out" / "registered" / "t_20190101.tif").exists()


@pytest.mark.usefixtures("in_process")
def test_what_is_there_is_kept_unless_told_otherwise(
    run: Run, dates: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run("stack", *dates[:2], "-o", out, "-m", "sift").exit_code == 0
    again = run("stack", *dates[:2], "-o", out, "-m", "sift")
    assert again.exit_code == 1
    assert "already holds a stack; pass --resume" in again.stderr
    assert run("stack", *dates, "-o", out, "-m", "sift", "--resume").exit_code == 0
    assert len(list((out / "transforms").iterdir())) == 3
    assert run("stack", *dates[:2], "-o", out, "-m", "sift", "--overwrite").exit_code == 0
    assert len(list((out / "transforms").iterdir())) == 2
    both = run("stack", *dates, "-o", out, "--resume", "--overwrite")
    assert both.exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["--pairs", "some"], 2, "write auto, all, reference or neighbours:K"),
        (["--reference", "july"], 1, "not among the images"),
        (["--ref-bands", "1"], 2, "differs for reference and target"),
        (["--pairs", "reference"], 2, "name it with --reference"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    run: Run, dates: list[Path], tmp_path: Path, arguments: list[str], code: int, why: str
) -> None:
    result = run("stack", *dates, "-o", tmp_path / "out", "-m", "sift", *arguments)
    assert result.exit_code == code, result.output
    assert why in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_one_image_is_refused(run: Run, dates: list[Path], tmp_path: Path) -> None:
    result = run("stack", dates[0], "-o", tmp_path / "out", "-m", "sift")
    assert result.exit_code == 1
    assert "a stack needs two images or more" in result.stderr


@pytest.mark.usefixtures("in_process")
def test_what_is_missing_or_not_near_enough_is_not_written_as_ground(
    run: Run, dates: list[Path], tmp_path: Path
) -> None:
    with rasterio.open(dates[1], "r+") as dataset:
        pixels = dataset.read(1)
        pixels[100:140, 100:150] = 1
        dataset.write(pixels, 1)
    out = tmp_path / "out"
    options = ["-m", "sift", "--reference", "t_20180115", "--warp"]
    assert run("stack", *dates, "-o", out, *options, "--nodata", 1).exit_code == 0
    with rasterio.open(out / "registered" / dates[1].name) as dataset:
        assert dataset.nodata == 1
        missing = (dataset.read_masks(1) == 0)[60:200, 60:200]
    assert missing.sum() == pytest.approx(40 * 50, rel=0.1)
    strict = ["--nodata", 1, "--tolerance", "0.0001px", "--overwrite"]
    result = run("stack", *dates, "-o", out, *options, *strict)
    assert result.exit_code == 3
    assert "not written: t_20180415: tolerance not met" in result.stderr
    # The reference is where it is.
    assert {path.name for path in (out / "registered").iterdir()} <= {dates[0].name}


@pytest.mark.usefixtures("in_process")
def test_a_copy_of_a_date_is_no_evidence(
    run: Run, dates: list[Path], tmp_path: Path, write_image: WriteImage
) -> None:
    shutil.copy(dates[1], tmp_path / "t_20180501.tif")
    with rasterio.open(dates[2]) as dataset:
        again = {"compress": "lzw", "tiled": True, "blockxsize": 64, "blockysize": 64}
        write_image("t_20180801.tif", dataset.read(), transform=dataset.transform, **again)
    copies = [tmp_path / "t_20180501.tif", tmp_path / "t_20180801.tif"]
    out = tmp_path / "out"
    options = ["-o", out, "-m", "sift", "--reference", "t_20180115", "--format", "json", "--warp"]
    result = run("stack", *dates, *copies, *options)
    assert result.exit_code == 0, result.stderr
    assert f"{copies[0]} holds the same pixels as {dates[1]}" in result.stderr
    document = json.loads(result.stdout)
    assert len(document["pairs"]) == 3
    images = {image["name"]: image for image in document["images"]}
    for copy, name in (("t_20180501", "t_20180415"), ("t_20180801", "t_20180715")):
        assert images[copy]["copy_of"] == name
        assert images[name]["copy_of"] is None
        assert images[copy]["map_matrix"] == images[name]["map_matrix"]
        assert images[copy]["pairs"] == 0
        assert f"the same pixels as {name}" in images[copy]["reason"]
        one, other = (out / "registered" / f"{n}.tif" for n in (copy, name))
        with rasterio.open(one) as a, rasterio.open(other) as b:
            np.testing.assert_array_equal(a.read(), b.read())
    assert "the same pixels as" in (out / "report.html").read_text()
    alone = run("stack", dates[1], copies[0], "-o", tmp_path / "alone", "-m", "sift")
    assert alone.exit_code == 1
    assert "are copies of one another" in alone.stderr
