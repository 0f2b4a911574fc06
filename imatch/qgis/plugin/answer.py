"""What a result says that a map shows: names of layers, and arrows at tie points."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A registration as its JSON document has it.

    Attributes:
        document: The document.
    """

    document: dict[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> Answer:
        """Reads a ``.json`` file.

        Raises:
            ValueError: It cannot be read, or is no registration, in one line.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None
        except ValueError:
            document = None
        if not (isinstance(document, dict) and "status" in document):
            raise ValueError(f"{path}: is no result of imatch match or register")
        return cls(document)

    @property
    def status(self) -> str:
        """``ok``, ``uncertain`` or ``failed``."""
        return str(self.document["status"])

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        return str(self.document.get("reason") or "")

    @property
    def verdict(self) -> str:
        """The status and the bound for every place, as ``"ok ± 7.3 m"``."""
        certificate = self.document.get("certificate") or {}
        bound = bound_text(certificate.get("corner_ci95_m"), certificate.get("corner_ci95_px"))
        return f"{self.status} ± {bound}" if bound else self.status

    def arrow_axes(self) -> tuple[float, float, float, float] | None:
        """How a residual is drawn on the map of the reference.

        Returns:
            (a, b, c, d) with which a residual (x, y) of ``dx_px``, ``dy_px``, target pixels, is
            the arrow (a x + b y, c x + d y) in units of the map, from a tie point to where the
            registered image has it. None without a transform.
        """
        matrix = self.document.get("matrix")
        if matrix is None:
            return None
        reference = self.document["reference"]
        place = reference.get("transform") or [1.0, 0.0, 0.0, 0.0, -1.0, 0.0]
        x, y = (reference["width"] - 1) / 2, (reference["height"] - 1) / 2
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
        # Derivative of the projective map at the centre, reference pixels to target pixels.
        j = [
            [(matrix[i][k] - (u, v)[i] / w * matrix[2][k]) / w for k in range(2)] for i in range(2)
        ]
        determinant = j[0][0] * j[1][1] - j[0][1] * j[1][0]
        if determinant == 0:
            return None
        inverse = [
            [j[1][1] / determinant, -j[0][1] / determinant],
            [-j[1][0] / determinant, j[0][0] / determinant],
        ]
        (a, b, _, c, d, _) = place[:6]
        return (
            a * inverse[0][0] + b * inverse[1][0],
            a * inverse[0][1] + b * inverse[1][1],
            c * inverse[0][0] + d * inverse[1][0],
            c * inverse[0][1] + d * inverse[1][1],
        )


def exaggeration(longest: float, room: float) -> float:
    """By how much to lengthen arrows so that they are seen and keep clear of one another.

    Args:
        longest: Length of the longest arrow, map units.
        room: Distance of neighbouring tie points, map units.

    Returns:
        1, 2 or 5 times a power of ten, at least 1.

    Examples:
        >>> exaggeration(8, 300), exaggeration(1000, 300)
        (20.0, 1.0)
    """
    if not (longest > 0 and room > 0):
        return 1.0
    wanted = max(room / longest, 1.0)
    power = 10.0 ** math.floor(math.log10(wanted))
    return max(step * power for step in (1, 2, 5) if step * power <= wanted * (1 + 1e-9))


def bound_text(metres: float | None, px: float | None) -> str | None:
    """A bound in metres, else in pixels, rounded up to two digits; None without either.

    Examples:
        >>> bound_text(7.332, 0.73), bound_text(None, 0.0123), bound_text(None, None)
        ('7.4 m', '0.013 px', None)
    """
    value, unit = (metres, "m") if metres is not None else (px, "px")
    if value is None or not math.isfinite(value):
        return None
    if value <= 0:
        return f"0 {unit}"
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    rounded = math.ceil(value / step - 1e-9) * step
    # Rounding up may have added a digit.
    decimals = 1 - math.floor(math.log10(rounded * (1 + 1e-9)))
    return f"{rounded:.{max(0, decimals)}f} {unit}"
