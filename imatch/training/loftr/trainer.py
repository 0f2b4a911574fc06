"""The trainer of LoFTR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imatch.core.types import Matches
from imatch.datasets.manifest import facts_of
from imatch.datasets.pairs import PairDataset
from imatch.datasets.sample import PairSample
from imatch.models.loftr.backbone import KeypointBackbone
from imatch.models.loftr.match import tie_points
from imatch.models.loftr.network import CoarseCells, LoFTR, coarse_parts
from imatch.training.augment.pair import Augmentation
from imatch.training.initialisation import Initialisation
from imatch.training.loader import PairBatch, collate
from imatch.training.loftr.config import LoFTRConfig
from imatch.training.loftr.data import LoFTRViews, as_matched, open_mixture, open_validation
from imatch.training.loftr.initialisation import make_initialisation
from imatch.training.loftr.labels import Alignments
from imatch.training.loftr.losses import coarse_loss, fine_loss
from imatch.training.loftr.truth import Truth, truth_of
from imatch.training.network_trainer import PairTrainer, settings_key
from imatch.training.validation import draw_matches_on, match_figures
from imatch.training.views import Pairs, validation_pairs

_PLACES = 64
"""Cells by which places are shifted at most in training: matching sees images of 640 pixels."""

_MAX_SIGMA_PX = 2.0
"""Pairs known worse than this teach nothing."""
_FINE_SIGMA_PX = 0.3
"""A pair known this well counts half as much in the fine loss as one known exactly."""


class LoFTRTrainer(PairTrainer[LoFTRConfig, PairBatch, Initialisation[LoFTR]]):
    """Trains the coarse stage, the fine stage or both of a LoFTR."""

    def __init__(
        self,
        config: LoFTRConfig,
        folder: Path,
        *,
        train: PairDataset | None = None,
        validation: Pairs | None = None,
    ) -> None:
        super().__init__(
            config,
            folder,
            lambda: make_initialisation(config.model, config.shape),
            facts_of(config.data.chips),
        )
        # Not with channels last, as SuperPoint's: PyTorch 2.13 writes beyond its memory in the
        # backward of strided 1 x 1 convolutions of 8 channels so laid out, and gains a tenth.
        self.train_pairs: PairDataset
        if train is None:
            alignments = Alignments(config.distil, folder / "labels" / self._label_key())
            self.train_pairs, kinds = open_mixture(
                config.data, config.distil, alignments, config.seed
            )
        else:
            self.train_pairs, kinds = train, {"given": len(train)}
        self.data_facts |= {"pairs": kinds}
        self.validation_pairs = validation or open_validation(config, config.seed)

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
        truth = _on(truth_of(batch, shape, _MAX_SIGMA_PX), self.device)
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
        """Returns the fine loss in both directions, of some of the true pairs of cells."""
        config = self.config.loss
        chosen = torch.randperm(len(truth.cells))[: config.fine_matches].to(self.device)
        if not len(chosen):
            # No matches: a loss of 0 that still belongs to the graph.
            return 0.0 * (fine[0].sum() + fine[1].sum())
        cells = truth.cells.select(chosen)
        there, back = model.refine(fine, tokens, cells)
        reach, half = model.shape.reach, _FINE_SIGMA_PX
        with torch.autocast(self.device.type, enabled=False):
            sigma = truth.sigma[chosen]
            one = fine_loss(there.float(), truth.there[chosen], sigma, reach, half)
            other = fine_loss(back.float(), truth.back[chosen], sigma, reach, half)
        return (one + other) / 2

    def validation_step(self, model: nn.Module, case: PairSample) -> dict[str, float]:
        """See `Trainer.validation_step`."""
        assert isinstance(model, LoFTR)
        matches = find_matches(model, case)
        return match_figures(case, matches, mma_px=(1, 3, 8), auc_px=(3, 5, 10))

    def example_images(self, model: nn.Module) -> Mapping[str, NDArray[np.uint8]]:
        """See `Trainer.example_images`: the first validation pair's matches."""
        assert isinstance(model, LoFTR)
        (case,) = self.cases(1)
        model.eval()
        return {"matches": draw_matches_on(case, find_matches(model, case))}

    def architecture(self) -> dict[str, Any]:
        """See `NetworkTrainer.architecture`."""
        return {"kind": "loftr", "shape": self.config.shape.to_dict()}

    def views(self) -> LoFTRViews:
        """See `PairTrainer.views`."""
        config = self.config
        vary = Augmentation(config.augment, config.data.size)
        return LoFTRViews(self.train_pairs, vary, config.seed, config.shape.channels)

    @staticmethod
    def collate(items: Sequence[PairSample]) -> PairBatch:
        """See `PairTrainer.collate`."""
        return collate(items)

    def cases(self, count: int | None = None) -> list[PairSample]:
        """See `PairTrainer.cases`."""
        wanted, channels = self.config.validation, self.config.shape.channels
        found = validation_pairs(
            self.validation_pairs, wanted, wanted.size, channels, self.config.seed, count
        )
        return [as_matched(case, channels) for case in found]

    def _label_key(self) -> str:
        config = self.config
        return settings_key(
            {
                "distil": config.distil.model_dump(mode="json", exclude={"reach_px"}),
                "sources": config.data.sources,
                "content": self.data_facts,
            }
        )


def find_matches(network: LoFTR, pair: PairSample) -> Matches:
    """Matches a pair by a network, on valid ground, the best first.

    Args:
        network: The network, in evaluation mode.
        pair: As `as_matched` gives it.
    """
    device = next(network.parameters()).device
    seen = [torch.from_numpy(array).to(device) for array in (pair.a, pair.b)]
    valid = [torch.from_numpy(array).to(device) for array in (pair.valid_a, pair.valid_b)]
    found = tie_points(network, seen[0], seen[1], valid[0], valid[1])
    xy_a, xy_b, scores = (part.double().cpu().numpy() for part in found)
    return Matches(xy_a, xy_b, scores).select(np.argsort(-scores, kind="stable"))


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
