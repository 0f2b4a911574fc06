"""What matters of a LoFTR's matches on pairs with truth."""

from __future__ import annotations

import numpy as np
import torch

from imatch.bench.metrics import auc
from imatch.core.types import Matches
from imatch.datasets.sample import PairSample
from imatch.geometry.transform import apply_matrix
from imatch.models.loftr.match import tie_points
from imatch.models.loftr.network import LoFTR
from imatch.training.validation import registration_error


def matches_of(network: LoFTR, pair: PairSample) -> Matches:
    """What a network matches of a pair, on valid ground, the best first.

    Args:
        network: The network, in evaluation mode.
        pair: As `as_matched` gives it.
    """
    device = next(network.parameters()).device
    seen = [torch.from_numpy(array).to(device) for array in (pair.a, pair.b)]
    valid = [torch.from_numpy(array).to(device) for array in (pair.valid_a, pair.valid_b)]
    found = tie_points(network, seen[0], seen[1], valid[0], valid[1])
    xy_a, xy_b, scores = (part.double().cpu().numpy() for part in found)
    return Matches(xy_a, xy_b, scores).select(np.argsort(-scores, kind="stable"))


def figures(pair: PairSample, matches: Matches) -> dict[str, float]:
    """How true matches are, and the transform that follows from them.

    Args:
        pair: The pair, of views that differ by a similarity.
        matches: Its matches.

    Returns:
        ``matches``, ``mma_1``, ``mma_3``, ``mma_8`` (share within so many pixels; 0 of none),
        ``auc_3``, ``auc_5``, ``auc_10`` (of the corner error) and ``within_3``.
    """
    gap = matches.tgt_xy - apply_matrix(pair.homography, matches.ref_xy)
    distance = np.hypot(gap[:, 0], gap[:, 1])
    error = registration_error(pair, matches)
    shares = {
        f"mma_{px}": float((distance <= px).mean()) if len(distance) else 0.0 for px in (1, 3, 8)
    }
    areas = {f"auc_{px}": auc([error], float(px)) for px in (3, 5, 10)}
    return {"matches": float(len(matches)), **shares, **areas, "within_3": float(error <= 3)}
