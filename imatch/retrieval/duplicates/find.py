"""Finds near-duplicate files and groups them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from imatch.core.errors import InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.tables import as_cell, write_csv
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.core.redaction import redacted
from imatch.raster import open_source
from imatch.retrieval.decision import Decision, decision_for
from imatch.retrieval.duplicates.normalisation import NormalisedImage, form_of
from imatch.retrieval.duplicates.similarity import FIGURES, Similarity, compare
from imatch.retrieval.index.build import find_images
from imatch.retrieval.index.workers import SkippedImage
from imatch.retrieval.pair_table import read_pairs

#: Columns of the table of pairs.
COLUMNS = ("a", "b", "duplicate", "probability", *FIGURES, "group")
# Of many files, pairs whose edges are less alike than this are not looked at more closely, and of
# each file no more than its nearest.
_UNLIKE, _NEAREST = 0.12, 64
Tell = Callable[[float], None]


@dataclass(frozen=True)
class DuplicatePair:
    """A pair of files with its probability and decision.

    Attributes:
        a: One file.
        b: The other.
        probability: That they are one picture.
        duplicate: Whether it reaches the threshold.
        likeness: The figures behind it.
        group: The group both belong to, from 1; 0 where they are not duplicates.
    """

    a: str
    b: str
    probability: float
    duplicate: bool
    likeness: Similarity
    group: int = 0


@dataclass(frozen=True)
class Duplicates:
    """Near-duplicates found among files.

    Attributes:
        files: Those that could be read, in order.
        pairs: The pairs asked for; of a folder those that are duplicates, surest first.
        groups: Files that are one picture, the one with most pixels first; largest group first.
        compared: Pairs that were looked at closely.
        threshold: Probability from which two are one picture.
        skipped: Files that could not be used.
    """

    files: tuple[str, ...]
    pairs: tuple[DuplicatePair, ...]
    groups: tuple[tuple[str, ...], ...]
    compared: int
    threshold: float
    skipped: tuple[SkippedImage, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "files": len(self.files),
            "compared": self.compared,
            "threshold": self.threshold,
            "groups": [list(group) for group in self.groups],
            "pairs": [asdict(pair) for pair in self.pairs],
            "skipped": [asdict(item) for item in self.skipped],
        }

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the pairs as CSV, columns `COLUMNS`.

        Args:
            path: The file.
            overwrite: Replace it if it exists.

        Raises:
            OutputError: It exists, or the disk refused.
        """
        with atomic_path(Path(path), overwrite=overwrite) as temporary:
            write_csv(temporary, COLUMNS, map(_row, self.pairs))


def find_duplicates(
    where: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    threshold: float | None = None,
    decision: str | PathLike[str] | None = None,
    progress: ProgressOption = None,
) -> Duplicates:
    """Find near-duplicates among images, or answer for the pairs of a table.

    Two files are one picture if one is the other after a watermark, another size, aspect or frame,
    other colours or contrast, in grey, with an alpha band, or compressed. Another date of the same
    ground is another picture.

    Args:
        where: Folder of images, files, or a CSV with the columns a and b.
        threshold: Probability from which two are one picture; as the decision has it when None.
        decision: File of a stored decision; the one that comes with imatch when None.
        progress: True shows how far the work is on a terminal's stderr; a callback is told.

    Returns:
        The pairs and groups.

    Raises:
        InputError: There is no such folder or table, or nothing in it can be used.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> ground = np.random.default_rng(0).random((16, 16)) * 255
        >>> picture, folder = cv2.resize(ground, (256, 256)), getfixture("tmp_path")
        >>> for name, quality in (("a.jpg", 95), ("b.jpg", 60)):
        ...     _ = cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        >>> found = imatch.find_duplicates(folder)
        >>> [len(group) for group in found.groups]
        [2]
    """
    chosen = decision_for("duplicates", None, file=None if decision is None else Path(decision))
    if threshold is not None:
        chosen = replace(chosen, threshold=threshold)
    with ProgressStages(progress) as stages:
        if isinstance(where, str | PathLike):
            place = Path(where)
            if place.is_file():
                pairs = [(pair.a, pair.b) for pair in read_pairs(place)]
                stages.begin("reading", len({file for pair in pairs for file in pair}))
                return judge_pairs(pairs, chosen, on_file=stages.advance)
            if not place.is_dir():
                raise InputError(
                    "does not exist", subject=place, hint="name a folder, or a CSV of pairs"
                )
            where = [place]
        files = find_images(where)
        stages.begin("reading", len(files))
        return duplicates_in(
            files,
            chosen,
            on_file=stages.advance,
            on_start=lambda count: stages.begin("comparing", count),
            on_pair=stages.advance,
        )


def read_forms(
    files: Iterable[str], on_file: Tell = lambda _files: None
) -> tuple[dict[str, NormalisedImage], list[SkippedImage]]:
    """Bring files to the common form; what cannot be used is listed.

    Args:
        files: The files.
        on_file: Told of each that is done.
    """
    forms: dict[str, NormalisedImage] = {}
    skipped = []
    for file in dict.fromkeys(files):
        try:
            forms[file] = form_of(open_source(file))
        except InputError as error:
            skipped.append(SkippedImage(file, error.cause))
        on_file(1)
    return forms, skipped


