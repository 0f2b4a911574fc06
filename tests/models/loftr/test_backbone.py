from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.models.loftr.backbone import KeypointBackbone
from imatch.models.loftr.match import cells_seen, tie_points
from imatch.models.loftr.network import LoFTR
from imatch.models.loftr.shape import COMPACT, PUBLISHED, SEASONS, Shape
from imatch.models.superpoint.network import load_superpoint
from imatch.models.weights import require_weights


def made(shape: Shape = SEASONS) -> LoFTR:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LoFTR(shape).eval()


def noise(*size: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(0))


def backbone_of(network: LoFTR) -> KeypointBackbone:
    assert isinstance(network.backbone, KeypointBackbone)
    return network.backbone


class TestShape:
    def test_is_small(self) -> None:
        count = sum(value.numel() for value in LoFTR(SEASONS).parameters())
        assert count <= 5_000_000
        assert 96 <= SEASONS.width <= 160

    def test_cells_lie_between_the_fourth_and_the_fifth_pixel(self) -> None:
        assert (SEASONS.cell, SEASONS.fine_cell, SEASONS.offset) == (8, 2, 3.5)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"dims": (32, 32, 64, 128)}, "64, 64, 128"),
            ({"even": False}, "64, 64, 128"),
            ({"backbone": "resnet"}, "one band"),
            ({"stretch": 0.9}, "1 or more"),
        ],
    )
    def test_refuses(self, change: dict[str, object], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            replace(SEASONS, **change)  # type: ignore[arg-type]


def test_shapes() -> None:
    network = made()
    coarse, fine = network.features(noise(2, 3, 48, 64))
    assert coarse.shape == (2, 128, 6, 8)
    assert fine is not None
    assert fine.shape == (2, 64, 24, 32)
    alone, none = network.features(noise(2, 3, 48, 64), fine=False)
    assert none is None
    assert torch.equal(alone, coarse)


def test_before_the_first_step_it_compares_descriptors() -> None:
    network, images = made(), noise(2, 3, 48, 64)
    with torch.inference_mode():
        coarse, _ = network.features(images)
        # Places are told to attention, and are no part of what is compared.
        tokens = network.attend(coarse[:1], coarse[1:], shift=(5, 9))
        alike = network.similarity(*tokens)
        describer = backbone_of(network).superpoint
        a, b = describer.describe(describer.encode(images)).flatten(2)
    torch.testing.assert_close(alike[0], 20 * a.T @ b, atol=1e-3, rtol=1e-4)


def test_attention_can_learn() -> None:
    network = made()
    coarse, _ = network.features(noise(2, 3, 32, 32))
    a, b = network.attend(coarse[:1], coarse[1:])
    (a.square().sum() + (a * b).sum()).backward()  # type: ignore[no-untyped-call]
    named = dict(network.loftr_coarse.named_parameters())
    slopes = [value.grad for name, value in named.items() if name.endswith("norm2.weight")]
    assert len(slopes) == 6
    assert all(slope is not None and bool(slope.abs().max() > 0) for slope in slopes)


def test_fine_cells_lie_where_coarse_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    # Maps that say where their cells lie, through kernels that average: what comes out tells where
    # the fine cells lie. Every fourth has to be a coarse one's middle.
    network = made()
    backbone = backbone_of(network)

    def ramp(width: int, channels: int, columns: int) -> Tensor:
        places = width * torch.arange(float(columns)) + (width - 1) / 2
        return places.expand(1, channels, columns, columns)

    def pyramid(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        side = images.shape[-1]
        return ramp(2, 64, side // 2), ramp(4, 128, side // 4), ramp(8, 128, side // 8)

    monkeypatch.setattr(backbone.superpoint, "pyramid", pyramid)
    monkeypatch.setattr(backbone.superpoint, "describe", lambda maps: maps)
    with torch.no_grad():
        backbone.sharpness.factor.fill_(1.0)
        for part in (
            backbone.from_half,
            backbone.from_quarter,
            backbone.from_coarse,
            backbone.mixed,
            backbone.centred,
        ):
            part.weight.fill_(1 / part.weight[0].numel())
            part.bias.zero_()  # type: ignore[union-attr]
        coarse, fine = backbone.maps(noise(1, 3, 128, 128), fine=True)
    assert fine is not None
    found = fine[0, 0, 20] / 3
    places = 2 * torch.arange(64.0) + 3.5
    torch.testing.assert_close(found[12:-16], places[12:-16])
    torch.testing.assert_close(found[12:-16:4], coarse[0, 0, 0, 3:-4])


def test_it_matches_before_the_first_step() -> None:
    network = made()
    source = load_superpoint(require_weights("superpoint-s2"), 3).state_dict()
    describer = backbone_of(network).superpoint
    describer.load_state_dict({name: source[name] for name in describer.state_dict()})
    coarse = F.interpolate(noise(1, 3, 40, 40), scale_factor=6.0, mode="bilinear")[0]
    ground = (0.7 * coarse + 0.3 * noise(3, 240, 240)).contiguous()
    a, b = ground[:, :192, :192], ground[:, 16:208, 8:200]
    seen = torch.ones(192, 192, dtype=torch.bool)
    xy_a, xy_b, _ = tie_points(network, a, b, seen, seen)
    gap = xy_a - xy_b - torch.tensor([8.0, 16.0])
    assert len(gap) > 100
    # The untrained refinement moves points by up to its reach.
    assert float((gap.abs() <= SEASONS.reach).all(dim=1).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("shape", "pixel"), [(COMPACT, (8, 16)), (PUBLISHED, (8, 16)), (SEASONS, (11, 19))]
)
def test_cells_are_seen_where_they_lie(shape: Shape, pixel: tuple[int, int]) -> None:
    valid = torch.zeros(1, 32, 32, dtype=torch.bool)
    valid[0, pixel[0], pixel[1]] = True
    assert cells_seen(valid, shape).nonzero().tolist() == [[0, 1, 2]]
