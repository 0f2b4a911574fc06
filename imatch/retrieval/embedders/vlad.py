"""VLAD aggregation of local descriptors by a vocabulary.

Jégou, Douze, Schmid and Pérez (CVPR 2010), with the words normalised one by one (Arandjelović and
Zisserman, "All About VLAD", CVPR 2013) and, optionally, whitened principal components (Jégou and
Chum, ECCV 2012).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError, WeightsError
from imatch.core.io.files import atomic_path
from imatch.core.types import BoolArray
from imatch.models.embedding.network import read_about
from imatch.retrieval.embedders.base import VOCABULARY as KIND
from imatch.retrieval.embedders.base import ChipEmbedder, unit
from imatch.retrieval.embedders.local import LocalDescriptors, make_local

_BUILT_IN = Path(__file__).with_name("vocabularies")
#: Descriptors of one chip that a vocabulary is learnt from, at most.
_PER_CHIP = 64


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words, and what becomes of their residuals.

    Attributes:
        local: Name of the local descriptors.
        words: (K, D) float32.
        mean: (K * D,) float32, subtracted before the projection; None without one.
        projection: (K * D, P) float32 whitened principal components; None without.
        chip_px: Side of the chips it was learnt on.
        source: What it was learnt from.
    """

    local: str
    words: NDArray[np.float32]
    mean: NDArray[np.float32] | None = None
    projection: NDArray[np.float32] | None = None
    chip_px: int = 128
    source: str = ""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.words.size if self.projection is None else self.projection.shape[1]

    def aggregate(self, descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
        """One chip's descriptors as a vector.

        Args:
            descriptors: (M, D) of unit length.

        Returns:
            (dim,) of unit length; zeros without descriptors.
        """
        total = np.zeros_like(self.words)
        if len(descriptors):
            nearest = (descriptors @ self.words.T - (self.words**2).sum(axis=1) / 2).argmax(axis=1)
            np.add.at(total, nearest, descriptors - self.words[nearest])
        vector = unit(unit(total).reshape(1, -1))
        if self.projection is None or self.mean is None or not len(descriptors):
            return vector[0] if self.projection is None else np.zeros(self.dim, np.float32)
        return np.asarray(unit((vector - self.mean) @ self.projection)[0])

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Writes the vocabulary as one ``.safetensors`` file, in half precision.

        Raises:
            OutputError: The file exists, or cannot be written.
        """
        from safetensors.numpy import save_file

        tensors = {"words": self.words, "mean": self.mean, "projection": self.projection}
        kept = {k: np.ascontiguousarray(v, np.float16) for k, v in tensors.items() if v is not None}
        about = {"kind": KIND, "local": self.local, "chip_px": self.chip_px, "source": self.source}
        with atomic_path(path, overwrite=overwrite) as temporary:
            save_file(kept, temporary, {"imatch": json.dumps(about)})

    @staticmethod
    def load(path: Path) -> Vocabulary:
        """Reads a vocabulary from a file that `save` wrote.

        Raises:
            WeightsError: It is none.
        """
        from safetensors.numpy import load_file

        about = read_about(path)
        if about.get("kind") != KIND:
            raise WeightsError("is no vocabulary", subject=path)
        tensors = {name: value.astype(np.float32) for name, value in load_file(path).items()}
        if "words" not in tensors:
            raise WeightsError("is damaged: it has no words", subject=path)
        return Vocabulary(
            str(about["local"]),
            tensors["words"],
            tensors.get("mean"),
            tensors.get("projection"),
            int(about["chip_px"]),
            str(about["source"]),
        )


class Vlad(ChipEmbedder):
    """Gathers local descriptors by a vocabulary.

    Args:
        name: What to call it.
        vocabulary: The vocabulary.
        device: Where the network of the local descriptors runs.
        fetch: Download its weights if they are missing.

    Raises:
        WeightsError: They are missing or corrupt.
    """

    def __init__(
        self, name: str, vocabulary: Vocabulary, *, device: str = "cpu", fetch: bool = False
    ) -> None:
        self.vocabulary = vocabulary
        self.local: LocalDescriptors = make_local(vocabulary.local, device, fetch=fetch)
        arrays = (vocabulary.words, vocabulary.mean, vocabulary.projection)
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(b"none" if array is None else array.tobytes())
        super().__init__(
            name,
            dim=vocabulary.dim,
            bands=self.local.bands,
            chip_px=vocabulary.chip_px,
            settings={
                "method": KIND,
                "local": vocabulary.local,
                "weights": self.local.found.sha256,
                "vocabulary": digest.hexdigest(),
            },
            batch=8,
        )

    def _embed(self, pixels: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
        found = self.local.on_ground(pixels, valid)
        return np.stack([self.vocabulary.aggregate(descriptors) for descriptors in found])


def learn(
    local: str,
    chips: Iterable[tuple[NDArray[np.float32], BoolArray]],
    *,
    words: int = 64,
    components: int | None = None,
    seed: int = 0,
    source: str = "",
    device: str = "cpu",
    fetch: bool = False,
    on_chip: Callable[[float], None] = lambda _: None,
) -> Vocabulary:
    """Learn a vocabulary, and where asked for the principal components of its vectors.

    Args:
        local: Name of the local descriptors.
        chips: (bands, S, S) pixels in [0, 1] and (S, S) valid ground, of training places.
        words: Number of words.
        components: Principal components to keep, whitened; None for no projection.
        seed: Of everything random.
        source: What the chips are, to be remembered.
        device: Where the network runs.
        fetch: Download its weights if they are missing.
        on_chip: Called after each chip.

    Raises:
        InputError: There are fewer descriptors than words, or fewer chips than components.
    """
    from sklearn.cluster import MiniBatchKMeans

    cells = make_local(local, device, fetch=fetch)
    rng = np.random.default_rng(seed)
    found, side = [], 0
    for pixels, valid in chips:
        if valid.any():
            found.append(cells.on_ground(pixels[None], valid[None])[0])
            side = pixels.shape[-1]
        on_chip(1)
    sample = [few[rng.permutation(len(few))[:_PER_CHIP]] for few in found]
    if sum(map(len, sample)) < words:
        raise InputError(
            f"{sum(map(len, sample))} local descriptors are not enough for {words} words",
            hint="give more chips, or ask for fewer words",
        )
    means = MiniBatchKMeans(words, random_state=seed, n_init=3, batch_size=4096)
    means.fit(np.concatenate(sample))
    centres = np.asarray(means.cluster_centers_, dtype=np.float32)
    vocabulary = Vocabulary(local, centres, chip_px=side, source=source)
    if components is None:
        return vocabulary
    if len(found) <= components:
        raise InputError(
            f"{len(found)} chips are not enough for {components} components",
            hint="give more chips, or ask for fewer components",
        )
    vectors = np.stack([vocabulary.aggregate(few) for few in found])
    mean = vectors.mean(axis=0)
    _, spread, axes = np.linalg.svd(vectors - mean, full_matrices=False)
    scale = np.sqrt(len(vectors) - 1) / np.maximum(spread[:components], 1e-6)
    projection = np.asarray(axes[:components].T * scale, dtype=np.float32)
    return replace(vocabulary, mean=mean, projection=projection)


def built_in(name: str, *, device: str = "cpu", fetch: bool = False) -> Vlad:
    """VLAD by a vocabulary that comes with the package.

    Args:
        name: Row of the registry, and name of the file.
        device: Where the network runs.
        fetch: Download weights that are missing.

    Raises:
        WeightsError: The weights of the local descriptors are missing or corrupt.
    """
    vocabulary = Vocabulary.load(_BUILT_IN / f"{name}.safetensors")
    return Vlad(name, vocabulary, device=device, fetch=fetch)
