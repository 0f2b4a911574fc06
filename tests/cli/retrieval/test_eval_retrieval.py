from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import Result

from tests.training.embedder.conftest import write_data

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four by four tiles in three seasons; the last row, four places, for validation."""
    return write_data(tmp_path_factory.mktemp("chips"), 4, 4)


@pytest.fixture(scope="module")
def label_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class 1 in the west, 2 in the east."""
    path = tmp_path_factory.mktemp("labels") / "map.tif"
    values = np.full((16, 16), 1, np.uint8)
    values[:, 8:] = 2
    profile = {"driver": "GTiff", "count": 1, "height": 16, "width": 16, "dtype": "uint8"}
    transform = Affine(100, 0, 356_000, 0, -100, 4_835_000)
    with rasterio.open(path, "w", crs="EPSG:32631", transform=transform, **profile) as out:
        out.write(values, 1)
    return path


class TestRetrieval:
    def test_places_are_found_again(self, run: Run, chips: Path, tmp_path: Path) -> None:
        out = tmp_path / "figures.json"
        result = run("eval", "retrieval", chips, "-e", "edges", "-o", out)
        assert result.exit_code == 0, result.stderr
        assert "top_1" in result.stdout
        told = json.loads(out.read_text())["embedders"]["edges"]
        assert told["chips"] == 12
        assert told["queries"] == 12
        # The seasons of the fixture differ by brightness alone.
        assert told["top_1"] == 1.0
        assert told["map_r"] > 0.9
        assert run("eval", "retrieval", chips, "-e", "edges", "-o", out).exit_code == 1

    def test_between_two_seasons(self, run: Run, chips: Path) -> None:
        arguments = ["--split", "train", "--between", "dec-feb", "20180715", "--format", "json"]
        result = run("eval", "retrieval", chips, "-e", "edges", *arguments)
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)["embedders"]["edges"]
        assert told["queries"] == 12
        assert told["recall_1"] == told["top_1"]

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (["--split", "test"], 2, "has no chips of test"),
            (["--source", "mars"], 2, "has no source 'mars'"),
            (["--between", "sep-nov", "jun-aug"], 1, "no chip is of that season or date"),
            (["-e", "edgse"], 2, "did you mean 'edges'"),
        ],
    )
    def test_wrong_usage(
        self, arguments: list[str], code: int, said: str, run: Run, chips: Path
    ) -> None:
        embedder = [] if "-e" in arguments else ["-e", "edges"]
        result = run("eval", "retrieval", chips, *embedder, *arguments)
        assert result.exit_code == code
        assert said in result.stderr

    def test_no_data(self, run: Run, tmp_path: Path) -> None:
        result = run("eval", "retrieval", tmp_path, "-e", "edges")
        assert result.exit_code == 1
        assert "holds no data set" in result.stderr


class TestEmbedding:
    def test_classes_and_mixtures(self, run: Run, chips: Path, label_map: Path) -> None:
        common = ["--labels", label_map, "-e", "edges", "--split", "train", "--draws", "2"]
        common += ["--classifier", "knn", "--classifier", "tree", "--format", "json"]
        result = run("eval", "embedding", chips, *common)
        assert result.exit_code == 0, result.stderr
        document = json.loads(result.stdout)
        assert document["classes"] == [1, 2]
        told = document["embedders"]["edges"]
        assert set(told["figures"]) == {"knn", "tree", "map_r", "map_1", "map_10"}
        assert 0 <= told["figures"]["knn"]["mean"] <= 1
        assert len(told["draws"]["tree"]) == 2
        result = run("eval", "embedding", chips, *common, "--multi")
        assert result.exit_code == 0, result.stderr
        told = json.loads(result.stdout)["embedders"]["edges"]
        assert set(told["figures"]) == {"knn", "tree", "map_r", "gsil"}

    def test_table(self, run: Run, chips: Path, label_map: Path) -> None:
        arguments = ["--split", "train", "--draws", "1", "--classifier", "knn", "-e", "edges"]
        result = run("eval", "embedding", chips, "--labels", label_map, *arguments)
        assert result.exit_code == 0, result.stderr
        assert "±" in result.stdout

    def test_wrong_usage(self, run: Run, chips: Path, label_map: Path, tmp_path: Path) -> None:
        missing = run("eval", "embedding", chips, "--labels", tmp_path / "no.tif", "-e", "edges")
        assert missing.exit_code == 1
        assert "no such file" in missing.stderr
        common = ["--labels", label_map, "-e", "edges", "--split", "train"]
        unknown = run("eval", "embedding", chips, *common, "--classifier", "oracle")
        assert unknown.exit_code == 2
        assert "no such classifier" in unknown.stderr


def test_listing_imports_nothing_heavy(run: Run) -> None:
    result = run("eval", "--help")
    assert result.exit_code == 0
    assert {"retrieval", "embedding"} <= set(result.stdout.split())
