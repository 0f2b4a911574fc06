"""What the chips of two images say together of how these two lie to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np

from imatch.datasets.manifest import PairRow

# So many chips must agree before they speak for the others of the same two images, and within so
# many pixels.
_FEWEST, _AGREE_PX = 4, 0.35
# A chip's own measurement further from what the others say is held to be wrong, pixels.
_WRONG_PX = 3.0


def pool_residuals(pairs: Sequence[PairRow]) -> list[PairRow]:
    """Give a residual to chips that could not tell theirs, from others of the same two images.

    Two products are displaced as a whole, up to relief: where at least four chips agree within a
    third of a pixel, their median holds for the rest (snow, water), with the spread as standard
    deviation. A chip that contradicts such a majority by more than three pixels loses its own.

    Args:
        pairs: Pairs as measured.

    Returns:
        The pairs in the same order.
    """
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i, pair in enumerate(pairs):
        lattice = str(PurePosixPath(pair.site).parent)
        groups.setdefault((lattice, _label(pair.a), _label(pair.b)), []).append(i)
    out = list(pairs)
    for members in groups.values():
        own = [i for i in members if pairs[i].measured == "chip"]
        if len(own) < _FEWEST:
            continue
        shifts = np.array([(pairs[i].dx, pairs[i].dy) for i in own])
        middle = np.median(shifts, axis=0)
        spread = 1.4826 * np.median(np.abs(shifts - middle), axis=0)
        if spread.max() > _AGREE_PX:
            continue
        sigma = float(np.hypot(spread.max(), np.median([pairs[i].sigma_px for i in own])))
        for i in members:
            pair = pairs[i]
            wrong = float(np.hypot(pair.dx - middle[0], pair.dy - middle[1])) > _WRONG_PX
            if pair.measured == "none" or wrong:
                dx, dy = (float(v) for v in middle)
                out[i] = replace(pair, dx=dx, dy=dy, sigma_px=sigma, measured="scene")
    return out


def _label(path: str) -> str:
    return PurePosixPath(path).stem