def duplicates_in(
    files: Sequence[str],
    decision: Decision,
    *,
    on_file: Tell = lambda _files: None,
    on_start: Callable[[int], None] = lambda _pairs: None,
    on_pair: Tell = lambda _pairs: None,
) -> Duplicates:
    """Finds all near-duplicates among files and groups them.

    Of more than a few files only pairs are compared whose edges run alike.

    Args:
        files: The files.
        decision: When two are one picture.
        on_file: Told of each file that is read.
        on_start: Told how many pairs are to be compared.
        on_pair: Told of each pair that is compared.

    Raises:
        InputError: None of the files could be used.
    """
    forms, skipped = read_forms(files, on_file)
    if not forms:
        first = f": {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise InputError(
            f"none of {len(skipped)} images could be used{first}", hint="name readable images"
        )
    names = list(forms)
    candidates = _candidates(np.stack([forms[name].vector for name in names]))
    on_start(len(candidates))
    found = []
    for i, j in candidates:
        pair = _judge(names[i], names[j], forms, decision)
        if pair.duplicate:
            found.append(pair)
        on_pair(1)
    return _grouped(found, forms, len(candidates), skipped, decision.threshold, only=True)


def judge_pairs(
    pairs: Sequence[tuple[str, str]],
    decision: Decision,
    *,
    on_file: Tell = lambda _files: None,
    on_pair: Tell = lambda _pairs: None,
) -> Duplicates:
    """Answer for given pairs, and group those that are duplicates.

    Args:
        pairs: The files of each.
        decision: When two are one picture.
        on_file: Told of each file that is read.
        on_pair: Told of each pair that is compared.

    Raises:
        InputError: None of the pairs could be used.
    """
    forms, skipped = read_forms((file for pair in pairs for file in pair), on_file)
    judged = []
    for a, b in pairs:
        if a in forms and b in forms:
            judged.append(_judge(a, b, forms, decision))
        on_pair(1)
    if not judged:
        raise InputError(
            f"none of {len(pairs)} pairs could be used: {skipped[0].path}: {skipped[0].reason}",
            hint="name readable images",
        )
    return _grouped(judged, forms, len(judged), skipped, decision.threshold, only=False)


def _candidates(vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of rows to be looked at closely, each once."""
    count = len(vectors)
    if count <= _NEAREST:
        return list(combinations(range(count), 2))
    chosen: set[tuple[int, int]] = set()
    for start in range(0, count, 1024):
        likeness = vectors[start : start + 1024] @ vectors.T
        nearest = np.argpartition(-likeness, _NEAREST, axis=1)[:, : _NEAREST + 1]
        for offset, row in enumerate(nearest):
            i = start + offset
            alike = row[likeness[offset, row] >= _UNLIKE]
            chosen |= {(min(i, int(j)), max(i, int(j))) for j in alike if j != i}
    return sorted(chosen)


def _judge(a: str, b: str, forms: dict[str, NormalisedImage], decision: Decision) -> DuplicatePair:
    likeness = compare(forms[a], forms[b])
    probability = decision.probability(asdict(likeness))
    return DuplicatePair(a, b, probability, probability >= decision.threshold, likeness)


def _grouped(
    pairs: list[DuplicatePair],
    forms: dict[str, NormalisedImage],
    compared: int,
    skipped: list[SkippedImage],
    threshold: float,
    *,
    only: bool,
) -> Duplicates:
    names = list(forms)
    place = {name: i for i, name in enumerate(names)}
    links = [(place[pair.a], place[pair.b]) for pair in pairs if pair.duplicate]
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    shape = len(names), len(names)
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    labels = connected_components(graph, directed=False)[1]
    members: dict[int, list[str]] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        members.setdefault(label, []).append(name)

    def pixels(name: str) -> int:
        width, height = forms[name].size
        return width * height

    groups = [sorted(group, key=lambda n: (-pixels(n), n)) for group in members.values()]
    groups = sorted((g for g in groups if len(g) > 1), key=lambda g: (-len(g), g[0]))
    number = {name: i for i, group in enumerate(groups, start=1) for name in group}
    decided = [
        DuplicatePair(
            pair.a,
            pair.b,
            pair.probability,
            pair.duplicate,
            pair.likeness,
            number[pair.a] if pair.duplicate else 0,
        )
        for pair in pairs
    ]
    if only:
        decided.sort(key=lambda pair: (-pair.probability, pair.a, pair.b))
    return Duplicates(
        tuple(names), tuple(decided), tuple(map(tuple, groups)), compared, threshold, tuple(skipped)
    )


def _row(pair: DuplicatePair) -> list[object]:
    numbers = pair.probability, *(getattr(pair.likeness, name) for name in FIGURES)
    texts = [f"{value:.4f}" for value in numbers]
    names = as_cell(redacted(pair.a)), as_cell(redacted(pair.b))
    return [*names, int(pair.duplicate), *texts, pair.group or ""]
