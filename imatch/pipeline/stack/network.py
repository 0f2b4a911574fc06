"""The adjusted network of a stack: images, pairs and solution."""

from __future__ import annotations

from dataclasses import dataclass

from imatch.geometry.acceptance import Status
from imatch.geometry.adjustment.graph import Adjustment
from imatch.geometry.adjustment.network import Edge
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.stack.images import InputImage
from imatch.pipeline.stack.pairs import Frames


@dataclass(frozen=True, eq=False)
class Attempt:
    """A matched pair of a stack.

    Attributes:
        a: Place of its reference in the series.
        b: Place of its target.
        registration: What came of it; None where it could not be run.
        error: Why not; empty otherwise.
        seconds: How long it took.
    """

    a: int
    b: int
    registration: Registration | None
    error: str = ""
    seconds: float = float("nan")

    @property
    def status(self) -> Status:
        """Status of the registration; ``failed`` without one."""
        return "failed" if self.registration is None else self.registration.status

    @property
    def reason(self) -> str:
        """The reason for the status, one sentence."""
        return self.error if self.registration is None else self.registration.reason


@dataclass(frozen=True, eq=False)
class StackNetwork:
    """Images of a stack with all pairs and their adjustment.

    Attributes:
        members: The readable images.
        frames: The planes it was solved in.
        attempts: Pairs that were matched.
        edges: Those that gave a transform.
        rows: Of each attempt the place of its edge, or why it has none.
        joint: The solution.
    """

    members: tuple[InputImage, ...]
    frames: Frames
    attempts: tuple[Attempt, ...]
    edges: tuple[Edge, ...]
    rows: dict[int, int | str]
    joint: Adjustment

    def of(self, node: int) -> list[int]:
        """Returns the attempts that an image is part of."""
        return [i for i, attempt in enumerate(self.attempts) if node in (attempt.a, attempt.b)]

    def counting(self, node: int) -> list[int]:
        """Returns the edges of an image that the solution rests on."""
        agrees = self.joint.agrees
        return [i for i, e in enumerate(self.edges) if node in (e.a, e.b) and agrees[i]]
