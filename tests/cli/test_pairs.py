from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from imatch.retrieval.decision import Decision, write_decisions
from imatch.retrieval.same import FIGURES, LIMITS

Run = Callable[..., Result]
WriteImage = Callable[..., Path]
MATCH = Decision("same", None, None, FIGURES[1:], LIMITS[1:], (0.8, 2.0), -1.0, 0.5)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of three pictures, one of them twice."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).random((160, 160, 3)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), 3)
        smooth = np.clip(128 + 30 * (smooth - smooth.mean()) / smooth.std(), 0, 255)
        image = smooth.astype(np.uint8)
        cv2.imwrite(str(folder / f"{seed}.png"), image)
        if seed == 1:
            cv2.imwrite(str(folder / "copy.jpg"), cv2.resize(image, (120, 110)))
    return folder


def test_duplicates_of_a_folder(run: Run, pictures: Path, tmp_path: Path) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out.csv"
    result = run("duplicates", pictures, "-o", out)
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == f"1  {pictures / '1.png'}"
    assert second.split()[0] == str(pictures / "copy.jpg")
    assert "4 images, 1 copies in 1 groups" in result.stderr
    assert "skipped" in result.stderr
    with out.open(newline="") as file:
        assert [row["group"] for row in csv.DictReader(file)] == ["1"]
    assert run("duplicates", pictures, "-o", out).exit_code == 1
    document = json.loads(run("duplicates", pictures, "--format", "json").stdout)
    assert (document["files"], document["compared"], len(document["groups"])) == (4, 6, 1)
    none = run("duplicates", pictures, "--threshold", 1.0)
    assert none.stdout == ""


def test_duplicates_of_given_pairs(run: Run, pictures: Path) -> None:
    table = pictures / "pairs.csv"
    table.write_text("a,b\n1.png,copy.jpg\n0.png,2.png\n")
    result = run("duplicates", table)
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["1", "0"]


def test_pairs_are_judged_and_learnt_from(run: Run, pictures: Path, tmp_path: Path) -> None:
    names = ["0.png", "1.png", "2.png"]
    rows = [f"{n},{n},1,{i}" for i in range(4) for n in names]
    rows += [
        f"{a},{b},0,{i}"
        for i in range(4)
        for a, b in zip(names, names[1:] + names[:1], strict=True)
    ]
    table = pictures / "pairs.csv"
    table.write_text("\n".join(["a,b,label,group", *rows]) + "\n")
    judged = run("eval", "pairs", table, "--task", "duplicates", "--format", "json")
    assert judged.exit_code == 0, judged.stderr
    assert json.loads(judged.stdout)["figures"]["f1"] == 1
    stored, out = tmp_path / "own.json", tmp_path / "figures.json"
    learnt = run("eval", "pairs", table, "--task", "duplicates", "--fit", stored, "-o", out)
    assert learnt.exit_code == 0, learnt.stderr
    assert learnt.stdout.splitlines()[:2] == [
        "pairs              12 yes, 12 no, held out",
        f"F1                 1.0000 at {json.loads(out.read_text())['figures']['threshold']:.4g}",
    ]
    assert len(json.loads(out.read_text())["figures"]["curve"]) > 1
    refused = run("eval", "pairs", table, "--task", "duplicates", "--fit", stored)
    assert "already exists" in refused.stderr
    again = run("duplicates", pictures, "--decision", stored, "--format", "json")
    assert len(json.loads(again.stdout)["groups"]) == 1


