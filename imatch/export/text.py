"""A registration's figures as texts, shared by terminals, figures and pages."""

from __future__ import annotations

import math
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from imatch.pipeline.registration.result import ImageSummary, Pair, Registration

#: Of each status, on white.
STATUS_COLOURS = {"ok": "#1b7837", "uncertain": "#b35806", "failed": "#b2182b"}

# Of own tie points, why some are not used.
_NOT_USED = {"off": "switched off", "outside": "outside the images"}


def number(value: float, *, sign: bool = False) -> str:
    """Formats a number with about three significant digits.

    Examples:
        >>> [number(v) for v in (0.0123, 0.5, 3.14159, 31.4159, 3141.59)]
        ['0.012', '0.50', '3.14', '31.4', '3142']
    """
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 or size == 0 else 3
    return f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"


def with_interval(value: float, half: float | None, *, sign: bool = False) -> str:
    """Formats a number and its interval, both to the precision of the interval.

    Examples:
        >>> with_interval(73.94, 1.05), with_interval(7.394, 0.105), with_interval(7.394, None)
        ('73.9 ± 1.1', '7.39 ± 0.10', '7.39')
    """
    if half is None:
        return number(value, sign=sign)
    decimals = 0 if half >= 10 else 1 if half >= 1 else 2 if half >= 0.01 else 3
    rounded = f"{value:+.{decimals}f}" if sign else f"{value:.{decimals}f}"
    return f"{rounded} ± {half:.{decimals}f}"


def px_and_m(px: float | None, metres: float | None) -> str | None:
    """Formats a length: ``"0.42 px (4.20 m)"``, without the metres where they are unknown."""
    if px is None:
        return None
    return f"{number(px)} px" + ("" if metres is None else f" ({number(metres)} m)")


def shift_text(registration: Registration) -> str | None:
    """Describes the shift: ``"3.20 ± 0.10 px (32.0 ± 1.0 m)"``, 95 % interval; None when failed."""
    parts = [
        _length(shift, interval, unit)
        for shift, interval, unit in (
            (registration.shift_px, registration.ci95_px, "px"),
            (registration.shift_m, registration.ci95_m, "m"),
        )
        if shift is not None
    ]
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({parts[1]})"


def accuracy_text(registration: Registration) -> str | None:
    """Describes the accuracy: ``"RMSE 0.42 px (4.20 m), CE90 0.71 px (7.10 m)"``; None if none."""
    figures = {
        "RMSE": px_and_m(registration.rmse_px, registration.rmse_m),
        "CE90": px_and_m(registration.ce90_px, registration.ce90_m),
    }
    return ", ".join(f"{k} {v}" for k, v in figures.items() if v is not None) or None


def certificate_text(registration: Registration) -> str | None:
    """Describes the certificate: ``"passes 0.3 px: all of the overlap within 0.12 px at 95%"``.

    Without a tolerance the bound alone; None where there is neither.
    """
    stated, judged = bound_text(registration), tolerance_text(registration)
    if judged is None or stated is None:
        return judged or stated
    return f"{judged}: {stated}"


def refusal_text(registration: Registration) -> str | None:
    """Why a registration is not what was asked for, as ``"uncertain: …"``; None if it is."""
    if registration.accepted:
        return None
    if registration.status != "ok":
        return f"{registration.status}: {registration.reason}"
    return f"tolerance not met: {certificate_text(registration)}"


def bands_text(registration: Registration) -> str | None:
    """Describes bands that disagree on the shift by more than chance; None if they agree."""
    certificate = registration.certificate
    if not certificate.bands_disagree:
        return None
    each = ", ".join(f"{name} ({x:+.2f}, {y:+.2f})" for name, x, y in certificate.bands)
    return f"they disagree beyond chance, season or sun moved what they show: {each} px"


def bound_text(registration: Registration) -> str | None:
    """Describes the bound: ``"all of the overlap within 0.12 px (1.20 m) at 95%"``; else None."""
    certificate = registration.certificate
    bound = px_and_m(certificate.corner_ci95_px, certificate.corner_ci95_m)
    return None if bound is None else f"all of the overlap within {bound} at 95%"


