"""Decides whether two images show the same ground."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from imatch.core.errors import InputError, NoOverlapError
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.core.settings import check_options
from imatch.pipeline.pair.config import MatchConfig, MatchOptions, make_config
from imatch.pipeline.pair.match import Image, estimate_pair, open_images
from imatch.pipeline.registration.result import Registration
from imatch.raster import Source, common_grid
from imatch.retrieval.chips import Chip, render_chip
from imatch.retrieval.decision import Decision, decision_for, in_words
from imatch.retrieval.embedders.registry import load_embedder

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

#: Names of the figures of a pair, and what they are clipped to.
FIGURES = ("similarity", "evidence", "coverage")
LIMITS = ((-0.2, 1.0), (-8.0, 12.0), (0.0, 1.0))


@dataclass(frozen=True, eq=False)
class SameGround:
    """Decision on whether two images show the same ground.

    Attributes:
        same: Whether both show the same ground.
        probability: How sure; of two images whose geocoding keeps them apart, 0.
        reason: Why, in a sentence.
        similarity: Of their embeddings, None without an embedder.
        evidence: Of the matcher's certificate, None where there was too little to measure.
        registration: What the matcher found, None where it was not asked.
        notes: Why the embedder has no say, where it has none.
    """

    same: bool
    probability: float
    reason: str
    similarity: float | None = None
    evidence: float | None = None
    registration: Registration | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON; of the registration its status, reason and transform."""
        found = self.registration
        return {
            "same": int(self.same),
            "probability": self.probability,
            "reason": self.reason,
            "similarity": self.similarity,
            "evidence": self.evidence,
            "registration": None
            if found is None
            else {
                "status": found.status,
                "reason": found.reason,
                "model": found.model,
                "matrix": found.matrix,
                "coverage": found.coverage,
                "n_inliers": found.n_inliers,
            },
        }


