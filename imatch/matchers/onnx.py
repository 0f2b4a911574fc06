"""Exports the networks of matchers as ONNX files for other runtimes.

A file holds the network alone, for images of any size. What is made of its maps, keypoints or
pairs of cells, is not in it: see `imatch.models.superpoint.points`, `imatch.models.loftr.match` and
kornia's ALIKED. Matching itself runs the networks in torch.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kornia.feature.aliked.aliked import ALIKED, DeformableConv2d
from kornia.feature.aliked.deform_conv2d import deform_conv2d
from torch import Tensor, nn

from imatch.core.errors import ConfigError
from imatch.core.extras import require_extra
from imatch.core.io.files import atomic_path, check_output
from imatch.matchers.base import HasNetwork, MatcherOptions
from imatch.matchers.dense.loftr_s2 import LoFTRS2
from imatch.matchers.sparse.aliked import Aliked
from imatch.matchers.sparse.superpoint import SeasonsExtractor
from imatch.models.loftr.network import LoFTR

#: Most by which ONNX Runtime's numbers may differ from torch's, of those of maps of order 1.
TOLERANCE = 1e-4
_OPSET = 17
# Sizes, in cells of an image, at which the graph is traced and at which it is checked.
_TRACED, _CHECKED = ((12, 16), (13, 14)), ((10, 6), (8, 15))


class _PairMaps(nn.Module):
    """LoFTR up to the comparison of cells: tokens and fine maps of two images.

    Positions are computed, not sliced from a table, so that a file is good for any size.
    """

    rates: Tensor

    def __init__(self, network: LoFTR) -> None:
        super().__init__()
        if not network.shape.even:
            cause = "is of the published LoFTR, whose places are encoded otherwise"
            raise ConfigError(cause, subject="loftr-s2", hint="export one of imatch train loftr")
        self.network = network
        channels = network.shape.width
        rates = torch.arange(0, channels // 2, 2) * (-math.log(10000.0) / (channels // 2))
        self.register_buffer("rates", rates.exp()[:, None, None])

    def forward(
        self, a: Tensor, b: Tensor, seen_a: Tensor, seen_b: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        coarse_a, fine_a = self.network.features(a)
        coarse_b, fine_b = self.network.features(b)
        assert fine_a is not None
        assert fine_b is not None
        places = self._places(coarse_a), self._places(coarse_b)
        tokens = self.network.attend_at((coarse_a, coarse_b), places, (seen_a, seen_b))
        return *tokens, fine_a, fine_b

    def _places(self, maps: Tensor) -> Tensor:
        """(1, C, h, w), as kornia's ``PositionEncodingSine``."""
        ones = torch.ones_like(maps[0, :1])
        x, y = ones.cumsum(2) * self.rates, ones.cumsum(1) * self.rates
        return torch.stack([x.sin(), x.cos(), y.sin(), y.cos()], dim=1).flatten(0, 1)[None]


class _AnyShape(DeformableConv2d):
    """Kornia's without masks, its limit of the offsets not fixed to the longer side in tracing."""

    def forward(self, x: Tensor) -> Tensor:
        sides = torch.stack([torch.as_tensor(side) for side in x.shape[2:]])
        limit = sides.max().to(x.dtype) / 4
        offset = self.offset_conv(x)
        return deform_conv2d(
            input=x,
            offset=torch.minimum(torch.maximum(offset, -limit), limit),
            weight=self.regular_conv.weight,
            bias=self.regular_conv.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )


class _DenseMaps(nn.Module):
    """ALIKED up to the detection of keypoints: descriptors and scores of every pixel."""

    def __init__(self, network: ALIKED) -> None:
        super().__init__()
        self.network = network
        for part in network.modules():
            if type(part) is DeformableConv2d and not part.mask:
                part.__class__ = _AnyShape

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        # Kornia's own: ours saves memory by writing in place.
        dense, scores = ALIKED.extract_dense_map(self.network, image)
        return dense, scores


