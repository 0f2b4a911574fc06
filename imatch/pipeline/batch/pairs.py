"""Pairs of a batch and their names."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import safe_name
from imatch.core.redaction import redacted
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.identity import NAMING_FILES, contents, files_of
from imatch.raster.names import is_virtual

_LISTED = 10


@dataclass(frozen=True)
class BatchPair:
    """One pair of a batch.

    Attributes:
        name: Its name, under which everything about it is written; see `safe_name`.
        reference: Path (or URL) of the reference.
        target: Path (or URL) of the target.
        settings: Fields of `MatchConfig` that differ from the run's for this pair alone.
    """

    name: str
    reference: str
    target: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def config(self, base: MatchConfig) -> MatchConfig:
        """The run's settings with the pair's own.

        Raises:
            ConfigError: A setting is unknown or makes no sense.
        """
        return make_config(base, **self.settings) if self.settings else base

    @property
    def key(self) -> str:
        """Changes with what the images and the files of the settings hold, and with these."""
        naming = {key: value for key, value in self.settings.items() if key in NAMING_FILES}
        files = (self.reference, self.target, *files_of(MatchConfig(**naming)))
        facts = [*map(contents, files), dict(self.settings)]
        text = json.dumps(facts, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def name_pairs(pairs: Iterable[BatchPair]) -> list[BatchPair]:
    """Name the pairs that have no name, after their files.

    Two files of one stem give that stem, others both stems; where that does not tell two pairs
    apart, a digest of the paths does, so that a name does not depend on the other pairs' order.
    """
    pairs = list(pairs)
    made = [pair.name or _files_name(pair) for pair in pairs]
    taken = Counter(name.casefold() for name in made)
    named = []
    for pair, name in zip(pairs, made, strict=True):
        if not pair.name and taken[name.casefold()] > 1:
            paths = f"{pair.reference}\n{pair.target}\n{sorted(pair.settings.items())}"
            name += "-" + hashlib.blake2b(paths.encode(), digest_size=4).hexdigest()
        named.append(replace(pair, name=name))
    return named


def check_pairs(pairs: Sequence[BatchPair], config: MatchConfig) -> None:
    """Refuse, before anything runs, a batch that cannot be run as it is.

    Args:
        pairs: The pairs.
        config: The settings they share.

    Raises:
        InputError: There are none, files are missing (all are told), or names clash.
        ConfigError: A pair's settings make no sense.
    """
    if not pairs:
        raise InputError("there are no pairs", hint="name at least one reference and its target")
    for pair in pairs:
        if safe_name(pair.name) != pair.name:
            raise InputError(
                "is no name for files",
                subject=repr(pair.name),
                hint=f"use letters, digits, . _ + and -, such as {safe_name(pair.name)}",
            )
    # Not to be told apart on the file systems of Windows and macOS.
    spelt: dict[str, list[str]] = defaultdict(list)
    for pair in pairs:
        spelt[pair.name.casefold()].append(pair.name)
    twice = [names[0] for names in spelt.values() if len(names) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} name{'s' * (len(twice) > 1)} of pairs occur twice: {_some(twice)}",
            hint="give every pair a name of its own",
        )
    for pair in pairs:
        if _same_file(pair.reference, pair.target):
            raise InputError(
                "is reference and target at once",
                subject=pair.reference,
                hint=f"name another file for the pair {pair.name}",
            )
        try:
            pair.config(config)
        except ConfigError as error:
            subject = f"pair {pair.name}: {error.subject}"
            raise ConfigError(error.cause, subject=subject, hint=error.hint) from error
    files = (
        file
        for pair in pairs
        for file in (pair.reference, pair.target, *_masks(pair))
        if not is_virtual(file)
    )
    missing = [file for file in dict.fromkeys(files) if not Path(file).exists()]
    if missing:
        raise InputError(
            f"{len(missing)} of the images "
            f"{'do' if len(missing) > 1 else 'does'} not exist: {_some(missing)}",
            hint="check the paths; those of a table start from its folder",
        )


def _files_name(pair: BatchPair) -> str:
    reference, target = (_stem(path) for path in (pair.reference, pair.target))
    return safe_name(reference if reference == target else f"{reference}__{target}")


def _stem(path: str) -> str:
    return PurePath(redacted(path).rstrip("/")).stem


def _masks(pair: BatchPair) -> list[str]:
    named = (pair.settings.get(name) for name in ("ref_mask", "tgt_mask", "points"))
    return [str(mask) for mask in named if mask]


def _same_file(one: str, other: str) -> bool:
    if is_virtual(one) or is_virtual(other):
        return one == other
    return Path(one).resolve() == Path(other).resolve()


def _some(names: Sequence[str]) -> str:
    """All of a few names, the first of many."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
