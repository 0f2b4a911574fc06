"""Are two files one picture? What is left when framing, size, colour and marks are undone.

A picture is brought to one form: borders of one colour are cut off, the rest becomes a square of
one size, in luminance. Two forms are aligned by an affine transform that maximises their
correlation (ECC; Evangelidis & Psarakis, PAMI 2008), and compared block by block: a mark or a
caption spoils the blocks it covers, another picture spoils all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import InputError
from imatch.core.types import BoolArray
from imatch.raster import Source, render
from imatch.retrieval.edges import Edges

#: Side of the common form, of its blocks, and of what is read of a picture, pixels.
SIDE, BLOCK, _READ = 128, 16, 320
#: Names of the figures of a pair, and what they are clipped to.
FIGURES = ("similarity", "agreement", "correlation", "textured")
LIMITS = ((-0.2, 1.0), (0.0, 1.0), (-0.2, 1.0), (0.0, 1.0))
# A border line varies by less than this from its own median, and no more than this is cut off.
_PLAIN, _MOST = 0.06, 0.3
# Of a frame's line so many pixels are plain: a JPEG rings beside the picture.
_OF_LINE = 0.95
# A block shows something from this deviation, and agrees from this correlation.
_SHOWS, _AGREES = 0.02, 0.8
# What is finer, in pixels of the form, does not survive another's resampling and compression.
_SMOOTH = 1.0
# Two pictures that correlate less than this at best are two pictures.
_HOPELESS = 0.25
_ECC = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-4)


@dataclass(frozen=True, eq=False)
class Form:
    """A picture in the common form.

    Attributes:
        bands: (3, SIDE, SIDE) float32 in [0, 1].
        grey: (SIDE, SIDE) float32 luminance in [0, 1].
        valid: (SIDE, SIDE) bool.
        vector: Directions of its edges on a grid (`Edges`), of length 1.
        size: (width, height) of the file in pixels.
    """

    bands: NDArray[np.float32]
    grey: NDArray[np.float32]
    valid: BoolArray
    vector: NDArray[np.float32]
    size: tuple[int, int]

    @cached_property
    def textured(self) -> float:
        """Share of its blocks that show something."""
        return float((_deviation(self.grey, self.valid) > _SHOWS).mean())


@dataclass(frozen=True)
class Likeness:
    """How alike two pictures are; fields as `FIGURES`.

    Attributes:
        similarity: Cosine of the directions of their edges.
        agreement: Share of the blocks that show something in either whose correlation is 0.8 or
            more.
        correlation: Median correlation of these blocks.
        textured: Share of blocks that show something, in the plainer of the two.
    """

    similarity: float
    agreement: float
    correlation: float
    textured: float


def form_of(source: Source) -> Form:
    """Bring a picture to the common form.

    Args:
        source: The picture; of more than three bands the first three count, an alpha band as mask.

    Raises:
        InputError: It cannot be read, or shows one value everywhere.
    """
    width, height = source.info.size
    factor = min(1.0, _READ / max(width, height))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    image = render(source.read(size=size), 3)
    left, top, right, bottom = inner(image.pixels, image.valid)
    pixels = image.pixels[:, top:bottom, left:right]
    valid = image.valid[top:bottom, left:right]
    luma = np.einsum("c,chw->hw", np.array([0.299, 0.587, 0.114], np.float32), pixels)
    ground = luma[valid]
    if not ground.size or np.ptp(ground) < 1e-6:
        raise InputError(
            "shows one value everywhere", subject=source.info.name, hint="leave it out"
        )
    low, high = np.percentile(ground, [1, 99])
    grey = np.clip((luma - low) / max(float(high - low), 1e-6), 0, 1).astype(np.float32)
    square = _square(grey)
    bands = np.stack([_square(np.ascontiguousarray(plane)) for plane in pixels])
    good = _square(valid.astype(np.float32)) > 0.99
    vector = Edges(chip_px=SIDE).embed(square[None, None], good[None])[0]
    return Form(bands, square, good, vector, (width, height))


def _square(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    shrinks = min(plane.shape) >= SIDE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    square = cv2.resize(plane, (SIDE, SIDE), interpolation=how)
    return np.asarray(cv2.GaussianBlur(square, (0, 0), _SMOOTH), dtype=np.float32)


def inner(pixels: NDArray[np.float32], valid: BoolArray) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a picture within its frame of one colour and missing ground.

    Args:
        pixels: (C, H, W) in [0, 1].
        valid: (H, W) bool.
    """
    height, width = valid.shape
    plain_rows = _plain(pixels, valid)
    top = _frame(plain_rows, height)
    bottom = height - _frame(plain_rows[::-1], height)
    part = np.s_[top:bottom]
    plain = _plain(pixels[:, part].transpose(0, 2, 1), valid[part].T)
    left = _frame(plain, width)
    right = width - _frame(plain[::-1], width)
    # The lines where frame and picture mix.
    rim = [2 * int(cut > 0) for cut in (left, top, width - right, height - bottom)]
    return left + rim[0], top + rim[1], right - rim[2], bottom - rim[3]


def _plain(pixels: NDArray[np.float32], valid: BoolArray) -> BoolArray:
    """(H,) whether a line shows one colour and missing ground only, but for some pixels."""
    middle = np.median(pixels, axis=2, keepdims=True)
    near = (np.abs(pixels - middle) < _PLAIN).all(axis=0)
    return np.asarray((near | ~valid).mean(axis=1) > _OF_LINE)


