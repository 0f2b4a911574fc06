"""A tiny encoder with random weights, sentences that it can learn, and a run that learnt them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="transformers is of the extra `mountains`")
pytest.importorskip("seqeval", reason="seqeval is of the extra `mountains`")
pytest.importorskip("rapidfuzz", reason="rapidfuzz is of the extra `mountains`")

from experiments.mountains.sentences import Sentence, write_sentences
from experiments.mountains.trainer import train

NAMES = ("Mount Fuji", "Mount Etna", "Mount Olympus", "Mount Wilson", "Mount Hood", "Mount Xyzzy")
TEMPLATES = (
    "We saw {} from the train to Tokyo .",
    "She climbed {} in May .",
    "{} is far from the city .",
    "In May we left the city for {} and the sea .",
)
OTHERS = ("We saw the sea from the train .", "She left the city in May .", "Tokyo is far .")
SETTINGS = (
    "trackers=[]",
    "device=cpu",
    "precision=fp32",
    "holdout=0.2",
    "batch_size=16",
    "optimiser.lr=0.01",
    "schedule.warmup=5",
    "ema=0.5",
    "validate_every=20",
    "checkpoint_every=20",
    "frozen=false",
    "augment.substitute=0",
    "augment.abbreviated=0",
    "masked=0",
)


def words(text: str) -> tuple[str, ...]:
    """Splits at blanks."""
    return tuple(text.split())


def learnable() -> list[Sentence]:
    """Names in templates, and sentences without a name."""
    made: list[Sentence] = []
    for name in NAMES:
        for template in TEMPLATES:
            before, after = (part.split() for part in template.split("{}"))
            tokens = (*before, *name.split(), *after)
            span = (len(before), len(before) + len(name.split()))
            made.append(Sentence(tokens, (span,), f"{len(made)}"))
    return made + [Sentence(tuple(text.split()), (), text) for text in OTHERS]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a BERT of one layer, which knows letters and few words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,'-"]
    known = ["mount", "fuji", "tokyo", "we", "saw", "the", "city", "she", "climbed", "is", "in"]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = [*special, *letters, *(f"##{one}" for one in letters), *known]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    made: Any = PreTrainedTokenizerFast  # Its constructor is untyped.
    options = dict(zip(names, special, strict=True))
    made(tokenizer_object=tokenizer, **options).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of sentences."""
    path = tmp_path_factory.mktemp("data") / "train.jsonl"
    write_sentences(path, learnable())
    return path


@pytest.fixture(scope="session")
def settings(encoder: Path, data: Path) -> list[str]:
    """Settings of a quick run."""
    return [*SETTINGS, f"encoder={encoder}", f"train={data}", "window=48", "steps=60"]


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, settings: list[str]) -> Path:
    """A run that is done."""
    folder = tmp_path_factory.mktemp("runs") / "mountains"
    outcome = train(folder, settings=settings)
    assert outcome.figures["f1"] > 0.8
    return folder
