"""What happens to a picture on its way through other people's hands.

Each distortion takes and gives (H, W, 3) uint8, blue first as OpenCV has it; `save` writes the file
that results, some with an alpha band, some in grey, some as JPEG.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]
Change: TypeAlias = Callable[[Picture, np.random.Generator], Picture]


def watermark(image: Picture, rng: np.random.Generator) -> Picture:
    """Words across the picture, half transparent, once or in rows."""
    height, width = image.shape[:2]
    layer = image.copy()
    colour = (255, 255, 255) if rng.random() < 0.7 else (0, 0, 0)
    size, weight = rng.uniform(0.6, 1.6) * width / 256, max(1, round(width / 110))
    rows = int(rng.integers(1, 4))
    for row in range(rows):
        at = int(rng.uniform(0, 0.3) * width), int((row + rng.uniform(0.4, 0.8)) * height / rows)
        cv2.putText(layer, "(c) SAMPLE", at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, weight)
    share = rng.uniform(0.3, 0.8)
    return np.asarray(cv2.addWeighted(layer, share, image, 1 - share, 0), dtype=np.uint8)


def resize(image: Picture, rng: np.random.Generator) -> Picture:
    """A third to one and a half of its size, done well or badly."""
    factor = rng.uniform(0.35, 1.5)
    how = cv2.INTER_AREA if rng.random() < 0.5 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=how))


def aspect(image: Picture, rng: np.random.Generator) -> Picture:
    """Squeezed or stretched by up to a third."""
    factor = float(np.exp(rng.uniform(-0.3, 0.3)))
    return np.asarray(cv2.resize(image, None, fx=factor, fy=1 / factor))


def frame(image: Picture, rng: np.random.Generator) -> Picture:
    """A border of one colour, of its own width on each side."""
    height, width = image.shape[:2]
    top, bottom = (rng.uniform(0.02, 0.1, 2) * height).astype(int)
    left, right = (rng.uniform(0.02, 0.1, 2) * width).astype(int)
    shades = [(255, 255, 255), (0, 0, 0), tuple(int(v) for v in rng.integers(0, 256, 3))]
    colour = shades[int(rng.integers(0, 3))]
    sides = int(top), int(bottom), int(left), int(right)
    return np.asarray(cv2.copyMakeBorder(image, *sides, cv2.BORDER_CONSTANT, value=colour))


def crop(image: Picture, rng: np.random.Generator) -> Picture:
    """Up to a twentieth lost on each side."""
    height, width = image.shape[:2]
    top, bottom = (rng.uniform(0, 0.05, 2) * height).astype(int)
    left, right = (rng.uniform(0, 0.05, 2) * width).astype(int)
    return image[top : height - bottom, left : width - right]


def colour(image: Picture, rng: np.random.Generator) -> Picture:
    """Another white balance and saturation, sometimes red and blue exchanged."""
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    hsv[..., 0] = (hsv[..., 0] + rng.uniform(-12, 12)) % 180
    hsv[..., 1] *= rng.uniform(0.4, 1.6)
    out = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR).astype(np.float32)
    out *= rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.2:
        out = out[..., ::-1]
    return np.ascontiguousarray(np.clip(out, 0, 255).astype(np.uint8))


def contrast(image: Picture, rng: np.random.Generator) -> Picture:
    """Brightness, contrast and gamma."""
    values = (image.astype(np.float32) / 255) ** float(np.exp(rng.uniform(-0.5, 0.5)))
    middle = float(values.mean())
    values = (values - middle) * rng.uniform(0.5, 1.6) + middle + rng.uniform(-0.12, 0.12)
    return np.clip(values * 255, 0, 255).astype(np.uint8)


def soften(image: Picture, rng: np.random.Generator) -> Picture:
    """A blur of up to 1.2 px, or sensor noise."""
    if rng.random() < 0.5:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.2)), dtype=np.uint8)
    noise = rng.normal(0, rng.uniform(2, 7), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "watermark": watermark,
    "resize": resize,
    "aspect": aspect,
    "frame": frame,
    "crop": crop,
    "colour": colour,
    "contrast": contrast,
    "soften": soften,
}
#: How a file is kept; all but the first change it further.
KINDS = ("png", "jpeg", "rgba", "grey")


def save(image: Picture, path: Path, kind: str, rng: np.random.Generator) -> Path:
    """Write a picture.

    Args:
        image: (H, W, 3).
        path: Without its suffix.
        kind: Of `KINDS`; `rgba` has a transparent rim half of the time.
        rng: Chooses the quality of a JPEG.

    Returns:
        The file.
    """
    if kind == "jpeg":
        quality = int(rng.integers(35, 96))
        path = path.with_suffix(".jpg")
        cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return path
    path = path.with_suffix(".png")
    if kind == "grey":
        image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    elif kind == "rgba":
        alpha = np.full(image.shape[:2], 255, np.uint8)
        if rng.random() < 0.5:
            rim = max(2, round(0.06 * min(alpha.shape)))
            alpha[:rim] = alpha[-rim:] = 0
            alpha[:, :rim] = alpha[:, -rim:] = 0
        image = np.dstack([image, alpha])
    cv2.imwrite(str(path), image)
    return path


def distorted(
    image: Picture, path: Path, rng: np.random.Generator, most: int = 3
) -> tuple[Path, tuple[str, ...]]:
    """Write a picture after one to `most` changes, in any form of file.

    Returns:
        The file, and the names of what was done to it.
    """
    names = list(rng.permutation(list(CHANGES))[: int(rng.integers(1, most + 1))])
    # Marks and frames are put on what was made before them.
    names.sort(
        key=lambda name: (
            ("watermark", "frame").index(name) if name in ("watermark", "frame") else -1
        )
    )
    for name in names:
        image = CHANGES[str(name)](image, rng)
    kind = str(rng.choice(KINDS))
    return save(image, path, kind, rng), (*map(str, names), kind)
