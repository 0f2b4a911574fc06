from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from experiments.mountains.crf import SpanCRF

ALLOWED = [
    y
    for y in product(range(3), repeat=4)
    if y[0] != 2 and not any(a == 0 and b == 2 for a, b in pairwise(y))
]


def spans(labels: tuple[int, ...]) -> set[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for at, label in enumerate(labels):
        if label == 1:
            found.append((at, at + 1))
        elif label == 2:
            found[-1] = (found[-1][0], at + 1)
    return set(found)


@pytest.mark.parametrize("seed", range(8))
@torch.no_grad()
def test_it_agrees_with_the_sum_over_all_labellings(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    crf = SpanCRF()
    crf.transitions.data = torch.randn(3, 3, generator=generator)
    crf.start.data = torch.randn(3, generator=generator)
    scores = 2 * torch.randn(2, 6, 3, generator=generator)
    scores[..., 1] += 1
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])

    weights = {
        y: float(
            crf.start[y[0]]
            + sum(scores[1, k, label] for k, label in enumerate(y))
            + sum(crf.transitions[a, b] for a, b in pairwise(y))
        )
        for y in ALLOWED
    }
    total = torch.logsumexp(torch.tensor(list(weights.values())), 0)
    best = max(weights, key=lambda y: weights[y])

    labels = torch.zeros(2, 6, dtype=torch.int64)
    labels[1, :4] = torch.tensor(best)
    assert float(crf(scores, labels, mask)[1]) == pytest.approx(
        float(total) - weights[best], abs=1e-4
    )
    chances = {
        span: sum(
            float(torch.exp(torch.tensor(weight) - total))
            for y, weight in weights.items()
            if span in spans(y)
        )
        for span in {span for y in weights for span in spans(y)}
    }
    for least in (0.2, 0.5):
        decoded = dict(crf.decode(scores, mask, least)[1])
        assert all(decoded[span] == pytest.approx(chances[span], abs=1e-4) for span in decoded)
        # What is left out is improbable, or overlaps something more probable.
        for span, chance in chances.items():
            beside = [p for (a, b), p in decoded.items() if a < span[1] and span[0] < b]
            assert chance < least + 1e-4 or max(beside) >= chance - 1e-4


def test_no_scores_break_a_span() -> None:
    scores = torch.full((1, 5, 3), -5.0)
    scores[..., 2] = 5.0
    found = SpanCRF(learnt=False).decode(scores, torch.ones(1, 5, dtype=torch.bool))
    assert [span for span, _ in found[0]] == [(0, 5)]
    assert SpanCRF().decode(scores[:, :1], torch.ones(1, 1, dtype=torch.bool), 0.6) == [[]]


def test_padding_changes_nothing() -> None:
    scores = torch.randn(1, 3, 3, generator=torch.Generator().manual_seed(1))
    padded = torch.cat([scores, torch.full((1, 4, 3), 9.0)], dim=1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    wider = torch.cat([mask, torch.zeros(1, 4, dtype=torch.bool)], dim=1)
    crf = SpanCRF()
    labels = torch.zeros(1, 3, dtype=torch.int64)
    wide = torch.zeros(1, 7, dtype=torch.int64)
    assert torch.allclose(crf(scores, labels, mask), crf(padded, wide, wider))
    assert crf.decode(scores, mask) == crf.decode(padded, wider)
