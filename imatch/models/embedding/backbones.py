"""Backbones of embedders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol, cast

from torch import Tensor, nn

from imatch.core.errors import ConfigError, WeightsError
from imatch.models.checkpoint import load_parameters, load_state
from imatch.models.embedding.lite0 import EfficientNetLite0
from imatch.models.superpoint.network import share_bands
from imatch.models.weights import WeightsFile, require_weights

LITE0 = "efficientnet-lite0"
#: Names here to those of timm (https://github.com/huggingface/pytorch-image-models).
TIMM: Mapping[str, str] = MappingProxyType(
    {
        "resnet50": "resnet50",
        "resnext50": "resnext50_32x4d",
        "vit-small": "vit_small_patch16_224",
        "mobilenetv3": "mobilenetv3_large_100",
        "vgg16": "vgg16",
    }
)
BACKBONES = (LITE0, *TIMM)
"""All backbones by name; those of timm need ``pip install timm``."""


class Backbone(Protocol):
    """Makes a feature map of an image.

    Attributes:
        channels: Of the feature map.
    """

    channels: int

    def __call__(self, image: Tensor) -> Tensor:
        """(B, bands, H, W) to (B, channels, h, w)."""


@dataclass(frozen=True, eq=False)
class Started:
    """A backbone and where its weights come from.

    Attributes:
        module: The network, which is a `Backbone`.
        origin: What the weights are (``"scratch"``, the name of a checkpoint).
        sha256: Of the checkpoint; empty where there is no file of ours.
        licence: Of the weights; empty from scratch.
    """

    module: nn.Module
    origin: str
    sha256: str
    licence: str


def make_backbone(
    name: str, bands: int = 3, *, pretrained: bool = False, fetch: bool = False
) -> Started:
    """A backbone for any number of bands.

    Args:
        name: One of `BACKBONES`.
        bands: Bands of the input; where ImageNet's weights are for three, the first kernel is
            summed and shared out, so that equal bands give what equal bands gave.
        pretrained: Start from ImageNet's weights: ours from the weights' catalogue, timm's from
            the user's cache or its hub.
        fetch: Download weights of ours that are missing.

    Raises:
        ConfigError: There is no such backbone, or timm is not installed or does not work here.
        WeightsError: The weights are missing or corrupt.
    """
    if name == LITE0:
        if not pretrained:
            return Started(EfficientNetLite0(bands), "scratch", "", "")
        found = require_weights(LITE0, fetch=fetch)
        return Started(load_lite0(found, bands), LITE0, found.sha256, found.spec.licence)
    if name not in TIMM:
        raise ConfigError(
            "no such backbone", subject=name, hint=f"choose one of {', '.join(BACKBONES)}"
        )
    module = Timm(TIMM[name], bands, pretrained=pretrained)
    origin = f"timm {TIMM[name]}" if pretrained else "scratch"
    return Started(module, origin, "", module.licence if pretrained else "")


def load_lite0(found: WeightsFile, bands: int = 3) -> EfficientNetLite0:
    """EfficientNet-Lite0 filled from the published checkpoint, in evaluation mode.

    Raises:
        WeightsError: The file is of another architecture.
    """
    state = load_state(found)
    if "_conv_stem.weight" in state:
        state["_conv_stem.weight"] = share_bands(state["_conv_stem.weight"], bands)
    network = EfficientNetLite0(bands)
    load_parameters(network, state, found, ignore=("_fc.",))
    return network


class Timm(nn.Module):
    """A backbone of timm, its feature map brought into one form.

    Args:
        model: Name in timm.
        bands: Bands of the input; timm adapts the first kernel.
        pretrained: With ImageNet's weights, from the user's cache or timm's hub.

    Attributes:
        channels: Of the feature map.
        licence: What timm says of the weights.

    Raises:
        ConfigError: timm is not installed, or does not work beside this torch.
        WeightsError: The weights are not here and cannot be fetched.
    """

    def __init__(self, model: str, bands: int, *, pretrained: bool) -> None:
        super().__init__()
        create = _timm()
        options: dict[str, Any] = {"num_classes": 0, "global_pool": "", "in_chans": bands}
        if model.startswith("vit"):
            options["dynamic_img_size"] = True
        try:
            self.body = create(model, pretrained=pretrained, **options)
        # Hubs report a missing network in their own ways.
        except Exception as error:
            first = str(error).strip().partition("\n")[0]
            raise WeightsError(f"timm could not make it: {first}", subject=model) from error
        self.channels = int(self.body.num_features)
        pretrained_config: Mapping[str, Any] = getattr(self.body, "pretrained_cfg", None) or {}
        self.licence = str(pretrained_config.get("license", "see timm"))

    def forward(self, image: Tensor) -> Tensor:
        """See `Backbone`."""
        features = self.body.forward_features(image)
        if features.ndim == 4:
            return cast("Tensor", features)
        # A transformer's tokens: those before the patches (the class) are left out.
        patch = self.body.patch_embed.patch_size
        h, w = image.shape[2] // patch[0], image.shape[3] // patch[1]
        tokens = features[:, self.body.num_prefix_tokens :]
        return cast("Tensor", tokens.transpose(1, 2).unflatten(2, (h, w)))


def _timm() -> Callable[..., Any]:
    try:
        timm = import_module("timm")
    except ImportError as error:
        raise ConfigError("is not installed", subject="timm", hint="pip install timm") from error
    # torchvision, which it imports, fails so where it was built for another torch.
    except RuntimeError as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(
            f"does not work here: {first}",
            subject="timm",
            hint="install the torchvision built for this torch",
        ) from error
    return cast("Callable[..., Any]", timm.create_model)
