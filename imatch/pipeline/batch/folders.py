"""Makes pairs from a table, from two folders, or from one as a time series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeAlias

from imatch.core.errors import ConfigError, InputError
from imatch.core.redaction import get_logger
from imatch.pipeline.batch.pairs import BatchPair, name_pairs
from imatch.pipeline.batch.table import read_pairs
from imatch.raster.dates import acquisition_date

PairBy: TypeAlias = Literal["name", "order", "date"]

_LOG = get_logger(__name__)
_IMAGES = frozenset({".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".vrt", ".img"})
_LISTED = 5


def find_pairs(
    source: Path,
    targets: Path | None = None,
    *,
    by: PairBy | None = None,
    reference: Path | None = None,
    all_pairs: bool = False,
    max_gap: int | None = None,
) -> list[BatchPair]:
    """Pairs of a table, of two folders, or of one folder as a time series.

    Args:
        source: CSV table (`read_pairs`), or folder of images.
        targets: Folder of the targets (`pair_folders`), None for a table or a series.
        by: How the images of two folders go together, by name when None.
        reference: Of a series: all its other images go with this one (`pair_series`).
        all_pairs: Of a series: every two images.
        max_gap: Most days between the two of a pair.

    Returns:
        The pairs, named.

    Raises:
        ConfigError: The arguments contradict each other.
        InputError: As `read_pairs`, `pair_folders` and `pair_series`.
    """
    series = reference is not None or all_pairs
    if targets is not None:
        if series:
            raise _contradiction("--reference and --all-pairs take one folder")
        if max_gap is not None and by != "date":
            raise _contradiction("with two folders --max-gap goes with --pair-by date")
        return pair_folders(source, targets, by or "name", max_gap)
    if by is not None:
        raise _contradiction("--pair-by takes two folders")
    if source.is_dir():
        if reference is not None and all_pairs:
            raise _contradiction("--reference and --all-pairs contradict each other")
        if not series:
            raise _contradiction(
                "one folder needs --reference FILE or --all-pairs; or name a second folder"
            )
        return pair_series(source, reference, max_gap)
    if series or max_gap is not None:
        raise _contradiction("--reference, --all-pairs and --max-gap take a folder")
    return read_pairs(source)


def _contradiction(cause: str) -> ConfigError:
    return ConfigError(cause, hint="see imatch batch --help")


def list_images(folder: Path) -> list[Path]:
    """The images of a folder, products (``.SAFE``) among them, by name; hidden files are not.

    Raises:
        InputError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        cause = "is no folder" if folder.exists() else "does not exist"
        raise InputError(cause, subject=folder, hint="name a folder of images, or a CSV of pairs")
    try:
        found = sorted(path for path in folder.iterdir() if _is_image(path))
    except OSError as error:
        raise InputError(error.strerror or str(error), subject=folder) from error
    if not found:
        raise InputError(
            "holds no images",
            subject=folder,
            hint=f"images end in {', '.join(sorted(_IMAGES))} or .SAFE",
        )
    return found


def pair_folders(
    references: Path, targets: Path, by: PairBy = "name", max_gap: int | None = None
) -> list[BatchPair]:
    """Pair the images of two folders.

    Args:
        references: Folder of the references.
        targets: Folder of the targets.
        by: ``name``: files of the same name, whatever their suffix; ``order``: the first with the
            first and so on; ``date``: each target with the reference nearest in time, by the dates
            in their names.
        max_gap: Most days between the two of a pair, by date; None for the same day.

    Returns:
        The pairs, named. What finds no partner is logged as a warning.

    Raises:
        InputError: A folder holds no images, none of them match, or names hold no dates.
    """
    refs, tgts = list_images(references), list_images(targets)
    if by == "order":
        if len(refs) != len(tgts):
            raise InputError(
                f"holds {len(tgts)} images, and {references} {len(refs)}",
                subject=targets,
                hint="to be paired by order they have to be as many",
            )
        pairs = list(zip(refs, tgts, strict=True))
    elif by == "date":
        pairs = _by_date(refs, tgts, 0 if max_gap is None else max_gap)
    else:
        pairs = _by_name(refs, tgts)
    if not pairs:
        within = f" within {max_gap or 0} days" if by == "date" else ""
        hint = "widen --max-gap" if by == "date" else "pair them by order or date, or in a CSV"
        raise InputError(
            f"none of its images has a partner in {references} by {by}{within}",
            subject=targets,
            hint=hint,
        )
    for folder, files, side in ((references, refs, 0), (targets, tgts, 1)):
        alone = [path.name for path in files if path not in {pair[side] for pair in pairs}]
        if alone:
            _LOG.warning("%d images of %s have no partner: %s", len(alone), folder, _some(alone))
    return _named(pairs)


