from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine
from matplotlib.patches import Polygon

from imatch.core.errors import ConfigError, OutputError
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import Source, array_source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.figure import draw
from imatch.retrieval.formats import FORMATS
from imatch.retrieval.index.build import add_images
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts
from imatch.retrieval.index.stores import open_store
from imatch.retrieval.results import COLUMNS, SearchResult
from imatch.retrieval.search import Hit, Index, centre
from imatch.retrieval.verify import Verification, surroundings, verify

WriteImage = Callable[..., Path]
SIFT = MatchConfig(matcher="sift")


@pytest.fixture
def finder(archive: list[Path], tmp_path: Path, means: ChipEmbedder) -> Index:
    """The archive, opened."""
    add_images(tmp_path / "index", archive, means, IndexManifest(model=ModelFacts.of(means)))
    return Index(open_store(tmp_path / "index"), means)


@pytest.fixture
def query(archive: list[Path]) -> Source:
    """100 px of the second scene from (70, 40), turned upside down in brightness."""
    part = WindowSource(open_source(archive[1]), 70, 40, 100, 100).read()
    return array_source(255 - part.pixels)


def test_the_place_comes_first_and_its_registration_leads_there(
    finder: Index, archive: list[Path], means: ChipEmbedder
) -> None:
    part = WindowSource(open_source(archive[1]), 70, 40, 100, 100).read()
    plain = array_source(part.pixels)
    hits = finder.search(plain, 4)
    # A search that is wrong about the order is put right.
    wrong = [replace(hit, rank=i) for i, hit in enumerate(reversed(hits), start=1)]
    told: list[float] = []
    ranked = verify(plain, wrong, SIFT, on_hit=told.append)
    assert told == [1] * 4
    assert [hit.rank for hit in ranked] == [1, 2, 3, 4]
    best = ranked[0]
    assert best.verification is not None
    assert (best.image.path, best.verification.status) == (str(archive[1]), "ok")
    found = best.verification.registration
    assert found is not None
    assert found.transform is not None
    assert (found.reference.width, found.reference.height) == (256, 192)
    corners = np.array([[70, 40], [169, 40], [169, 139]])
    assert np.allclose(found.transform.apply(corners), corners - [70, 40], atol=0.1)
    agreeing = found.tie_points.inlier
    points = found.tie_points
    off = points.ref_xy[agreeing] - [70, 40] - points.tgt_xy[agreeing]
    assert np.allclose(np.median(off, axis=0), 0, atol=0.1)
    assert found.shift_px == pytest.approx((-70, -40), abs=0.1)
    assert found.to_dict()["certificate"]["shift_px"] == pytest.approx((-70, -40), abs=0.1)
    assert found.reference.transform == tuple(open_source(archive[1]).info.transform)[:6]
    others = [
        hit.verification.status
        for hit in ranked
        if hit.image.path != str(archive[1]) and hit.verification is not None
    ]
    assert "ok" not in others


def test_a_hit_whose_file_is_gone_fails_alone(
    finder: Index, archive: list[Path], query: Source
) -> None:
    hits = finder.search(query, 6)
    archive[0].unlink()
    ranked = verify(query, hits, SIFT)
    lost = [hit for hit in ranked if hit.image.path == str(archive[0])]
    assert lost
    assert all(h.verification is not None and h.verification.registration is None for h in lost)


