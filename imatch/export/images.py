"""8-bit images of pages and figures: checkerboards, detail windows, thumbnails, JPEG files."""

from __future__ import annotations

from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.geometry.transform import apply_matrix
from imatch.pipeline.registration.result import Preview

Bytes: TypeAlias = NDArray[np.uint8]

#: (left, top, right, bottom) in pixels, right and bottom excluded.
Window: TypeAlias = tuple[int, int, int, int]

# Below this a detail shows too little ground to recognise.
_LEAST_SIDE = 160
# In a detail this many times larger than the shift, the shift is plain to see.
_SIDE_PER_SHIFT = 24
# Where half of the ground is darker than this, it is brightened until it is not.
_DARK = 0.3


def rgba(image: Bytes, valid: BoolArray) -> Bytes:
    """Returns (H, W, 4) of (H, W, 1|3), transparent where not valid."""
    colour = np.broadcast_to(image, (*image.shape[:2], 3))
    alpha = np.where(valid, np.uint8(255), np.uint8(0))
    return np.dstack([colour, alpha])


def grey(image: Bytes) -> NDArray[np.float32]:
    """Returns the (H, W) float32 mean of the channels."""
    return np.asarray(image.mean(axis=2), dtype=np.float32)


def warp_onto_reference(
    preview: Preview, matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], BoolArray]:
    """Warps the target, in grey, onto the reference's pixels.

    Args:
        preview: The working images.
        matrix: (3, 3) working reference pixel to working target pixel; the identity lays pixel
            over pixel.

    Returns:
        (H, W) float32 image and (H, W) bool, False where the target has no ground.
    """
    height, width = preview.ref.shape[:2]
    # The inverse map takes a pixel of the result to one of the source, as our matrix does; OpenCV
    # puts the centre of the first pixel at (0, 0), as we do.
    inverse = cv2.WARP_INVERSE_MAP
    image = cv2.warpPerspective(
        grey(preview.tgt),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | inverse,
        borderMode=cv2.BORDER_REPLICATE,  # No dark rim; `valid` says where the ground ends.
    )
    valid = cv2.warpPerspective(
        preview.tgt_valid.astype(np.uint8),
        matrix,
        (width, height),
        flags=cv2.INTER_NEAREST | inverse,
    )
    return np.asarray(image, dtype=np.float32), np.asarray(valid, dtype=bool)


def checkerboard(preview: Preview, matrix: NDArray[np.float64], window: Window) -> Bytes:
    """Draws reference and target in alternating squares of like tone, to show misalignment.

    Args:
        preview: The working images.
        matrix: As for `warp_onto_reference`.
        window: The part of the reference to show.

    Returns:
        (h, w, 4) uint8 of the window's size, transparent where the image in turn has no ground, the
        target's squares tinted blue.
    """
    left, top, right, bottom = window
    part = (slice(top, bottom), slice(left, right))
    target, target_valid = warp_onto_reference(preview, matrix)
    target, target_valid = target[part], target_valid[part]
    reference, reference_valid = grey(preview.ref)[part], preview.ref_valid[part]
    height, width = reference.shape
    side = max(8, round(min(height, width) / 6))
    rows, columns = np.indices((height, width)) // side
    turn = (rows + columns) % 2 == 1
    reference, target = (
        even_contrast(reference, reference_valid),
        even_contrast(target, target_valid),
    )
    tint = np.array([0.78, 0.92, 1.0], dtype=np.float32)
    colour = np.where(turn[..., None], target[..., None] * tint, reference[..., None])
    valid = np.where(turn, target_valid, reference_valid)
    return rgba((colour * 255).astype(np.uint8), valid)


def detail_window(preview: Preview, inlier: BoolArray) -> Window:
    """Chooses the part of the reference in which a misfit of the found size can be seen.

    Args:
        preview: The working images.
        inlier: (N,) the tie points that agree.

    Returns:
        A window at most twice as long as broad, where tie points are dense; as much of the
        reference as that allows where nothing was found or the shift is large.
    """
    height, width = preview.ref.shape[:2]
    size = np.array([min(width, 2.0 * height), min(height, 2.0 * width)])
    centre = np.array([width, height]) / 2
    xy = preview.ref_xy[inlier]
    if preview.matrix is not None and len(xy):
        shift = apply_matrix(preview.matrix, xy) - xy
        displacement = float(np.median(np.hypot(shift[:, 0], shift[:, 1])))
        share = max(_LEAST_SIDE, _SIDE_PER_SHIFT * displacement) / size.min()
        size = size * share if share < 0.8 else size
        # A few hundred candidates are as good as all.
        candidates = xy[:: max(1, len(xy) // 300)]
        near = (np.abs(xy[None] - candidates[:, None]) <= size / 2).all(axis=2).sum(axis=1)
        centre = candidates[int(near.argmax())]
    left, top = np.clip(centre - size / 2, 0, [width, height] - size).astype(int)
    right, bottom = (np.array([left, top]) + size).astype(int)
    return int(left), int(top), int(right), int(bottom)


def even_contrast(image: NDArray[np.float32], valid: BoolArray) -> NDArray[np.float32]:
    """Stretches and equalises (H, W) to [0, 1], so that borders show under snow and haze too."""
    ground = image[valid]
    if ground.size == 0:
        return np.zeros_like(image)
    low, high = np.percentile(ground, [2, 98])
    stretched = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    middle = float(np.median(stretched[valid]))
    if 0 < middle < _DARK:
        # A few clouds would leave the ground in the dark.
        stretched **= np.log(_DARK) / np.log(middle)
    # Contrast-limited adaptive histogram equalisation (Zuiderveld 1994).
    equalise = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(4, 4))
    equal = equalise.apply((stretched * 255).astype(np.uint8))
    return np.asarray(equal, dtype=np.float32) / np.float32(255)


def thumbnail(image: Bytes, side: int) -> Bytes:
    """Fits an image into a square and lays it on white.

    Args:
        image: (H, W, 3|4) RGB or RGBA.
        side: Length of the longest side, pixels.

    Returns:
        (h, w, 3) RGB, as large as the square allows.
    """
    pixels: NDArray[np.float32] = image[..., :3].astype(np.float32)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / np.float32(255)
        pixels = pixels * alpha + 255 * (1 - alpha)
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.clip(cv2.resize(pixels, size, interpolation=interpolation), 0, 255).astype(np.uint8)


def jpeg(image: Bytes, quality: int) -> bytes:
    """Encodes (H, W, 3) RGB as a JPEG file of a quality from 0 to 100."""
    bgr = np.ascontiguousarray(image[..., ::-1])
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV always encodes an 8-bit image"
    return data.tobytes()
