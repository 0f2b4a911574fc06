"""Settings of an embedder's training."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, model_validator

from imatch.core.settings import Settings
from imatch.training.config import MOST, TrainerConfig

SamplerName: TypeAlias = Literal[
    "recipe", "random", "cluster", "tile-distance", "labels", "proportions"
]
LossName: TypeAlias = Literal[
    "triplet",
    "triplet-cosine",
    "triplet-soft",
    "quadruplet",
    "magnet",
    "contrastive",
    "bce",
    "focal",
    "multi-similarity",
    "nt-xent",
]
MinerName: TypeAlias = Literal[
    "none",
    "semi-hard",
    "hard",
    "hard-positive",
    "hard-negative",
    "random-hard-positive",
    "random-hard-negative",
    "multi-similarity",
]


class EmbedderDataConfig(Settings):
    """Settings of the training data.

    Attributes:
        chips: Folder that ``imatch data prepare`` filled.
        sources: Only these of its sources; null for all.
        crop: Side of what is seen of a chip, as a share of the chip (224 of 250 px).
        shifts: Crops of a chip in training: 4 in its corners, or 1 in its middle. Validation sees
            the middle.
        size: Side at which the network sees a crop, pixels.
        cache_mb: Decoded chips kept in memory, in each process.
    """

    chips: Path | None = None
    sources: tuple[str, ...] | None = None
    crop: float = Field(default=0.896, gt=0.3, le=1)
    shifts: Literal[1, 4] = 4
    size: int = Field(default=224, ge=32, le=MOST)
    cache_mb: float = Field(default=512.0, gt=0)


class EmbedderModelConfig(Settings):
    """Settings of the network and its initialisation.

    Attributes:
        backbone: What makes a feature map of an image.
        start: ``imagenet``, ``scratch``, or a file that --export wrote.
        bands: Bands it sees; images of 1 or 3 bands are converted, others have to fit.
        semantics: Whether it also sees the label map, a plane a class, in a stream of its own.
        pool: ``gem``, ``attention`` or ``delf``.
        dim: Length of an embedding; null for what the pooling gives.
        normalise: Whether embeddings have unit length.
        frozen_stages: Blocks of the backbone, from the image on, that do not learn
            (there are 16).
    """

    backbone: Literal["efficientnet-lite0"] = "efficientnet-lite0"
    start: str = "imagenet"
    bands: int = Field(default=3, ge=1, le=MOST)
    semantics: bool = False
    pool: Literal["gem", "attention", "delf"] = "gem"
    dim: int | None = Field(default=128, ge=2, le=MOST)
    normalise: bool = True
    frozen_stages: int = Field(default=0, ge=0)


class EmbedderLabelConfig(Settings):
    """A label map: what covers the ground.

    Attributes:
        path: Categorical raster, or polygons (GeoJSON, GeoPackage, shapefile); null for none.
        column: Column of the polygons that names the class; null takes all for one class, beside
            the ground without polygons.
        classes: Values to use, in this order; null for all that occur. Other ground counts as none.
        min_known: Least share of a chip's ground with a class.
    """

    path: Path | None = None
    column: str | None = None
    classes: tuple[int | str, ...] | None = None
    min_known: float = Field(default=0.5, ge=0, le=1)


class SamplerConfig(Settings):
    """How the chips of a step are chosen.

    Attributes:
        kind: ``recipe`` (anchor; the same place in another season; another place of the same block
            and season), ``random`` (places from all over the map), ``cluster`` (groups of
            neighbouring places), ``tile-distance`` (near is alike, as Tile2Vec), ``labels`` (chips
            that one class dominates) or ``proportions`` (chips of similar mixtures are alike).
        dates: Chips of each place in a step (``random``, ``cluster``) or of each class
            (``labels``).
        block: Side of the blocks of ``recipe``, in chips.
        cluster: Places of a cluster.
        positive: Nearest and farthest distance of a positive of ``tile-distance``, in chips.
        negative: That of a negative.
        dominance: Least share of a chip's ground that its class covers (``labels``).
        alike: Least overlap of the mixtures of a positive (``proportions``).
        unlike: Largest overlap of those of a negative.
    """

    kind: SamplerName = "random"
    dates: int = Field(default=2, ge=2)
    block: float = Field(default=8.0, ge=2)
    cluster: int = Field(default=4, ge=2)
    positive: tuple[float, float] = (0.0, 1.0)
    negative: tuple[float, float] = (4.0, 1e9)
    dominance: float = Field(default=0.6, gt=0, le=1)
    alike: float = Field(default=0.8, gt=0, le=1)
    unlike: float = Field(default=0.5, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_ranges(self) -> SamplerConfig:
        for name in ("positive", "negative"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name} is a nearest and a farthest distance")
        if self.unlike >= self.alike:
            raise ValueError("unlike must be less than alike")
        return self


class MiningConfig(Settings):
    """Which pairs and triplets of a step count.

    Attributes:
        kind: ``none`` takes what the sampler says; ``semi-hard`` and ``hard`` triplets
            (by the margin); the hardest positive or negative
            of each anchor, with all or a random one of the others; ``multi-similarity``.
        margin: Of the miners that have one.
        offline_every: Steps after which all training chips are embedded anew, so that places come
            together that the network takes for each other; 0 for never. Needs workers=0.
        neighbours: How many such places are remembered for each.
        share: Share of the places of a step that are brought in so.
    """

    kind: MinerName = "none"
    margin: float = Field(default=0.2, gt=0)
    offline_every: int = Field(default=0, ge=0)
    neighbours: int = Field(default=10, ge=1)
    share: float = Field(default=0.5, gt=0, lt=1)


class EmbedderLossConfig(Settings):
    """Settings of the loss.

    Attributes:
        kind: ``triplet`` (Euclidean), ``triplet-cosine``, ``triplet-soft`` (softplus for the
            margin), ``quadruplet``, ``magnet``, ``contrastive``, ``bce`` and ``focal`` (a pair is
            or is not one place), ``multi-similarity``, ``nt-xent``.
        margin: Of triplets, quadruplets, magnet's clusters and contrastive negatives.
        temperature: Of ``nt-xent``, and the scale of the logits of ``bce`` and ``focal``.
        threshold: Cosine at which ``bce`` and ``focal`` are undecided.
        gamma: How much ``focal`` neglects easy pairs.
    """

    kind: LossName = "multi-similarity"
    margin: float = Field(default=0.3, gt=0)
    temperature: float = Field(default=0.1, gt=0)
    threshold: float = Field(default=0.5, gt=-1, lt=1)
    gamma: float = Field(default=2.0, ge=0)


class EmbedderAugmentConfig(Settings):
    """How chips are varied; the figures are probabilities.

    Attributes:
        turn: All chips of a step are turned and mirrored the same way (north stays common).
        season: Each kind of ground changes colour in its own way.
        gain: Gain, offset and gamma of each band.
        grey: Bands are drawn towards one mixture.
        haze: A bright veil.
        snow: Snow above a line.
        clouds: Clouds and their shadows.
        blur: A sensor's transfer function.
        coarser: Larger pixels.
    """

    turn: bool = True
    season: float = Field(default=0.3, ge=0, le=1)
    gain: float = Field(default=0.5, ge=0, le=1)
    grey: float = Field(default=0.2, ge=0, le=1)
    haze: float = Field(default=0.1, ge=0, le=1)
    snow: float = Field(default=0.05, ge=0, le=1)
    clouds: float = Field(default=0.1, ge=0, le=1)
    blur: float = Field(default=0.2, ge=0, le=1)
    coarser: float = Field(default=0.1, ge=0, le=1)


class EmbedderValidationConfig(Settings):
    """Settings of validation.

    Attributes:
        chips: Most validation chips, spread evenly over the places.
        batch_size: Chips embedded at once.
        picture: How embeddings are laid out for a picture: ``umap`` (pip install umap-learn),
            ``pca`` or ``none``.
    """

    chips: int = Field(default=600, ge=4)
    batch_size: int = Field(default=32, ge=1, le=MOST)
    picture: Literal["umap", "pca", "none"] = "pca"


class EmbedderConfig(TrainerConfig):
    """Settings of a run; ``batch_size`` counts places, triplets or classes.

    Attributes:
        data: What is learnt from.
        model: The network and where it starts.
        labels: A label map, for the samplers that need one.
        sampler: How the chips of a step are chosen.
        mining: Which pairs and triplets of them count.
        loss: The loss.
        augment: How chips are varied.
        validation: What is measured.
    """

    batch_size: int = Field(default=16, ge=2, le=MOST)
    data: EmbedderDataConfig = EmbedderDataConfig()
    model: EmbedderModelConfig = EmbedderModelConfig()
    labels: EmbedderLabelConfig = EmbedderLabelConfig()
    sampler: SamplerConfig = SamplerConfig()
    mining: MiningConfig = MiningConfig()
    loss: EmbedderLossConfig = EmbedderLossConfig()
    augment: EmbedderAugmentConfig = EmbedderAugmentConfig()
    validation: EmbedderValidationConfig = EmbedderValidationConfig()

    @model_validator(mode="after")
    def _check_parts(self) -> EmbedderConfig:
        kind = self.sampler.kind
        if self.labels.path is None and (kind in LABELLED or self.model.semantics):
            raise ValueError("labels.path is needed by this sampler, or by model.semantics")
        if kind in TRIPLETS and self.mining.kind != "none":
            raise ValueError(f"the sampler {kind} makes its own triplets: set mining.kind=none")
        if kind in TRIPLETS and self.loss.kind not in TRIPLET_LOSSES:
            raise ValueError(f"the sampler {kind} needs a loss of triplets or pairs")
        if self.mining.offline_every and (self.workers or kind not in ("random", "cluster")):
            raise ValueError("mining.offline_every needs workers=0 and sampler random or cluster")
        return self


LABELLED = frozenset({"labels", "proportions"})
#: Samplers that say which chips make triplets.
TRIPLETS = frozenset({"recipe", "tile-distance", "proportions"})
#: Losses that take such triplets.
TRIPLET_LOSSES = frozenset(
    {"triplet", "triplet-cosine", "triplet-soft", "quadruplet", "contrastive", "bce", "focal"}
)