def judge_ground(
    a: Source,
    b: Source,
    decision: Decision,
    config: MatchConfig,
    *,
    embedder: Embedder | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> SameGround:
    """Decide whether two images show the same ground.

    Two geocoded images that share no ground by what their files say do not, unless the
    configuration says to ignore that. Else both are matched, and what the matcher certifies, with
    the likeness of their embeddings where there is an embedder, gives the probability.

    Args:
        a: One image.
        b: The other.
        decision: Weighs the figures; of the embedder, or one that needs none.
        config: Settings of the match.
        embedder: Loaded; None decides by the match alone.
        on_stage: Told what is being done.

    Raises:
        InputError: An image cannot be read or shows nothing.
        ConfigError: As `match`.
    """
    if config.use_geocoding:
        a.info.check_place()
        b.info.check_place()
    if config.use_geocoding and a.info.geocoded and b.info.geocoded:
        try:
            common_grid(a.info, b.info, size=config.size, margin=config.margin)
        except NoOverlapError as error:
            return SameGround(False, 0.0, f"by their geocoding {error.subject} {error.cause}")
    similarity = None
    if embedder is not None and decision.identity is not None:
        if on_stage is not None:
            on_stage("embedding")
        similarity = embedding_similarity(a, b, embedder)
    started = time.perf_counter()
    found = estimate_pair(a, b, config, on_stage=on_stage).registration(started)
    figures = figures_of(found, similarity)
    probability = decision.probability(figures)
    same = probability >= decision.threshold
    return SameGround(
        same,
        probability,
        _reason(same, probability, similarity, found),
        similarity,
        found.certificate.evidence,
        found,
    )


def same_ground(
    a: Image,
    b: Image,
    config: MatchConfig | None = None,
    *,
    embedder: str | PathLike[str] | None = None,
    match_only: bool = False,
    decision: str | PathLike[str] | None = None,
    progress: ProgressOption = None,
    **options: Unpack[MatchOptions],
) -> SameGround:
    """Decide whether two images show the same ground.

    The answer rests on what the matcher certifies and, with weights, on how alike the images'
    embeddings are. Two geocoded images that share no ground by what their files say do not, unless
    ``use_geocoding=False``.

    Args:
        a: One image: a path or URL, an array, a DataArray or a `Source`.
        b: The other.
        config: Settings of the match; the defaults when None.
        embedder: Name or file of an embedder. When None, the default one if its weights can be had.
        match_only: Decide by the match alone, without an embedder.
        decision: File of a stored decision; the embedder's when None.
        progress: True shows what is being done on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig` to replace. ``device`` and ``fetch`` also hold for the
            embedder.

    Returns:
        The answer, how probable it is, and why.

    Raises:
        ConfigError: An option does not exist or makes no sense.
        InputError: An image cannot be read or shows nothing.
        ImatchError: The matcher or the embedder named cannot be loaded.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320))
        >>> told = imatch.same_ground(
        ...     ground[:, :280], ground[:, 20:300], match_only=True, matcher="sift"
        ... )
        >>> told.same
        True
    """
    check_options(options, MatchConfig, same_ground)
    settings = make_config(config, **options)
    sources = open_images(a, b, settings)
    loaded, notes = None, list[str]()
    if not match_only:
        loaded = load_embedder(embedder, device=settings.device, fetch=settings.fetch)
    identity = None if loaded is None else loaded.identity
    chosen = decision_for(
        "same",
        identity,
        source=None if embedder is None else fspath(embedder),
        file=None if decision is None else Path(decision),
    )
    if loaded is not None and chosen.identity is None:
        unlearnt = f"nothing was learnt for {loaded.name} (eval pairs --fit)"
        notes.append(f"deciding by the match alone: {unlearnt}")
    with ProgressStages(progress) as stages:
        answer = judge_ground(*sources, chosen, settings, embedder=loaded, on_stage=stages.begin)
    return replace(answer, notes=tuple(notes))


def figures_of(found: Registration, similarity: float | None) -> dict[str, float]:
    """Returns the figures of a pair by `FIGURES`, not finite where unknown.

    Args:
        found: What matching gave. Its evidence counts by how far it is above what the matcher asks
            for, in natural logarithms, whatever the matcher.
        similarity: Of the embeddings.
    """
    certificate = found.certificate
    beyond = float("nan")
    if certificate.evidence is not None and certificate.evidence_threshold is not None:
        unit = math.log(10) if certificate.evidence_kind == "false_alarms" else 1.0
        beyond = unit * (certificate.evidence - certificate.evidence_threshold)
    return {
        "similarity": float("nan") if similarity is None else similarity,
        "evidence": beyond,
        "coverage": found.coverage if found.status != "failed" else 0.0,
    }


def embedding_similarity(a: Source, b: Source, embedder: Embedder) -> float:
    """Similarity of the embeddings of two whole images, each brought to the embedder's size.

    Raises:
        InputError: An image cannot be read, shows nothing, or has too few bands.
    """
    vectors = []
    for source in (a, b):
        chip = embedded_chip(source, embedder)
        vector = embedder.embed(chip.pixels[None], chip.valid[None])[0]
        if not np.linalg.norm(vector) > 0:
            raise InputError(
                "shows no valid ground", subject=source.info.name, hint="check its nodata value"
            )
        vectors.append(vector)
    return float(1 - ((vectors[0] - vectors[1]) ** 2).sum() / 2)


def embedded_chip(source: Source, embedder: Embedder) -> Chip:
    """A whole image as one chip, its longer side that of the embedder's chips."""
    width, height = source.info.size
    scale = embedder.chip_px / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return render_chip(source.read(size=size), embedder.bands, embedder.chip_px)


def _reason(same: bool, probability: float, similarity: float | None, found: Registration) -> str:
    """Returns the reason for a decision, one sentence."""
    alike = "" if similarity is None else f" and their embeddings are {similarity:.2f} alike"
    sure = in_words(probability if same else 1 - probability)
    if found.status == "ok":
        finding = f"{found.matcher} ties them: {found.reason}"
    elif found.status == "uncertain":
        finding = f"{found.matcher} is uncertain: {found.reason}"
    else:
        finding = f"{found.matcher} finds no way to tie them: {found.reason}"
    return f"{sure} sure, since {finding}{alike}"