def test_given_scores_are_measured(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    table.write_text("label,score\n1,0.9\n1,0.8\n0,0.7\n1,0.6\n0,0.1\n")
    result = run("eval", "pairs", table, "--threshold", 0.65)
    assert result.exit_code == 0, result.stderr
    lines = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert lines["pairs"] == "3 yes, 2 no"
    assert lines["F1"] == "0.6667 at 0.65"
    best = run("eval", "pairs", table, "--format", "json")
    assert json.loads(best.stdout)["figures"]["f1"] == pytest.approx(6 / 7)


@pytest.fixture
def grounds(write_image: WriteImage, ground: NDArray[np.uint16]) -> tuple[Path, Path, Path]:
    """Two views of one ground, and another ground whose file lies about its place."""
    rng = np.random.default_rng(5)
    other = rng.integers(0, 9000, (130, 130), np.uint16).repeat(2, 0).repeat(2, 1)
    return (
        write_image("a.tif", ground[:260, :260]),
        write_image("b.tif", ground[20:280, 30:290]),
        write_image("c.tif", other),
    )


def test_same_ground_or_not(run: Run, grounds: tuple[Path, Path, Path], tmp_path: Path) -> None:
    decision = tmp_path / "own.json"
    write_decisions(decision, [MATCH, replace(MATCH, identity="0" * 64, threshold=0.9)])
    options = ("--no-embedder", "--no-geocoding", "-m", "sift", "--decision", decision)
    found = tmp_path / "found.json"
    result = run("same", *grounds[:2], *options, "--registration", found)
    assert result.exit_code == 0, result.stderr
    answer, probability, reason = result.stdout.split(None, 2)
    assert (answer, float(probability) > 0.9) == ("1", True)
    assert "sift ties them" in reason
    matrix = json.loads(found.read_text())["matrix"]
    assert np.allclose(matrix, [[1, 0, -30], [0, 1, -20], [0, 0, 1]], atol=0.1)
    result = run("same", grounds[0], grounds[2], *options, "--format", "json")
    document = json.loads(result.stdout)
    assert (document["same"], document["similarity"]) == (0, None)
    for setting in ("tgt_mask=absent.geojson", "ref_bands=[7]"):
        lost = run("same", *grounds[:2], *options, "-s", setting)
        assert lost.exit_code == 1, setting
        assert "absent.geojson" in lost.stderr or "has no band 7" in lost.stderr
    with_edges = run("same", *grounds[:2], *options[1:], "-e", "edges", "--format", "json")
    assert json.loads(with_edges.stdout)["same"] == 1


def test_only_an_embedder_that_is_named_needs_weights(
    run: Run, empty_cache: Path, grounds: tuple[Path, Path, Path]
) -> None:
    options = (*grounds[:2], "--no-geocoding", "-m", "sift", "--offline")
    result = run("same", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("1  ")
    named = run("same", *options, "-e", "efficientnet-lite0")
    assert named.exit_code == 1
    assert "imatch weights fetch efficientnet-lite0" in named.stderr
    assert not empty_cache.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["duplicates", "gone"], 1, "gone: does not exist; name a folder, or a CSV of pairs"),
        (["duplicates", "empty"], 1, "empty: holds no images"),
        (["duplicates", "pairs.csv"], 1, "none of 1 pairs could be used"),
        (["duplicates", "empty", "--decision", "gone.json"], 1, "gone.json: No such file"),
        (["same", "gone.tif", "gone.tif", "--no-embedder"], 1, "gone.tif: no such file"),
        (["same", "a", "b", "--no-embedder", "-e", "edges"], 2, "contradict each other"),
        (["eval", "pairs", "gone.csv"], 1, "gone.csv: No such file"),
        (["eval", "pairs", "pairs.csv"], 1, "1 of 1 pairs have no label"),
        (["eval", "pairs", "scores.csv"], 1, "all 1 pairs are yes"),
        (["eval", "pairs", "scores.csv", "--fit", "x.json"], 2, "needs images, not scores"),
        (["eval", "pears", "x"], 2, "did you mean 'pairs'?"),
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
    (tmp_path / "pairs.csv").write_text("a,b\nx.png,y.png\n")
    (tmp_path / "scores.csv").write_text("label,score\n1,0.5\n")
    result = run(*arguments)
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
