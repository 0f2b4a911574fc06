"""The trainer of field networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imatch.datasets.manifest import facts_of
from imatch.datasets.pairs import PairDataset
from imatch.datasets.sample import PairSample
from imatch.models.fields.network import FieldNetwork
from imatch.training.fields.config import FieldConfig
from imatch.training.fields.data import (
    FieldBatch,
    FieldItem,
    FieldViews,
    as_item,
    collate,
    open_mixture,
    open_validation,
)
from imatch.training.fields.losses import (
    correlation_loss,
    padded,
    right_shifts,
    spectra,
    surfaces,
)
from imatch.training.initialisation import Initialisation
from imatch.training.network_trainer import PairTrainer
from imatch.training.views import Pairs, validation_pairs


class FieldTrainer(PairTrainer[FieldConfig, FieldBatch, Initialisation[FieldNetwork]]):
    """Trains maps that correlate across sensors."""

    monitor = "lead"

    def __init__(
        self,
        config: FieldConfig,
        folder: Path,
        *,
        train: PairDataset | None = None,
        validation: Pairs | None = None,
    ) -> None:
        super().__init__(
            config,
            folder,
            lambda: Initialisation(network=FieldNetwork(config.shape)),
            facts_of(config.data.chips),
        )
        self.train_pairs: PairDataset
        if train is None:
            self.train_pairs, kinds = open_mixture(config.data, config.seed)
        else:
            self.train_pairs, kinds = train, {"given": len(train)}
        self.data_facts |= {"pairs": kinds}
        wanted = config.validation.pairs
        self.validation_pairs = validation or open_validation(config.data, wanted, config.seed)

    def training_step(self, model: nn.Module, batch: FieldBatch) -> dict[str, Tensor]:
        """See `Trainer.training_step`."""
        config, count = self.config.loss, len(batch)
        maps = self._maps(model, batch)
        # Heights of the surface would have two digits in bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            loss = correlation_loss(
                maps[:count].float(),
                maps[count:].float(),
                batch.shift.to(self.device),
                temperature=config.temperature,
                tolerance_px=config.tolerance_px,
                others=config.others,
                most=config.most,
            )
        return {"loss": loss}

    def validation_step(self, model: nn.Module, case: PairSample) -> dict[str, float]:
        """See `Trainer.validation_step`.

        ``height`` is that of the right shift, ``lead`` what it exceeds the best wrong one by, both
        in standard deviations of the surface, ``right`` whether it does.
        """
        batch = collate([as_item(case)])
        maps = self._maps(model, batch).float()
        side = padded(maps.shape[-1])
        height, enough = surfaces(spectra(maps[:1], side), spectra(maps[1:], side), side)
        right = right_shifts(batch.shift, side, self.config.loss.tolerance_px).to(self.device)
        there = float(height[right & enough].max()) if (right & enough).any() else 0.0
        # A view may show nothing that the other does.
        others = height[~right & enough]
        lead = there - float(others.max()) if len(others) else there
        return {"height": there, "lead": lead, "right": float(lead > 0)}

    def architecture(self) -> dict[str, Any]:
        """See `NetworkTrainer.architecture`."""
        return {"kind": "field", "shape": self.config.shape.to_dict()}

    def views(self) -> FieldViews:
        """See `PairTrainer.views`."""
        config = self.config
        return FieldViews(self.train_pairs, config.augment, config.data.size, config.seed)

    @staticmethod
    def collate(items: Sequence[FieldItem]) -> FieldBatch:
        """See `PairTrainer.collate`."""
        return collate(items)

    def cases(self, count: int | None = None) -> list[PairSample]:
        """See `PairTrainer.cases`."""
        config = self.config
        return validation_pairs(
            self.validation_pairs, config.validation, config.data.size, 3, config.seed, count
        )

    def _maps(self, model: nn.Module, batch: FieldBatch) -> Tensor:
        given = (part.to(self.device) for part in (batch.bands, batch.directions, batch.seen))
        maps: Tensor = model(*given)
        return maps
