"""Registry of embedders; imports no network library."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from imatch.core.errors import ConfigError, EmbedderError, WeightsError
from imatch.core.registry import Registry, Row

if TYPE_CHECKING:
    from imatch.retrieval.embedders.base import Embedder


@dataclass(frozen=True)
class EmbedderRow(Row):
    """One embedder; its target is a function of (name, device, fetch) that makes it.

    Attributes:
        weights: Names of the checkpoints it needs, keys of `imatch.models.weights.WEIGHTS`.
        licence: Of code and weights, the most restrictive of them.
        summary: What it is, in a few words.
    """

    weights: tuple[str, ...]
    licence: str
    summary: str
    error = EmbedderError


class Embedders(Registry[EmbedderRow]):
    """Names to embedders; a wrong one is wrong usage."""

    error = ConfigError


EMBEDDERS = Embedders(
    "embedder",
    [
        EmbedderRow(
            "efficientnet-lite0",
            "imatch.retrieval.embedders.network:imagenet",
            ("efficientnet-lite0",),
            "Apache-2.0",
            "ImageNet features of EfficientNet-Lite0, GeM pooling; a baseline, small and fast",
        ),
        EmbedderRow(
            "vlad-aliked",
            "imatch.retrieval.embedders.vlad:built_in",
            ("aliked-n16",),
            "BSD-3-Clause",
            "ALIKED's descriptors gathered by a vocabulary of satellite chips; across seasons",
        ),
        EmbedderRow(
            "vlad-superpoint-s2",
            "imatch.retrieval.embedders.vlad:built_in",
            ("superpoint-s2",),
            "Apache-2.0",
            "our SuperPoint's descriptors gathered likewise; no download, better across snow",
        ),
        EmbedderRow(
            "cells-superpoint-s2",
            "imatch.retrieval.embedders.cells:seasons",
            ("superpoint-s2",),
            "Apache-2.0",
            "our SuperPoint's descriptors on a grid; one framing, across seasons; no download",
        ),
        EmbedderRow(
            "edges",
            "imatch.retrieval.embedders.hog:hog",
            (),
            "Apache-2.0",
            "directions of edges on a grid; no weights, one date and one framing",
        ),
    ],
    group="imatch.embedders",
)
"""All embedders by name; other packages add rows by the entry-point group ``imatch.embedders``."""

DEFAULT = "edges"
"""The embedder that is used where none is named: of those that come with imatch it finds about as
many places as any, at a tenth of the time and a thirtieth of the size (experiments/embedder)."""


def load_embedder(
    name_or_path: str | PathLike[str] | None = None, *, device: str = "cpu", fetch: bool = False
) -> Embedder:
    """An embedder that is ready to run.

    Args:
        name_or_path: A row of `EMBEDDERS`, or a file that ``imatch train embedder --export`` wrote;
            `DEFAULT` when None.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        fetch: Download checkpoints that are missing.

    Raises:
        ConfigError: There is no such embedder and no such file.
        EmbedderError: What makes it cannot be imported: an extra is missing.
        WeightsError: A checkpoint is missing, corrupt or of another version.
        MatcherError: The device is not available.

    Examples:
        >>> import imatch, numpy as np
        >>> embedder = imatch.load_embedder("edges")
        >>> chips = np.random.default_rng(0).random((2, embedder.bands, 64, 64), dtype=np.float32)
        >>> vectors = embedder.embed(chips, np.ones((2, 64, 64), bool))
        >>> vectors.shape == (2, embedder.dim)
        True
    """
    text = DEFAULT if name_or_path is None else fspath(name_or_path)
    if text not in EMBEDDERS and _names_file(text):
        return _from_file(Path(text).expanduser(), device=device, fetch=fetch)
    made: Embedder = EMBEDDERS[text].load()(text, device=device, fetch=fetch)
    return made


def _names_file(text: str) -> bool:
    path = Path(text).expanduser()
    return path.suffix == ".safetensors" or len(path.parts) > 1 or path.exists()


def _from_file(path: Path, *, device: str, fetch: bool) -> Embedder:
    """The embedder that a ``.safetensors`` file holds.

    Args:
        path: The file.
        device: Where it runs.
        fetch: Download weights that a vocabulary needs and that are missing.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """
    if not path.is_file():
        cause = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(cause, subject=path, hint="name an embedder or a .safetensors file")
    from imatch.models.embedding.network import KIND, read_about
    from imatch.retrieval.embedders.base import VOCABULARY

    kind = read_about(path)["kind"]
    if kind == KIND:
        from imatch.retrieval.embedders.network import trained

        return trained(path, device=device)
    if kind == VOCABULARY:
        from imatch.retrieval.embedders.vlad import Vlad, Vocabulary

        return Vlad(path.stem, Vocabulary.load(path), device=device, fetch=fetch)
    raise WeightsError(f"holds {kind}, not an embedder", subject=path)
