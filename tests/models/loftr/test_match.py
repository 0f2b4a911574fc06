from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from imatch.models.loftr.match import (
    cells_seen,
    centres,
    dual_softmax,
    mutual,
    off_border,
    tie_points,
)
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import COMPACT, Shape

TINY = Shape((8, 8, 12, 16), heads=2, rounds=1, fine_heads=2)


def telling(shape: Shape = TINY) -> LoFTR:
    """An untrained network that tells cells apart.

    Untrained features are alike everywhere. With the transformer passed through, places unknown,
    their common part taken out and the rest amplified, a cell prefers its own twin.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LoFTR(shape).eval()
    with torch.no_grad():
        network.pos_encoding.pe.zero_()
        for name, value in network.loftr_coarse.named_parameters():
            if ".norm2." in name:
                value.zero_()
        last = network.get_parameter("backbone.layer3_outconv.weight")
        last.copy_(20 * (last - last.mean(dim=1, keepdim=True)))
    return network


def ground(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.rand(1, height, width, generator=torch.Generator().manual_seed(0))
    return pixels, torch.ones(height, width, dtype=torch.bool)


def test_dual_softmax_is_a_probability_both_ways() -> None:
    similarity = torch.randn(1, 5, 7, generator=torch.Generator().manual_seed(0))
    both = dual_softmax(similarity).exp()
    torch.testing.assert_close(both, similarity.softmax(1) * similarity.softmax(2))
    assert (both.sum(dim=1) <= 1).all()


class TestMutual:
    def test_only_those_that_choose_each_other(self) -> None:
        similarity = torch.full((1, 4, 4), 0.0)
        similarity[0, 0, 1] = similarity[0, 2, 3] = 20
        similarity[0, 1, 1] = 15  # Prefers what prefers another.
        free = torch.ones(1, 2, 2, dtype=torch.bool)
        wanted = similarity.softmax(1) * similarity.softmax(2)
        cells = mutual(similarity, free, free, 0.2)
        assert (cells.a.tolist(), cells.b.tolist()) == ([0, 2], [1, 3])
        torch.testing.assert_close(similarity, wanted)

    @pytest.mark.parametrize("at_once", [1, 100, 2**20])
    def test_rows_at_a_time_give_the_whole(
        self, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("imatch.models.loftr.match._AT_ONCE", at_once)
        similarity = 8 * torch.randn(2, 20, 30, generator=torch.Generator().manual_seed(0))
        whole = dual_softmax(similarity).exp()
        best, partner = whole.max(dim=2)
        chosen = (best > 0.2) & (whole.argmax(dim=1).gather(1, partner) == torch.arange(20))
        one, other = torch.ones(2, 4, 5, dtype=torch.bool), torch.ones(2, 5, 6, dtype=torch.bool)
        cells = mutual(similarity, one, other, 0.2)
        assert torch.equal(torch.stack([cells.pair, cells.a], dim=1), chosen.nonzero())
        assert torch.equal(cells.b, partner[chosen])
        assert len(cells) >= 5
        torch.testing.assert_close(similarity, whole)

    def test_threshold(self) -> None:
        free = torch.ones(1, 2, 2, dtype=torch.bool)
        assert len(mutual(torch.eye(4)[None], free, free, 0.9)) == 0
        assert len(mutual(torch.eye(4)[None], free, free, 0.1)) == 4

    def test_only_where_it_may(self) -> None:
        one = torch.tensor([[[True, False], [True, True]]])
        other = torch.tensor([[[True, True], [False, True]]])
        cells = mutual(20 * torch.eye(4)[None], one, other, 0.2)
        assert cells.a.tolist() == cells.b.tolist() == [0, 3]


def test_places() -> None:
    xy = centres(torch.tensor([0, 6, 13]), 5, 8)
    assert xy.tolist() == [[0, 0], [8, 8], [24, 16]]
    valid = torch.zeros(1, 17, 24, dtype=torch.bool)
    valid[0, 16, 8] = True
    assert cells_seen(valid, COMPACT).nonzero().tolist() == [[0, 2, 1]]
    assert off_border(torch.ones(1, 4, 5, dtype=torch.bool), 1).sum() == 6
    assert off_border(torch.ones(1, 1, 5, dtype=torch.bool), 1).sum() == 0


class TestTiePoints:
    def test_identity(self) -> None:
        image, seen = ground(64, 80)
        xy_a, xy_b, scores = tie_points(telling(), image, image, seen, seen)
        assert len(xy_a) >= 10
        assert ((scores > 0.2) & (scores <= 1)).all()
        # Either refinement moves one end of a point, and by no more than its reach.
        assert (xy_b - xy_a).abs().max() <= 4

    def test_without_the_fine_stage_cells_are_matched(self) -> None:
        image, seen = ground(64, 80)
        xy_a, xy_b, _ = tie_points(telling(replace(TINY, refined=False)), image, image, seen, seen)
        assert torch.equal(xy_a, xy_b)
        assert (xy_a % 8 == 0).all()

    def test_moved_by_cells(self) -> None:
        image, _ = ground(216, 224)
        seen = torch.ones(200, 200, dtype=torch.bool)
        a, b = image[:, 16:, 24:], image[:, :200, :200]
        xy_a, xy_b, _ = tie_points(telling(replace(TINY, refined=False)), a, b, seen, seen)
        moved = xy_b - xy_a
        assert ((moved == torch.tensor([24.0, 16.0])).all(dim=1)).float().mean() > 0.8

    def test_exchanged_images_give_exchanged_points(self) -> None:
        image, _ = ground(200, 208)
        a, b = image[:, :192, :192], image[:, 8:, 16:]
        seen = torch.ones(192, 192, dtype=torch.bool)
        hidden = seen.clone()
        hidden[:, :20] = False
        one = tie_points(telling(), a, b, seen, hidden)
        other = tie_points(telling(), b, a, hidden, seen)
        assert len(one[0]) > 3
        order, back = one[0][:, 0].argsort(), other[1][:, 0].argsort()
        torch.testing.assert_close(one[0][order], other[1][back], atol=1e-3, rtol=1e-4)
        torch.testing.assert_close(one[1][order], other[0][back], atol=1e-3, rtol=1e-4)

    @pytest.mark.parametrize(
        ("first", "second"), [((64, 64), (64, 72)), ((33, 47), (61, 40)), ((16, 16), (17, 90))]
    )
    def test_any_size(self, first: tuple[int, int], second: tuple[int, int]) -> None:
        a, seen_a = ground(*first)
        b, seen_b = ground(*second)
        xy_a, xy_b, _ = tie_points(telling(), a, b, seen_a, seen_b)
        assert len(xy_a) == len(xy_b)

    def test_nothing_beyond_the_image_or_on_invalid_ground(self) -> None:
        image, seen = ground(60, 60)
        hidden = seen.clone()
        hidden[:, 30:] = False
        network = telling(replace(TINY, refined=False, border=0))
        xy_a, _, _ = tie_points(network, image, image, hidden, seen)
        assert len(xy_a) > 3
        assert (xy_a[:, 0] < 30).all()
        assert (xy_a[:, 1] < 60).all()
        nowhere = torch.zeros_like(seen)
        assert len(tie_points(network, image, image, nowhere, seen)[0]) == 0

    def test_only_the_surest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        image, seen = ground(96, 80)
        monkeypatch.setattr("imatch.models.loftr.match._REFINED_AT_ONCE", 4)
        every = tie_points(telling(), image, image, seen, seen)
        some = tie_points(telling(), image, image, seen, seen, most=10)
        assert len(every[2]) > len(some[2]) == 10
        order = every[2].argsort(descending=True)[:10].sort().values
        for all_of, few in zip(every, some, strict=True):
            torch.testing.assert_close(few, all_of[order])

    def test_offsets_are_stretched_within_the_reach(self) -> None:
        image, seen = ground(64, 80)
        plain = tie_points(telling(), image, image, seen, seen)
        longer = tie_points(telling(replace(TINY, stretch=1.1)), image, image, seen, seen)
        moved, further = (xy_b - xy_a for xy_a, xy_b, _ in (plain, longer))
        torch.testing.assert_close(further, (1.1 * moved).clamp(-4, 4), atol=1e-3, rtol=1e-3)

    def test_the_surer_direction_counts_more(self) -> None:
        from imatch.models.loftr.match import _pooled

        zero = torch.zeros(2, 2)
        there = torch.tensor([[1.0, 0, 0.1], [1, 0, 0.2]])
        back = torch.tensor([[-1.0, 0, 0.2], [-1, 0, 0.2]])
        a, b = _pooled(zero, zero, there, back, 4.0)
        # Both say that it moved by 4.
        assert torch.allclose((b - a)[:, 0], torch.tensor([4.0, 4.0]))
        assert torch.allclose(b[:, 0], torch.tensor([3.2, 2.0]))
