"""What can go wrong in training beyond bad input."""

from __future__ import annotations

from imatch.core.errors import ImatchError


class TrainingError(ImatchError):
    """A trainer that cannot be had, or a run that cannot go on as it is."""
