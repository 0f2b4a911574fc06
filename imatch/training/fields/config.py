"""Settings of the field network's training."""

from __future__ import annotations

from pydantic import Field

from imatch.core.settings import Settings
from imatch.geometry.sensor_field import SCALES
from imatch.models.fields.network import FieldShape
from imatch.training.augment.geometry import ViewConfig
from imatch.training.config import MOST, TrainerConfig
from imatch.training.views import PairsConfig, ViewsConfig


class FieldMixtureConfig(Settings):
    """How often each kind of pair is shown, as weights; a kind that there is none of is left out.

    Attributes:
        sensors: Real pairs of two sensors, of the table `cases`.
        optical: Their references alone, the other side in a made modality.
        season: Two dates of the chips, one of them in a made modality.
        landscape: Procedural landscapes, likewise.
        map: Procedural photographs and their maps.
    """

    sensors: float = Field(default=3.0, ge=0)
    optical: float = Field(default=2.0, ge=0)
    season: float = Field(default=2.5, ge=0)
    landscape: float = Field(default=1.0, ge=0)
    map: float = Field(default=3.0, ge=0)


class FieldDataConfig(PairsConfig):
    """Settings of the training data.

    Attributes:
        size: Side of the views the network sees, a multiple of 8.
        mixture: How often each kind of pair is shown.
    """

    size: int = Field(default=160, ge=64, le=MOST, multiple_of=8)
    mixture: FieldMixtureConfig = FieldMixtureConfig()


class FieldModelConfig(Settings):
    """Settings of the network; training starts with the directions as they are.

    Attributes:
        maps: Maps beside the weighed directions.
        stem: Channels at full size.
        width: Channels at half size.
        dilations: Of the convolutions at half size.
    """

    maps: int = Field(default=6, ge=0, le=MOST)
    stem: int = Field(default=12, ge=1, le=MOST)
    width: int = Field(default=24, ge=4, le=MOST, multiple_of=4)
    dilations: tuple[int, ...] = (1, 2, 4, 1)


class FieldLossConfig(Settings):
    """Settings of the loss.

    Attributes:
        tolerance_px: Within so many pixels of the true shift a place of the surface is right.
        others: Other pairs of the batch whose surfaces have to stay below.
        most: Largest loss of a pair: some show nothing in common.
        temperature: What heights, in standard deviations, are multiplied by in the softmax. Chance
            reaches 4 of 10^4 places: less would count it, more would teach what is learnt already.
    """

    tolerance_px: float = Field(default=4.0, gt=0)
    others: int = Field(default=3, ge=0)
    most: float = Field(default=25.0, gt=0)
    temperature: float = Field(default=2.7, gt=0)


class FieldViewConfig(ViewConfig):
    """How the two views of a pair differ: by a shift, and by little besides.

    Turn and scale are found by other means before maps are compared.
    """

    rotation_deg: float = Field(default=0.7, ge=0, le=180)
    scale: float = Field(default=1.008, ge=1, le=2)
    shear: float = Field(default=0.0, ge=0, le=0.5)
    perspective: float = Field(default=0.0, ge=0, le=0.2)
    shift_px: float = Field(default=26.0, ge=0)
    zoom: float = Field(default=1.4, ge=1, le=2)


class FieldValidationConfig(ViewsConfig):
    """Settings of the pairs to measure on; their views differ as in training."""

    rotation_deg: float = Field(default=0.7, ge=0, le=180)
    scale: float = Field(default=1.008, ge=1, le=2)
    shift_px: float = Field(default=26.0, ge=0)


class FieldAugmentConfig(Settings):
    """How pairs are varied.

    Attributes:
        views: Geometry; both views are turned together.
        natural: Share of views that stay what they are where the other is in a made modality.
    """

    views: FieldViewConfig = FieldViewConfig()
    natural: float = Field(default=0.75, ge=0, le=1)


class FieldConfig(TrainerConfig):
    """Settings of a run.

    Attributes:
        data: What is learnt from.
        model: What is trained.
        loss: What is made smaller.
        augment: How pairs are varied.
        validation: What is measured.
    """

    batch_size: int = Field(default=8, ge=2, le=MOST)
    data: FieldDataConfig = FieldDataConfig()
    model: FieldModelConfig = FieldModelConfig()
    loss: FieldLossConfig = FieldLossConfig()
    augment: FieldAugmentConfig = FieldAugmentConfig()
    validation: FieldValidationConfig = FieldValidationConfig()

    @property
    def shape(self) -> FieldShape:
        """Returns the architecture asked for."""
        model = self.model
        return FieldShape(len(SCALES), model.maps, model.stem, model.width, model.dilations)
