"""The network that marks mountains: encoders, the case of words, and a CRF."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from experiments.mountains.crf import SpanCRF
from experiments.mountains.encoder import Encoder
from experiments.mountains.gazetteer import NameMatcher, gazetteer_names, shipped
from experiments.mountains.sentences import LABELS, Range, Sentence
from imatch.training.trainer import supports_bf16

_SHAPES = 8
#: Quotation marks of the Penn Treebank, which encoders do not know.
_QUOTES = {"``": '"', "''": '"', "-LRB-": "(", "-RRB-": ")"}
#: Words that neighbouring windows of a long sentence share.
_OVERLAP = 32


@dataclass(frozen=True)
class Found:
    """A mountain found in a sentence.

    Attributes:
        span: Half-open range of its tokens.
        probability: That exactly this span is a mountain.
    """

    span: Range
    probability: float


@dataclass(frozen=True, eq=False)
class WordBatch:
    """N sentences, or windows of them, of up to T words and P word pieces.

    Attributes:
        pieces: (N, P) int64, numbers of the word pieces.
        attention: (N, P) int64, 1 where there is a piece.
        piece_shapes: (N, P) int64, the `shape_of` the word a piece is of.
        pooling: (N, T, P) float32, takes the mean of each word's pieces.
        shapes: (N, T) int64, the `shape_of` each word.
        known: (N, T) int64, 1 for the first and 2 for further words of a name that comes with the
            gazetteer, else 0.
        mask: (N, T) bool, where there is a word.
        labels: (N, T) int64 the right labels, 0 where there is no word.
    """

    pieces: Tensor
    attention: Tensor
    piece_shapes: Tensor
    pooling: Tensor
    shapes: Tensor
    known: Tensor
    mask: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> WordBatch:
        """Returns it on a device."""
        return WordBatch(*(value.to(device) for value in vars(self).values()))


def shape_of(word: str, first: bool) -> int:
    """Returns how a word is written, which an encoder without capitals does not see.

    Args:
        word: The word.
        first: Whether a sentence begins with it.

    Examples:
        >>> [shape_of(word, False) for word in ("peak", "Peak", "K2", "USA", "McKinley", "8848")]
        [3, 5, 4, 4, 6, 1]
    """
    letters = [char for char in word if char.isalpha()]
    text = "".join(letters)
    if not letters:
        shape = 1 if any(char.isdigit() for char in word) else 2
    elif text.islower():
        shape = 3
    elif text.isupper() and (len(text) > 1 or len(word) > 1):
        shape = 4
    elif letters[0].isupper():
        shape = 5 if text[1:].islower() or len(text) == 1 else 6
    else:
        shape = 7
    return shape + _SHAPES * first


class WordScorer(nn.Module):
    """Scores of ``O``, ``B`` and ``I`` for each word by one encoder.

    Names that come with the gazetteer are a feature of their words. How words are written is added
    to the embeddings of their pieces, so that an encoder that was trained without capitals learns
    them in all its layers.

    Args:
        encoder: The encoder, which it becomes part of.
        dropout: Share of a word's features dropped in training.
    """

    def __init__(self, encoder: nn.Module, dropout: float) -> None:
        super().__init__()
        self.encoder = encoder
        size = int(encoder.config.hidden_size)  # type: ignore[union-attr, arg-type]
        self.inner_shapes = nn.Embedding(2 * _SHAPES + 1, size)
        self.outer_shapes = nn.Embedding(2 * _SHAPES + 1, 32)
        self.dropout = nn.Dropout(dropout)
        self.known = nn.Embedding(3, 16)
        self.scores = nn.Linear(size + 32 + 16, len(LABELS))
        # It begins as the encoder it was.
        nn.init.zeros_(self.inner_shapes.weight)

    def forward(self, batch: WordBatch) -> Tensor:
        """Returns (N, T, 3) float32."""
        words: nn.Module = self.encoder.get_input_embeddings()  # type: ignore[operator]
        embedded = words(batch.pieces) + self.inner_shapes(batch.piece_shapes)
        hidden = self.encoder(inputs_embeds=embedded, attention_mask=batch.attention)
        pooled = batch.pooling.to(hidden.last_hidden_state.dtype) @ hidden.last_hidden_state
        outer = torch.cat([self.outer_shapes(batch.shapes), self.known(batch.known)], dim=-1)
        features = torch.cat([self.dropout(pooled), outer.to(pooled.dtype)], dim=-1)
        scores: Tensor = self.scores(features)
        return scores.float()


class TaggerNetwork(nn.Module):
    """The mean of the scores of some members, and a CRF over it.

    Members begin with the same encoder; their other weights and what is dropped and hidden in
    training differ, so that what one learns by heart of wrong labels is not what another does
    (deep ensembles, Lakshminarayanan et al. 2017, arXiv:1612.01474).

    Args:
        encoder: The encoder that the first member takes and the others copy.
        dropout: Share of a word's features dropped in training.
        crf: Whether the CRF's transitions are learnt.
        members: How many.
    """

    def __init__(
        self, encoder: nn.Module, *, dropout: float = 0.2, crf: bool = True, members: int = 1
    ) -> None:
        super().__init__()
        encoders = [encoder, *(copy.deepcopy(encoder) for _ in range(members - 1))]
        self.members = nn.ModuleList([WordScorer(one, dropout) for one in encoders])
        self.crf = SpanCRF(crf)

    def forward(self, batch: WordBatch) -> Tensor:
        """Returns (N, T, 3) float32."""
        return torch.stack([member(batch) for member in self.members]).mean(dim=0)


class Batcher:
    """Makes batches of sentences.

    Args:
        tokenizer: A fast tokenizer of `transformers`.
        most: Word pieces in a window; longer sentences take several.
    """

    def __init__(self, tokenizer: Any, most: int = 256) -> None:
        self.tokenizer = tokenizer
        self.most = most
        self.matcher = NameMatcher(gazetteer_names(shipped()))

    def windows(self, tokens: Sequence[str]) -> list[Range]:
        """Returns ranges of words that fit a window; neighbours share some words.

        Args:
            tokens: The words of a sentence, at least one.
        """
        encoded = self.tokenizer(
            [_plain(tokens)], is_split_into_words=True, add_special_tokens=False, verbose=False
        )
        pieces = Counter(encoded.word_ids(0))
        counts = [pieces[word] for word in range(len(tokens))]
        room = self.most - 2
        windows, start = [], 0
        while True:
            end, used = start, 0
            while end < len(counts) and (used + min(counts[end], room) <= room):
                used += min(counts[end], room)
                end += 1
            windows.append((start, end))
            if end == len(counts):
                return windows
            start = max(end - _OVERLAP, start + 1)

    def batch(self, sentences: Sequence[Sentence], firsts: Sequence[bool] = ()) -> WordBatch:
        """Makes a batch of sentences that fit a window.

        Args:
            sentences: Sentences; what is beyond a window is cut off, its words keep empty features.
            firsts: Whether each begins a sentence; all do when empty.
        """
        encoded = self.tokenizer(
            [_plain(one.tokens) for one in sentences],
            is_split_into_words=True,
            truncation=True,
            max_length=self.most,
            padding=True,
            return_tensors="pt",
        )
        words = max(len(one.tokens) for one in sentences)
        count, pieces = encoded["input_ids"].shape
        shapes = torch.zeros(count, words, dtype=torch.int64)
        labels = torch.zeros(count, words, dtype=torch.int64)
        known = torch.zeros(count, words, dtype=torch.int64)
        piece_shapes = torch.zeros(count, pieces, dtype=torch.int64)
        pooling = torch.zeros(count, words, pieces)
        lengths = torch.tensor([len(one.tokens) for one in sentences])
        for row, one in enumerate(sentences):
            begins = not firsts or firsts[row]
            kinds = [shape_of(word, begins and k == 0) for k, word in enumerate(one.tokens)]
            shapes[row, : len(kinds)] = torch.tensor(kinds)
            labels[row, : len(kinds)] = torch.tensor([LABELS.index(tag) for tag in one.tags])
            for start, end in self.matcher.match(one.tokens):
                known[row, start:end] = 2
                known[row, start] = 1
            for piece, word in enumerate(encoded.word_ids(row)):
                if word is not None:
                    piece_shapes[row, piece] = kinds[word]
                    pooling[row, word, piece] = 1
        pooling /= pooling.sum(dim=2, keepdim=True).clamp_min(1)
        mask = torch.arange(words)[None] < lengths[:, None]
        attention = encoded["attention_mask"]
        return WordBatch(
            encoded["input_ids"], attention, piece_shapes, pooling, shapes, known, mask, labels
        )


class Tagger:
    """A trained network, ready to mark mountains.

    Args:
        network: The network.
        encoder: What it was made of, for its tokenizer.
        device: Where it computes.
        most: Word pieces in a window.
        temperature: Divides the scores, so that probabilities are as frequent as they say.
        least: Probability below which a span is left out.
        batch_size: Windows computed together.
        bf16: Whether it computes in bfloat16; where the processor is made for it when None.
    """

    def __init__(
        self,
        network: TaggerNetwork,
        encoder: Encoder,
        *,
        device: torch.device | None = None,
        most: int = 256,
        temperature: float = 1.0,
        least: float = 0.5,
        batch_size: int = 16,
        bf16: bool | None = None,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.network = network.to(self.device).eval()
        self.batcher = Batcher(encoder.tokenizer, most)
        self.temperature = temperature
        self.least = least
        self.batch_size = batch_size
        self.bf16 = supports_bf16(self.device) if bf16 is None else bf16

    def tag(
        self, sentences: Sequence[Sequence[str]], least: float | None = None
    ) -> list[list[Found]]:
        """Marks the mountains of tokenised sentences.

        Args:
            sentences: Their tokens; a sentence may be empty, and of any length.
            least: Probability below which a span is left out; the tagger's own when None.

        Returns:
            What is found in each, in order.
        """
        found: list[list[Found]] = [[] for _ in sentences]
        # Sentences of like length together, so that little is padded.
        order = sorted(
            (k for k, one in enumerate(sentences) if one), key=lambda k: len(sentences[k])
        )
        for at in range(0, len(order), self.batch_size):
            part = order[at : at + self.batch_size]
            scores = self.score([sentences[k] for k in part])
            padded = nn.utils.rnn.pad_sequence(scores, batch_first=True) / self.temperature
            lengths = torch.tensor([len(one) for one in scores])
            mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
            spans = self.network.crf.decode(
                padded.to(self.device), mask.to(self.device), self.least if least is None else least
            )
            for k, marked in zip(part, spans, strict=True):
                found[k] = [Found(span, probability) for span, probability in marked]
        return found

    def score(self, sentences: Sequence[Sequence[str]]) -> list[Tensor]:
        """Returns the (T, 3) scores of each sentence's words, on the CPU.

        A word that several windows of a long sentence hold has the score of the one in which it is
        farthest from an edge.
        """
        windows = [
            (k, window) for k, one in enumerate(sentences) for window in self.batcher.windows(one)
        ]
        scores = [torch.zeros(len(one), len(LABELS)) for one in sentences]
        depth = [torch.full((len(one),), -1) for one in sentences]
        for at in range(0, len(windows), self.batch_size):
            group = windows[at : at + self.batch_size]
            parts = [Sentence(tuple(sentences[k][start:end])) for k, (start, end) in group]
            batch = self.batcher.batch(parts, [start == 0 for _, (start, _) in group])
            precision = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
            with torch.inference_mode(), precision:
                values = self.network(batch.to(self.device)).cpu()
            for (k, (start, end)), value in zip(group, values, strict=True):
                places, most = torch.arange(start, end), len(sentences[k])
                left = places - start if start else torch.full_like(places, most)
                right = end - 1 - places if end < most else torch.full_like(places, most)
                inner = torch.minimum(left, right)
                deeper = inner > depth[k][start:end]
                scores[k][start:end][deeper] = value[: end - start][deeper]
                depth[k][start:end] = torch.maximum(depth[k][start:end], inner)
        return scores


def _plain(tokens: Sequence[str]) -> list[str]:
    """Tokens as encoders know them."""
    return [_QUOTES.get(token, token) for token in tokens]
