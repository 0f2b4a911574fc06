"""Embedders: chips in, vectors out; near vectors for the same ground.

Importing this package imports no network library; names are resolved when they are first used.
"""

from imatch.retrieval.embedders.base import Embedder
from imatch.retrieval.embedders.registry import EMBEDDERS, EmbedderRow, load_embedder

__all__ = ["EMBEDDERS", "Embedder", "EmbedderRow", "load_embedder"]
