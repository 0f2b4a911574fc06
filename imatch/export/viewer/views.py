"""What a viewer shows of a pair, of a batch and of a stack, JSON-ready."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ImatchError, InputError
from imatch.core.io.tables import read_rows
from imatch.export.quality.views import ViewFrame, ViewPair
from imatch.export.summary import summary_rows
from imatch.export.text import image_name, number
from imatch.export.viewer.layers import LONGEST, LayerImage, bytes_of, fitted, painters
from imatch.export.viewer.sharp import sharp_tiles
from imatch.pipeline.batch.journal import TABLE
from imatch.pipeline.batch.result import OUTCOMES, BatchResult
from imatch.pipeline.batch.worker import RESULTS
from imatch.pipeline.pair.match import Image, images_of
from imatch.pipeline.registration.io import read_registration
from imatch.pipeline.registration.result import Registration

Document: TypeAlias = dict[str, Any]
Told: TypeAlias = Callable[[float], None]

# Share of bytes for parts at full resolution, where all cannot be shown so.
_SHARE = 0.4
# Bytes below which two pictures of a pair show nothing: the other pairs are rows of a table only.
_LEAST_BYTES = 24_000
# The target before registration is looked at less closely, where all cannot be shown.
_COARSER = 2.0
# Figures of a row of a batch: what the column is called, and what it shows.
_COLUMNS = {
    "shift px": "shift_px",
    "± px": "ci95_px",
    "bound px": "bound_px",
    "RMSE px": "rmse_px",
    "coverage": "coverage",
    "inliers": "n_inliers",
}


def pair_document(
    registration: Registration,
    budget: int,
    ref: Image | None = None,
    tgt: Image | None = None,
    told: Told = lambda _share: None,
) -> Document:
    """Returns what is shown of one pair.

    Args:
        registration: The result; a refusal is shown, too.
        budget: Bytes that its pictures may take.
        ref: The reference, where it was no file or lies elsewhere now.
        tgt: The target, likewise.
        told: Told of each share of the bytes that is filled.

    Raises:
        InputError: An image cannot be read.
    """
    pair = ViewPair(registration, *images_of(registration, ref, tgt))
    layers: list[Document] = []
    view = _view(pair, budget, layers, told)
    return {"kind": "pair", "title": view["name"], "layers": layers, "views": [view]}


def batch_document(folder: Path, budget: int, told: Told = lambda _step: None) -> Document:
    """Returns what is shown of a batch: its table, and a pair for each row.

    Args:
        folder: What `imatch batch` left.
        budget: Bytes that all pictures may take.
        told: Told of each pair that is done.

    Raises:
        InputError: The folder holds no batch.
    """
    rows = read_rows(folder / TABLE, BatchResult)
    if not rows:
        raise InputError("holds no pairs", subject=folder / TABLE, hint="run imatch batch first")
    known: tuple[str, ...] = OUTCOMES
    pictured = max(1, min(len(rows), budget // _LEAST_BYTES))
    # The worst are worth looking at.
    order = sorted(range(len(rows)), key=lambda i: (known.index(rows[i].status), i))
    chosen, layers = set(order[:pictured]), list[Document]()
    views = []
    for index, row in enumerate(rows):
        views.append(_row_view(folder, row, budget // pictured, layers, index in chosen))
        told(1)
    header = ["name", "status", *_COLUMNS, "seconds"]
    return {
        "kind": "batch",
        "title": f"{len(rows)} pairs, {sum(row.registered for row in rows)} registered",
        "layers": layers,
        "views": views,
        "table": {"header": header, "rows": [_cells(row) for row in rows]},
    }


def stack_document(
    folder: Path, stack: Document, budget: int, told: Told = lambda _step: None
) -> Document:
    """Returns what is shown of a stack: the reference, and every date on it.

    Args:
        folder: What `imatch stack` left.
        stack: Its ``stack.json``, of one image or more.
        budget: Bytes that all pictures may take.
        told: Told of each image that is done.

    Raises:
        InputError: A file is missing, or is not one that a stack has.
    """
    images = [(str(one["name"]), one["date"]) for one in stack["images"]]
    painted: list[LayerImage] = []
    views, frame = [], None
    for name, date in images:
        registration = read_registration(folder / "transforms" / f"{name}.json")
        view = _described(registration, f"{date}: {name}" if date else name)
        view |= {"date": date, "reference": 0}
        try:
            pair = ViewPair(registration, *images_of(registration))
        except ImatchError as error:
            view["note"] = str(error)
        else:
            paint = painters(pair)
            if frame is None:
                frame = _whole(pair, _longest(budget / (len(images) + 1)))
                painted.append(paint["reference"].paint(frame))
            if "target" in paint:
                view["target"] = len(painted)
                painted.append(paint["target"].paint(frame))
        views.append(view)
        told(1)
    if frame is None:
        raise InputError(
            "none of its images is where it was", subject=folder, hint=str(views[0]["note"])
        )
    extent = _extent(frame)
    return {
        "kind": "stack",
        "title": f"{len(images)} images on {stack['reference']}",
        "layers": fitted(painted, budget),
        "views": [view | extent for view in views],
    }


def _row_view(
    folder: Path, row: BatchResult, budget: int, layers: list[Document], pictured: bool
) -> Document:
    path = folder / RESULTS / f"{row.name}.json"
    if row.status == "error" or not path.is_file():
        return {
            "name": row.name,
            "status": row.status,
            "reason": row.error or row.reason,
            "facts": [],
        }
    registration = read_registration(path)
    if pictured:
        try:
            return _view(ViewPair(registration, *images_of(registration)), budget, layers) | {
                "name": row.name
            }
        except ImatchError as error:
            return _described(registration, row.name) | {"note": str(error)}
    note = "not pictured: this page would be too large; view its own result"
    return _described(registration, row.name) | {"note": note}


def _cells(row: BatchResult) -> list[str]:
    figures = [getattr(row, name) for name in (*_COLUMNS.values(), "seconds")]
    texts = [
        str(v) if isinstance(v, int) else number(v) if math.isfinite(v) else "" for v in figures
    ]
    return [row.name, row.status, *texts]


def _described(registration: Registration, name: str) -> Document:
    facts = summary_rows(registration)[1:]
    return {
        "name": name,
        "status": registration.status,
        "reason": registration.reason,
        "facts": [[label or "\N{NO-BREAK SPACE}", text] for label, text in facts],
    }


def _view(
    pair: ViewPair, budget: int, layers: list[Document], told: Told = lambda _share: None
) -> Document:
    """Returns what is shown of a pair; its layers are added to those of the page."""
    registration = pair.registration
    points = _points(pair) if len(registration.tie_points) else None
    if points is not None:
        budget = max(budget // 2, budget - len(json.dumps(points)))
    names = f"{image_name(registration.target)} onto {image_name(registration.reference)}"
    view, paint = _described(registration, names), painters(pair)
    frame = pair.overlap(_longest(budget / len(paint)))
    images = {name: one.paint(frame) for name, one in paint.items()}
    shrunk = frame.step > 1
    if shrunk and "target" in images:
        images["before"] = images["before"].resized(1 / _COARSER)
    made = fitted(list(images.values()), round((1 - _SHARE * shrunk) * budget))
    if not shrunk and max(layer["step"] for layer in made) > 1:
        # It was read at full resolution, and cannot be shown so.
        made = fitted(list(images.values()), round((1 - _SHARE) * budget))
    taken = bytes_of(made)
    told(min(1.0, taken / budget))
    if max(layer["step"] for layer in made[:2]) > 1 and budget > 4 * _LEAST_BYTES:
        sides = ("reference", "target" if "target" in paint else "before")
        sharp = sharp_tiles(
            {name: paint[name] for name in sides},
            frame,
            registration.tie_points,
            budget - taken,
            lambda size: told(size / budget),
        )
        if sharp is not None:
            view["sharp"] = sharp
    for name, layer in zip(images, made, strict=True):
        view[name] = len(layers)
        layers.append(layer)
    view |= _extent(frame)
    if points is not None:
        view["points"] = points
    return view


def _points(pair: ViewPair) -> Document:
    points = pair.registration.tie_points
    along = pair.along_reference_axes(pair.after or pair.before, points.residual_xy)
    columns: dict[str, NDArray[Any]] = {
        "ref_x": points.ref_xy[:, 0],
        "ref_y": points.ref_xy[:, 1],
        "tgt_x": points.tgt_xy[:, 0],
        "tgt_y": points.tgt_xy[:, 1],
        "dx": along[:, 0],
        "dy": along[:, 1],
        "metres": points.residual_m,
    }
    return {
        **{name: _rounded(values) for name, values in columns.items()},
        "on": points.inlier.astype(int).tolist(),
        "check": points.check.astype(int).tolist(),
        "scale": _reference_pixels(pair),
    }


def _reference_pixels(pair: ViewPair) -> float:
    """Returns reference pixels a target pixel, in the middle."""
    middle = np.array(pair.ref.info.size) / 2
    native = pair.to_target(pair.after or pair.before)(np.add(middle, [[0, 0], [1, 0], [0, 1]]))
    area = abs(float(np.linalg.det(native[1:] - native[0])))
    return 1 / math.sqrt(area) if math.isfinite(area) and area > 0 else 1.0


def _rounded(values: NDArray[np.float64]) -> list[float | None]:
    return [round(float(v), 3) if math.isfinite(v) else None for v in values]


def _longest(budget: float) -> int:
    """Returns at what side an image is read of which a number of bytes is shown, pixels.

    No more than they can hold anyway, so that a small picture is read quickly.
    """
    return min(LONGEST, max(64, round(4 * math.sqrt(budget))))


def _whole(pair: ViewPair, longest: int) -> ViewFrame:
    """Returns the whole reference as a frame."""
    width, height = pair.ref.info.size
    step = max(1.0, max(width, height) / longest)
    columns, rows = (max(1, math.floor(side / step + 1e-9)) for side in (width, height))
    return ViewFrame(0.0, 0.0, step, columns, rows)


def _extent(frame: ViewFrame) -> Document:
    return {
        "left": frame.left,
        "top": frame.top,
        "width": frame.step * frame.width,
        "height": frame.step * frame.height,
    }
