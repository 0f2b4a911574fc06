"""Samplers: the chips of a step, chosen by place, by distance on the map or by a label map."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.training.embedder.batch_plan import BatchPlan, Drawing, Integers, Rng, triplets
from imatch.training.embedder.chips import Layout
from imatch.training.embedder.config import EmbedderConfig

# Draws after which a place is taken as it comes.
_TRIES = 50


class Places:
    """Places of a layout that were seen on more than one occasion.

    Args:
        layout: Where and when chips are.

    Raises:
        ConfigError: There are fewer than two.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        order = np.argsort(layout.place, kind="stable")
        cuts = np.flatnonzero(np.diff(layout.place[order])) + 1
        groups = np.split(order, cuts)
        #: Chips of each usable place.
        self.chips = [g for g in groups if len(np.unique(layout.when[g])) > 1]
        if len(self.chips) < 2:
            raise ConfigError(
                f"{len(self.chips)} place(s) with chips of two seasons or dates; two are needed",
                subject="data.chips",
                hint="prepare more places, or images of more dates",
            )
        self.first = np.array([group[0] for group in self.chips])

    def __len__(self) -> int:
        return len(self.chips)

    def occasions(self, place: int, count: int, rng: Rng) -> Integers:
        """Draws so many chips of a place, of different seasons as far as they go."""
        chips = rng.permutation(self.chips[place])
        _, first = np.unique(self.layout.when[chips], return_index=True)
        fresh = np.isin(np.arange(len(chips)), first)
        ordered = np.concatenate([chips[fresh], chips[~fresh]])
        # Fewer than asked for: some are seen twice.
        return np.resize(ordered, count)


class Random(Drawing):
    """Draws places from all over the map, a few dates of each.

    Args:
        layout: Where and when chips are.
        count: Places in a step.
        dates: Chips of each.
        shifts, seed: See `Drawing`.

    Attributes:
        confused: (N, k) for each chip, chips of other places that the network takes for it, nearest
            first; such places are then brought in together. None before they are known.
        share: Share of the places that are brought in so.
    """

    def __init__(
        self, layout: Layout, count: int, dates: int, *, shifts: int = 4, seed: int = 0
    ) -> None:
        super().__init__(count, shifts, seed)
        self.places = Places(layout)
        self.dates = dates
        self.confused: Integers | None = None
        self.share = 0.5
        self._of_chip = {int(c): n for n, group in enumerate(self.places.chips) for c in group}

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        chosen = self._chosen(rng)
        chips = np.concatenate([self.places.occasions(p, self.dates, rng) for p in chosen])
        labels = np.repeat(chosen, self.dates)
        return BatchPlan(chips, self.crops(len(chips), rng), labels.astype(np.int64))

    def _chosen(self, rng: Rng) -> Integers:
        """Chooses different places."""
        count = min(self.count, len(self.places))
        seeds = self._seeds(count, rng)
        if self.confused is None:
            return seeds
        wanted = max(2, count - round(self.share * count))
        chosen = [int(place) for place in seeds[:wanted]]
        for place in list(chosen):
            if len(chosen) >= count:
                break
            chip = int(rng.choice(self.places.chips[place]))
            rivals = [self._of_chip.get(int(c), place) for c in self.confused[chip]]
            fresh = [rival for rival in dict.fromkeys(rivals) if rival not in chosen]
            if fresh:
                chosen.append(fresh[0])
        chosen += [int(place) for place in seeds if place not in chosen]
        return np.array(chosen[:count])

    def _seeds(self, count: int, rng: Rng) -> Integers:
        return rng.permutation(len(self.places))[:count]


