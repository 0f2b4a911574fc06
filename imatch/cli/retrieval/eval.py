"""``imatch eval``: how good embeddings and decisions are, where the truth is known."""

from __future__ import annotations

import click

from imatch.cli.group import LazyGroup


@click.group(
    "eval",
    cls=LazyGroup,
    verbs={
        "pairs": (
            "imatch.cli.retrieval.eval_pairs:pairs",
            "Yes-or-no answers about pairs of images.",
        ),
        "retrieval": (
            "imatch.cli.retrieval.eval_retrieval:retrieval",
            "Whether places are found again.",
        ),
        "embedding": (
            "imatch.cli.retrieval.eval_embedding:embedding",
            "What embeddings know of the ground.",
        ),
    },
)
def eval_() -> None:
    """Measure embeddings, retrieval and decisions about pairs against what is known."""
