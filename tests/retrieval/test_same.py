from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from affine import Affine

from imatch.core.errors import InputError
from imatch.pipeline.pair.config import MatchConfig
from imatch.raster import array_source, open_source
from imatch.raster.read.window import WindowSource
from imatch.retrieval.decision import Decision
from imatch.retrieval.embedders.base import ChipEmbedder
from imatch.retrieval.evaluate.score_pairs import score_pairs
from imatch.retrieval.pair_table import ImagePair
from imatch.retrieval.same import (
    FIGURES,
    LIMITS,
    embedded_chip,
    embedding_similarity,
    judge_ground,
)

SIFT = MatchConfig(matcher="sift", use_geocoding=False)
MATCH = Decision("same", None, None, FIGURES[1:], LIMITS[1:], (0.8, 2.0), -1.0, 0.5)
BOTH = Decision("same", "means", "x", FIGURES, LIMITS, (1.0, 0.8, 2.0), -1.0, 0.5)


def test_the_judge_ground_is_told_and_tied(archive: list[Path], means: ChipEmbedder) -> None:
    whole_scene = open_source(archive[0])
    a = WindowSource(whole_scene, 0, 0, 180, 160)
    b = WindowSource(whole_scene, 30, 20, 180, 160)
    answer = judge_ground(a, b, BOTH, SIFT, embedder=means)
    assert answer.same
    assert answer.probability > 0.9
    assert answer.similarity == pytest.approx(embedding_similarity(a, b, means))
    assert answer.registration is not None
    assert answer.registration.transform is not None
    assert np.allclose(answer.registration.transform.apply([[50, 50]]), [[20, 30]], atol=0.1)
    assert "sure, since sift ties them: " in answer.reason
    assert "alike" in answer.reason
    told = answer.to_dict()
    assert (told["same"], told["registration"]["status"]) == (1, "ok")


def test_other_ground_is_told(archive: list[Path]) -> None:
    stages: list[str] = []
    answer = judge_ground(
        open_source(archive[0]), open_source(archive[1]), MATCH, SIFT, on_stage=stages.append
    )
    assert not answer.same
    assert answer.probability < 0.1
    assert answer.similarity is None
    assert "finds no way to tie them" in answer.reason
    assert "alike" not in answer.reason
    assert "matching with sift" in stages


def test_geocoding_that_keeps_images_apart_decides_unless_told_otherwise(
    archive: list[Path],
) -> None:
    a, b = (open_source(path) for path in archive[:2])
    answer = judge_ground(a, b, MATCH, SIFT.model_copy(update={"use_geocoding": True}))
    assert (answer.same, answer.probability, answer.registration) == (False, 0.0, None)
    assert "by their geocoding" in answer.reason
    assert "they miss each other by 17.4 km" in answer.reason
    # The same pixels with another place in the file.
    copy = array_source(a.read().pixels, transform=Affine(10, 0, 9e5, 0, -10, 1e6), crs=32631)
    assert judge_ground(a, copy, MATCH, SIFT).same


def test_a_whole_image_is_one_chip(means: ChipEmbedder) -> None:
    chip = embedded_chip(array_source(np.random.default_rng(0).random((50, 200))), means)
    assert chip.pixels.shape == (3, 64, 64)
    assert chip.valid.sum() == 64 * 16
    nothing = array_source(np.full((40, 40), np.nan))
    with pytest.raises(InputError, match="shows no valid ground"):
        embedding_similarity(nothing, nothing, means)


def test_pairs_are_scored_for_either_question(
    archive: list[Path], tmp_path: Path, means: ChipEmbedder
) -> None:
    parts = []
    for i, (path, left) in enumerate([(archive[0], 0), (archive[0], 40), (archive[1], 0)]):
        pixels = WindowSource(open_source(path), left, 10, 160, 160).read().pixels[0]
        parts.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(parts[-1]), pixels.astype(np.uint8))
    pairs = [
        ImagePair(str(parts[0]), str(parts[1]), True),
        ImagePair(str(parts[0]), str(parts[2]), False),
        ImagePair(str(parts[0]), "gone.png", False),
    ]
    told: list[float] = []
    scored = score_pairs("same", pairs, SIFT, embedder=means, on_pair=told.append)
    assert told == [1, 1, 1]
    assert scored.labels.tolist() == [True, False]
    assert [item.path for item in scored.skipped] == [f"{parts[0]}, gone.png"]
    probabilities = scored.decided(BOTH)
    assert probabilities[0] > 0.9 > 0.1 > probabilities[1]
    assert np.array_equal(scored.decided(MATCH) > 0.5, [True, False])
    pictures = score_pairs("duplicates", pairs, SIFT)
    # Shifted by a quarter of the picture it is another one.
    assert pictures.table[:, 1].max() < 0.6
    assert len(pictures.skipped) == 1
    with pytest.raises(InputError, match="none of 1 pairs could be used"):
        score_pairs("same", pairs[2:], SIFT)
    with pytest.raises(InputError, match="none of 1 pairs could be used"):
        score_pairs("duplicates", pairs[2:], SIFT)
    with pytest.raises(InputError, match="are too few to learn from"):
        scored.fit(FIGURES, embedder=means)