class Cluster(Random):
    """Draws groups of neighbouring places: what lies side by side is hardest to tell apart.

    Args:
        layout: Where and when chips are.
        count: Places in a step.
        dates: Chips of each.
        cluster: Places of a group.
        shifts, seed: See `Drawing`.
    """

    def __init__(
        self,
        layout: Layout,
        count: int,
        dates: int,
        *,
        cluster: int = 4,
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(layout, count, dates, shifts=shifts, seed=seed)
        self.cluster = cluster

    def _seeds(self, count: int, rng: Rng) -> Integers:
        chosen: list[int] = []
        for seed in rng.permutation(len(self.places)):
            if len(chosen) >= count:
                break
            if seed in chosen:
                continue
            gaps = self.places.layout.far(int(self.places.first[seed]), self.places.first)
            near = np.argsort(gaps, kind="stable")[: self.cluster]
            group = [int(p) for p in near if np.isfinite(gaps[p]) and p not in chosen]
            chosen += group
        return np.array(chosen[:count])


class Recipe(Drawing):
    """Triplets of an anchor, its place in another season, and another place of block and season.

    This is the recipe of Siamese retrieval of Sentinel-2 chips.

    Args:
        layout: Where and when chips are.
        count: Triplets in a step.
        block: Side of a block, in chips.
        shifts, seed: See `Drawing`.

    Raises:
        ConfigError: No block has two places of one season.
    """

    def __init__(
        self, layout: Layout, count: int, *, block: float = 8.0, shifts: int = 4, seed: int = 0
    ) -> None:
        super().__init__(count, shifts, seed)
        self.places = Places(layout)
        self.layout = layout
        cell = np.floor(layout.xy / block).astype(np.int64)
        keys = np.stack([layout.grid, cell[:, 0], cell[:, 1], layout.when], axis=1)
        group = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
        self._members = [np.flatnonzero(group == g) for g in range(int(group.max()) + 1)]
        self._group = group
        usable = np.concatenate(self.places.chips)
        mixed = [len(np.unique(layout.place[self._members[group[c]]])) > 1 for c in usable]
        #: Chips that can be anchors.
        self.anchors = np.sort(usable[np.array(mixed)])
        if not len(self.anchors):
            raise ConfigError(
                "no block has two places of one season",
                subject="sampler.block",
                hint="make blocks larger, or take sampler.kind=random",
            )

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        anchors = rng.choice(self.anchors, self.count, replace=len(self.anchors) < self.count)
        chips = []
        for anchor in anchors:
            place, when = self.layout.place[anchor], self.layout.when[anchor]
            same = np.flatnonzero((self.layout.place == place) & (self.layout.when != when))
            beside = self._members[self._group[anchor]]
            beside = beside[self.layout.place[beside] != place]
            chips += [int(anchor), int(rng.choice(same)), int(rng.choice(beside))]
        return triplets(np.array(chips), self.layout.place, self.crops(len(chips), rng))


class TileDistance(Drawing):
    """Triplets by distance: near is alike (Tile2Vec, Jean et al., AAAI 2019, arXiv:1805.02855).

    Args:
        layout: Where and when chips are.
        count: Triplets in a step.
        positive: Nearest and farthest distance of a positive, in chips.
        negative: Likewise of a negative.
        shifts, seed: See `Drawing`.

    Raises:
        ConfigError: No chip has a positive and a negative at such distances.
    """

    def __init__(
        self,
        layout: Layout,
        count: int,
        *,
        positive: tuple[float, float],
        negative: tuple[float, float],
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(count, shifts, seed)
        self.layout, self.positive, self.negative = layout, positive, negative
        self._all = np.arange(len(layout))
        if self._draw(np.random.default_rng(seed)) is None:
            raise ConfigError(
                "no chip has neighbours at the distances of positives and negatives",
                subject="sampler",
                hint="widen sampler.positive or sampler.negative",
            )

    def _draw(self, rng: Rng) -> list[int] | None:
        """Draws an anchor with its positive and its negative."""
        for anchor in rng.permutation(self._all)[: max(_TRIES, len(self._all))]:
            gaps = self.layout.far(int(anchor), self._all)
            others = self._all != anchor
            near = np.flatnonzero(_within(gaps, self.positive) & others)
            far = np.flatnonzero(_within(gaps, self.negative) & others)
            if len(near) and len(far):
                return [int(anchor), int(rng.choice(near)), int(rng.choice(far))]
        return None

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        chips: list[int] = []
        for _ in range(self.count):
            drawn = self._draw(rng)
            assert drawn is not None
            chips += drawn
        return triplets(np.array(chips), self.layout.place, self.crops(len(chips), rng))


class LabelledChips(Drawing):
    """Draws chips that one class of a label map dominates, a few of each class.

    Args:
        shares: (N, K) share of each class in each chip; what is missing to 1 has no class.
        count: Classes in a step, at most.
        dates: Chips of each.
        dominance: Least share of the ground that its class covers.
        shifts, seed: See `Drawing`.

    Raises:
        ConfigError: Fewer than two classes dominate two chips.
    """

    def __init__(
        self,
        shares: NDArray[np.float32],
        count: int,
        dates: int,
        *,
        dominance: float,
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(count, shifts, seed)
        self.dates = dates
        best, share = shares.argmax(axis=1), shares.max(axis=1)
        groups = [
            np.flatnonzero((best == k) & (share >= dominance)) for k in range(shares.shape[1])
        ]
        #: Class -> the chips it dominates.
        self.chips = {k: group for k, group in enumerate(groups) if len(group) > 1}
        if len(self.chips) < 2:
            raise ConfigError(
                f"{len(self.chips)} class(es) dominate two chips; two are needed",
                subject="sampler.dominance",
                hint="lower it, or take sampler.kind=proportions",
            )

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        classes = rng.permutation(sorted(self.chips))[: self.count]
        chips = np.concatenate(
            [np.resize(rng.permutation(self.chips[k]), self.dates) for k in classes]
        )
        labels = np.repeat(classes, self.dates).astype(np.int64)
        return BatchPlan(chips, self.crops(len(chips), rng), labels)


class Proportions(Drawing):
    """Triplets by a label map: chips of similar mixtures of classes are alike, others are not.

    Args:
        shares: (N, K) share of each class in each chip.
        count: Triplets in a step.
        alike: Least overlap (sum of the smaller shares) of a positive.
        unlike: Largest overlap of a negative.
        shifts, seed: See `Drawing`.

    Raises:
        ConfigError: No chip has a positive and a negative.
    """

    def __init__(
        self,
        shares: NDArray[np.float32],
        count: int,
        *,
        alike: float,
        unlike: float,
        shifts: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(count, shifts, seed)
        self.shares, self.alike, self.unlike = shares, alike, unlike
        known = np.flatnonzero(shares.sum(axis=1) > 0)
        self.anchors = np.array([c for c in known if all(map(len, self._split(int(c))))], np.int64)
        if not len(self.anchors):
            raise ConfigError(
                "no chip has both a mixture like its own and one unlike it",
                subject="sampler",
                hint="lower sampler.alike or raise sampler.unlike",
            )

    def _split(self, chip: int) -> tuple[Integers, Integers]:
        overlap = np.minimum(self.shares, self.shares[chip]).sum(axis=1)
        like = np.flatnonzero(overlap >= self.alike)
        known = self.shares.sum(axis=1) > 0
        return like[like != chip], np.flatnonzero((overlap <= self.unlike) & known)

    def plan(self, step: int) -> BatchPlan:
        """See `Sampler`."""
        rng = self.rng(step)
        chips: list[int] = []
        for anchor in rng.choice(self.anchors, self.count):
            like, unlike = self._split(int(anchor))
            chips += [int(anchor), int(rng.choice(like)), int(rng.choice(unlike))]
        labels = self.shares.argmax(axis=1).astype(np.int64)
        return triplets(np.array(chips), labels, self.crops(len(chips), rng))


def make_sampler(
    config: EmbedderConfig, layout: Layout, shares: NDArray[np.float32] | None = None
) -> Random | Recipe | TileDistance | LabelledChips | Proportions:
    """Makes the sampler that a configuration asks for.

    Args:
        config: The run's.
        layout: Where and when the training chips are.
        shares: (N, K) share of each class in each chip, for the samplers that need a label map.

    Raises:
        ConfigError: The data does not allow it.
    """
    settings, count = config.sampler, config.batch_size
    shifts, seed = config.data.shifts, config.seed
    match settings.kind:
        case "recipe":
            return Recipe(layout, count, block=settings.block, shifts=shifts, seed=seed)
        case "random":
            return Random(layout, count, settings.dates, shifts=shifts, seed=seed)
        case "cluster":
            return Cluster(
                layout, count, settings.dates, cluster=settings.cluster, shifts=shifts, seed=seed
            )
        case "tile-distance":
            near, far = settings.positive, settings.negative
            return TileDistance(
                layout, count, positive=near, negative=far, shifts=shifts, seed=seed
            )
    assert shares is not None
    if settings.kind == "labels":
        return LabelledChips(
            shares, count, settings.dates, dominance=settings.dominance, shifts=shifts, seed=seed
        )
    return Proportions(
        shares, count, alike=settings.alike, unlike=settings.unlike, shifts=shifts, seed=seed
    )


def _within(gaps: NDArray[np.float64], reach: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((gaps >= reach[0] - 1e-6) & (gaps <= reach[1] + 1e-6) & np.isfinite(gaps))
