"""Tie points as CSV and NPZ files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imatch.core.io.jsontext import to_json
from imatch.pipeline.registration.result import Registration


def columns(registration: Registration) -> dict[str, NDArray[Any]]:
    """Returns the tie points' columns, as CSV files and GIS layers name them.

    Args:
        registration: The result of the match.

    Returns:
        N rows each: ``id`` (0-based); ``ref_x``, ``ref_y``, ``tgt_x``, ``tgt_y`` (native pixels,
        the centre of the first is (0, 0)); ``score`` in [0, 1]; ``inlier`` and ``check`` (bool);
        ``residual_px``, ``residual_m`` (length); ``dx_px``, ``dy_px`` (its components: measured
        minus predicted, target pixels, y down).
    """
    points = registration.tie_points
    return {
        "id": np.arange(len(points), dtype=np.int64),
        "ref_x": points.ref_xy[:, 0],
        "ref_y": points.ref_xy[:, 1],
        "tgt_x": points.tgt_xy[:, 0],
        "tgt_y": points.tgt_xy[:, 1],
        "score": points.scores,
        "inlier": points.inlier,
        "check": points.check,
        "residual_px": points.residual_px,
        "residual_m": points.residual_m,
        "dx_px": points.residual_xy[:, 0],
        "dy_px": points.residual_xy[:, 1],
    }


def write_csv(registration: Registration, path: Path) -> None:
    """Writes every tie point as CSV (RFC 4180), in full precision.

    The columns are those of `columns`, then ``map_x`` and ``map_y`` when the reference is geocoded.
    Flags are 0 and 1; what is not known is empty.
    """
    import pandas as pd

    table = columns(registration)
    table |= {name: table[name].astype(np.uint8) for name in ("inlier", "check")}
    map_xy = registration.tie_points.map_xy
    if map_xy is not None:
        table |= {"map_x": map_xy[:, 0], "map_y": map_xy[:, 1]}
    pd.DataFrame(table).to_csv(path, index=False)


def write_npz(registration: Registration, path: Path) -> None:
    """Writes tie points and matrices as NumPy arrays that load without pickle.

    ``ref_xy``, ``tgt_xy``, ``residual_xy``, ``map_xy`` (N, 2), ``scores``, ``residual_m`` (N,),
    ``inlier``, ``check`` (N,) bool, ``matrix`` and ``map_matrix`` (3, 3), and ``metadata``: the
    JSON document without its tie points, as a 0-dimensional string. The keys are always the same;
    NaN fills what is not known, so that a failure is never mistaken for an identity.
    """
    points = registration.tie_points
    unknown = np.full((3, 3), np.nan)
    document = registration.to_dict()
    del document["tie_points"]
    np.savez_compressed(
        path,
        ref_xy=points.ref_xy,
        tgt_xy=points.tgt_xy,
        scores=points.scores,
        inlier=points.inlier,
        check=points.check,
        residual_xy=points.residual_xy,
        residual_m=points.residual_m,
        map_xy=np.full((len(points), 2), np.nan) if points.map_xy is None else points.map_xy,
        matrix=unknown if registration.matrix is None else registration.matrix,
        map_matrix=unknown if registration.map_matrix is None else registration.map_matrix,
        metadata=np.array(to_json(document)),
    )
