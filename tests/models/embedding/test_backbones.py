from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from imatch.core.errors import ConfigError, WeightsError
from imatch.models.embedding.backbones import LITE0, make_backbone
from imatch.models.weights import find_weights

needs_weights = pytest.mark.skipif(
    find_weights(LITE0) is None, reason="efficientnet-lite0 is not here: imatch weights fetch"
)


@needs_weights
def test_equal_bands_give_what_three_gave() -> None:
    grey = torch.rand(1, 1, 64, 64)
    three, five = (make_backbone(LITE0, n, pretrained=True).module.eval() for n in (3, 5))
    with torch.inference_mode():
        seen = three(grey.repeat(1, 3, 1, 1)), five(grey.repeat(1, 5, 1, 1))
    assert torch.allclose(*seen, atol=1e-4)


@needs_weights
def test_start_says_where_it_comes_from() -> None:
    started = make_backbone(LITE0, pretrained=True)
    assert (started.origin, started.licence, started.sha256[:8]) == (
        LITE0,
        "Apache-2.0",
        "57934424",
    )


def test_unknown_backbone_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no such backbone; choose one of efficientnet-lite0"):
        make_backbone("resnet51")


def test_timm_missing_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match="timm: is not installed; pip install timm"):
        make_backbone("resnet50")


class Body(nn.Module):
    """What timm gives, in its two forms: a feature map, or tokens with one for the class."""

    def __init__(self, *, tokens: bool) -> None:
        super().__init__()
        self.num_features = 6
        self.num_prefix_tokens = 1
        self.patch_embed = SimpleNamespace(patch_size=(16, 16))
        self.pretrained_cfg = {"license": "apache-2.0"}
        self.tokens = tokens

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        patches = nn.functional.avg_pool2d(image, 16)[:, :1].repeat(1, 6, 1, 1)
        if not self.tokens:
            return patches
        listed = patches.flatten(2).transpose(1, 2)
        return torch.cat([torch.full_like(listed[:, :1], 99.0), listed], dim=1)


@pytest.mark.parametrize(("name", "tokens"), [("resnet50", False), ("vit-small", True)])
def test_timm_gives_a_map_of_its_patches(
    name: str, tokens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def create(model: str, **options: Any) -> Body:
        asked.update(options, model=model)
        return Body(tokens=tokens)

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create))
    started = make_backbone(name, 2, pretrained=True)
    image = torch.rand(2, 2, 32, 48)
    features = started.module(image)
    assert torch.equal(features[:, 0], nn.functional.avg_pool2d(image, 16)[:, 0])
    assert asked["in_chans"] == 2
    assert asked.get("dynamic_img_size", False) is tokens
    assert int(started.module.channels) == 6  # type: ignore[arg-type]
    assert started.licence == "apache-2.0"


def test_timm_without_weights_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(model: str, **_options: Any) -> Body:
        raise OSError("no route to the hub\nTraceback …")

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create))
    with pytest.raises(WeightsError, match=r"^vgg16: timm could not make it: no route to the hub$"):
        make_backbone("vgg16", pretrained=True)
