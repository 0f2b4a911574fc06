"""Training sentences: those held out, and the others as they are drawn, with names exchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from experiments.mountains.sentences import Range, Sentence, read_sentences
from imatch.core.errors import InputError
from imatch.core.settings import Settings
from imatch.training.loader import Draw

KEPT = "out/mountain_sentences/kept.jsonl"
"""Where `validate` writes the sentences of record."""


class AugmentConfig(Settings):
    """How training sentences are varied.

    Attributes:
        substitute: Share of names exchanged for another one of the training sentences.
        gazetteer: Share of the exchanged names that come from the gazetteer instead.
        abbreviated: Share of names with "Mount" that are written "Mt." or "Mt" instead, which the
            encyclopedia seldom does and other texts often do.
        most: Mentions of a name beyond which it is exchanged as often as it is too frequent.
        without: Share of draws made of sentences without any mountain, which are rare in the data.
        generated: Share of draws made of generated sentences about other places and people.
    """

    substitute: float = Field(default=0.2, ge=0, le=1)
    gazetteer: float = Field(default=0.2, ge=0, le=1)
    abbreviated: float = Field(default=0.1, ge=0, le=1)
    most: int = Field(default=5, ge=1)
    without: float = Field(default=0.0, ge=0, lt=1)
    generated: float = Field(default=0.0, ge=0, lt=1)


class Varied:
    """Training sentences by draw, each a function of the seed and the draw's number.

    Args:
        sentences: The sentences.
        config: How they are varied.
        names: Names of the gazetteer, as tokens.
        others: Generated sentences without a mountain.
        seed: Of everything drawn.
    """

    def __init__(
        self,
        sentences: Sequence[Sentence],
        config: AugmentConfig,
        *,
        names: Sequence[tuple[str, ...]] = (),
        others: Sequence[Sentence] = (),
        seed: int = 0,
    ) -> None:
        self.sentences = sentences
        self.config = config
        self.gazetteer = names
        self.others = others
        self.seed = seed
        counts = Counter(name for one in sentences for name in one.names)
        self.names = sorted({tuple(name.split(" ")) for name in counts})
        self.too_often = {
            name: 1 - config.most / count for name, count in counts.items() if count > config.most
        }
        self.without = [one for one in sentences if not one.spans]

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, draw: Draw) -> Sentence:
        """Returns the sentence of a draw."""
        index, number = draw
        rng = np.random.default_rng([self.seed, number])
        kind = rng.random()
        if self.others and kind < self.config.generated:
            return self.others[int(rng.integers(len(self.others)))]
        if self.without and kind < self.config.generated + self.config.without:
            return self.without[int(rng.integers(len(self.without)))]
        return self._exchanged(self.sentences[index], rng)

    def _exchanged(self, sentence: Sentence, rng: np.random.Generator) -> Sentence:
        tokens: list[str] = []
        spans: list[Range] = []
        last = 0
        for (start, end), name in zip(sentence.spans, sentence.names, strict=True):
            tokens += sentence.tokens[last:start]
            share = max(self.config.substitute, self.too_often.get(name, 0.0))
            new = self._other(rng) if rng.random() < share else sentence.tokens[start:end]
            if new[0] == "Mount" and rng.random() < self.config.abbreviated:
                new = (str(rng.choice(["Mt.", "Mt"])), *new[1:])
            spans.append((len(tokens), len(tokens) + len(new)))
            tokens += new
            last = end
        return Sentence((*tokens, *sentence.tokens[last:]), tuple(spans), sentence.id)

    def _other(self, rng: np.random.Generator) -> tuple[str, ...]:
        use = self.gazetteer and rng.random() < self.config.gazetteer
        names = self.gazetteer if use else self.names
        return names[int(rng.integers(len(names)))]


def split(
    path: Path, *, holdout: float, share: float = 1.0, seed: int = 0
) -> tuple[list[Sentence], list[Sentence]]:
    """Reads sentences and splits them; those that occur twice are taken once.

    Args:
        path: The file.
        holdout: Share held out.
        share: Share of the rest that is used.
        seed: Of the choice.

    Returns:
        Those to train on, and those to choose a model by.

    Raises:
        InputError: The file is not there, cannot be read, or holds no mountain.
    """
    if not path.exists():
        raise InputError(
            "does not exist",
            subject=path,
            hint=f"make it by python -m experiments.mountains validate SENTENCES -o {path.parent},"
            " or name another by -s train=FILE",
        )
    unique = {one.tokens: one for one in read_sentences(path)}
    kept, out = held_out(list(unique.values()), holdout, seed)
    kept = kept[: max(round(share * len(kept)), 1)]
    if not any(one.spans for one in kept) or not any(one.spans for one in out):
        raise InputError("marks no mountain", subject=path, hint="train on other sentences")
    return kept, out


def held_out(
    sentences: Sequence[Sentence], share: float, seed: int
) -> tuple[list[Sentence], list[Sentence]]:
    """Splits sentences into those to train on and those to choose a model by.

    Args:
        sentences: All of them.
        share: Of those held out.
        seed: Of the choice.
    """
    order = np.random.default_rng(seed).permutation(len(sentences))
    count = round(share * len(sentences))
    out = set(order[:count].tolist())
    kept = [one for k, one in enumerate(sentences) if k not in out]
    return kept, [one for k, one in enumerate(sentences) if k in out]
