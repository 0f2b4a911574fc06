from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import write_rows
from imatch.datasets.manifest import (
    CHIPS,
    KEYPOINTS,
    MANIFEST,
    PAIRS,
    SCHEMA,
    ChipRow,
    KeypointRow,
    PairRow,
)
from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.safetensors"
    path.write_bytes(b"weights")
    return path


def checkpoint(data: dict[str, Any]) -> Checkpoint:
    about = {
        "config": {"steps": 100, "batch_size": 4, "data": {"size": 192}},
        "start": {"origin": "scratch", "sha256": ""},
        "licence": "Apache-2.0",
        "environment": {
            "machine": {"cpu": "a core", "cores": 2},
            "versions": {"torch": "2.13"},
            "commit": {"hash": "abc", "dirty": True},
        },
        "data": {"chips": None, "sha256": None, "pairs": 7} | data,
        "figures": {"auc_3": 0.25, "lost": None},
    }
    return Checkpoint(step=50, average={}, weights={}, state={}, about=about)


LOG = [
    {"step": 0, "val/auc_3": 0.125},
    {"step": 10, "train/pairs_per_s": 0.5},
    {"step": 20, "train/pairs_per_s": 0.25},
]


EXPORT = Exporter(what=["A net."], rows=lambda _checkpoint: {"input": "grey"})


def written(file: Path, log: Any = LOG, **data: Any) -> str:
    return EXPORT.card(checkpoint(data), file, log)


def test_tells_what_was_done_and_measured(file: Path) -> None:
    text = written(file)
    assert text.startswith("# own.safetensors\n\nA net.\n")
    for said in (
        "| input | grey |",
        "| steps | 50 of 100, each of 4 pairs, 200 in all |",
        # 200 pairs at 3 s on average.
        "| time | 0.2 h of training, on a core, 2 cores; torch 2.13 |",
        "| training pairs | 7 |",
        "| commit | abc, with changes |",
        "| auc_3 | 0.125 | 0.250 |",
        "| lost | unknown | unknown |",
        "Trained on procedural landscapes.",
    ):
        assert said in text


def test_pairs_by_kind_and_no_log(file: Path) -> None:
    text = written(file, [], pairs={"season": 5, "hard": 2})
    assert "| training pairs | 5 season, 2 hard |" in text
    assert "| time | unknown of training" in text


def test_cases_that_taught_are_told(file: Path) -> None:
    told = checkpoint({"pairs": {"sensors": 5}})
    more = {"cases": "cases.csv", "case_sources": ["sar"], "held_out": 2}
    told.about["config"]["data"] |= more
    text = EXPORT.card(told, file, LOG)
    row = "| pairs of two sensors | sources sar of the table of cases, one ground in 2 held out |"
    assert row in text
    assert "Trained on procedural landscapes and on real pairs of two sensors." in text
    assert "pairs of two sensors" not in written(file)


def test_sources_of_the_chips(file: Path, tmp_path: Path) -> None:
    document = {
        "schema": SCHEMA,
        "sha256": "ab",
        "config": {"chip": 64},
        "counts": {"train": {"pairs_by_source": {"s": 9, "t": 4}}},
        "sources": {name: {"licence": "CC0", "attribution": ""} for name in "st"},
    }
    (tmp_path / MANIFEST).write_text(to_json(document))
    for name, kind in ((CHIPS, ChipRow), (PAIRS, PairRow), (KEYPOINTS, KeypointRow)):
        write_rows(tmp_path / name, kind, [])
    text = written(file, chips=str(tmp_path), sha256="ab")
    assert "| s | 9 | CC0 | not stated |" in text
    assert "| t | 4 | CC0 | not stated |" in text
    # What was left out taught nothing.
    told = checkpoint({"chips": str(tmp_path), "sha256": "ab"})
    told.about["config"]["data"]["sources"] = ["t"]
    text = EXPORT.card(told, file, LOG)
    assert "| t | 4 | CC0 | not stated |" in text
    assert "| s |" not in text
    # Of other chips, or chips that are gone, nothing is said.
    for data in (
        {"chips": str(tmp_path), "sha256": "cd"},
        {"chips": str(tmp_path / "none"), "sha256": "ab"},
    ):
        assert "| source |" not in written(file, **data)
