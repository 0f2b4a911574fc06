"""Architectures of LoFTR: published, ours and a small teacher."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kornia.feature.loftr.loftr import default_cfg


@dataclass(frozen=True)
class Shape:
    """Architecture of a LoFTR network.

    Attributes:
        dims: Channels of the first convolution and of each stage of the backbone, at 1/2, 1/4, 1/8
            and, with a fourth stage, 1/16. The last is the width of the coarse transformer.
        heads: Heads of its attention.
        rounds: Times it attends to the own image and then to the other.
        fine_heads: Heads of the fine transformer.
        window: Side of the window of fine cells in which a match is refined, odd.
        temperature: Divides the coarse similarity.
        threshold: Least confidence of a match.
        border: Cells at the image's edge that are not matched.
        even: Whether it is a network of ours, see `imatch.models.loftr.network`.
        refined: Whether it has learnt the fine stage; without, matches are pairs of cells.
        backbone: ``resnet`` (LoFTR's own), or ``superpoint``: a SuperPoint's encoder, whose
            descriptors are the coarse map, see `imatch.models.loftr.backbone`.
        channels: Bands of the input.
        stretch: What refined offsets are multiplied by. An expectation over a window is drawn to
            its middle, by the same share everywhere; where images differ by a shift alone all
            matches would keep back to the same side.
    """

    dims: tuple[int, ...] = (32, 32, 64, 128)
    heads: int = 8
    rounds: int = 3
    fine_heads: int = 4
    window: int = 5
    temperature: float = 0.1
    threshold: float = 0.2
    border: int = 1
    even: bool = True
    refined: bool = True
    backbone: Literal["resnet", "superpoint"] = "resnet"
    channels: Literal[1, 3] = 1
    stretch: float = 1.0

    def __post_init__(self) -> None:
        if len(self.dims) not in (4, 5) or min(self.dims) < 1:
            raise ValueError("dims are 4 or 5 numbers of channels")
        if self.dims[0] != self.dims[1]:
            raise ValueError(
                "the first two dims are equal, since that stage keeps its input's size"
            )
        if self.even and len(self.dims) != 4:
            raise ValueError("networks of ours have cells of 8 pixels, and so 4 dims")
        if self.backbone == "superpoint" and not (self.even and self.dims[:3] == (64, 64, 128)):
            raise ValueError("SuperPoint's encoder has the dims 64, 64, 128, and is of ours")
        if self.backbone == "resnet" and self.channels != 1:
            raise ValueError("LoFTR's own backbone sees one band")
        if self.width % (4 * self.heads) or self.fine_width % self.fine_heads:
            raise ValueError("widths must be multiples of the heads, the coarse one of 4 as well")
        if self.window < 3 or self.window % 2 == 0:
            raise ValueError("the window must be odd, 3 or more")
        if self.stretch < 1:
            raise ValueError("the stretch makes up for what is lost: 1 or more")
        if not (self.rounds > 0 and self.temperature > 0 and self.border >= 0):
            raise ValueError("rounds and temperature must be positive")

    @property
    def cell(self) -> int:
        """Pixels along one side of a coarse cell."""
        return int(2 ** (len(self.dims) - 1))

    @property
    def fine_cell(self) -> int:
        """Pixels along one side of a fine cell."""
        return self.cell // 4

    @property
    def width(self) -> int:
        """Channels of the coarse features."""
        return self.dims[-1]

    @property
    def fine_width(self) -> int:
        """Channels of the fine features."""
        return self.dims[-3]

    @property
    def reach(self) -> float:
        """How far a match can be refined along an axis, pixels."""
        return float(self.window // 2 * self.fine_cell)

    @property
    def offset(self) -> float:
        """Where the first coarse cell lies along an axis, pixels of our frame.

        LoFTR's frame has its origin at the first pixel's corner; ours has cells where the kernels
        of the backbone are centred: on every eighth pixel, or between the fourth and the fifth.
        """
        if not self.even:
            return -0.5
        return 3.5 if self.backbone == "superpoint" else 0.0

    def config(self) -> dict[str, Any]:
        """Kornia's configuration, a copy of one's own."""
        config: dict[str, Any] = deepcopy(default_cfg)
        layers = ["self", "cross"]
        config["resolution"] = (self.cell, self.fine_cell)
        config["fine_window_size"] = self.window
        config["resnetfpn"] = {"initial_dim": self.dims[0], "block_dims": list(self.dims[1:])}
        config["coarse"] |= {
            "d_model": self.width,
            "d_ffn": self.width,
            "nhead": self.heads,
            "layer_names": layers * self.rounds,
            "temp_bug_fix": self.even,
        }
        config["match_coarse"] |= {
            "thr": self.threshold,
            "border_rm": self.border,
            "dsmax_temperature": self.temperature,
        }
        config["fine"] |= {
            "d_model": self.fine_width,
            "d_ffn": self.fine_width,
            "nhead": self.fine_heads,
        }
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self) | {"dims": list(self.dims)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Shape:
        """The inverse of `to_dict`.

        Raises:
            TypeError: There is a value too many.
            ValueError: They make no network.
        """
        return cls(**(values | {"dims": tuple(values["dims"])}))


COMPACT = Shape()
"""Ours: cells of 8 pixels, refined on a grid of 2."""

SEASONS = Shape((64, 64, 128, 128), backbone="superpoint", channels=3, stretch=1.1)
"""Ours, on the encoder of the SuperPoint that learnt the seasons.

Its offsets fall short by a tenth on images that differ by a shift alone, and by more where they
differ in season.
"""

PUBLISHED = Shape((128, 128, 196, 256), heads=8, rounds=4, fine_heads=8, border=2, even=False)
"""Kornia's, of the weights trained on photographs."""

TEACHER = Shape(
    (8, 8, 16, 32, 32), heads=1, rounds=2, fine_heads=1, border=2, even=False, refined=False
)
"""Coarse_LoFTR_TRT's student (Apache-2.0), whose file lacks the fine stage."""

SHAPES = {"compact": COMPACT, "seasons": SEASONS, "published": PUBLISHED, "teacher": TEACHER}