def _frame(plain: BoolArray, length: int) -> int:
    """Lines of a frame from this side; a picture that is plain throughout has none."""
    most = int(_MOST * length)
    count = int(np.argmin(plain)) if not plain.all() else length
    return count if count <= most else 0


def compare(a: Form, b: Form) -> Likeness:
    """How alike two pictures are."""
    similarity = float(a.vector @ b.vector)
    textured = min(a.textured, b.textured)
    best = Likeness(similarity, 0.0, 0.0, textured)
    for matrix in _alignments(a, b):
        bands, grey, valid = _moved(b, matrix)
        both = a.valid & valid
        # Colours are undone by one mixture of bands for the whole picture, whichever has them.
        mixtures = (a.grey, _mixed(bands, a.grey, both)), (_mixed(a.bands, grey, both), grey)
        for first, second in mixtures:
            correlation, shows = _blocks(first, second, both)
            if shows.any():
                seen = correlation[shows]
                agreement = float((seen > _AGREES).mean())
                found = Likeness(similarity, agreement, float(np.median(seen)), textured)
                best = max(best, found, key=lambda likeness: likeness.correlation)
    return best


def _alignments(a: Form, b: Form) -> list[NDArray[np.float32]]:
    """(2, 3) maps from the first's pixels to the second's: none at all, and by correlation."""
    none = np.eye(2, 3, dtype=np.float32)
    # What is far off is found on half the pixels, and two other pictures are soon known as such.
    half = [
        cv2.resize(form.grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for form in (a, b)
    ]
    mask = b.valid.astype(np.uint8)
    try:
        alike, found = cv2.findTransformECC(
            half[0], half[1], none.copy(), cv2.MOTION_AFFINE, _ECC, mask[::2, ::2].copy(), 5
        )
        if alike < _HOPELESS:
            return [none]
        # The centre of the first pixel is (0, 0) in either size.
        found[:, 2] = 2 * found[:, 2] + 0.5 - 0.5 * found[:, :2].sum(axis=1)
        _, found = cv2.findTransformECC(a.grey, b.grey, found, cv2.MOTION_AFFINE, _ECC, mask, 5)
    except cv2.error:
        return [none]  # It does not converge: nothing correlates.
    scale = np.linalg.svd(found[:, :2], compute_uv=False)
    plausible = scale.min() > 0.6 and scale.max() < 1.7
    return [none, np.asarray(found, dtype=np.float32)] if plausible else [none]


def _moved(
    form: Form, matrix: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], BoolArray]:
    """Bands, luminance and ground of a form on another's pixels."""
    linear, nearest = (how | cv2.WARP_INVERSE_MAP for how in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
    planes = [
        cv2.warpAffine(plane, matrix, (SIDE, SIDE), flags=linear)
        for plane in (*form.bands, form.grey)
    ]
    inside = cv2.warpAffine(form.valid.astype(np.uint8), matrix, (SIDE, SIDE), flags=nearest)
    stack = np.stack(planes).astype(np.float32)
    return stack[:3], stack[3], np.asarray(inside > 0)


def _mixed(
    bands: NDArray[np.float32], grey: NDArray[np.float32], valid: BoolArray
) -> NDArray[np.float32]:
    """The mixture of three bands that comes nearest to a luminance."""
    columns = np.column_stack([*bands[:, valid], np.ones(int(valid.sum()), dtype=np.float32)])
    # By the normal equations: they are tiny, and bands that are equal share the weight.
    weights = np.linalg.lstsq(columns.T @ columns, columns.T @ grey[valid], rcond=1e-6)[0]
    mixed = np.tensordot(weights[:3].astype(np.float32), bands, axes=1)
    return np.asarray(mixed, dtype=np.float32)


def _cells(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, BLOCK²) of a form's blocks."""
    count = SIDE // BLOCK
    return plane.reshape(count, BLOCK, count, BLOCK).swapaxes(1, 2).reshape(count**2, -1)


def _deviation(grey: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
    """(N,) standard deviation of each block; 0 where half of it is no ground."""
    known = _cells(valid.astype(np.float32))
    count = np.maximum(known.sum(axis=1), 1)
    values = _cells(grey)
    mean = (values * known).sum(axis=1) / count
    spread = np.sqrt((((values - mean[:, None]) * known) ** 2).sum(axis=1) / count)
    return np.asarray(np.where(known.mean(axis=1) > 0.5, spread, 0), dtype=np.float32)


def _blocks(
    first: NDArray[np.float32], second: NDArray[np.float32], valid: BoolArray
) -> tuple[NDArray[np.float32], BoolArray]:
    """(N,) correlation of each block and (N,) whether either shows something there."""
    known = _cells(valid.astype(np.float32))
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    centred = []
    for plane in (first, second):
        values = _cells(plane)
        mean = (values * known).sum(axis=1, keepdims=True) / count
        centred.append((values - mean) * known)
    power = [(values**2).sum(axis=1) for values in centred]
    shared = (centred[0] * centred[1]).sum(axis=1)
    correlation = shared / np.sqrt(np.maximum(power[0] * power[1], 1e-12))
    spread = np.sqrt(np.maximum(power[0], power[1]) / count[:, 0])
    shows = (spread > _SHOWS) & (known.mean(axis=1) > 0.5)
    return np.asarray(correlation, dtype=np.float32), np.asarray(shows)
