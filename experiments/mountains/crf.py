"""A linear-chain CRF over the labels of words, which never yields a broken span."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.mountains.sentences import LABELS, Range

OUTSIDE, BEGIN, INSIDE = range(len(LABELS))
_NEVER = -1e4


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
    def decode(self, scores: Tensor, mask: Tensor) -> list[list[tuple[Range, float]]]:
        """Finds the spans of the likeliest labels (Viterbi) and how probable each is.

        Args:
            scores: (N, T, 3).
            mask: (N, T).

        Returns:
            For each sentence (start, end) of each span, and the probability that exactly this span
            is one, by all labellings.
        """
        labels = self._viterbi(scores, mask)
        before = torch.stack(self._forward(scores, mask), dim=1)
        after = self._backward(scores, mask)
        whole = torch.logsumexp(before[:, -1], dim=1)
        transitions = self.transitions + self.allowed
        found = []
        for row, length in enumerate(mask.sum(1).tolist()):
            spans: list[tuple[Range, float]] = []
            for start, end in _spans(labels[row, :length].tolist()):
                weight = before[row, start, BEGIN]
                last = BEGIN
                for at in range(start + 1, end):
                    weight = weight + transitions[last, INSIDE] + scores[row, at, INSIDE]
                    last = INSIDE
                if end < length:  # What follows is no more of the span.
                    ways = transitions[last] + scores[row, end] + after[row, end]
                    weight = weight + torch.logsumexp(ways[:INSIDE], dim=0)
                spans.append(((start, end), float((weight - whole[row]).exp().clamp(0, 1))))
            found.append(spans)
        return found

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
            ways = torch.logsumexp(transitions + (scores[:, at] + sums[0])[:, None], dim=2)
            sums.insert(0, torch.where(mask[:, at, None], ways, sums[0]))
        return torch.stack(sums, dim=1)

    def _viterbi(self, scores: Tensor, mask: Tensor) -> Tensor:
        """The likeliest labels, (N, T)."""
        transitions = self.transitions + self.allowed
        stay = torch.arange(3, device=scores.device)[None]
        best, pointers = self.start + self.first + scores[:, 0], []
        for at in range(1, scores.shape[1]):
            value, pointer = (best[:, :, None] + transitions).max(dim=1)
            here = mask[:, at, None]
            best = torch.where(here, value + scores[:, at], best)
            pointers.append(torch.where(here, pointer, stay))
        labels = [best.argmax(1)]
        for pointer in reversed(pointers):
            labels.insert(0, pointer.gather(1, labels[0][:, None])[:, 0])
        return torch.stack(labels, dim=1)


def _spans(labels: list[int]) -> list[Range]:
    spans: list[Range] = []
    for at, label in enumerate(labels):
        if label == BEGIN:
            spans.append((at, at + 1))
        elif label == INSIDE:
            spans[-1] = (spans[-1][0], at + 1)
    return spans