def tolerance_text(registration: Registration) -> str | None:
    """Describes the test against the tolerance: ``"passes 0.3 px"``; None without a tolerance."""
    certificate = registration.certificate
    if certificate.tolerance is None:
        return None
    if certificate.passes is None:
        return f"cannot be held against {certificate.tolerance}, as metres are unknown"
    if certificate.passes:
        return f"passes {certificate.tolerance}"
    why = "" if registration.status == "ok" else f", being {registration.status}"
    return f"fails {certificate.tolerance}{why}"


def counts_text(registration: Registration) -> str:
    """Describes the inliers: ``"312 of 340 tie points"``."""
    return f"{registration.n_inliers} of {registration.n_matches} tie points"


def model_text(registration: Registration) -> str | None:
    """Describes the model: ``"similarity + spline: rotation 0.12°, scale 1.0004"``; else None.

    Where both images are geocoded the figures are those beyond the geocoding, so that a difference
    of pixel size or of CRS does not show. A homography is described at the reference's centre.
    """
    if registration.transform is None:
        return None
    local = registration.local
    name = f"{registration.model}{'' if local is None else f' + {local.kind}'}"
    if registration.model == "translation":
        return name
    reference = registration.reference
    x, y = (reference.width - 1) / 2, (reference.height - 1) / 2
    if registration.map_matrix is not None and reference.transform is not None:
        a, b, c, d, e, f = reference.transform[:6]
        centre = (a * (x + 0.5) + b * (y + 0.5) + c, d * (x + 0.5) + e * (y + 0.5) + f)
        derivative, upwards = _derivative(registration.map_matrix, centre), True
    else:
        derivative, upwards = _derivative(registration.transform.matrix, (x, y)), False
    (a, b), (c, d) = derivative.tolist()
    determinant = a * d - b * c
    scale_x = math.hypot(a, c)
    if determinant == 0 or scale_x == 0:
        return f"{name}, degenerate"
    scale_y = determinant / scale_x
    # Pixel rows run downwards, where a positive angle is clockwise; map coordinates run upwards.
    angle = math.degrees(math.atan2(c, a)) * (-1 if upwards else 1)
    shear = math.degrees(math.atan((a * b + c * d) / determinant))
    words = [f"rotation {abs(angle):.2f}°"]
    if abs(angle) >= 0.005:
        words[0] += " clockwise" if angle > 0 else " counter-clockwise"
    if registration.model == "similarity":
        words.append(f"scale {scale_x:.4f}")
    else:
        words += [f"scale {scale_x:.4f} × {scale_y:.4f}", f"shear {abs(shear):.2f}°"]
    at = " at the centre" if registration.model == "homography" else ""
    return f"{name}: {', '.join(words)}{at}"


def points_text(registration: Registration) -> str | None:
    """Describes the user's own tie points: how many were used, and why not all; None without."""
    own = registration.provenance.get("points")
    if not own:
        return None
    source = PurePath(own["path"]).name if "path" in own else "rows of pixels"
    text = f"{own['used']} of {own['rows']} of {source}"
    lost = [f"{own[key]} {what}" for key, what in _NOT_USED.items() if own.get(key)]
    return f"{text} ({', '.join(lost)})" if lost else text


def image_name(image: ImageSummary, limit: int = 48) -> str:
    """Returns an image's file name, a long one shortened; ``"array"`` without a file."""
    if image.path is None:
        return "array"
    text = PurePath(image.path).name or image.path
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def _length(shift: Pair, interval: Pair | None, unit: str) -> str:
    length = math.hypot(*shift)
    if interval is None:
        return f"{with_interval(length, None)} {unit}"
    # The length's own interval, to first order; at no shift at all it has no direction.
    half = (
        math.hypot(shift[0] * interval[0], shift[1] * interval[1]) / length
        if length > max(interval)
        else max(interval)
    )
    return f"{with_interval(length, half)} {unit}"


def _derivative(matrix: NDArray[np.float64], at: tuple[float, float]) -> NDArray[np.float64]:
    """Returns the (2, 2) derivative of a projective matrix at a point."""
    u, v, w = matrix @ np.array([*at, 1.0])
    image = np.array([[u / w], [v / w]])
    return np.asarray((matrix[:2, :2] - image * matrix[2, :2]) / w)
