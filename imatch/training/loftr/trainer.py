"""The LoFTR trainer: its data, its losses and what is measured."""

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
from imatch.datasets.mixture import PairDataset
from imatch.datasets.sample import PairSample
from imatch.models.device import seeded
from imatch.models.loftr.backbone import KeypointBackbone
from imatch.models.loftr.network import CoarseCells, LoFTR, coarse_parts
from imatch.training.augment.pair import Augmentation
from imatch.training.lineage import start_facts
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.data import LoFTRViews, open_mixture, open_validation, validation_cases
from imatch.training.loftr.figures import figures, matches_of
from imatch.training.loftr.initialisation import LoFTRInitialisation, make_start
from imatch.training.loftr.labels import Alignments
from imatch.training.loftr.losses import coarse_loss, fine_loss
from imatch.training.loftr.truth import Truth, truth_of
from imatch.training.loop.collate import PairBatch, collate
from imatch.training.loop.loader import endless
from imatch.training.loop.trainer import Loaders, Trainer
from imatch.training.match_figure import match_picture
from imatch.training.views import Pairs

_PLACES = 64
"""Cells by which places are shifted at most in training: matching sees images of 640 pixels."""


class LoFTRTrainer(Trainer[LoFTRConfig, PairBatch, PairSample]):
    """Trains the coarse stage, the fine stage or both.

    Args:
        config: How.
        folder: The run's folder.
        train: Pairs to learn from, instead of those the configuration names.
        validation: Pairs to be measured on, likewise.
    """

    monitor: ClassVar[str] = "auc_3"

    def __init__(
        self,
        config: LoFTRConfig,
        folder: Path,
        *,
        train: PairDataset | None = None,
        validation: Pairs | None = None,
    ) -> None:
        super().__init__(config, folder)
        # A random start has to be the same again in a run that is resumed.
        with seeded(config.seed):
            self.start: LoFTRInitialisation = make_start(config.model, config.shape)
        self._made_at = environment()
        self._data = facts_of(config.data.chips)
        self.train_pairs: PairDataset
        if train is None:
            alignments = Alignments(config.distil, folder / "labels" / self._label_key())
            self.train_pairs, kinds = open_mixture(
                config.data, config.distil, alignments, config.seed
            )
        else:
            self.train_pairs, kinds = train, {"given": len(train)}
        self._data |= {"pairs": kinds}
        self.validation_pairs = validation or open_validation(config, config.seed)

    def build_model(self) -> nn.Module:
        """See `Trainer.build_model`."""
        # Not with channels last: PyTorch 2.13 writes beyond its memory in the backward of strided
        # 1 x 1 convolutions of 8 channels so laid out, and gains a tenth.
        return self.start.network.to(self.device)

    def build_loaders(self, start: int) -> Loaders[PairBatch, PairSample]:
        """See `Trainer.build_loaders`."""
        config = self.config
        train = endless(
            self.shown(),
            collate,
            batch_size=config.batch_size,
            seed=config.seed,
            start=start,
            workers=config.workers,
        )
        channels = config.shape.channels
        cases = validation_cases(self.validation_pairs, config.validation, config.seed, channels)
        return Loaders(train, cases)

    def train_mode(self, model: nn.Module) -> None:
        """See `Trainer.train_mode`; what is frozen keeps its statistics too."""
        assert isinstance(model, LoFTR)
        model.train()
        if isinstance(model.backbone, KeypointBackbone):
            # Its statistics were measured over more ground than a batch shows.
            model.backbone.superpoint.eval()
        if self.config.model.freeze_coarse:
            for part in coarse_parts(model):
                part.eval()

    def training_step(self, model: nn.Module, batch: PairBatch) -> dict[str, Tensor]:
        """See `Trainer.training_step`."""
        assert isinstance(model, LoFTR)
        config, count = self.config.loss, len(batch)
        shape = model.shape
        truth = _on(truth_of(batch, shape, config.max_sigma_px), self.device)
        images = torch.cat([batch.a, batch.b]).to(self.device)
        coarse, fine = model.features(images, fine=shape.refined)
        shift = torch.randint(_PLACES, (2,)).tolist()
        tokens = model.attend(
            coarse[:count], coarse[count:], truth.seen_a, truth.seen_b, (shift[0], shift[1])
        )
        values: dict[str, Tensor] = {}
        # Similarities and expectations would have two digits in bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            if config.coarse_weight and not self.config.model.freeze_coarse:
                alike = model.similarity(*tokens, truth.seen_a, truth.seen_b)
                values |= coarse_loss(alike, truth, config)
        if fine is not None:
            values["fine"] = self._fine(model, (fine[:count], fine[count:]), tokens, truth)
        zero = torch.zeros((), device=self.device)
        values["loss"] = config.coarse_weight * values.get("coarse", zero)
        values["loss"] = values["loss"] + config.fine_weight * values.get("fine", zero)
        return values | {"cells": torch.tensor(len(truth.cells) / count)}

    def _fine(
        self,
        model: LoFTR,
        fine: tuple[Tensor, Tensor],
        tokens: tuple[Tensor, Tensor],
        truth: Truth,
    ) -> Tensor:
        """The fine loss in both directions, of some of the true pairs of cells."""
        config = self.config.loss
        chosen = torch.randperm(len(truth.cells))[: config.fine_matches].to(self.device)
        if not len(chosen):
            # No matches: a loss of 0 that still belongs to the graph.
            return 0.0 * (fine[0].sum() + fine[1].sum())
        cells = truth.cells.select(chosen)
        there, back = model.refine(fine, tokens, cells)
        reach, half = model.shape.reach, config.fine_sigma_px
        with torch.autocast(self.device.type, enabled=False):
            sigma = truth.sigma[chosen]
            one = fine_loss(there.float(), truth.there[chosen], sigma, reach, half)
            other = fine_loss(back.float(), truth.back[chosen], sigma, reach, half)
        return (one + other) / 2

    def validation_step(self, model: nn.Module, case: PairSample) -> dict[str, float]:
        """See `Trainer.validation_step`."""
        assert isinstance(model, LoFTR)
        return figures(case, matches_of(model, case))

    def pictures(self, model: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """See `Trainer.pictures`: the first validation pair's matches."""
        assert isinstance(model, LoFTR)
        one = self.config.validation.model_copy(update={"pairs": 1})
        channels = self.config.shape.channels
        case = validation_cases(self.validation_pairs, one, self.config.seed, channels)[0]
        model.eval()
        matches = matches_of(model, case)
        index = np.arange(len(matches))
        a, b = _as_features(matches.ref_xy), _as_features(matches.tgt_xy)
        return {"matches": match_picture(case, a, b, (index, index))}

    def about(self) -> dict[str, Any]:
        """See `Trainer.about`."""
        return {
            "architecture": {"kind": "loftr", "shape": self.config.shape.to_dict()},
            "start": start_facts(self.start),
            "licence": self.start.licence,
            "data": self._data,
            "environment": self._made_at,
        }

    def shown(self) -> LoFTRViews:
        """The training pairs as the network sees them, by draw."""
        config = self.config
        look = Augmentation(config.augment, config.data.size)
        return LoFTRViews(self.train_pairs, look, config.seed, config.shape.channels)

    def _label_key(self) -> str:
        """Names the alignments by all that they follow from: others must not be found."""
        config = self.config
        told = {
            "distil": config.distil.model_dump(mode="json", exclude={"reach_px"}),
            "sources": config.data.sources,
            "content": self._data,
        }
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _on(truth: Truth, device: torch.device) -> Truth:
    cells = truth.cells
    return Truth(
        CoarseCells(cells.pair.to(device), cells.a.to(device), cells.b.to(device)),
        truth.there.to(device),
        truth.back.to(device),
        truth.sigma.to(device),
        truth.lost_a.to(device),
        truth.lost_b.to(device),
        truth.seen_a.to(device),
        truth.seen_b.to(device),
    )


def _as_features(xy: NDArray[np.float64]) -> Features:
    """One end of each match, to be drawn."""
    nothing = np.zeros((len(xy), 0), np.float32)
    return Features(xy.astype(np.float32), np.zeros(len(xy), np.float32), nothing, (0, 0))
