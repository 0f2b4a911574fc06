"""Samplers that know where and when chips were taken."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.training.embedder.chips import Layout
from imatch.training.embedder.sampling.plan import BatchPlan, Drawing, Integers, Rng, triplets

# Draws after which a place is taken as it comes.
_TRIES = 50


class Places:
    """The places of a layout that were seen on more than one occasion.

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
        """So many chips of a place, of different seasons as far as they go."""
        chips = rng.permutation(self.chips[place])
        _, first = np.unique(self.layout.when[chips], return_index=True)
        fresh = np.isin(np.arange(len(chips)), first)
        ordered = np.concatenate([chips[fresh], chips[~fresh]])
        # Fewer than asked for: some are seen twice.
        return np.resize(ordered, count)


class Random(Drawing):
    """Places from all over the map, a few dates of each.

    Args:
        layout: Where and when chips are.
        count: Places in a step.
        dates: Chips of each.
        shifts: See `Drawing`.
        seed: See `Drawing`.

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
        """Different places."""
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
    """Groups of neighbouring places: what lies side by side is hardest to tell apart.

    Args:
        layout: Where and when chips are.
        count: Places in a step.
        dates: Chips of each.
        cluster: Places of a group.
        shifts: See `Drawing`.
        seed: See `Drawing`.
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
    """Anchor; the same place in another season; another place of the same block and season.

    The recipe of Siamese retrieval of Sentinel-2 chips.

    Args:
        layout: Where and when chips are.
        count: Triplets in a step.
        block: Side of a block, in chips.
        shifts: See `Drawing`.
        seed: See `Drawing`.

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
        keys = np.stack([layout.lattice, cell[:, 0], cell[:, 1], layout.when], axis=1)
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
    """Near is alike (Tile2Vec: Jean et al., AAAI 2019, arXiv:1805.02855).

    Args:
        layout: Where and when chips are.
        count: Triplets in a step.
        positive: Nearest and farthest distance of a positive, in chips.
        negative: Likewise of a negative.
        shifts: See `Drawing`.
        seed: See `Drawing`.

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
        """An anchor with its positive and its negative."""
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


def _within(gaps: NDArray[np.float64], reach: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((gaps >= reach[0] - 1e-6) & (gaps <= reach[1] + 1e-6) & np.isfinite(gaps))
