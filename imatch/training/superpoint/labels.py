"""Keypoint labels: pseudo-labels by homographic adaptation, and matchability across seasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.geometry.transform import warp_perspective
from numpy.typing import NDArray
from torch import Tensor

from imatch.core.arrays import read_arrays
from imatch.core.io.files import atomic_path
from imatch.datasets.sample import PairSample
from imatch.models.superpoint.points import refine, suppress
from imatch.training.augment.geometry import ViewConfig, draw_views
from imatch.training.loader import map_points
from imatch.training.superpoint.config import SuperPointLabelConfig
from imatch.training.superpoint.teachers import Detections, Teacher

_BORDER = 4
# Within this, beside twice the uncertainty of their alignment, two dates have a keypoint in common.
_SAME_PX = 1.5
_VIEWS = ViewConfig(rotation_deg=40, scale=1.3, shear=0.1, perspective=0.1, shift_px=0, turn=False)


@dataclass(frozen=True, eq=False)
class Points:
    """Keypoints that a detector is to find.

    Attributes:
        xy: (N, 2) float32 pixels.
        weight: (N,) float32 in [0, 1], how much of a keypoint each is.
    """

    xy: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PairLabels:
    """Labels of both images of a pair.

    Attributes:
        a: Those that `a` alone suggests.
        b: Those that `b` alone suggests.
        season_a: Those of `a` that can be found again in `b`.
        season_b: Those of `b` that can be found again in `a`.
    """

    a: Points
    b: Points
    season_a: Points
    season_b: Points


def adapted_heat(teacher: Teacher, image: Tensor, valid: Tensor, count: int, seed: int) -> Tensor:
    """Homographic adaptation (SuperPoint, section 5): returns the mean response over warped views.

    Args:
        teacher: The detector.
        image: (C, H, W), sides multiples of 8.
        valid: (H, W) bool.
        count: Warped views, beside the image itself.
        seed: Of the homographies.

    Returns:
        (H, W), 0 on invalid ground.
    """
    height, width = image.shape[1:]
    total = teacher.detect(image[None]).heat[0]
    seen = torch.ones_like(total)
    rng = np.random.default_rng(seed)
    for _ in range(count):
        matrix = _homography(width, height, rng)
        there = torch.from_numpy(matrix).to(image)[None]
        back = torch.from_numpy(np.linalg.inv(matrix)).to(image)[None]
        warped = warp_perspective(image[None], there, (height, width), align_corners=True)
        heat = teacher.detect(warped).heat[None]
        # What a frame's edge answers is no keypoint of the ground.
        frame = torch.zeros_like(heat)
        frame[..., _BORDER:-_BORDER, _BORDER:-_BORDER] = 1
        returned = warp_perspective(
            torch.cat([heat * frame, frame], dim=1), back, (height, width), align_corners=True
        )[0]
        total = total + returned[0]
        seen = seen + returned[1]
    return (total / seen).masked_fill(~valid, 0.0)


def _homography(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float64]:
    ones = np.ones((height, width), dtype=bool)
    blank = np.zeros((1, height, width), dtype=np.float32)
    ground = PairSample(blank, blank, ones, ones, np.eye(3), 0.0, ~ones)
    to_a, to_b = draw_views(_VIEWS, ground, max(width, height), rng)
    return np.asarray(to_b @ np.linalg.inv(to_a), dtype=np.float64)


def peaks(heat: Tensor, config: SuperPointLabelConfig) -> tuple[Tensor, Tensor]:
    """Finds the strongest maxima of a map.

    Args:
        heat: (H, W).
        config: How many, how strong, how far apart.

    Returns:
        (N, 2) sub-pixel positions and (N,) responses, the strongest first.
    """
    kept = suppress(heat[None], config.radius)[0]
    inner = torch.zeros_like(kept)
    inner[_BORDER:-_BORDER, _BORDER:-_BORDER] = 1
    y, x = torch.where(kept * inner > config.threshold * heat.max().clamp_min(1e-12))
    response = heat[y, x]
    order = response.argsort(descending=True, stable=True)[: config.count]
    xy = torch.stack([x[order], y[order]], dim=-1)
    return refine(heat, xy), response[order]


def matchable(
    one: tuple[Detections, Tensor],
    other: tuple[Detections, Tensor],
    homography: Tensor,
    radius: float,
) -> Tensor:
    """Weights keypoints of one image by whether the other has and recognises them.

    Args:
        one: Detections, and its (N, 2) keypoints.
        other: The same of the other image, (M, 2) keypoints.
        homography: (3, 3) float64 from the one to the other.
        radius: Distance within which a keypoint is the same, pixels.

    Returns:
        (N,) 1 where the nearest descriptor of the other's is at the right place, one half where the
        keypoint is there but another looks more like it, else 0.
    """
    (seen, xy), (seen_other, xy_other) = one, other
    if not len(xy) or not len(xy_other):
        return torch.zeros(len(xy))
    moved = map_points(homography, xy)
    apart = torch.cdist(moved, xy_other.to(moved))
    again = apart.amin(dim=1) <= radius
    nearest = (seen.describe(0, xy) @ seen_other.describe(0, xy_other).T).argmax(dim=1)
    known = apart[torch.arange(len(xy)), nearest] <= radius
    return (0.5 * again.float() + 0.5 * known.float()) * again.float()


@dataclass
class KeypointLabels:
    """The labels of a data set, made when they are first needed and kept on disk.

    They are a function of the pair and the teacher, so a run that is resumed finds them the same.

    Args:
        teacher: Suggests keypoints.
        config: How.
        folder: Where they are kept; of this teacher, these settings and this data alone.
    """

    teacher: Teacher
    config: SuperPointLabelConfig
    folder: Path
    _known: dict[int, PairLabels] = field(default_factory=dict)

    def of(self, index: int, sample: PairSample, device: torch.device) -> PairLabels:
        """Returns the labels of a pair as the data set gives it.

        Args:
            index: Its number.
            sample: The pair.
            device: Where the teacher runs.
        """
        if index not in self._known:
            path = self.folder / f"{index:06d}.npz"
            self._known[index] = _read(path) if path.exists() else self._made(index, sample, device)
            if not path.exists():
                self.folder.mkdir(parents=True, exist_ok=True)
                _write(path, self._known[index])
        return self._known[index]

    def _made(self, index: int, sample: PairSample, device: torch.device) -> PairLabels:
        sides = []
        for order, (pixels, valid) in enumerate(
            ((sample.a, sample.valid_a), (sample.b, sample.valid_b))
        ):
            image, ground = pad_to_cells(torch.from_numpy(pixels).to(device)), valid.shape
            known = torch.zeros(image.shape[1:], dtype=torch.bool, device=device)
            known[: ground[0], : ground[1]] = torch.from_numpy(valid).to(device)
            seed = 2 * index + order
            heat = adapted_heat(self.teacher, image, known, self.config.homographies, seed)
            sides.append((image, *peaks(heat, self.config)))
        (image_a, xy_a, _), (image_b, xy_b, _) = sides
        seen_a, seen_b = self.teacher.detect(image_a[None]), self.teacher.detect(image_b[None])
        if sample.known:
            there = torch.from_numpy(sample.homography).to(device)
            back = torch.linalg.inv(there)
            radius = _SAME_PX + 2 * sample.sigma_px
            weight_a = matchable((seen_a, xy_a), (seen_b, xy_b), there, radius)
            weight_b = matchable((seen_b, xy_b), (seen_a, xy_a), back, radius)
        else:
            weight_a, weight_b = torch.zeros(len(xy_a)), torch.zeros(len(xy_b))
        alone_a, alone_b = torch.ones(len(xy_a)), torch.ones(len(xy_b))
        return PairLabels(
            _points(xy_a, alone_a),
            _points(xy_b, alone_b),
            _points(xy_a, weight_a),
            _points(xy_b, weight_b),
        )


def pad_to_cells(image: Tensor) -> Tensor:
    """Continues the last row and column until the sides are multiples of 8."""
    height, width = image.shape[1:]
    pads = (0, -width % 8, 0, -height % 8)
    return torch.nn.functional.pad(image[None], pads, mode="replicate")[0]


def _points(xy: Tensor, weight: Tensor) -> Points:
    kept = weight > 0
    return Points(xy[kept.to(xy.device)].float().cpu().numpy(), weight[kept].float().cpu().numpy())


_SIDES = ("a", "b", "season_a", "season_b")


def _write(path: Path, labels: PairLabels) -> None:
    arrays: dict[str, Any] = {}
    for side in _SIDES:
        points = getattr(labels, side)
        arrays |= {f"{side}_xy": points.xy, f"{side}_weight": points.weight}
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def _read(path: Path) -> PairLabels:
    names = [f"{side}_{what}" for side in _SIDES for what in ("xy", "weight")]
    arrays = read_arrays(path, names)
    return PairLabels(*(Points(*arrays[i : i + 2]) for i in range(0, len(arrays), 2)))
