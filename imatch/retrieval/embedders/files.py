"""Embedders from files of ours: each says itself what it is."""

from __future__ import annotations

from pathlib import Path

from imatch.core.errors import WeightsError
from imatch.models.embedding.network import KIND, read_about
from imatch.retrieval.embedders.base import Embedder


def embedder_from_file(path: Path, *, device: str = "cpu") -> Embedder:
    """The embedder that a ``.safetensors`` file holds.

    Args:
        path: The file.
        device: Where it runs.

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
    raise WeightsError(f"holds {kind}, not an embedder", subject=path)
