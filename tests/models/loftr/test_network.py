from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from kornia.feature.loftr.loftr import default_cfg

from imatch.models.loftr.backbone import double
from imatch.models.loftr.network import CoarseCells, LoFTR, coarse_parts, expected_offset
from imatch.models.loftr.shape import COMPACT, PUBLISHED, SEASONS, TEACHER, Shape

TINY = Shape((8, 8, 12, 16), heads=2, rounds=1, fine_heads=2)


def made(shape: Shape = TINY, seed: int = 0) -> LoFTR:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LoFTR(shape).eval()


def noise(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


class TestShape:
    def test_published_is_kornias(self) -> None:
        config = PUBLISHED.config()
        assert config == default_cfg
        config["coarse"]["nhead"] = 1
        config["fine"]["layer_names"].append("self")
        assert PUBLISHED.config() == default_cfg

    def test_grids(self) -> None:
        assert (COMPACT.cell, COMPACT.fine_cell, COMPACT.reach) == (8, 2, 4)
        assert (TEACHER.cell, TEACHER.fine_cell, TEACHER.fine_width) == (16, 4, 16)
        assert (COMPACT.offset, PUBLISHED.offset) == (0, -0.5)

    def test_compact_is_small(self) -> None:
        count = sum(value.numel() for value in LoFTR(COMPACT).parameters())
        assert count <= 5_000_000
        assert 96 <= COMPACT.width <= 160

    @pytest.mark.parametrize("shape", [COMPACT, SEASONS, PUBLISHED, TEACHER, TINY])
    def test_round_trip(self, shape: Shape) -> None:
        assert Shape.from_dict(shape.to_dict()) == shape

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"dims": (8, 8, 16)}, "4 or 5"),
            ({"dims": (8, 12, 16, 32)}, "first two dims"),
            ({"dims": (8, 8, 16, 32, 32)}, "cells of 8 pixels"),
            ({"heads": 3}, "multiples of the heads"),
            ({"window": 4}, "odd"),
            ({"rounds": 0}, "positive"),
        ],
    )
    def test_refuses(self, change: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            replace(TINY, **change)  # type: ignore[arg-type]


def test_doubling_keeps_places() -> None:
    ramp = torch.arange(5.0).view(1, 1, 5, 1) + 10 * torch.arange(7.0).view(1, 1, 1, 7)
    larger = double(ramp)
    assert larger.shape == (1, 1, 10, 14)
    torch.testing.assert_close(larger[..., ::2, ::2], ramp)
    torch.testing.assert_close(larger[0, 0, 1, 1], torch.tensor(5.5))


class TestStages:
    def test_shapes(self) -> None:
        network = made()
        coarse, fine = network.features(noise(2, 1, 48, 64))
        assert coarse.shape == (2, 16, 6, 8)
        assert fine is not None
        assert fine.shape == (2, 8, 24, 32)
        assert network.features(noise(2, 1, 48, 64), fine=False)[1] is None
        a, b = network.attend(coarse[:1], coarse[1:])
        assert a.shape == b.shape == (1, 48, 16)
        assert network.similarity(a, b).shape == (1, 48, 48)

    def test_coarse_features_do_not_depend_on_the_fine_ones(self) -> None:
        network, images = made(), noise(1, 1, 48, 48)
        with torch.inference_mode():
            with_fine, without = network.features(images)[0], network.features(images, fine=False)
        assert torch.equal(with_fine, without[0])

    def test_features_move_with_the_ground(self) -> None:
        # A map that depended on the image's size or place would not.
        network = made()
        ground = noise(1, 1, 320, 320)
        with torch.inference_mode():
            whole = network.features(ground)
            part = network.features(ground[..., 16:304, 24:312])
        for large, small, step, rim in (
            (*_pair(whole, part, 0), 1, 9),
            (*_pair(whole, part, 1), 4, 36),
        ):
            moved = large[..., 2 * step : 2 * step + small.shape[2], 3 * step :]
            torch.testing.assert_close(
                moved[..., rim:-rim, rim : small.shape[3] - rim],
                small[..., rim:-rim, rim:-rim],
                atol=1e-4,
                rtol=1e-4,
            )

    def test_no_image_comes_first(self) -> None:
        network = made()
        maps = network.features(noise(2, 1, 48, 48))[0]
        seen = torch.ones(1, 6, 6, dtype=torch.bool)
        hidden = seen.clone()
        hidden[:, :2] = False
        with torch.inference_mode():
            a, b = network.attend(maps[:1], maps[1:], seen, hidden)
            d, c = network.attend(maps[1:], maps[:1], hidden, seen)
        torch.testing.assert_close(a, c, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(b, d, atol=1e-5, rtol=1e-5)

    def test_unequal_sizes_and_more_places_than_are_known(self) -> None:
        network = made()
        a, b = torch.zeros(1, 16, 3, 130), torch.zeros(1, 16, 140, 2)
        with torch.inference_mode():
            first, second = network.attend(a, b)
        assert (first.shape[1], second.shape[1]) == (390, 280)
        assert network.pos_encoding.pe.shape[2:] == (140, 130)

    def test_the_first_cell_may_lie_anywhere(self) -> None:
        network = made()
        maps = noise(1, 16, 4, 5)
        large = torch.zeros(1, 16, 9, 9)
        large[:, :, 3:7, 2:7] = maps
        seen = torch.zeros(1, 9, 9, dtype=torch.bool)
        seen[:, 3:7, 2:7] = True
        with torch.inference_mode():
            shifted, _ = network.attend(maps, maps, shift=(3, 2))
            whole, _ = network.attend(large, large, seen, seen)
        torch.testing.assert_close(shifted, whole[seen.flatten(1)][None], atol=1e-5, rtol=1e-4)

    def test_what_is_hidden_is_not_attended_to(self) -> None:
        network = made()
        a, b = noise(1, 16, 4, 6), noise(1, 16, 4, 6, seed=1)
        seen = torch.ones(1, 4, 6, dtype=torch.bool)
        seen[..., 4:] = False
        other = b.clone()
        other[..., 4:] = 7
        with torch.inference_mode():
            one, _ = network.attend(a, b, None, seen)
            two, _ = network.attend(a, other, None, seen)
        torch.testing.assert_close(one, two)
        alike = network.similarity(one, one, None, seen)
        assert (alike[0, :, ~seen.flatten()] < -1e8).all()

    def test_published_shape_is_kornias_forward(self) -> None:
        shape = replace(TINY, even=False, border=2, threshold=0.0)
        network = made(shape)
        images = noise(2, 1, 64, 64)
        with torch.inference_mode():
            out = network({"image0": images[:1], "image1": images[1:]})
            coarse, fine = network.features(images)
            tokens = network.attend(coarse[:1], coarse[1:])
            assert fine is not None
            cells = _cells(out)
            there, _ = network.refine((fine[:1], fine[1:]), tokens, cells)
        assert len(cells) > 0
        column_row = torch.stack([cells.b % 8, cells.b // 8], dim=1) * 8
        torch.testing.assert_close(
            column_row + there[:, :2] * shape.reach, out["keypoints1"], atol=1e-4, rtol=1e-4
        )


def _pair(
    whole: tuple[torch.Tensor, torch.Tensor | None],
    part: tuple[torch.Tensor, torch.Tensor | None],
    index: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    large, small = whole[index], part[index]
    assert large is not None
    assert small is not None
    return large, small


def _cells(out: dict[str, torch.Tensor]) -> CoarseCells:
    """Which cells kornia matched: the nearest to where it ended up."""
    a = (out["keypoints0"] / 8).round().long()
    b = (out["keypoints1"] / 8).round().long()
    return CoarseCells(out["batch_indexes"], a[:, 1] * 8 + a[:, 0], b[:, 1] * 8 + b[:, 0])


class TestRefine:
    def test_expectation_and_spread(self) -> None:
        own = torch.zeros(1, 25, 4)
        own[0, 12, 0] = 100
        other = torch.zeros(1, 25, 4)
        other[0, 5 * 1 + 3, 0] = 1  # Row 1, column 3.
        found = expected_offset(own, other)[0]
        torch.testing.assert_close(found[:2], torch.tensor([0.5, -0.5]))
        assert found[2] < 0.01
        flat = expected_offset(own, torch.zeros(1, 25, 4))[0]
        torch.testing.assert_close(flat, torch.tensor([0, 0, 2 * 0.5**0.5]), atol=1e-6, rtol=1e-6)

    def test_slope_is_finite_where_the_spread_is_nought(self) -> None:
        own = torch.zeros(1, 9, 1, requires_grad=True)
        other = torch.zeros(1, 9, 1)
        other[0, 4] = 1
        expected_offset(own * 0 + 1e4, other)[0, 2].backward()  # type: ignore[no-untyped-call]
        assert own.grad is not None
        assert torch.isfinite(own.grad).all()

    def test_no_cells(self) -> None:
        network = made()
        none = torch.zeros(0, dtype=torch.long)
        fine = torch.zeros(1, 8, 8, 8)
        tokens = torch.zeros(1, 4, 16)
        there, back = network.refine((fine, fine), (tokens, tokens), CoarseCells(none, none, none))
        assert there.shape == back.shape == (0, 3)


@pytest.mark.parametrize("shape", [TINY, replace(TEACHER, dims=(8, 8, 8, 16, 16))])
def test_coarse_parts_make_the_coarse_matches(shape: Shape) -> None:
    network = made(shape)
    images = noise(2, 1, 64, 64)

    def tokens() -> torch.Tensor:
        with torch.inference_mode():
            maps, _ = network.features(images, fine=False)
            return torch.cat(network.attend(maps[:1], maps[1:]))

    before = tokens()
    theirs = {id(value) for part in coarse_parts(network) for value in part.parameters()}
    for value in network.parameters():
        if id(value) not in theirs:
            value.data += 1
    assert torch.equal(tokens(), before)
    for part in coarse_parts(network):
        kept = [value.clone() for value in part.parameters()]
        for value in part.parameters():
            value.data *= -1.5
        assert not torch.equal(tokens(), before)
        for value, old in zip(part.parameters(), kept, strict=True):
            value.data = old
