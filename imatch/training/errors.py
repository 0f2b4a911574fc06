"""What can go wrong in training beyond bad input."""

from __future__ import annotations

from imatch.core.errors import ImatchError


class TrainingError(ImatchError):
    """A run that cannot go on as it is."""
