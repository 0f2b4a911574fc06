"""What trainers of imatch's networks share: initialisation, provenance, loading of pairs."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from imatch.benchmark.environment import environment
from imatch.datasets.sample import PairSample
from imatch.models.device import seeded
from imatch.training.initialisation import SCRATCH, Initialisation
from imatch.training.loader import Drawable, endless
from imatch.training.trainer import BatchT, CaseT, ConfigT, Loaders, Trainer

InitialisationT = TypeVar("InitialisationT", bound=Initialisation[nn.Module])


class NetworkTrainer(
    Trainer[ConfigT, BatchT, CaseT], Generic[ConfigT, BatchT, CaseT, InitialisationT]
):
    """A trainer whose checkpoints tell the architecture, the start, its licence and the data.

    Args:
        config: How.
        folder: The run's folder.
        initialise: Makes the network to start from.
        data: What is told of the data, JSON-ready.
    """

    def __init__(
        self,
        config: ConfigT,
        folder: Path,
        initialise: Callable[[], InitialisationT],
        data: Mapping[str, Any],
    ) -> None:
        super().__init__(config, folder)
        # A random start has to be the same again in a run that is resumed.
        with seeded(config.seed):
            self.initialisation = initialise()
        self.data_facts = dict(data)
        self._environment = environment()

    @abstractmethod
    def architecture(self) -> dict[str, Any]:
        """Returns what the network is made of, JSON-ready."""

    def build_model(self) -> nn.Module:
        """See `Trainer.build_model`."""
        return self.initialisation.network.to(self.device)

    def train_mode(self, model: nn.Module) -> None:
        """See `Trainer.train_mode`.

        The normalisations keep the statistics that the start has: small batches have none worth
        learning. From scratch they are learnt.
        """
        model.train()
        if self.initialisation.origin != SCRATCH:
            for part in model.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()

    def about(self) -> dict[str, Any]:
        """See `Trainer.about`."""
        return {
            "architecture": self.architecture(),
            "start": self.initialisation.facts(),
            "licence": self.initialisation.licence,
            "data": self.data_facts,
            "environment": self._environment,
        }


class PairTrainer(NetworkTrainer[ConfigT, BatchT, PairSample, InitialisationT]):
    """A trainer that learns from views of pairs, and is measured on pairs of other places.

    Its subclasses are made of a configuration and the run's folder; pairs to learn from (`train`)
    and to be measured on (`validation`) may be given instead of those the configuration names.
    """

    monitor: ClassVar[str] = "auc_3"

    @abstractmethod
    def views(self) -> Drawable[Any]:
        """Returns the training pairs as the network sees them, by draw."""

    @staticmethod
    @abstractmethod
    def collate(items: Sequence[Any]) -> Any:
        """Makes a batch of views; static, since processes that load data call it."""

    @abstractmethod
    def cases(self, count: int | None = None) -> list[PairSample]:
        """Returns the validation pairs, always the same; as many as configured, or `count`.

        Raises:
            InputError: Of none of them is the alignment known.
        """

    def build_loaders(self, start: int) -> Loaders[BatchT, PairSample]:
        """See `Trainer.build_loaders`."""
        train = endless(
            self.views(),
            self.collate,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            start=start,
            workers=self.config.workers,
        )
        return Loaders(train, self.cases())


def settings_key(values: Mapping[str, Any]) -> str:
    """Names what is kept on disk by all that it follows from: other settings must not find it."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]
