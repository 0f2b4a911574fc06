"""The trainer of SuperPoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imatch.core.types import Features
from imatch.datasets.manifest import facts_of
from imatch.datasets.sample import PairSample
from imatch.matchers.base import MatcherOptions
from imatch.matchers.sparse.base import Pairing, best_valid
from imatch.matchers.sparse.nearest import Nearest
from imatch.matchers.sparse.superpoint import ALL_MAXIMA
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import detect, heatmap, read_coarse, sample
from imatch.training.augment.pair import Augmentation
from imatch.training.initialisation import SCRATCH
from imatch.training.loader import Draws
from imatch.training.network_trainer import PairTrainer, settings_key
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.data import Item, SuperPointBatch, SuperPointViews, collate_items
from imatch.training.superpoint.distillation import DistillationTargets
from imatch.training.superpoint.initialisation import (
    SuperPointInitialisation,
    make_initialisation,
    measure_statistics,
    solve_last_layer,
)
from imatch.training.superpoint.labels import KeypointLabels
from imatch.training.superpoint.objective import (
    Targets,
    correspondences,
    descriptor_objective,
    detector_objective,
    detector_targets,
    distil_objective,
    distillation_points,
)
from imatch.training.superpoint.teachers import (
    AlikedTeacher,
    CachedTeacher,
    SuperPointTeacher,
    Teacher,
)
from imatch.training.validation import (
    as_rgb,
    draw_matches_on,
    keypoint_figures,
    match_figures,
    match_keypoints,
)
from imatch.training.views import Pairs, open_pairs, validation_pairs

_MAX_SIGMA_PX = 2.0
"""Pairs known worse than this are no positives; pairs of radar are known so well."""


class SuperPointTrainer(
    PairTrainer[SuperPointConfig, SuperPointBatch, SuperPointInitialisation],
):
    """Trains a SuperPoint on the objectives that the configuration weighs."""

    def __init__(
        self,
        config: SuperPointConfig,
        folder: Path,
        *,
        train: Pairs | None = None,
        validation: Pairs | None = None,
    ) -> None:
        bands, seed = config.model.bands, config.seed
        self.train_pairs = train or open_pairs(config.data, "train", bands, seed)
        self.validation_pairs = validation or open_pairs(config.data, "val", bands, seed)
        data = facts_of(config.data.chips) | {"pairs": len(self.train_pairs)}
        super().__init__(config, folder, lambda: make_initialisation(config.model), data)
        self.teacher: Teacher | None = (
            CachedTeacher(AlikedTeacher(self.device)) if config.objectives.distil else None
        )
        original = self.initialisation.original.to(self.device)
        labeller: Teacher = CachedTeacher(SuperPointTeacher(original))
        if config.labels.source == "aliked":
            labeller = self.teacher or CachedTeacher(AlikedTeacher(self.device))
        self.labels = KeypointLabels(labeller, config.labels, folder / "labels" / self._label_key())
        self.distilled: DistillationTargets | None = None
        if self.teacher is not None and config.distil.sees == "chips":
            points = config.distil.points
            # Named so by the runs that are there already.
            place = self.labels.folder / f"lessons-{points}"
            self.distilled = DistillationTargets(self.teacher, points, place)
        self.pairings: dict[str, Pairing] = {"": Nearest()}
        if config.validation.lightglue:
            from imatch.matchers.sparse.lightglue import LightGlue

            options = MatcherOptions(device=str(self.device), fetch=True)
            self.pairings["lightglue_"] = LightGlue("aliked", "aliked-lightglue", options)

    def build_model(self) -> nn.Module:
        """See `Trainer.build_model`."""
        network = super().build_model()
        assert isinstance(network, SuperPoint)
        # Convolutions are a fifth faster with a pixel's channels side by side.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self.config.model.start != SCRATCH and self.config.model.fit_statistics:
            self._fit_statistics(network, self.config.model.fit_statistics)
        wanted = self.config.distil.fit_pairs
        if self.teacher is not None and self.initialisation.new_descriptors and wanted:
            self._fit_descriptors(network, self.teacher, wanted)
        return network

    def train_mode(self, model: nn.Module) -> None:
        """See `Trainer.train_mode`; frozen stages do not learn."""
        assert isinstance(model, SuperPoint)
        super().train_mode(model)
        settings = self.config.model
        frozen = settings.frozen_steps is None or self.step < settings.frozen_steps
        for part in model.stages(settings.frozen_stages):
            part.requires_grad_(not frozen)

    def training_step(self, model: nn.Module, batch: SuperPointBatch) -> dict[str, Tensor]:
        """See `Trainer.training_step`."""
        config, count = self.config, len(batch.items)
        a, b = batch.seen.a.to(self.device), batch.seen.b.to(self.device)
        both = torch.cat([a, b]).contiguous(memory_format=torch.channels_last)
        logits, dense = model(both)
        first: list[list[tuple[float, Targets]]] = []
        second: list[list[tuple[float, Targets]]] = []
        valid = torch.cat([batch.seen.valid_a, batch.seen.valid_b]).to(self.device)
        # Similarities, and the responses that labels come from, would have two digits in bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            for item in batch.items:
                labels = self.labels.of(item.index, item.plain, self.device)
                in_a, in_b = detector_targets(item, labels, config, self.device)
                first.append(in_a)
                second.append(in_b)
            detector = detector_objective(logits, first + second, valid)
            parts = self._descriptor_parts(dense[:count], dense[count:], batch, first)
        described = torch.stack([total for total, _ in parts]).mean()
        values = {"loss": detector + described}
        values |= {"detector": detector, "descriptor": described}
        for name in ("matching", "distil"):
            if own := [named[name] for _, named in parts if name in named]:
                values[name] = torch.stack(own).mean()
        return values

    def _descriptor_parts(
        self,
        dense_a: Tensor,
        dense_b: Tensor,
        batch: SuperPointBatch,
        targets: list[list[tuple[float, Targets]]],
    ) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """Returns for each pair the weighted mean of its descriptor losses, and these by name."""
        weights, config = self.config.objectives, self.config
        with_teacher = [i for i, item in enumerate(batch.items) if item.kind == "two-dates"]
        detections = None
        if self.teacher is not None and self.distilled is None and with_teacher:
            detections = self.teacher.detect(batch.clear.b[with_teacher].to(self.device))
        parts = []
        for i, item in enumerate(batch.items):
            # No positives: a loss of 0 that still belongs to the graph.
            total, named = 0.0 * dense_a[i].sum(), dict[str, Tensor]()
            sigma = float(batch.seen.sigma_px[i])
            if sigma <= _MAX_SIGMA_PX:
                preferred = targets[i][0][1].xy
                xy = correspondences(batch, i, preferred, config.loss.points)
                two = item.kind == "two-dates"
                if not two or weights.season:
                    named["matching"] = descriptor_objective(dense_a[i], dense_b[i], *xy, config)
                both = dense_a[i], dense_b[i]
                if two and self.distilled is not None:
                    labels = self.labels.of(item.index, item.plain, self.device)
                    target = self.distilled.of(item.index, item.plain, labels, self.device)
                    *places, wanted = distillation_points(batch, i, target)
                    named["distil"] = distil_objective(both, (places[0], places[1]), wanted, config)
                elif two and detections is not None:
                    wanted = detections.describe(with_teacher.index(i), xy[1])
                    named["distil"] = distil_objective(both, xy, wanted, config)
                season = weights.season / weights.two_dates if two else 1.0
                share = {"matching": season, "distil": 1.0 - season}
                total = total + torch.stack([share[k] * v for k, v in named.items()]).sum()
            parts.append((total, named))
        return parts

    def validation_step(self, model: nn.Module, case: PairSample) -> dict[str, float]:
        """See `Trainer.validation_step`."""
        a, b = self._features(model, case)
        figures = keypoint_figures(case, a, b)
        for prefix, pairing in self.pairings.items():
            found = match_figures(case, match_keypoints(a, b, pairing))
            figures |= {f"{prefix}{name}": value for name, value in found.items()}
        return figures

    def example_images(self, model: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """See `Trainer.example_images`: the first validation pair's heat map and matches."""
        assert isinstance(model, SuperPoint)
        (case,) = self.cases(1)
        matches = match_keypoints(*self._features(model, case), self.pairings[""])
        return {
            "heat": draw_response(model, case.a, self.device),
            "matches": draw_matches_on(case, matches),
        }

    def architecture(self) -> dict[str, Any]:
        """See `NetworkTrainer.architecture`."""
        network = self.initialisation.network
        return {
            "kind": "superpoint",
            "in_channels": network.in_channels,
            "descriptor_dim": network.descriptor_dim,
            "batch_norm": network.batch_norm,
            "descriptor_convention": "centred",
        }

    def views(self) -> SuperPointViews:
        """See `PairTrainer.views`."""
        config = self.config
        vary = Augmentation(config.augment, config.data.size)
        return SuperPointViews(
            self.train_pairs, vary, config.objectives, config.model.bands, config.seed
        )

    @staticmethod
    def collate(items: Sequence[Item]) -> SuperPointBatch:
        """See `PairTrainer.collate`."""
        return collate_items(items)

    def cases(self, count: int | None = None) -> list[PairSample]:
        """See `PairTrainer.cases`."""
        config, wanted = self.config, self.config.validation
        size = wanted.size or config.data.size
        return validation_pairs(
            self.validation_pairs, wanted, size, config.model.bands, config.seed, count
        )

    def _label_key(self) -> str:
        config = self.config
        return settings_key(
            {
                "labels": config.labels.model_dump(mode="json"),
                "data": config.data.model_dump(mode="json"),
                "content": self.data_facts,
                "bands": config.model.bands,
                "seed": config.seed,
                "start": [self.initialisation.origin, self.initialisation.sha256],
            }
        )

    def _features(self, model: nn.Module, case: PairSample) -> tuple[Features, Features]:
        assert isinstance(model, SuperPoint)
        budget = self.config.validation.keypoints
        sides = ((case.a, case.valid_a), (case.b, case.valid_b))
        a, b = (
            extract(model, torch.from_numpy(pixels), torch.from_numpy(valid), budget)
            for pixels, valid in sides
        )
        return a, b

    @torch.no_grad()
    def _fit_statistics(self, network: SuperPoint, count: int) -> None:
        """Measures the normalisations' statistics on the first draws of the run."""
        views = self.views()
        seen = [views[draw].seen.pair for draw in Draws(len(views), self.config.seed).first(count)]
        images = torch.from_numpy(np.stack([side for pair in seen for side in (pair.a, pair.b)]))
        measure_statistics(network, images.to(self.device))

    @torch.no_grad()
    def _fit_descriptors(self, network: SuperPoint, teacher: Teacher, count: int) -> None:
        """Solve for the last layer on the first draws of the run."""
        network.eval()
        views, inputs, wanted = self.views(), [], []
        for draw in Draws(len(views), self.config.seed).first(count):
            batch = collate_items([views[draw]])
            item = batch.items[0]
            if self.distilled is None:
                xy, _ = correspondences(batch, 0, torch.zeros(0, 2), self.config.loss.points)
                wanted.append(teacher.detect(batch.clear.a.to(self.device)).describe(0, xy))
            elif item.kind == "two-dates" and item.plain.known:
                labels = self.labels.of(item.index, item.plain, self.device)
                target = self.distilled.of(item.index, item.plain, labels, self.device)
                xy, _, described = distillation_points(batch, 0, target)
                wanted.append(described)
            else:
                continue
            features = network.describing(network.encode(batch.seen.a.to(self.device)))[0]
            inputs.append(read_coarse(features, xy.float(), convention="centred"))
        if inputs:
            solve_last_layer(network, torch.cat(inputs), torch.cat(wanted))