def pair_series(
    folder: Path, reference: Path | None = None, max_gap: int | None = None
) -> list[BatchPair]:
    """Pair the images of one folder with one another.

    Args:
        folder: The images.
        reference: All the others go with this one; it may lie elsewhere. None for all pairs, the
            earlier image of each (by date, where all names hold one) as its reference.
        max_gap: Most days between the two of a pair; None for any.

    Returns:
        The pairs, named.

    Raises:
        InputError: There are too few images, the reference is missing, names hold no dates though
            `max_gap` asks for them, or no two are near enough.
    """
    images = list_images(folder)
    if reference is None:
        dates = [acquisition_date(path.name) for path in images]
        known = [day for day in dates if day is not None]
        if len(known) == len(images):
            order = sorted(range(len(images)), key=lambda i: (known[i], images[i].name))
            images = [images[i] for i in order]
        pairs = list(combinations(images, 2))
    else:
        first = _reference(folder, reference)
        others = [path for path in images if path.resolve() != first.resolve()]
        pairs = [(first, path) for path in others]
    if not pairs:
        raise InputError("holds no image besides", subject=folder, hint="a pair takes two")
    if max_gap is not None:
        days = _dated({path for pair in pairs for path in pair})
        pairs = [(a, b) for a, b in pairs if abs((days[a] - days[b]).days) <= max_gap]
        if not pairs:
            raise InputError(
                f"no two of its images are within {max_gap} days",
                subject=folder,
                hint="widen --max-gap",
            )
    return _named(pairs)


def _is_image(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return path.suffix.upper() == ".SAFE"
    return path.suffix.lower() in _IMAGES


def _by_name(refs: Sequence[Path], tgts: Sequence[Path]) -> list[tuple[Path, Path]]:
    by_stem: list[dict[str, list[Path]]] = []
    for files in (refs, tgts):
        stems: dict[str, list[Path]] = defaultdict(list)
        for path in files:
            stems[path.stem.casefold()].append(path)
        by_stem.append(stems)
    pairs = []
    for stem, partners in by_stem[0].items():
        others = by_stem[1].get(stem, [])
        if others and len(partners) + len(others) > 2:
            twice = partners if len(partners) > 1 else others
            raise InputError(
                f"{' and '.join(path.name for path in twice)} have one name",
                subject=twice[0].parent,
                hint="say in a CSV which goes with which",
            )
        pairs += list(zip(partners, others, strict=False))
    return pairs


def _by_date(refs: Sequence[Path], tgts: Sequence[Path], max_gap: int) -> list[tuple[Path, Path]]:
    days = _dated({*refs, *tgts})
    pairs = []
    for target in tgts:
        # Of two as near, the earlier; of one day, the first by name.
        gap, _, _, reference = min(
            (abs((days[ref] - days[target]).days), days[ref], ref.name, ref) for ref in refs
        )
        if gap <= max_gap:
            pairs.append((reference, target))
    return pairs


def _dated(images: set[Path]) -> dict[Path, date]:
    found = {path: acquisition_date(path.name) for path in sorted(images)}
    undated = [path.name for path, day in found.items() if day is None]
    if undated:
        raise InputError(
            f"{len(undated)} names hold no date: {_some(undated)}",
            hint="dates are written as 20180812 or 2018-08-12; or pair by name or in a CSV",
        )
    return {path: day for path, day in found.items() if day is not None}


def _reference(folder: Path, reference: Path) -> Path:
    """The file as named, or of that name in the folder."""
    for path in (reference, folder / reference):
        if path.exists():
            return path
    raise InputError("does not exist", subject=reference, hint=f"name a file, or one of {folder}")


def _named(pairs: Sequence[tuple[Path, Path]]) -> list[BatchPair]:
    return name_pairs([BatchPair("", str(ref), str(tgt)) for ref, tgt in pairs])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
