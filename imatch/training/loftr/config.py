"""Settings of LoFTR's training."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from imatch.core.settings import Settings
from imatch.models.loftr.shape import SHAPES, Shape
from imatch.training.augment.pair import AugmentConfig
from imatch.training.config import MOST, TrainerConfig
from imatch.training.views import PairsConfig, ViewsConfig

Loss = Literal["focal", "dual-softmax"]

KEYPOINTS = "superpoint-s2"
"""The SuperPoint that a backbone may start from."""


class MixtureConfig(Settings):
    """How often each kind of pair is shown, as weights; a kind that there is none of is left out.

    Attributes:
        season: Two dates whose residual was measured.
        hard: Those of them that are flooded, clouded or otherwise much changed.
        self_: One date twice, from where the truth is exact (``self`` in a file).
        landscape: Procedural landscapes at two seasons; exact as well.
        distil: Two dates whose residual is unknown, aligned by our own matchers.
        sensors: Real pairs of two sensors, of the table `cases`.
        map: Procedural photographs and their maps.
        hard_share: Share of changed ground from which a pair counts as hard.
    """

    season: float = Field(default=0.5, ge=0)
    hard: float = Field(default=0.2, ge=0)
    self_: float = Field(default=0.1, ge=0, alias="self")
    landscape: float = Field(default=0.15, ge=0)
    distil: float = Field(default=0.05, ge=0)
    sensors: float = Field(default=0.3, ge=0)
    map: float = Field(default=0.2, ge=0)
    hard_share: float = Field(default=0.15, gt=0, le=1)

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)


class LoFTRDataConfig(PairsConfig):
    """Settings of the training data.

    Attributes:
        size: Side of the views the network sees, a multiple of its cells.
        limit: Most pairs of chips of each kind; None for all.
        mixture: How often each kind of pair is shown.
    """

    size: int = Field(default=192, ge=64, le=MOST, multiple_of=8)
    mixture: MixtureConfig = MixtureConfig()


class LoFTRModelConfig(Settings):
    """Settings of the network and its initialisation.

    Attributes:
        start: ``scratch``; ``superpoint-s2`` (for the shape ``seasons``: its encoder and
            descriptors, all else being new); or a file: a checkpoint of ours, the published one, or
            Coarse_LoFTR_TRT's. It has to be of the shape asked for, but for what it has not learnt
            yet.
        shape: ``seasons`` (ours, on SuperPoint's encoder), ``compact`` (ours, on LoFTR's own),
            ``published`` or ``teacher`` (Coarse_LoFTR_TRT's).
        dims: Channels of the first convolution and each stage; None for the shape's own.
        heads: Heads of the coarse attention; None for the shape's own.
        rounds: Rounds of attention; None for the shape's own.
        fine_heads: Heads of the fine attention; None for the shape's own.
        threshold: Least confidence of a match; None for the shape's own.
        stretch: What refined offsets are multiplied by; None for the shape's own.
        freeze_coarse: Keep what makes the coarse matches as the start has it.
        frozen_stages: How many stages of SuperPoint's encoder stay as the start has them.
    """

    start: str = "scratch"
    shape: Literal["seasons", "compact", "published", "teacher"] = "compact"
    dims: tuple[int, ...] | None = None
    heads: int | None = Field(default=None, ge=1)
    rounds: int | None = Field(default=None, ge=1)
    fine_heads: int | None = Field(default=None, ge=1)
    threshold: float | None = Field(default=None, ge=0, lt=1)
    stretch: float | None = Field(default=None, ge=1)
    freeze_coarse: bool = False
    frozen_stages: int = Field(default=0, ge=0, le=4)

    @model_validator(mode="after")
    def _check_shape(self) -> LoFTRModelConfig:
        shape = self.made_of(refined=True)
        if shape.backbone != "superpoint" and (self.frozen_stages or self.start == KEYPOINTS):
            raise ValueError(f"frozen_stages and the start {KEYPOINTS} are for the shape seasons")
        if self.freeze_coarse and self.start == "scratch":
            raise ValueError("freeze_coarse needs a start that has learnt something")
        return self

    def made_of(self, *, refined: bool) -> Shape:
        """Returns the architecture asked for.

        Args:
            refined: Whether the fine stage is learnt.
        """
        named = SHAPES[self.shape]
        own = {
            name: value
            for name in ("dims", "heads", "rounds", "fine_heads", "threshold", "stretch")
            if (value := getattr(self, name)) is not None
        }
        return Shape(**(named.__dict__ | own | {"refined": refined}))


class LoFTRLossConfig(Settings):
    """Settings of the losses.

    Attributes:
        coarse: ``focal`` (Lin et al. 2017) or ``dual-softmax`` (the plain negative logarithm).
        gamma: By how much pairs of cells that are right already count less, for ``focal``.
        coarse_weight: Weight of the coarse loss.
        fine_weight: Weight of the fine loss; 0 for the coarse stage alone, which is then all that
            is computed.
        lost_weight: Weight of cells whose ground is not in the other view at all.
        fine_matches: Most matches of a batch that are refined.
    """

    coarse: Loss = "focal"
    gamma: float = Field(default=2.0, ge=0)
    coarse_weight: float = Field(default=1.0, ge=0)
    fine_weight: float = Field(default=1.0, ge=0)
    lost_weight: float = Field(default=0.1, ge=0)
    fine_matches: int = Field(default=512, ge=1)

    @model_validator(mode="after")
    def _check_any(self) -> LoFTRLossConfig:
        if self.coarse_weight + self.fine_weight == 0:
            raise ValueError("at least one loss needs a weight")
        return self


class LoFTRDistilConfig(Settings):
    """Settings of the matchers that align pairs of unknown residual.

    Attributes:
        matchers: Rows of ``imatch matchers``.
        agree: How many of them must be certain, and agree.
        apart_px: Most that the corners may differ by between those that agree.
        max_ci_px: Least certainty: 95 % bound on the position of any place.
        reach_px: How far from a tie point ground still counts as aligned.
    """

    matchers: tuple[str, ...] = ("auto",)
    agree: int = Field(default=1, ge=1)
    apart_px: float = Field(default=1.0, gt=0)
    max_ci_px: float = Field(default=1.5, gt=0)
    reach_px: float = Field(default=24.0, gt=0)

    @model_validator(mode="after")
    def _check_agree(self) -> LoFTRDistilConfig:
        if self.agree > len(self.matchers):
            raise ValueError(f"{self.agree} cannot agree of {len(self.matchers)}")
        return self


class LoFTRValidationConfig(ViewsConfig):
    """Settings of validation.

    Attributes:
        pairs: See `ViewsConfig`.
        rotation_deg: See `ViewsConfig`.
        scale: See `ViewsConfig`.
        shift_px: See `ViewsConfig`.
        size: Side of their views, pixels.
    """

    size: int = Field(default=256, ge=64, le=MOST, multiple_of=8)


class LoFTRConfig(TrainerConfig):
    """Settings of a run.

    Attributes:
        data: What is learnt from.
        model: The network and where it starts.
        loss: The losses.
        distil: Who aligns the pairs whose residual is unknown.
        augment: How pairs are varied.
        validation: What is measured.
    """

    data: LoFTRDataConfig = LoFTRDataConfig()
    model: LoFTRModelConfig = LoFTRModelConfig()
    loss: LoFTRLossConfig = LoFTRLossConfig()
    distil: LoFTRDistilConfig = LoFTRDistilConfig()
    augment: AugmentConfig = AugmentConfig()
    validation: LoFTRValidationConfig = LoFTRValidationConfig()

    @model_validator(mode="after")
    def _check_fit(self) -> LoFTRConfig:
        if self.model.freeze_coarse and not self.loss.fine_weight:
            raise ValueError("model.freeze_coarse leaves nothing to learn without a fine loss")
        for name, side in (("data", self.data.size), ("validation", self.validation.size)):
            if side % self.shape.cell:
                raise ValueError(f"{name}.size must be a multiple of {self.shape.cell}")
        return self

    @property
    def shape(self) -> Shape:
        """The architecture of the network."""
        return self.model.made_of(refined=self.loss.fine_weight > 0)