def extract(
    network: SuperPoint, pixels: torch.Tensor, valid: torch.Tensor, budget: int
) -> Features:
    """Returns the keypoints on valid ground, the strongest first.

    Args:
        network: The network, in evaluation mode.
        pixels: (C, H, W), sides multiples of 8.
        valid: (H, W) bool.
        budget: Most keypoints.
    """
    height, width = valid.shape
    device = next(network.parameters()).device
    with torch.inference_mode():
        logits, dense = network(pixels[None].to(device))
        ((positions, response),) = detect(logits.float(), ALL_MAXIMA, (width, height))
        xy, scores = positions.float().cpu().numpy(), response.float().cpu().numpy()
        kept = best_valid(xy, scores, valid.numpy(), budget)
        chosen = positions[torch.from_numpy(kept).to(device)]
        descriptors = sample(dense[0], chosen, convention="centred")
    return Features(xy[kept], scores[kept], descriptors.float().cpu().numpy(), (width, height))


def draw_response(
    model: SuperPoint, pixels: NDArray[np.float32], device: torch.device
) -> NDArray[np.uint8]:
    """Draws an image and the detector's response, side by side, (H, 2 W, 3)."""
    with torch.inference_mode():
        logits, _ = model(torch.from_numpy(pixels)[None].to(device))
        heat = heatmap(logits.float())[0].cpu().numpy()
    strength = np.sqrt(np.clip(heat / max(float(np.quantile(heat, 0.999)), 1e-9), 0, 1))
    shade = np.repeat((255 * strength).astype(np.uint8)[..., None], 3, axis=2)
    return np.concatenate([as_rgb(pixels), shade], axis=1)
