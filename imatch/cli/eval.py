"""``imatch eval``: how good embeddings and decisions are, where the truth is known."""

from __future__ import annotations

import click

from imatch.cli.group import LazyGroup


@click.group("eval", cls=LazyGroup, verbs={})
def eval_() -> None:
    """Measure embeddings, retrieval and decisions about pairs against what is known."""
