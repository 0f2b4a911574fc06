"""A linear-chain CRF over the labels of words, which never yields a broken span."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from experiments.mountains.sentences import LABELS, Range

OUTSIDE, BEGIN, INSIDE = range(len(LABELS))
_NEVER = -1e4
#: Most words of a name.
_LONGEST = 12


class SpanCRF(nn.Module):
    """Conditional random field over ``O``, ``B`` and ``I`` (Lafferty et al. 2001).

    ``I`` never follows ``O`` and never comes first, whatever was learnt.

    Args:
        learnt: Whether transitions are learnt; else all that is allowed counts alike.
    """

    allowed: Tensor
    first: Tensor

    def __init__(self, learnt: bool = True) -> None:
        super().__init__()
        self.transitions = nn.Parameter(torch.zeros(3, 3), requires_grad=learnt)
        self.start = nn.Parameter(torch.zeros(3), requires_grad=learnt)
        allowed, first = torch.zeros(3, 3), torch.zeros(3)
        allowed[OUTSIDE, INSIDE] = first[INSIDE] = _NEVER
        self.register_buffer("allowed", allowed, persistent=False)
        self.register_buffer("first", first, persistent=False)

    def forward(self, scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
        """Returns the negative log-likelihood of each sentence, (N,).

        Args:
            scores: (N, T, 3) scores of the labels.
            labels: (N, T) the right ones.
            mask: (N, T) true where there is a word; the first always is.
        """
        transitions = self.transitions + self.allowed
        right = self.start[labels[:, 0]] + self.first[labels[:, 0]]
        emitted = scores.gather(2, labels[..., None])[..., 0]
        moved = transitions[labels[:, :-1], labels[:, 1:]]
        right = right + (emitted * mask).sum(1) + (moved * mask[:, 1:]).sum(1)
        return torch.logsumexp(self._forward(scores, mask)[-1], dim=1) - right

    @torch.inference_mode()
    def decode(
        self, scores: Tensor, mask: Tensor, least: float = 0.5
    ) -> list[list[tuple[Range, float]]]:
        """Finds the spans that are probable by all labellings, not by the likeliest alone.

        A span whose probability is above half of the best F1 adds to the expected F1, even where
        the likeliest labelling has none (Lipton et al. 2014, arXiv:1402.1892).

        Args:
            scores: (N, T, 3).
            mask: (N, T).
            least: Least probability of a span; where two overlap, the more probable one is taken.

        Returns:
            For each sentence (start, end) of each span, in order, and the probability that exactly
            this span is one.
        """
        found: list[list[tuple[Range, float]]] = [[] for _ in scores]
        for length, chances in enumerate(self._chances(scores, mask), start=1):
            for row, start in (chances >= least).nonzero().tolist():
                span = (start, start + length)
                found[row].append((span, min(float(chances[row, start]), 1.0)))
        return [_apart(spans) for spans in found]

    def _chances(self, scores: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """For lengths from 1, (N, starts): the probability of a span of so many words."""
        before = torch.stack(self._forward(scores, mask), dim=1)
        # What is beyond the end of a sentence weighs nothing.
        after = torch.where(mask[..., None], scores + self._backward(scores, mask), 0.0)
        whole = torch.logsumexp(before[:, -1], dim=1, keepdim=True)
        weights, last = before[..., BEGIN], BEGIN
        words = mask.shape[1]
        for length in range(1, min(_LONGEST, words) + 1):
            following = self.transitions[last, :INSIDE] + after[:, length:, :INSIDE]
            closed = torch.where(mask[:, length:], torch.logsumexp(following, dim=2), 0.0)
            closed = nn.functional.pad(closed, (0, 1))
            yield torch.where(mask[:, length - 1 :], (weights + closed - whole).exp(), 0.0)
            more = self.transitions[last, INSIDE] + scores[:, length:, INSIDE]
            weights, last = weights[:, :-1] + more, INSIDE

    def _forward(self, scores: Tensor, mask: Tensor) -> list[Tensor]:
        """Log-sums of all labellings up to each word, T of (N, 3)."""
        transitions = self.transitions + self.allowed
        sums = [self.start + self.first + scores[:, 0]]
        for at in range(1, scores.shape[1]):
            ways = torch.logsumexp(sums[-1][:, :, None] + transitions, dim=1) + scores[:, at]
            sums.append(torch.where(mask[:, at, None], ways, sums[-1]))
        return sums

    def _backward(self, scores: Tensor, mask: Tensor) -> Tensor:
        """Log-sums of all labellings after each word, (N, T, 3)."""
        transitions = self.transitions + self.allowed
        sums = [torch.zeros_like(scores[:, 0])]
        for at in range(scores.shape[1] - 1, 0, -1):
            ways = torch.logsumexp(transitions + (scores[:, at] + sums[-1])[:, None], dim=2)
            sums.append(torch.where(mask[:, at, None], ways, sums[-1]))
        return torch.stack(sums[::-1], dim=1)


def _apart(spans: list[tuple[Range, float]]) -> list[tuple[Range, float]]:
    """The most probable spans of which no two overlap, in order."""
    kept: list[tuple[Range, float]] = []
    for span, chance in sorted(spans, key=lambda one: -one[1]):
        if all(span[1] <= start or end <= span[0] for (start, end), _ in kept):
            kept.append((span, chance))
    return sorted(kept)
