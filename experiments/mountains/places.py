"""Generated sentences about places, people and things that are no mountains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from experiments.mountains.sentences import Sentence, words_of
from imatch.core.io.jsontext import parse_json

NAMES = Path(__file__).with_name("places.json")


def other_sentences(seed: int, count: int = 600) -> list[Sentence]:
    """Makes sentences that name places, people and things but no mountain.

    The names are common knowledge, many of them like those of mountains; none of the sentences is
    taken from anywhere.

    Args:
        seed: Of the choice.
        count: How many.
    """
    names = parse_json(NAMES.read_text(encoding="utf-8"))
    templates = names.pop("sentence")
    rng = np.random.default_rng([seed, count])
    sentences = []
    for number in range(count):
        text = templates[int(rng.integers(len(templates)))]
        for slot, choices in names.items():
            while f"{{{slot}}}" in text:
                text = text.replace(f"{{{slot}}}", choices[int(rng.integers(len(choices)))], 1)
        text = text[0].upper() + text[1:]
        tokens = tuple(text[a:b] for a, b in words_of(text))
        sentences.append(Sentence(tokens, (), f"generated {number}"))
    return sentences
