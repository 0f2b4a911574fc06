"""Makes pairs from a table, from two folders, or from one as a time series."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import combinations
from os import PathLike, fspath
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from imatch.core.errors import ConfigError, InputError
from imatch.core.redaction import get_logger
from imatch.pipeline.batch.pairs import BatchPair, name_pairs
from imatch.pipeline.batch.table import read_pairs
from imatch.raster.dates import acquisition_date
from imatch.raster.names import is_virtual
from imatch.raster.stac.documents import item_names, open_item, split_name
from imatch.raster.stac.item import item_date

PairBy: TypeAlias = Literal["name", "order", "date"]

_LOG = get_logger(__name__)
_IMAGES = frozenset({".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg", ".webp", ".vrt", ".img"})
# Folders and archives of other products than Sentinel-2's, by their names.
_PRODUCT = re.compile(r"(?:L[COTEM]0\d_L[12]\w\w_\d{6}_\d{8}_\d{8}_02_\w\w|HLS\.[LS]30\..*)", re.I)
_LISTED = 5


class Listed(NamedTuple):
    """An image of a folder or collection.

    Attributes:
        path: Its path or URL.
        name: What tells it: the file's name, or the item's.
        date: When it was taken, where that is known.
    """

    path: str
    name: str
    date: date | None

    @property
    def stem(self) -> str:
        """The name without its suffix, in one case."""
        return Path(self.name).stem.casefold()


def find_pairs(
    source: str | PathLike[str],
    targets: str | PathLike[str] | None = None,
    *,
    by: PairBy | None = None,
    reference: str | PathLike[str] | None = None,
    all_pairs: bool = False,
    max_gap: int | None = None,
) -> list[BatchPair]:
    """Pairs of a table, of two folders, or of one folder as a time series.

    Args:
        source: CSV table (`read_pairs`), or folder of images, or STAC collection.
        targets: Folder or collection of the targets (`pair_folders`), None for a table or a series.
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
    if Path(source).is_dir() or split_name(source) is not None:
        if reference is not None and all_pairs:
            raise _contradiction("--reference and --all-pairs contradict each other")
        if not series:
            raise _contradiction(
                "one folder needs --reference FILE or --all-pairs; or name a second folder"
            )
        return pair_series(source, reference, max_gap)
    if series or max_gap is not None:
        raise _contradiction("--reference, --all-pairs and --max-gap take a folder")
    return read_pairs(Path(source))


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


def _listed(place: str | PathLike[str]) -> list[Listed]:
    """The images of a folder, or the items of a collection."""
    items = item_names(place)
    if items is None:
        paths = list_images(Path(place))
        return [Listed(str(path), path.name, acquisition_date(path.name)) for path in paths]
    found = []
    for name in items:
        item = open_item(name.partition("#")[0])
        # An identifier may hold a dot, which begins no suffix.
        found.append(Listed(name, f"{item.id}.json", item_date(item)))
    return sorted(found, key=lambda image: image.name)


def pair_folders(
    references: str | PathLike[str],
    targets: str | PathLike[str],
    by: PairBy = "name",
    max_gap: int | None = None,
) -> list[BatchPair]:
    """Pair the images of two folders.

    Args:
        references: Folder or collection of the references.
        targets: Folder or collection of the targets.
        by: ``name``: files of the same name, whatever their suffix; ``order``: the first with the
            first and so on; ``date``: each target with the reference nearest in time, by the dates
            in their names, or of items.
        max_gap: Most days between the two of a pair, by date; None for the same day.

    Returns:
        The pairs, named. What finds no partner is logged as a warning.

    Raises:
        InputError: A folder holds no images, none of them match, or names hold no dates.
    """
    refs, tgts = _listed(references), _listed(targets)
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
        alone = [image.name for image in files if image not in {pair[side] for pair in pairs}]
        if alone:
            _LOG.warning("%d images of %s have no partner: %s", len(alone), folder, _some(alone))
    return _named(pairs)


