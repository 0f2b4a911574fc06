"""Evaluation of embeddings, retrieval and same-place decisions."""
