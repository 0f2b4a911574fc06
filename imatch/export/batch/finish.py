"""What a batch writes of each pair besides its document: other formats, and a small picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from imatch.core.errors import ConfigError
from imatch.core.io.files import atomic_path, inside
from imatch.export.figure_files import checkerboard, rgba
from imatch.export.formats import FORMATS, NEED_A_TRANSFORM, write
from imatch.pipeline.batch.journal import PREVIEWS
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.worker import RESULTS
from imatch.pipeline.registration.result import Preview, Registration

_SIDE, _GAP, _QUALITY = 240, 6, 80


@dataclass(frozen=True)
class ResultWriter:
    """Writes more of each registration of a batch; runs in its workers.

    Attributes:
        suffixes: Formats to write beside the document, of `FORMATS`.
        previews: Draw a small picture.
    """

    suffixes: tuple[str, ...] = ()
    previews: bool = True

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """From formats as people name them, with or without the dot.

        Raises:
            ConfigError: There is no such format.

        Example:
            >>> ResultWriter.of(["gpkg", ".points"]).suffixes
            ('.gpkg', '.points')
        """
        suffixes = tuple(dict.fromkeys("." + name.lower().lstrip(".") for name in names))
        for suffix in suffixes:
            if suffix not in FORMATS:
                known = ", ".join(known.lstrip(".") for known in FORMATS)
                raise ConfigError(
                    "unknown format", subject=suffix.lstrip("."), hint=f"choose from {known}"
                )
        # The document is written anyway, and before anything else.
        return cls(tuple(suffix for suffix in suffixes if suffix != ".json"))

    def __call__(self, registration: Registration, pair: BatchPair, out: Path) -> None:
        """Write what was asked for.

        Raises:
            OutputError: The disk refused, or a format cannot hold the registration.
        """
        for suffix in self.suffixes:
            path = inside(out / RESULTS, f"{pair.name}{suffix}")
            if registration.transform is None and suffix in NEED_A_TRANSFORM:
                path.unlink(missing_ok=True)
            else:
                write(registration, path, overwrite=True)
        if self.previews and registration.preview is not None:
            (out / PREVIEWS).mkdir(exist_ok=True)
            with atomic_path(inside(out / PREVIEWS, f"{pair.name}.jpg"), overwrite=True) as path:
                path.write_bytes(strip(registration.preview))


def strip(preview: Preview) -> bytes:
    """Reference, target and, where there is a transform, a checkerboard of both, as a JPEG.

    Without one its place stays empty, so that all pictures are of one size.
    """
    panels = [rgba(preview.ref, preview.ref_valid), rgba(preview.tgt, preview.tgt_valid)]
    if preview.matrix is not None:
        height, width = preview.ref.shape[:2]
        panels.append(checkerboard(preview, preview.matrix, (0, 0, width, height)))
    row = np.full((_SIDE, 3 * _SIDE + 2 * _GAP, 3), 255, np.uint8)
    for index, panel in enumerate(panels):
        left = index * (_SIDE + _GAP)
        row[:, left : left + _SIDE] = _square(panel)
    done, data = cv2.imencode(".jpg", row[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert done, "OpenCV always encodes an 8-bit image"
    return data.tobytes()


def _square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 4) on white, fitted into a square."""
    colour, alpha = image[..., :3].astype(np.float32), image[..., 3:] / np.float32(255)
    pixels = colour * alpha + 255 * (1 - alpha)
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(
        pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    square = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    left, top = (_SIDE - size[0]) // 2, (_SIDE - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = np.clip(small, 0, 255)
    return square