def test_only_what_is_certified_comes_first(
    finder: Index, query: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = [("failed", None), ("uncertain", 9.0), ("ok", 3.0), ("ok", 5.0)]
    told = iter([Verification(s, "", evidence, 0.5, (0, 0, 9, 9)) for s, evidence in said])
    monkeypatch.setattr("imatch.retrieval.verify.verify_hit", lambda *_: next(told))
    hits = finder.search(query, 4)
    ranked = verify(query, hits, SIFT)
    assert [hit.row for hit in ranked] == [hits[i].row for i in (3, 2, 0, 1)]
    assert [hit.rank for hit in ranked] == [1, 2, 3, 4]


def test_surroundings_hold_the_whole_query(finder: Index, archive: list[Path]) -> None:
    query = WindowSource(open_source(archive[2]), 60, 30, 150, 120)
    for hit in finder.search(query, 1):
        frame = surroundings(hit, query.info.size)
        assert frame.left <= 60
        assert frame.top <= 30
        assert frame.left + frame.width >= 210
        assert frame.top + frame.height >= 150


@pytest.fixture
def answer(finder: Index, archive: list[Path], query: Source, tmp_path: Path) -> SearchResult:
    """Two verified hits and one of an image that has no place."""
    part = WindowSource(open_source(archive[1]), 70, 40, 100, 100).read()
    hits = verify(array_source(part.pixels), finder.search(array_source(part.pixels), 2), SIFT)
    nowhere = replace(hits[1], rank=3, footprint=None, verification=None)
    return SearchResult(
        "query.png", str(tmp_path / "index"), finder.store.manifest, [*hits, nowhere], query
    )


def test_the_picture_frames_the_chip_and_outlines_the_query(
    answer: SearchResult, query: Source
) -> None:
    figure = draw(answer, query)
    left = [axes for axes in figure.axes if axes.patches]
    assert len(left) == len(answer.hits)
    for axes, hit in zip(left, answer.hits, strict=True):
        box = axes.patches[0].get_window_extent().transformed(axes.transData.inverted())
        # Rows grow downwards.
        assert [box.width, -box.height] == pytest.approx([hit.cell.width, hit.cell.height])
        found = None if hit.verification is None else hit.verification.registration
        placed = found is not None and found.transform is not None
        assert len(axes.patches) == 1 + placed
    # The query is seen to lie where it was cut.
    outline = left[0].patches[1]
    assert isinstance(outline, Polygon)
    best = answer.registration
    assert best is not None
    assert best.transform is not None
    width, height = query.info.size
    there = best.transform.inverse([(-0.5, -0.5), (width - 0.5, height - 0.5)])
    assert outline.get_xy().min(axis=0) == pytest.approx(there[0], abs=3)


def test_an_answer_is_written_in_every_format(answer: SearchResult, tmp_path: Path) -> None:
    for suffix in FORMATS:
        answer.save(tmp_path / f"a{suffix}")
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["schema"] == "imatch.search/1"
    assert document["hits"][0]["verification"]["registration"]["schema"] == "imatch.registration/1"
    assert document["model"]["name"] == "means"
    collection = json.loads((tmp_path / "a.geojson").read_text())
    first, _, last = collection["features"]
    ring = np.array(first["geometry"]["coordinates"][0])
    assert (ring[0] == ring[-1]).all()
    # Counter-clockwise, as the standard asks.
    x, y = ring.T
    assert (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() > 0
    assert first["properties"]["status"] == "ok"
    assert last["geometry"] is None
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert tuple(rows[0]) == COLUMNS
    assert rows[2]["longitude"] == ""
    image = cv2.imread(str(tmp_path / "a.png"))
    assert image is not None
    assert min(image.shape[:2]) > 300
    assert answer.registration is not None


def test_an_answer_is_not_written_over_or_in_unknown_formats(
    answer: SearchResult, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        answer.save(tmp_path / "a.csv")
    with pytest.raises(ConfigError, match="does not tell the format"):
        answer.save(tmp_path / "a.xls")


def test_the_middle_of_a_hit_stays_on_the_map(answer: SearchResult) -> None:
    beyond = ((179.9, 1.0), (180.3, 1.0), (180.3, 0.0), (179.9, 0.0))
    hit: Hit = replace(answer.hits[0], footprint=beyond)
    assert centre(hit) == pytest.approx((-179.9, 0.5))


def test_an_index_across_the_antimeridian(
    tmp_path: Path, means: ChipEmbedder, write_image: WriteImage
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 128), np.uint8)
    path = write_image(
        "pacific.tif", pixels, crs="EPSG:4326", transform=Affine(0.01, 0, 179.36, 0, -0.01, 0.3)
    )
    add_images(tmp_path / "index", [path], means, IndexManifest(model=ModelFacts.of(means)))
    hits = Index(open_store(tmp_path / "index"), means).search(open_source(path), 3)
    spans = [np.ptp([x for x, _ in hit.footprint or ()]) for hit in hits]
    assert spans == pytest.approx([0.64] * len(hits), abs=1e-6)
