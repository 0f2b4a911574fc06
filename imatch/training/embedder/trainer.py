"""The trainer of embedders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imatch.core.errors import ConfigError
from imatch.datasets.manifest import load_manifest
from imatch.models.embedding.network import EmbeddingNetwork
from imatch.retrieval.evaluate.metrics import figures, rank
from imatch.training.embedder.chips import CENTRE, PlaceChips
from imatch.training.embedder.config import LABELLED, EmbedderConfig
from imatch.training.embedder.data import EmbedderBatch, EmbedderViews, batches, spread
from imatch.training.embedder.figures import plane, scatter, umap_module
from imatch.training.embedder.initialisation import make_initialisation
from imatch.training.embedder.label_map import LabelMap
from imatch.training.embedder.losses import Tuples, make_loss
from imatch.training.embedder.miners import Mined, confusions, make_miner
from imatch.training.embedder.samplers import Random, make_sampler
from imatch.training.initialisation import Initialisation
from imatch.training.network_trainer import NetworkTrainer
from imatch.training.trainer import Loaders

#: What is measured at once: all the validation chips, by number.
Case = NDArray[np.int64]


class EmbedderTrainer(
    NetworkTrainer[EmbedderConfig, EmbedderBatch, Case, Initialisation[EmbeddingNetwork]],
):
    """Trains an embedder.

    Args:
        config: How.
        folder: The run's folder.

    Raises:
        ConfigError: There is nothing to learn from, or a package is missing.
        InputError: The chips or the label map cannot be read.
    """

    monitor: ClassVar[str] = "top_1"
    unit: ClassVar[str] = "chips"

    def __init__(self, config: EmbedderConfig, folder: Path) -> None:
        if config.data.chips is None:
            raise ConfigError(
                "there is nothing to learn from",
                subject="data.chips",
                hint="name a folder of imatch data prepare",
            )
        manifest = load_manifest(config.data.chips)
        options: dict[str, Any] = {
            "bands": config.model.bands,
            "size": config.data.size,
            "crop": config.data.crop,
            "sources": config.data.sources,
            "cache_mb": config.data.cache_mb,
        }
        self.train_chips = PlaceChips(manifest, "train", **options)
        self.validation_chips = PlaceChips(manifest, "val", **options)
        self.label_map = None if config.labels.path is None else LabelMap(config.labels)
        shares = None if self.label_map is None else self.label_map.shares(self.train_chips.rows)
        self.sampler = make_sampler(config, self.train_chips.layout, shares)
        semantics = self.label_map if config.model.semantics else None
        self.views = EmbedderViews(self.train_chips, config.augment, semantics, config.seed)
        self.plain = EmbedderViews(self.train_chips, None, semantics)
        self.validation_views = EmbedderViews(self.validation_chips, None, semantics)
        self.miner = make_miner(config.mining, cosine=_is_cosine(config))
        self.mined = Mined(folder / "mined", config.mining.offline_every)
        self.loss = make_loss(config.loss)
        if config.validation.picture == "umap":
            umap_module()
        classes = len(semantics.classes) if semantics is not None else 0
        super().__init__(
            config,
            folder,
            lambda: make_initialisation(config.model, classes=classes, chip_px=config.data.size),
            {
                "chips": str(config.data.chips),
                "sha256": manifest.sha256,
                "train": len(self.train_chips),
                "places": len(np.unique(self.train_chips.layout.place)),
            },
        )
        self.targets = self._targets()
        self._embedded: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None

    def build_loaders(self, start: int) -> Loaders[EmbedderBatch, Case]:
        """See `Trainer.build_loaders`."""
        if isinstance(self.sampler, Random):
            self.sampler.share = self.config.mining.share
            self.sampler.confused = self.mined.before(start)
        train = batches(self.views, self.sampler, start, self.config.workers)
        return Loaders(train, [spread(self.validation_chips, self.config.validation.chips)])

    def count(self, batch: EmbedderBatch) -> int:
        """See `Trainer.count`; how many chips a place or a class gives is the sampler's choice."""
        return len(batch)

    def training_step(self, model: nn.Module, batch: EmbedderBatch) -> dict[str, Tensor]:
        """See `Trainer.training_step`."""
        if self.mined.due(self.step):
            self._update_confusions(model)
        embeddings = model(batch.image.to(self.device), batch.valid.to(self.device))
        labels = batch.labels.to(self.device)
        # Distances would have two digits in bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            embeddings = embeddings.float()
            tuples: Tuples = None
            if batch.triplets is not None:
                tuples = tuple(batch.triplets.to(self.device).T)
            elif self.miner is not None:
                tuples = self.miner(embeddings, labels)
            loss = self.loss(embeddings, labels, tuples)
            values = {"loss": loss}
            if tuples is not None:
                values["mined"] = torch.tensor(float(len(tuples[0])))
        return values

    def validation_step(self, model: nn.Module, case: Case) -> dict[str, float]:
        """See `Trainer.validation_step`: every chip asks for the others of its place or class."""
        vectors = self.embed(model, self.validation_views, case)
        targets = self.targets[case]
        self._embedded = vectors, targets
        known = np.flatnonzero(targets >= 0)
        # Other dates of one place are no evidence of what covers the ground.
        places = self.validation_chips.layout.place[case]
        found = rank(
            vectors[known],
            vectors[known],
            targets[known],
            targets[known],
            themselves=np.arange(len(known)),
            apart=places[known] if self.config.sampler.kind in LABELLED else None,
        )
        return figures(found)

    def example_images(self, model: nn.Module) -> Mapping[str, NDArray[np.uint8]]:  # noqa: ARG002
        """See `Trainer.example_images`: the validation chips as points, in their class's colour."""
        method = self.config.validation.picture
        if method == "none" or self._embedded is None:
            return {}
        vectors, targets = self._embedded
        return {"space": scatter(plane(vectors, method, self.config.seed), targets)}

    def architecture(self) -> dict[str, Any]:
        """See `NetworkTrainer.architecture`."""
        return asdict(self.initialisation.network.shape)

    def about(self) -> dict[str, Any]:
        """See `Trainer.about`."""
        classes = [] if self.label_map is None else list(self.label_map.classes)
        return super().about() | {"classes": classes}

    def embed(
        self, model: nn.Module, views: EmbedderViews, chips: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Embeds the middles of chips by the network as it is.

        Args:
            model: The network.
            views: Whose chips.
            chips: (N,) which.

        Returns:
            (N, D) embeddings.
        """
        found = []
        step = self.config.validation.batch_size
        for begin in range(0, len(chips), step):
            seen = [views.see(int(chip), CENTRE) for chip in chips[begin : begin + step]]
            image = torch.from_numpy(np.stack([image for image, _ in seen]))
            valid = torch.from_numpy(np.stack([valid for _, valid in seen]))
            found.append(model(image.to(self.device), valid.to(self.device)).float().cpu().numpy())
        return np.concatenate(found)

    def _update_confusions(self, model: nn.Module) -> None:
        """Embeds all training chips, and remembers which places are taken for each other."""
        assert isinstance(self.sampler, Random)
        model.eval()
        with torch.no_grad():
            vectors = self.embed(model, self.plain, np.arange(len(self.train_chips)))
        self.train_mode(model)
        count = self.config.mining.neighbours
        table = confusions(vectors, self.train_chips.layout.place, count)
        self.mined.save(self.step, table)
        self.sampler.confused = table

    def _targets(self) -> NDArray[np.int64]:
        """Returns (N,) targets of the validation chips: the place, or class where classes teach."""
        if self.config.sampler.kind not in LABELLED:
            return self.validation_chips.layout.place
        assert self.label_map is not None
        shares = self.label_map.shares(self.validation_chips.rows)
        best = shares.argmax(axis=1)
        return np.where(shares.max(axis=1) >= self.config.sampler.dominance, best, -1)


def _is_cosine(config: EmbedderConfig) -> bool:
    return config.loss.kind in ("triplet-cosine", "bce", "focal", "multi-similarity", "nt-xent")
