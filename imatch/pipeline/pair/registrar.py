"""Registrars: two rendered images in, a judged estimate out.

A single matcher is one solver; the cascade `auto` is another. The pipeline around them reads files
and speaks of metres; they do not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from imatch.core.types import Rendered
from imatch.geometry.acceptance import Evidence
from imatch.geometry.alignment.fine_alignment import Aligner
from imatch.geometry.alignment.judge import judge_alignment
from imatch.geometry.estimate import Estimate, EstimateOptions, estimate

if TYPE_CHECKING:
    from imatch.matchers import Matcher

Stage = Callable[[str], None]


class Registrar(ABC):
    """Registers one rendered image onto another.

    Attributes:
        name: What users type.
        channels: Bands it wants to see, 1 or 3.
    """

    name: str
    channels: Literal[1, 3]

    @abstractmethod
    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
        *,
        geocoded: bool = False,
        on_stage: Stage = lambda _text: None,
    ) -> Estimate:
        """Find the transform from `ref` to `tgt`.

        Args:
            ref: Reference.
            tgt: Target.
            options: Transform kind, threshold, limits and seed.
            geocoded: Whether both stand on one map grid, so that the answer is near the identity.
            on_stage: Told what is being done.
        """

    @property
    @abstractmethod
    def weights_used(self) -> dict[str, str]:
        """sha256 of the checkpoints in use, by weight name."""


class MatcherRegistrar(Registrar):
    """Registers by one matcher and a robust estimate.

    Args:
        name: Registry name of the matcher.
        matcher: The matcher.
        refine: Whether what the matches agree on is pulled tight by local correlation, and judged
            by how many windows agree then, as `auto` does with every proposal.
    """

    def __init__(self, name: str, matcher: Matcher, *, refine: bool = False) -> None:
        self.name, self.matcher, self.refine = name, matcher, refine
        self.channels = matcher.channels

    def solve(
        self,
        ref: Rendered,
        tgt: Rendered,
        options: EstimateOptions,
        *,
        geocoded: bool = False,  # noqa: ARG002 - matchers look everywhere
        on_stage: Stage = lambda _text: None,
    ) -> Estimate:
        """See `Registrar.solve`."""
        on_stage(f"matching with {self.name}")
        matches = self.matcher.match(ref, tgt)
        on_stage("estimating")
        found = estimate(matches, ref.valid, tgt.valid, options)
        found = replace(found, found_by=self.name)
        if not self.refine or found.transform is None:
            return found
        on_stage("refining")
        return _refined(found, ref, tgt, options)

    @property
    def weights_used(self) -> dict[str, str]:
        """See `Registrar.weights_used`."""
        return self.matcher.weights_used


def _refined(rough: Estimate, ref: Rendered, tgt: Rendered, options: EstimateOptions) -> Estimate:
    """A matcher's answer as local correlation has it; the answer itself, in doubt, without any."""
    assert rough.transform is not None
    aligner = Aligner(ref, tgt)
    alignment = aligner.align(rough.transform.matrix)
    if alignment is None:
        doubt = "the matches agree, but no part of the images correlates where they say"
        return replace(rough, status="uncertain", reason=doubt)
    found = judge_alignment(aligner, alignment, ref.valid, tgt.valid, options, Evidence())
    return replace(found, found_by=rough.found_by)
