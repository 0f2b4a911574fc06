"""Preview of pairs: as they were prepared, or as a training run would see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from imatch.core.errors import ConfigError
from imatch.core.io.files import atomic_path, check_output
from imatch.core.settings import load_settings, read_mapping
from imatch.datasets.manifest import load_manifest
from imatch.datasets.pairs import ChipPairs
from imatch.datasets.report import spread, write_sheet
from imatch.datasets.sample import PairSample


def preview(
    path: Path, *, split: str | None = None, count: int = 12, seed: int = 0
) -> list[tuple[str, PairSample]]:
    """Returns pairs with a word on each, for `imatch.datasets.report.write_sheet`.

    Args:
        path: The folder of a prepared data set, or a training configuration, whose augmentation is
            then applied.
        split: Only this split; of a data set all of them by default, of a configuration ``train``.
        count: How many pairs, or of a data set how many of each split.
        seed: Of the augmentation.

    Raises:
        InputError: The folder or file cannot be used.
        ConfigError: The split does not exist, or the configuration is not one of training.
    """
    if path.is_file():
        return _augmented(path, split or "train", count, seed)
    manifest = load_manifest(path)
    out = []
    for name in manifest.document["counts"] if split is None else (split,):
        out += _sample_pairs(
            name, ChipPairs(manifest, name, max_changed=1.0, singles="auto"), count
        )
    return out


def write_preview(
    path: Path,
    out: Path,
    *,
    split: str | None = None,
    count: int = 12,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Draws pairs of a data set, or as a training configuration varies them, into one picture.

    Args:
        path: As for `preview`.
        out: The ``.png`` to write.
        split: As for `preview`.
        count: As for `preview`.
        seed: As for `preview`.
        overwrite: Whether an existing picture may be replaced.

    Raises:
        OutputError: The picture exists or cannot be written.
        ImatchError: As `preview`.
    """
    check_output(out, overwrite=overwrite)
    samples = preview(path, split=split, count=count, seed=seed)
    with atomic_path(out, overwrite=overwrite) as temporary:
        write_sheet(samples, temporary)


def _sample_pairs(word: str, pairs: ChipPairs, count: int) -> list[tuple[str, PairSample]]:
    return [(word, pairs[i]) for i in spread([row.source for row in pairs.rows], count)]


def _augmented(path: Path, split: str, count: int, seed: int) -> list[tuple[str, PairSample]]:
    if "sources" in read_mapping(path):
        raise ConfigError(
            "says how to prepare a data set",
            subject=path,
            hint="prepare it and preview its folder, or name a training configuration",
        )
    from imatch.training.augment.pair import Augmentation
    from imatch.training.superpoint.config import SuperPointConfig
    from imatch.training.views import open_pairs

    config = load_settings(SuperPointConfig, path)
    if split not in ("train", "val"):
        raise ConfigError("is no split of training", subject=split, hint="choose train or val")
    pairs = open_pairs(
        config.data, "train" if split == "train" else "val", config.model.bands, config.seed
    )
    vary = Augmentation(config.augment, config.data.size)
    places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [
        (split, vary(pairs[int(i)], np.random.default_rng([seed, number])))
        for number, i in enumerate(places)
    ]
