"""Kinds of pairs on which trust is measured, each made from a seed and a split."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.pairs.trust.bent import bent
from tests.support.pairs.trust.changed import changed
from tests.support.pairs.trust.different import (
    adjacent,
    mirrored,
    other,
    other_date,
    other_strips,
)
from tests.support.pairs.trust.fixed import band_collars, gaps_marked, other_fixed, pixel_fixed
from tests.support.pairs.trust.ground import SPLITS
from tests.support.pairs.trust.known import clouded, exact, partial, seasons, small, strips, warped
from tests.support.pairs.trust.lattices import lattice_true, lattices
from tests.support.pairs.trust.overlaid import other_overlaid, overlaid
from tests.support.pairs.trust.pair import TrustPair
from tests.support.pairs.trust.renderings import renderings
from tests.support.pairs.trust.scenes import scene, scene_bent, scene_smooth


@dataclass(frozen=True)
class Kind:
    """A kind of pairs.

    Attributes:
        make: Makes one.
        splits: Where it can be made from.
        right: What is asked: ``refuse``, ``answer`` (and be right), or ``honest``: be right, or
            refuse.
        whole: Whether a whole scene is registered tile by tile, not a pair at once.
    """

    make: Callable[[Path, str, np.random.Generator], TrustPair]
    splits: tuple[str, ...] = SPLITS
    right: str = "honest"
    whole: bool = False


_REAL, _MADE = ("train", "bench"), ("made",)
KINDS: dict[str, Kind] = {
    "other": Kind(other, right="refuse"),
    "adjacent": Kind(adjacent, _REAL, "refuse"),
    "mirrored": Kind(mirrored, right="refuse"),
    "other_date": Kind(other_date, _REAL, "refuse"),
    "other_strips": Kind(other_strips, _REAL, "refuse"),
    "other_fixed": Kind(other_fixed, right="refuse"),
    "other_overlaid": Kind(other_overlaid, right="refuse"),
    "lattices": Kind(lattices, _MADE, "refuse"),
    "lattice_true": Kind(lattice_true, _MADE),
    "bent": Kind(bent),
    "exact": Kind(exact, _MADE, "answer"),
    "warped": Kind(warped, right="answer"),
    "seasons": Kind(seasons, right="answer"),
    "clouded": Kind(clouded),
    "pixel_fixed": Kind(pixel_fixed),
    "overlaid": Kind(overlaid),
    "band_collars": Kind(band_collars, right="answer"),
    "gaps_marked": Kind(gaps_marked, right="answer"),
    "strips": Kind(strips, right="answer"),
    "small": Kind(small, right="answer"),
    "partial": Kind(partial),
    "renderings": Kind(renderings, _MADE),
    "changed": Kind(changed, ("train", "made"), "answer"),
    "scene": Kind(scene, ("train", "made"), "answer", whole=True),
    "scene_smooth": Kind(scene_smooth, ("train", "made"), whole=True),
    "scene_bent": Kind(scene_bent, ("train", "made"), whole=True),
}


def make_pair(kind: str, split: str, seed: int, data: Path) -> TrustPair:
    """The pair of a kind, a split and a seed: the same ones give the same pair.

    Raises:
        ValueError: The kind cannot be made from the split.
    """
    if split not in KINDS[kind].splits:
        raise ValueError(f"{kind} is made from {' or '.join(KINDS[kind].splits)}, not from {split}")
    words = [seed, *(zlib.crc32(word.encode()) for word in (kind, split))]
    return KINDS[kind].make(data, split, np.random.default_rng(words))
