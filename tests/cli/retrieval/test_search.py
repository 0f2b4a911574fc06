from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import Result
from numpy.typing import NDArray

Run = Callable[..., Result]
WriteImage = Callable[..., Path]


@pytest.fixture
def scenes(write_image: WriteImage, ground: NDArray[np.uint16]) -> list[Path]:
    """Two quarters of one ground as an archive of two scenes."""
    rng = np.random.default_rng(1)
    other = rng.permutation(ground.ravel()[::4]).reshape(160, 160)
    other = other.repeat(2, 0).repeat(2, 1)[:288, :288].astype(np.uint16)
    far = Affine(10, 0, 456_000, 0, -10, 4_835_000)
    return [write_image("a.tif", ground[:288, :288]), write_image("b.tif", other, transform=far)]


@pytest.fixture
def query(write_image: WriteImage, ground: NDArray[np.uint16]) -> Path:
    """A part of the first scene whose file says nothing true of its place."""
    part = ground[70:230, 60:220]
    return write_image("query.tif", part, transform=Affine(10, 0, 556_000, 0, -10, 4_135_000))


@pytest.fixture
def index(run: Run, scenes: list[Path], tmp_path: Path) -> Path:
    """The archive's index."""
    path = tmp_path / "index"
    result = run("index", *scenes, "-o", path, "-e", "edges", "--stride", 0.25)
    assert result.exit_code == 0, result.stderr
    return path


def test_an_image_is_found_and_registered(
    run: Run, index: Path, query: Path, scenes: list[Path], tmp_path: Path
) -> None:
    plain = run("search", index, query, "-k", 3)
    assert plain.exit_code == 0, plain.stderr
    lines = [line.split() for line in plain.stdout.splitlines()]
    assert lines[0][:2] == ["similarity", "image"]
    # Of each of the two images the best; with --chips several places.
    assert [line[2] for line in lines[1:]] == ["a.tif", "b.tif"]
    chips = run("search", index, query, "-k", 3, "--chips").stdout.splitlines()
    assert len(chips) == 4
    out = run("search", index, query, "-k", 3, "--stand-out")
    assert out.stdout.splitlines()[1].split()[2] == "a.tif"
    outputs = [tmp_path / f"hits{suffix}" for suffix in (".json", ".geojson", ".csv", ".png")]
    written = [part for path in outputs for part in ("-o", path)]
    found = tmp_path / "found.json"
    result = run(
        *("search", index, query, "-k", 3, "--verify", "-m", "sift", "--format", "json"),
        *(*written, "--registration", found),
    )
    assert result.exit_code == 0, result.stderr
    hits = json.loads(result.stdout)["hits"]
    assert hits[0]["image"] == str(scenes[0])
    assert hits[0]["verification"]["status"] == "ok"
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["wrote"] * 5
    assert all(path.stat().st_size > 100 for path in outputs)
    registration = json.loads(found.read_text())
    assert registration["schema"] == "imatch.registration/1"
    assert np.allclose(registration["matrix"], [[1, 0, -60], [0, 1, -70], [0, 0, 1]], atol=0.05)
    warped = run("apply", found, query, "-o", tmp_path / "placed.tif")
    assert warped.exit_code == 0, warped.stderr


def test_settings_of_the_query_count(run: Run, index: Path, query: Path, tmp_path: Path) -> None:
    search = ["search", index, query, "-k", 1, "--verify", "-m", "sift"]
    lost = run(*search, "-s", f"tgt_mask={tmp_path / 'gone.geojson'}")
    assert lost.exit_code == 1
    assert "gone.geojson: no such file" in lost.stderr


def test_a_place_that_is_not_there(
    run: Run, index: Path, write_image: WriteImage, tmp_path: Path
) -> None:
    noise = np.random.default_rng(9).integers(0, 60_000, (160, 160)).astype(np.uint16)
    path = write_image("noise.tif", noise)
    result = run(
        *("search", index, path, "-k", 2, "--verify", "-m", "sift"),
        *("--registration", tmp_path / "found.json"),
    )
    assert result.exit_code == 3
    assert "no hit is certified to show the query's ground" in result.stderr
    assert "failed" in result.stdout