@dataclass(frozen=True)
class ExportedNetwork:
    """What a file holds, and how it is made.

    Attributes:
        part: The part of a matcher that has the network.
        cell: Sides of images are multiples of this, in pixels.
        images: Names of the images, (1, 3, H, W) in [0, 1].
        masks: Names of the masks of cells on valid ground, (1, H / cell, W / cell) bool.
        outputs: Names of the maps.
        graph: Makes of the network what is exported.
    """

    part: Callable[[MatcherOptions], HasNetwork]
    cell: int
    images: tuple[str, ...]
    masks: tuple[str, ...]
    outputs: tuple[str, ...]
    graph: Callable[[Any], nn.Module]

    def inputs(self, sizes: Sequence[tuple[int, int]]) -> dict[str, Tensor]:
        """Random images of (rows, columns) cells each, the same at every call."""
        made, random = dict[str, Tensor](), torch.Generator().manual_seed(0)
        for name, (rows, columns) in zip(self.images, sizes, strict=False):
            size = 1, 3, rows * self.cell, columns * self.cell
            made[name] = torch.rand(size, generator=random)
        for name, (rows, columns) in zip(self.masks, sizes, strict=False):
            made[name] = torch.ones(1, rows, columns, dtype=torch.bool)
            made[name][:, :, :2] = False
        return made

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Names of the axes whose length may differ."""
        found = {name: {2: f"rows_{name}", 3: f"columns_{name}"} for name in self.images}
        return found | {name: {1: f"rows_{name}", 2: f"columns_{name}"} for name in self.masks}


#: What can be exported, by name.
NETWORKS: Mapping[str, ExportedNetwork] = {
    "superpoint-s2": ExportedNetwork(
        SeasonsExtractor, 8, ("image",), (), ("logits", "descriptors"), lambda network: network
    ),
    "loftr-s2": ExportedNetwork(
        LoFTRS2,
        8,
        ("a", "b"),
        ("seen_a", "seen_b"),
        ("tokens_a", "tokens_b", "fine_a", "fine_b"),
        _PairMaps,
    ),
    "aliked": ExportedNetwork(Aliked, 32, ("image",), (), ("dense", "scores"), _DenseMaps),
}


def export_onnx(
    name: str,
    out: PathLike[str] | str,
    *,
    weights: Mapping[str, str] | None = None,
    fetch: bool = False,
    overwrite: bool = False,
) -> float:
    """Writes a network as an ONNX file that gives what torch gives, which is checked first.

    Args:
        name: A key of `NETWORKS`.
        out: The file.
        weights: Checkpoint name to a file the user names, see `imatch.models.weights`.
        fetch: Download the checkpoint where it is missing.
        overwrite: Replace the file if it exists.

    Returns:
        The largest difference between ONNX Runtime's numbers and torch's, on images of other sizes
        than those it was traced with, divided by the largest number of the map or by 1.

    Raises:
        ConfigError: There is no such network, an extra is missing, or the numbers differ.
        WeightsError: The checkpoint is missing or corrupt.
        OutputError: The file exists, or the disk refused.
    """
    if name not in NETWORKS:
        hint = f"choose from {', '.join(NETWORKS)}"
        raise ConfigError("is no network that can be exported", subject=name, hint=hint)
    for module in ("onnx", "onnxruntime"):
        require_extra(module, "it writes and checks ONNX files")
    exported, path = NETWORKS[name], Path(out)
    check_output(path, overwrite=overwrite)
    options = MatcherOptions(device="cpu", weights=weights or {}, fetch=fetch)
    # With gradients the network takes no shortcuts that depend on the size.
    graph = exported.graph(exported.part(options).network).eval().requires_grad_(False)
    example = exported.inputs(_TRACED)
    with atomic_path(path, overwrite=overwrite) as file:
        with _quietly():
            torch.onnx.export(
                graph,
                tuple(example.values()),
                file,
                input_names=list(example),
                output_names=list(exported.outputs),
                dynamic_axes=exported.dynamic_axes(),
                opset_version=_OPSET,
                # The exporter by torch.export fixes the sizes of LoFTR's masks (torch 2.13).
                dynamo=False,
            )
        differs = largest_difference(file, graph, exported.inputs(_CHECKED))
        if not differs <= TOLERANCE:
            cause = f"ONNX Runtime's numbers differ from torch's by {differs:.1g}"
            raise ConfigError(cause, subject=name, hint="report it, with the versions of both")
    return differs


def largest_difference(path: Path, graph: nn.Module, inputs: Mapping[str, Tensor]) -> float:
    """Largest difference of any map, divided by the map's largest number or by 1.

    Args:
        path: An ONNX file.
        graph: The module it was made of.
        inputs: Name to value.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    with torch.inference_mode():
        wanted = [value.numpy() for value in graph(*inputs.values())]
    return max(
        float(np.abs(one - other).max() / max(np.abs(other).max(), 1.0))
        for one, other in zip(given, wanted, strict=True)
    )


@contextmanager
def _quietly() -> Iterator[None]:
    """Leaves out what the exporter says about tracing: what it fixed is checked afterwards."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