def pair_series(
    folder: str | PathLike[str],
    reference: str | PathLike[str] | None = None,
    max_gap: int | None = None,
) -> list[BatchPair]:
    """Pair the images of one folder with one another.

    Args:
        folder: The images, or a collection of them.
        reference: All the others go with this one; it may lie elsewhere. None for all pairs, the
            earlier image of each (where all dates are known) as its reference.
        max_gap: Most days between the two of a pair; None for any.

    Returns:
        The pairs, named.

    Raises:
        InputError: There are too few images, the reference is missing, names hold no dates though
            `max_gap` asks for them, or no two are near enough.
    """
    images = _listed(folder)
    if reference is None:
        known = [image.date for image in images if image.date is not None]
        if len(known) == len(images):
            order = sorted(range(len(images)), key=lambda i: (known[i], images[i].name))
            images = [images[i] for i in order]
        pairs = list(combinations(images, 2))
    else:
        first = _reference(folder, images, fspath(reference))
        others = [image for image in images if _place(image.path) != _place(first.path)]
        pairs = [(first, image) for image in others]
    if not pairs:
        raise InputError("holds no image besides", subject=folder, hint="a pair takes two")
    if max_gap is not None:
        days = _dated({image for pair in pairs for image in pair})
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
        return path.suffix.upper() == ".SAFE" or _PRODUCT.fullmatch(path.name) is not None
    if path.suffix.lower() == ".tar":
        return _PRODUCT.fullmatch(path.stem) is not None
    return path.suffix.lower() in _IMAGES


def _by_name(refs: Sequence[Listed], tgts: Sequence[Listed]) -> list[tuple[Listed, Listed]]:
    by_stem: list[dict[str, list[Listed]]] = []
    for files in (refs, tgts):
        stems: dict[str, list[Listed]] = defaultdict(list)
        for image in files:
            stems[image.stem].append(image)
        by_stem.append(stems)
    pairs = []
    for stem, partners in by_stem[0].items():
        others = by_stem[1].get(stem, [])
        if others and len(partners) + len(others) > 2:
            twice = partners if len(partners) > 1 else others
            raise InputError(
                f"{' and '.join(image.name for image in twice)} have one name",
                subject=Path(twice[0].path).parent,
                hint="say in a CSV which goes with which",
            )
        pairs += list(zip(partners, others, strict=False))
    return pairs


def _by_date(
    refs: Sequence[Listed], tgts: Sequence[Listed], max_gap: int
) -> list[tuple[Listed, Listed]]:
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


def _dated(images: set[Listed]) -> dict[Listed, date]:
    undated = sorted(image.name for image in images if image.date is None)
    if undated:
        raise InputError(
            f"{len(undated)} names hold no date: {_some(undated)}",
            hint="dates are written as 20180812 or 2018-08-12; or pair by name or in a CSV",
        )
    return {image: image.date for image in images if image.date is not None}


def _reference(folder: str | PathLike[str], images: Sequence[Listed], reference: str) -> Listed:
    """The image as named, or of that name in the folder or collection."""
    for image in images:
        alike = _place(image.path) == _place(reference)
        if alike or reference in (image.name, Path(image.name).stem):
            return image
    if split_name(reference) is not None:
        item = open_item(reference.partition("#")[0])
        return Listed(reference, f"{item.id}.json", item_date(item))
    for path in (Path(reference), Path(folder) / reference):
        if path.exists():
            return Listed(str(path), path.name, acquisition_date(path.name))
    raise InputError("does not exist", subject=reference, hint=f"name a file, or one of {folder}")


def _place(path: str) -> str:
    """Where an image lies, whatever the assets that are asked of it."""
    item = split_name(path)
    path = path if item is None else item[0]
    return path if is_virtual(path) else str(Path(path).resolve())


def _named(pairs: Sequence[tuple[Listed, Listed]]) -> list[BatchPair]:
    return name_pairs([BatchPair("", ref.path, tgt.path) for ref, tgt in pairs])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
