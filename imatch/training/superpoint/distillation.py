"""Distillation targets: a teacher's descriptors of the ground of a pair, once for a whole run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imatch.core.arrays import read_arrays
from imatch.core.io.files import atomic_path
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix
from imatch.matchers.images import valid_at
from imatch.training.superpoint.labels import PairLabels, pad_to_cells
from imatch.training.superpoint.teachers import Teacher


@dataclass(frozen=True, eq=False)
class DistillationTarget:
    """Points of unchanged ground that both dates of a pair show.

    Attributes:
        xy_a: (N, 2) float64 pixels of the pair's `a`.
        xy_b: (N, 2) the same ground in `b`.
        descriptors: (N, D) float16 unit descriptors, the mean of the teacher's on the two dates.
    """

    xy_a: NDArray[np.float64]
    xy_b: NDArray[np.float64]
    descriptors: NDArray[np.float16]


@dataclass(frozen=True)
class DistillationTargets:
    """The distillation targets of a data set, made when they are first needed and kept on disk.

    They are a function of the pair and the teacher, so a run that is resumed finds them the same.

    Args:
        teacher: Describes points.
        count: Points of a pair, half of them labels.
        folder: Where they are kept; of this teacher, these labels and this data alone.
    """

    teacher: Teacher
    count: int
    folder: Path

    def of(
        self, index: int, sample: PairSample, labels: PairLabels, device: torch.device
    ) -> DistillationTarget:
        """Returns the target of a pair as the data set gives it.

        Args:
            index: Its number.
            sample: The pair; its alignment has to be known.
            labels: Its labels.
            device: Where the teacher runs.
        """
        path = self.folder / f"{index:06d}.npz"
        if path.exists():
            return DistillationTarget(*read_arrays(path, ("xy_a", "xy_b", "descriptors")))
        target = self._made(index, sample, labels, device)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez(
                temporary,
                xy_a=target.xy_a,
                xy_b=target.xy_b,
                descriptors=target.descriptors,
            )
        return target

    def _made(
        self, index: int, sample: PairSample, labels: PairLabels, device: torch.device
    ) -> DistillationTarget:
        xy_a = _chosen(sample, labels, self.count, np.random.default_rng(index))
        xy_b = apply_matrix(sample.homography, xy_a)
        described = []
        for pixels, xy in ((sample.a, xy_a), (sample.b, xy_b)):
            image = pad_to_cells(torch.from_numpy(pixels).to(device))
            detections = self.teacher.detect(image[None])
            described.append(detections.describe(0, torch.from_numpy(xy).to(device)).float())
        mean = torch.nn.functional.normalize(described[0] + described[1], dim=1)
        return DistillationTarget(xy_a, xy_b, mean.cpu().numpy().astype(np.float16))


def _chosen(
    sample: PairSample, labels: PairLabels, count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Chooses (N, 2) points of `a`: labels that last through the seasons first, then others."""
    height, width = sample.valid_a.shape
    ranked = np.concatenate([rng.permutation(labels.season_a.xy), rng.permutation(labels.a.xy)])
    named = np.array([*dict.fromkeys(map(tuple, ranked.tolist()))]).reshape(-1, 2)[: count // 2]
    # Some leave the frame of the other date.
    anywhere = rng.random((2 * (count - len(named)), 2)) * (width - 1, height - 1)
    xy = np.concatenate([named, anywhere]).astype(np.float64)
    other = apply_matrix(sample.homography, xy)
    still = sample.valid_a & ~sample.changed
    return xy[valid_at(still, xy) & valid_at(sample.valid_b, other)][:count]