@pytest.mark.parametrize("name", ["index", "index.lance"])
def test_the_index_grows_and_shrinks(
    run: Run,
    index: Path,
    scenes: list[Path],
    query: Path,
    write_image: WriteImage,
    tmp_path: Path,
    name: str,
) -> None:
    if name != index.name:
        pytest.importorskip("lancedb", reason="the extra lance is not installed")
        index = tmp_path / name
        run("index", *scenes, "-o", index, "-e", "edges", "--stride", 0.25)
    rng = np.random.default_rng(3)
    (tmp_path / "more").mkdir()
    more = write_image("more/c.tif", rng.integers(0, 255, (200, 200), np.uint8))
    (tmp_path / "more" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    result = run("index", tmp_path / "more", scenes[0], "-o", index, "--format", "json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["added"], said["unchanged"], said["images"]) == (1, 1, 3)
    assert [Path(item["path"]).name for item in said["skipped"]] == ["broken.png"]
    assert "skipped" in result.stderr
    result = run("index", "--remove", more, "-o", index)
    assert result.stdout.startswith("removed 1 images, ")
    assert run("index", "--remove", more, "-o", index).exit_code == 1
    found = json.loads(run("search", index, query, "--format", "json").stdout)
    assert found["index"] == str(index)
    assert [Path(hit["image"]).name for hit in found["hits"]] == ["a.tif", "b.tif"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "-o", "x"], 2, "name images or folders of images"),
        (["index", "empty", "-o", "x", "-e", "edges"], 1, "empty: holds no images"),
        (["index", "gone.tif", "-o", "x", "-e", "edges"], 1, "no image could be used"),
        (["index", "gone.tif", "-o", "x", "-e", "edgy"], 2, "did you mean 'edges'?"),
        (["index", "gone.tif", "-o", "x", "--bands", "0"], 2, "bands count from 1"),
        (["search", "empty", "q.tif"], 1, "empty: is no index; make one with imatch index"),
        (["search", "gone", "q.tif"], 1, "gone: does not exist"),
        (["search", "s3://bucket/a", "q.tif"], 2, "let the name of an index on object storage end"),
        (["index", "gone.tif", "-o", "x", "--dask", "here"], 2, "is no scheduler's address"),
        (["search", "i", "q.tif", "-o", "x.xls"], 2, "does not tell the format by its suffix"),
        (["search", "i", "q.tif", "--registration", "r.json"], 2, "comes of --verify"),
        (["search", "i", "q.tif", "--stand-out", "--probes", "3"], 2, "looks at every chip"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    result = run(*arguments)
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_index_of_another_model_is_refused_in_one_line(
    run: Run, index: Path, query: Path, scenes: list[Path]
) -> None:
    manifest = json.loads((index / "manifest.json").read_text())
    manifest["model"]["identity"] = "0" * 64
    (index / "manifest.json").write_text(json.dumps(manifest))
    for arguments in (["search", index, query], ["index", scenes[0], "-o", index]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert "was made with other weights or settings of edges (00000000" in result.stderr
        assert result.stderr.count("\n") == 1


def test_the_default_needs_no_weights_and_another_says_how_to_get_them(
    run: Run, empty_cache: Path, scenes: list[Path], tmp_path: Path
) -> None:
    result = run("index", *scenes, "-o", tmp_path / "i", "--offline")
    assert result.exit_code == 0, result.stderr
    result = run("index", *scenes, "-o", tmp_path / "j", "--offline", "-e", "efficientnet-lite0")
    assert result.exit_code == 1
    assert "imatch weights fetch efficientnet-lite0" in result.stderr
    assert not empty_cache.exists()
