"""The SuperPoint trainer: its data, its losses and what is measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imatch.bench.environment import environment
from imatch.core.types import Features
from imatch.datasets.manifest import facts_of
from imatch.datasets.sample import PairSample
from imatch.matchers.base import MatcherOptions
from imatch.matchers.sparse.base import Pairing
from imatch.matchers.sparse.nearest import Nearest
from imatch.models.device import seeded
from imatch.models.superpoint.network import SuperPoint
from imatch.models.superpoint.points import read_coarse
from imatch.training.augment.pair import Augmentation
from imatch.training.lineage import start_facts
from imatch.training.loop.loader import Draws, endless
from imatch.training.loop.trainer import Loaders, Trainer
from imatch.training.match_figure import match_picture
from imatch.training.superpoint.config import SuperPointConfig
from imatch.training.superpoint.data import SuperPointBatch, SuperPointViews, gather
from imatch.training.superpoint.distillation import DistillationTargets
from imatch.training.superpoint.extract import extract
from imatch.training.superpoint.figures import heat_picture
from imatch.training.superpoint.initialisation import (
    SuperPointInitialisation,
    make_start,
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
    taught_points,
)
from imatch.training.superpoint.teachers import (
    AlikedTeacher,
    CachedTeacher,
    SuperPointTeacher,
    Teacher,
)
from imatch.training.validation import keypoint_figures, match_figures
from imatch.training.views import Pairs, open_pairs, validation_pairs


class SuperPointTrainer(Trainer[SuperPointConfig, SuperPointBatch, PairSample]):
    """Trains a SuperPoint on the objectives that the configuration weighs.

    Args:
        config: How.
        folder: The run's folder.
        train: Pairs to learn from, instead of those the configuration names.
        validation: Pairs to be measured on, likewise.
    """

    monitor: ClassVar[str] = "auc_3"

    def __init__(
        self,
        config: SuperPointConfig,
        folder: Path,
        *,
        train: Pairs | None = None,
        validation: Pairs | None = None,
    ) -> None:
        super().__init__(config, folder)
        self.train_pairs = train or open_pairs(
            config.data, "train", config.model.bands, config.seed
        )
        self.validation_pairs = validation or open_pairs(
            config.data, "val", config.model.bands, config.seed
        )
        # A random start has to be the same again in a run that is resumed.
        with seeded(config.seed):
            self.start: SuperPointInitialisation = make_start(config.model)
        self._made_at = environment()
        self._data = facts_of(config.data.chips) | {"pairs": len(self.train_pairs)}
        objectives = config.objectives
        self.teacher: Teacher | None = (
            CachedTeacher(AlikedTeacher(self.device)) if objectives.distil else None
        )
        labeller: Teacher = CachedTeacher(SuperPointTeacher(self.start.original.to(self.device)))
        if config.labels.source == "aliked":
            labeller = self.teacher or CachedTeacher(AlikedTeacher(self.device))
        self.labels = KeypointLabels(labeller, config.labels, folder / "labels" / self._label_key())
        self.lessons: DistillationTargets | None = None
        if self.teacher is not None and config.distil.sees == "chips":
            points = config.distil.points
            place = self.labels.folder / f"lessons-{points}"
            self.lessons = DistillationTargets(self.teacher, points, place)
        self.pairings: dict[str, Pairing] = {"": Nearest()}
        if config.validation.lightglue:
            from imatch.matchers.sparse.lightglue import LightGlue

            options = MatcherOptions(device=str(self.device), fetch=True)
            self.pairings["lightglue_"] = LightGlue("aliked", "aliked-lightglue", options)

    def build_model(self) -> nn.Module:
        """See `Trainer.build_model`."""
        # Convolutions are a fifth faster with a pixel's channels side by side.
        network = self.start.network.to(self.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if self._keeps_statistics and self.config.model.fit_statistics:
            self._fit_statistics(network, self.config.model.fit_statistics)
        wanted = self.config.distil.fit_pairs
        if self.teacher is not None and self.start.new_descriptors and wanted:
            self._fit_descriptors(network, self.teacher, wanted)
        return network

    def build_loaders(self, start: int) -> Loaders[SuperPointBatch, PairSample]:
        """See `Trainer.build_loaders`."""
        config = self.config
        train = endless(
            self.shown(),
            gather,
            batch_size=config.batch_size,
            seed=config.seed,
            start=start,
            workers=config.workers,
        )
        cases = validation_pairs(
            self.validation_pairs,
            config.validation,
            config.validation.size or config.data.size,
            config.model.bands,
            config.seed,
        )
        return Loaders(train, cases)

    def train_mode(self, model: nn.Module) -> None:
        """See `Trainer.train_mode`; frozen statistics stay in evaluation mode."""
        assert isinstance(model, SuperPoint)
        settings = self.config.model
        model.train()
        if self._keeps_statistics:
            for part in model.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
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
        values = {"loss": detector + config.loss.descriptor_weight * described}
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
        """Of each pair, the weighted mean of its descriptor losses, and these by name."""
        weights, config = self.config.objectives, self.config
        taught = [i for i, item in enumerate(batch.items) if item.kind == "two-dates"]
        saw = None
        if self.teacher is not None and self.lessons is None and taught:
            saw = self.teacher.observe(batch.clear.b[taught].to(self.device))
        parts = []
        for i, item in enumerate(batch.items):
            # No positives: a loss of 0 that still belongs to the graph.
            total, named = 0.0 * dense_a[i].sum(), dict[str, Tensor]()
            sigma = float(batch.seen.sigma_px[i])
            if sigma <= config.loss.max_sigma_px:
                preferred = targets[i][0][1].xy
                xy = correspondences(batch, i, preferred, config.loss.points)
                two = item.kind == "two-dates"
                if not two or weights.season:
                    named["matching"] = descriptor_objective(dense_a[i], dense_b[i], *xy, config)
                both = dense_a[i], dense_b[i]
                if two and self.lessons is not None:
                    labels = self.labels.of(item.index, item.plain, self.device)
                    lesson = self.lessons.of(item.index, item.plain, labels, self.device)
                    *places, wanted = taught_points(batch, i, lesson)
                    named["distil"] = distil_objective(both, (places[0], places[1]), wanted, config)
                elif two and saw is not None:
                    wanted = saw.describe(taught.index(i), xy[1])
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
            found = match_figures(case, a, b, pairing)
            figures |= {f"{prefix}{name}": value for name, value in found.items()}
        return figures

    def pictures(self, model: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """See `Trainer.pictures`: the first validation pair's heat map and matches."""
        assert isinstance(model, SuperPoint)
        case = validation_pairs(
            self.validation_pairs,
            self.config.validation.model_copy(update={"pairs": 1}),
            self.config.validation.size or self.config.data.size,
            self.config.model.bands,
            self.config.seed,
        )[0]
        a, b = self._features(model, case)
        matches = self.pairings[""].pair(a, b)
        return {
            "heat": heat_picture(model, case.a, self.device),
            "matches": match_picture(case, a, b, matches[:2]),
        }

    def about(self) -> dict[str, Any]:
        """See `Trainer.about`."""
        return {
            "architecture": {
                "kind": "superpoint",
                "in_channels": self.start.network.in_channels,
                "descriptor_dim": self.start.network.descriptor_dim,
                "batch_norm": self.start.network.batch_norm,
                "descriptor_convention": "centred",
            },
            "start": start_facts(self.start),
            "licence": self.start.licence,
            "data": self._data,
            "environment": self._made_at,
        }

    def shown(self) -> SuperPointViews:
        """The training pairs as the network sees them, by draw."""
        config = self.config
        look = Augmentation(config.augment, config.data.size)
        return SuperPointViews(
            self.train_pairs, look, config.objectives, config.model.bands, config.seed
        )

    def _label_key(self) -> str:
        """Names the labels by all that they follow from: other settings must not find them."""
        config = self.config
        told = {
            "labels": config.labels.model_dump(mode="json"),
            "data": config.data.model_dump(mode="json"),
            "content": self._data,
            "bands": config.model.bands,
            "seed": config.seed,
            "start": [self.start.origin, self.start.sha256],
        }
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]

    def _features(self, model: nn.Module, case: PairSample) -> tuple[Features, Features]:
        assert isinstance(model, SuperPoint)
        budget = self.config.validation.keypoints
        sides = ((case.a, case.valid_a), (case.b, case.valid_b))
        a, b = (
            extract(model, torch.from_numpy(pixels), torch.from_numpy(valid), budget)
            for pixels, valid in sides
        )
        return a, b

    @property
    def _keeps_statistics(self) -> bool:
        settings = self.config.model
        return settings.freeze_statistics and settings.start != "scratch"

    @torch.no_grad()
    def _fit_statistics(self, network: SuperPoint, count: int) -> None:
        """Measure the normalisations' statistics on the first draws of the run."""
        shown = self.shown()
        seen = [shown[draw].seen.pair for draw in Draws(len(shown), self.config.seed).first(count)]
        images = torch.from_numpy(np.stack([side for pair in seen for side in (pair.a, pair.b)]))
        measure_statistics(network, images.to(self.device))

    @torch.no_grad()
    def _fit_descriptors(self, network: SuperPoint, teacher: Teacher, count: int) -> None:
        """Solve for the last layer on the first draws of the run."""
        network.eval()
        shown, inputs, wanted = self.shown(), [], []
        for draw in Draws(len(shown), self.config.seed).first(count):
            batch = gather([shown[draw]])
            item = batch.items[0]
            if self.lessons is None:
                xy, _ = correspondences(batch, 0, torch.zeros(0, 2), self.config.loss.points)
                wanted.append(teacher.observe(batch.clear.a.to(self.device)).describe(0, xy))
            elif item.kind == "two-dates" and item.plain.known:
                labels = self.labels.of(item.index, item.plain, self.device)
                lesson = self.lessons.of(item.index, item.plain, labels, self.device)
                xy, _, described = taught_points(batch, 0, lesson)
                wanted.append(described)
            else:
                continue
            features = network.describing(network.encode(batch.seen.a.to(self.device)))[0]
            inputs.append(read_coarse(features, xy.float(), convention="centred"))
        if inputs:
            solve_last_layer(network, torch.cat(inputs), torch.cat(wanted))
