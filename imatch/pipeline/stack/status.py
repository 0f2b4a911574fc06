"""Status of each image, pair and loop of an adjusted stack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from imatch.geometry.acceptance import Status, judge_stacked
from imatch.geometry.adjustment.network import Support, components, loops, support
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.stack.images import InputImage
from imatch.pipeline.stack.network import StackNetwork
from imatch.pipeline.stack.registration import Tied, tied_registration, untied
from imatch.pipeline.stack.result import Stack, StackImage, StackLoop, StackPair, Verdict

# So many attempts are told of an image that could not be tied.
_LISTED = 3


@dataclass(frozen=True)
class ImageStatus:
    """Status of an image of a stack.

    Attributes:
        status: ``ok``, ``uncertain`` or ``failed``.
        reason: One sentence saying why.
        support: What ties it; None for the reference and for what is not tied.
    """

    status: Status
    reason: str
    support: Support | None = None


def image_statuses(network: StackNetwork) -> list[ImageStatus]:
    """Returns the status of each image by the rules of `imatch.pipeline.stack.run`."""
    return [_image_status(network, node) for node in range(len(network.members))]


def _image_status(network: StackNetwork, node: int) -> ImageStatus:
    joint, edges, count = network.joint, network.edges, len(network.members)
    if node == joint.reference:
        return ImageStatus("ok", "the reference")
    if not joint.tied[node]:
        return ImageStatus("failed", _why_untied(network, node))
    held = support(joint.reference, node, count, edges, joint.agrees, joint.rejected)
    pairs = len(network.counting(node))
    bound = Tied.of(network, node).bound_px
    status, reason = judge_stacked(pairs, held.sure, held.agreeing, held.against, bound)
    return ImageStatus(status, reason, held)


def _why_untied(network: StackNetwork, node: int) -> str:
    joint, found = network.joint, []
    for index in network.of(node):
        attempt = network.attempts[index]
        other = network.members[attempt.b if attempt.a == node else attempt.a].name
        row = network.rows[index]
        matched = 0 if attempt.registration is None else attempt.registration.n_inliers
        if isinstance(row, str):
            rank, why = 2, f"{attempt.status}: {row}"
        elif attempt.status == "ok":
            rank, why = 0, "ok, but contradicted" if joint.rejected[row] else "ok"
        else:
            rank, why = 1, f"uncertain, and nothing confirms it: {attempt.reason}"
        found.append((rank, -matched, f"{other} ({why})"))
    if not found:
        return "no pair with it was tried"
    listed = "; ".join(text for _, _, text in sorted(found)[:_LISTED])
    more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    if _on_an_island(network, node):
        return f"tied to images that nothing ties to the reference: {listed}{more}"
    return f"no pair ties it; the best: {listed}{more}"


def _on_an_island(network: StackNetwork, node: int) -> bool:
    """Whether an image is tied to others, though not to the reference."""
    sure = np.array([not edge.weak for edge in network.edges], dtype=bool)
    label = components(len(network.members), network.edges, sure)
    return bool((label == label[node]).sum() > 1)


def judge(
    network: StackNetwork,
    members: Sequence[InputImage],
    config: MatchConfig,
    *,
    seconds: float,
    provenance: dict[str, Any],
) -> Stack:
    """Put a solution into a user's terms.

    Args:
        network: The solution.
        members: All images, those that cannot be read too.
        config: Settings of the pairs.
        seconds: Wall time.
        provenance: See `Stack`.
    """
    joint, frames = network.joint, network.frames
    place = {member.path: node for node, member in enumerate(network.members)}
    worth = image_statuses(network)
    images = []
    for member in members:
        own = place.get(member.copy_of or member.path)
        if own is None:
            lost = untied(network, member, config, f"cannot be read: {member.error}")
            images.append(StackImage(member.name, member.path, member.date, lost))
        elif member.copy_of:
            images.append(_copy(network, own, member, worth[own], config))
        else:
            images.append(_image(network, own, worth[own], config))
    metres = frames.pixel[joint.reference] * frames.metres[joint.reference]
    return Stack(
        network.members[joint.reference].name,
        joint.model,
        frames.on_map,
        tuple(images),
        tuple(_pair(network, index) for index in range(len(network.attempts))),
        _loops(network),
        joint.scatter,
        float(joint.scatter * metres),
        joint.chi_squared,
        joint.freedom,
        seconds,
        provenance,
    )


def _image(network: StackNetwork, node: int, worth: ImageStatus, config: MatchConfig) -> StackImage:
    member, joint = network.members[node], network.joint
    if joint.tied[node]:
        registration = tied_registration(network, node, config, worth.status, worth.reason)
    else:
        registration = untied(network, member, config, worth.reason)
    return StackImage(
        member.name,
        member.path,
        member.date,
        registration,
        pairs=len(network.of(node)),
        counting=len(network.counting(node)),
        aside=sum(
            bool(joint.rejected[i]) for i, e in enumerate(network.edges) if node in (e.a, e.b)
        ),
        ways=0.0 if worth.support is None else worth.support.sure,
    )


def _copy(
    network: StackNetwork, node: int, member: InputImage, worth: ImageStatus, config: MatchConfig
) -> StackImage:
    """An image that repeats another: it lies where that does, and no pair of its own is tried."""
    original = _image(network, node, worth, config)
    registration = replace(
        original.registration,
        target=member.summary(),
        reason=f"the same pixels as {original.name}, of which: {original.reason}",
    )
    return StackImage(
        member.name,
        member.path,
        member.date,
        registration,
        ways=original.ways,
        copy_of=original.name,
    )


def _pair(network: StackNetwork, index: int) -> StackPair:
    attempt, joint, frames = network.attempts[index], network.joint, network.frames
    names = network.members[attempt.a].name, network.members[attempt.b].name
    row = network.rows[index]
    common = (attempt.status, attempt.reason)
    if isinstance(row, str):
        return StackPair(*names, attempt.status, row, "unused", seconds=attempt.seconds)
    edge = network.edges[row]
    verdict: Verdict = "unused"
    if joint.agrees[row]:
        verdict = "counts"
    elif joint.rejected[row]:
        verdict = "aside"
    elif edge.weak:
        verdict = "unconfirmed"
    pixel = frames.pixel[edge.b]
    residual = float(joint.residual[row])
    return StackPair(
        *names,
        *common,
        verdict,
        stated_px=edge.total / float(pixel),
        chance_px=edge.sigma / float(pixel),
        residual_px=residual,
        residual_m=float(residual * pixel * frames.metres[edge.b]),
        misfit=float(joint.misfit[row]),
        checked=float(joint.checked[row]),
        seconds=attempt.seconds,
    )


def _loops(network: StackNetwork) -> tuple[StackLoop, ...]:
    joint, frames = network.joint, network.frames
    sure = np.array([not edge.weak for edge in network.edges], dtype=bool)
    found = []
    use = sure | joint.agrees
    for loop in loops(joint.reference, len(network.members), network.edges, use):
        first = loop.nodes[0]
        found.append(
            StackLoop(
                tuple(network.members[node].name for node in loop.nodes),
                float(loop.closure / frames.pixel[first]),
                float(loop.closure * frames.metres[first]),
                bool(joint.agrees[list(loop.edges)].all()),
            )
        )
    return tuple(sorted(found, key=lambda loop: -loop.closure_px))
