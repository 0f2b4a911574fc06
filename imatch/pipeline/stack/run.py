"""Registers a time series through the pairs of dates that match.

Pairs are matched one by one, and all images' transforms are solved together from them
(`imatch.geometry.adjustment.graph`), so that an image is tied by every pair it is in, directly or
through others, and a wrong pair is outvoted and named.

What an image is worth in the end:

- ``ok``: at least one way of sure pairs leads from it to the reference, and where that way is
  narrowest fewer sure pairs contradict it than confirm it. One pair alone will do if it is sure of
  itself, though then nothing checks it, which the reason says.
- ``uncertain``: tied only through pairs that are not sure of themselves. Such a pair counts where
  it closes a loop with others, but images that look alike are mistaken alike, so two that agree
  prove little. Also what is contradicted as often as confirmed, or whose corners are hardly known.
- ``failed``: no such way; the reason tells what the best attempts came to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import safe_name
from imatch.core.io.fingerprint import Fingerprint
from imatch.core.redaction import redacted
from imatch.geometry.adjustment.graph import Adjustment, AdjustmentOptions, central, solve
from imatch.geometry.adjustment.network import Edge
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.batch.executor import BatchExecutor
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.run import BatchResult, run_batch
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.pipeline.pair.provenance import inputs_of, versions
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.stack.images import InputImage, find_reference, mark_copies, open_stack_images
from imatch.pipeline.stack.network import Attempt, StackNetwork
from imatch.pipeline.stack.pairing import IndexPair, PairChoice, first_pairs, more_pairs
from imatch.pipeline.stack.pairs import Frames, edge_of
from imatch.pipeline.stack.result import Stack
from imatch.pipeline.stack.status import image_statuses, judge
from imatch.raster.read.source import SETTINGS

#: Where the pairs' own results are kept, in the folder of a stack.
PAIRS = "pairs"
Model = Literal["auto", "translation", "similarity", "affine"]


def solve_stack(
    images: Sequence[str | PathLike[str]],
    out: Path,
    config: MatchConfig | None = None,
    *,
    reference: str | PathLike[str] | None = None,
    pairs: str | PairChoice = "auto",
    model: Model = "auto",
    jobs: int = 1,
    dask: str | None = None,
    executor: BatchExecutor | None = None,
    cache: FeatureCache | None = None,
    resume: bool = False,
    overwrite: bool = False,
    command: str = "",
    on_round: Callable[[int], None] | None = None,
    on_result: Callable[[BatchResult], None] | None = None,
    **overrides: Any,
) -> Stack:
    """Tie images of one place together.

    Pairs run in processes of their own: a script calls this below ``if __name__ == "__main__":``.

    Args:
        images: Paths or URLs, two or more.
        out: Folder in which the pairs' results are kept (``pairs/``), made where it is missing.
        config: Settings of the pairs; the defaults when None. Bands, nodata values and masks are
            the same for all images.
        reference: The image the others are laid on, by its path or name; the most central one when
            None.
        pairs: Which pairs to match, see `PairChoice`.
        model: Family of the images' maps; ``auto`` takes the simplest that explains the pairs.
        jobs: Worker processes.
        dask: See `run_batch`.
        executor: See `run_batch`.
        cache: Where features are kept on disk: each image is in many pairs. None for none.
        resume: Go on with the pairs that are in the folder.
        overwrite: Throw them away.
        command: Command line to remember.
        on_round: Told how many pairs there are to match now, as often as there are more.
        on_result: Told of each pair.
        **overrides: Fields of `MatchConfig` to replace.

    Returns:
        The images, tied as far as they can be. Images that cannot be are listed with the reason;
        one that repeats another (`mark_copies`) lies where that does and is no evidence.

    Raises:
        InputError: Fewer than two different images can be read, one is named twice, or the
            reference is none of them.
        ConfigError: A setting makes no sense.
        OutputError: The folder cannot be used.
        ImatchError: The matcher cannot be loaded.
    """
    started = time.perf_counter()
    config = make_config(config, **overrides) if overrides else config or MatchConfig()
    _check_same_options(config)
    choice = pairs if isinstance(pairs, PairChoice) else PairChoice.parse(pairs)
    if choice.kind == "reference" and reference is None:
        raise ConfigError(
            "every image is to be matched with the reference, and none is named",
            subject="pairs",
            hint="name it with --reference",
        )
    members = open_stack_images(images, config)
    fixed = None if reference is None else find_reference(members, reference)
    members = mark_copies(members, config, fixed)
    usable = [i for i, member in enumerate(members) if member.info and not member.copy_of]
    if len(usable) < 2:
        raise InputError(
            "all images that can be read are copies of one another",
            subject=members[usable[0]].path,
            hint="name images of two dates or more",
        )
    series = _Series([members[i] for i in usable], config, model, out / PAIRS)
    held = None if fixed is None else usable.index(fixed)
    centre = len(usable) // 2 if held is None else held
    dates = [member.date for member in series.members]
    runner: dict[str, Any] = {
        "jobs": jobs,
        "dask": dask,
        "executor": executor,
        "cache": cache,
        "command": command,
    }
    wanted = first_pairs(choice, dates, centre)
    tried: list[IndexPair] = []
    while wanted:
        tried += wanted
        if on_round is not None:
            on_round(len(wanted))
        # Later rounds go on with what the first one began.
        later = len(tried) > len(wanted)
        runner |= {"resume": resume or later, "overwrite": overwrite and not later}
        series.match(tried, on_result=on_result, **runner)
        network = series.solve(held)
        firm = {i for i, worth in enumerate(image_statuses(network)) if worth.status == "ok"}
        wanted = more_pairs(choice, dates, set(tried), firm)
    _check_one_content(series.attempts.values())
    return judge(
        network,
        members,
        config,
        seconds=time.perf_counter() - started,
        provenance={
            "config": config.model_dump(mode="json"),
            "pairs": {"choice": choice.kind, "neighbours": choice.count, "tried": len(tried)},
            "model": model,
            "reference": "given" if fixed is not None else "the most central",
            "command": redacted(command),
            "versions": versions(),
        },
    )


def _check_one_content(attempts: Iterable[Attempt]) -> None:
    """Checks that no image changed on disk while its pairs were matched.

    Raises:
        InputError: A file has changed between two pairs.
    """
    known: dict[str, Fingerprint] = {}
    for attempt in attempts:
        for file in () if attempt.registration is None else inputs_of(attempt.registration):
            if not known.setdefault(file.path, file).is_of(file):
                raise InputError(
                    "has changed while its pairs were matched",
                    subject=file.path,
                    hint="run it again with --resume when nothing else writes to it",
                )


def _check_same_options(config: MatchConfig) -> None:
    """Checks that options of reference and target agree: each image is both by turns."""
    for name in SETTINGS:
        if getattr(config, f"ref_{name}") != getattr(config, f"tgt_{name}"):
            raise ConfigError(
                "differs for reference and target, though each image is both by turns",
                subject=name,
                hint="give one for all images",
            )


class _Series:
    """The readable images of a stack, and what their pairs came to."""

    def __init__(
        self, members: Sequence[InputImage], config: MatchConfig, model: Model, folder: Path
    ) -> None:
        self.members, self.config, self.model, self.folder = members, config, model, folder
        self.attempts: dict[IndexPair, Attempt] = {}
        self._infos = [member.info for member in members if member.info is not None]

    def match(
        self,
        wanted: Sequence[IndexPair],
        *,
        on_result: Callable[[BatchResult], None] | None,
        **runner: Any,
    ) -> None:
        """Match pairs; those matched in an earlier round are read only once."""
        named = {self._name(pair): pair for pair in wanted}
        known = set(self.attempts)

        def tell(row: BatchResult) -> None:
            if on_result is not None and named[row.name] not in known:
                on_result(row)

        pairs = [self._pair(pair) for pair in wanted]
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        run = run_batch(pairs, self.config, self.folder, on_result=tell, **runner)
        for row in run.results:
            pair = named[row.name]
            if pair in self.attempts:
                continue
            found: Registration | None = None
            if row.status != "error":
                found = run.registration(row.name)
            self.attempts[pair] = Attempt(*pair, found, row.error, row.seconds)

    def solve(self, reference: int | None) -> StackNetwork:
        """All images together, round the reference or the most central image."""
        if reference is None:
            frames = self._frames(0)
            edges, _ = self._edges(frames)
            reference = central(len(self.members), edges, frames.pixel) if edges else 0
        frames = self._frames(reference)
        edges, rows = self._edges(frames)
        options = AdjustmentOptions(model=None if self.model == "auto" else self.model)
        count = len(self.members)
        joint: Adjustment = solve(count, edges, reference, pixel=frames.pixel, options=options)
        attempts = [self.attempts[pair] for pair in sorted(self.attempts)]
        return StackNetwork(tuple(self.members), frames, tuple(attempts), tuple(edges), rows, joint)

    def _frames(self, reference: int) -> Frames:
        use_map, gsd_m = self.config.use_geocoding, self.config.gsd_m
        return Frames.of(self._infos, reference, use_map=use_map, gsd_m=gsd_m)

    def _edges(self, frames: Frames) -> tuple[list[Edge], dict[int, int | str]]:
        """Edges, and of each attempt (in order) its edge, or why it has none."""
        edges: list[Edge] = []
        rows: dict[int, int | str] = {}
        for index, pair in enumerate(sorted(self.attempts)):
            attempt = self.attempts[pair]
            if attempt.registration is None:
                rows[index] = attempt.reason
                continue
            edge = edge_of(attempt.registration, attempt.a, attempt.b, frames)
            if isinstance(edge, str):
                rows[index] = edge
            else:
                rows[index] = len(edges)
                edges.append(edge)
        return edges, rows

    def _name(self, pair: IndexPair) -> str:
        a, b = (self.members[index].name for index in pair)
        return safe_name(f"{a}__{b}")

    def _pair(self, pair: IndexPair) -> BatchPair:
        a, b = (self.members[index].path for index in pair)
        return BatchPair(self._name(pair), a, b)
