"""Files that a batch writes of each pair besides its JSON: other formats and a preview."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from imatch.core.errors import ConfigError
from imatch.core.io.files import atomic_path, inside
from imatch.export.formats import FORMATS, NEED_A_TRANSFORM, write
from imatch.export.images import checkerboard, jpeg, rgba, thumbnail
from imatch.pipeline.batch.journal import PREVIEWS
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.worker import RESULTS
from imatch.pipeline.registration.result import Preview, Registration

_SIDE, _GAP, _QUALITY = 240, 6, 80


@dataclass(frozen=True)
class ResultWriter:
    """Writes further formats and a preview of each registration, in the workers of a batch.

    Attributes:
        suffixes: Formats to write beside the document, of `FORMATS`.
        previews: Draw a small picture.
    """

    suffixes: tuple[str, ...] = ()
    previews: bool = True

    @classmethod
    def of(cls, names: Sequence[str]) -> Self:
        """Returns a writer of formats named with or without the dot.

        Raises:
            ConfigError: There is no such format.

        Examples:
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
        """Writes the formats and the preview of a registration.

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
                path.write_bytes(preview_jpeg(registration.preview))


def preview_jpeg(preview: Preview) -> bytes:
    """Returns reference, target and, with a transform, a checkerboard of both, as one JPEG.

    Without one its place stays empty, so that all pictures are of one size.
    """
    panels = [rgba(preview.ref, preview.ref_valid), rgba(preview.tgt, preview.tgt_valid)]
    if preview.matrix is not None:
        height, width = preview.ref.shape[:2]
        panels.append(checkerboard(preview, preview.matrix, (0, 0, width, height)))
    row = np.full((_SIDE, 3 * _SIDE + 2 * _GAP, 3), 255, np.uint8)
    for index, panel in enumerate(panels):
        small = thumbnail(panel, _SIDE)
        height, width = small.shape[:2]
        left = index * (_SIDE + _GAP) + (_SIDE - width) // 2
        top = (_SIDE - height) // 2
        row[top : top + height, left : left + width] = small
    return jpeg(row, _QUALITY)
