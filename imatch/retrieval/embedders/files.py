"""Loads an embedder from an exported file."""

from __future__ import annotations

from pathlib import Path

from imatch.core.errors import WeightsError
from imatch.models.embedding.network import KIND, read_about
from imatch.retrieval.embedders.base import VOCABULARY, Embedder


def embedder_from_file(path: Path, *, device: str = "cpu", fetch: bool = False) -> Embedder:
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
    kind = read_about(path)["kind"]
    if kind == KIND:
        from imatch.retrieval.embedders.network import trained

        return trained(path, device=device)
    if kind == VOCABULARY:
        from imatch.retrieval.embedders.vlad import Vlad, Vocabulary

        return Vlad(path.stem, Vocabulary.load(path), device=device, fetch=fetch)
    raise WeightsError(f"holds {kind}, not an embedder", subject=path)
