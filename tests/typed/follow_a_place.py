"""A program as users write it; a type checker that is strict finds nothing in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import imatch


def moved_m(reference: Path, later: list[Path]) -> dict[str, tuple[float, float]]:
    """Metres east and north of each image that is trusted."""
    config = imatch.MatchConfig(ref_bands=("B8",), tgt_bands=("B8",), tolerance="0.5px")
    found: dict[str, tuple[float, float]] = {}
    for path in later:
        try:
            registration: imatch.Registration = imatch.match(reference, path, config)
        except imatch.ImatchError as error:
            print(f"{path}: {error}")
            continue
        if registration.status == "ok" and registration.shift_m is not None:
            found[path.name] = registration.shift_m
    return found


def tie_points(ref: NDArray[np.uint8], tgt: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Where points of one array lie in another, without a registration around them."""
    matches = imatch.load_matcher("phase", max_keypoints=500)(ref, tgt)
    return np.column_stack([matches.ref_xy, matches.tgt_xy])


def corner(registration: imatch.Registration) -> tuple[float, float]:
    """Where the reference's first pixel lies in the target."""
    if registration.transform is None:
        raise ValueError(registration.reason)
    x, y = registration.transform.apply(np.zeros((1, 2)))[0]
    return float(x), float(y)
