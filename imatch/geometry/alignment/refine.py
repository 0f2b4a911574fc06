"""Sub-pixel tie points: local correlation around a known transform.

Matchers find the rough answer where correlation cannot; correlation then makes it precise. With the
target resampled onto the reference by the transform at hand, both are cut into overlapping windows
and each window pair is correlated as a field of directions
(`imatch.geometry.alignment.orientation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from imatch.core.types import BoolArray

# A rival peak is one further than this from the best, pixels.
_APART = 3
# A window of which less is seen counts for what is seen of it, at each displacement anew.
_WHOLE = 0.97
# What both see counts as this share of a window's energy at least.
_LEAST_COMMON = 0.3


@dataclass(frozen=True)
class CorrelationWindows:
    """Layout of correlation windows: side, step and search radius.

    Attributes:
        side: Side of a window, pixels.
        count: About how many windows to use.
        radius: Largest displacement sought, pixels.
        least_valid: Least share of valid ground in a window, in both images.
    """

    side: int = 64
    count: int = 320
    radius: int = 6
    least_valid: float = 0.4


@dataclass(frozen=True, eq=False)
class Displacements:
    """What correlation measured in every window; M windows.

    Attributes:
        centre: (M, 2) window centres, reference pixels.
        shift: (M, 2) displacement of the resampled target, reference pixels; NaN where the peak
            lies on the rim of the search or is no peak.
        peak: (M,) normalised correlation at the peak, -1 to 1.
        ratio: (M,) the peak over the best value apart from it.
        side: Side of the windows, pixels: what was asked for, or less in small images.
    """

    centre: NDArray[np.float64]
    shift: NDArray[np.float64]
    peak: NDArray[np.float64]
    ratio: NDArray[np.float64]
    side: int

    def __len__(self) -> int:
        return len(self.peak)


def measure(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    valid: BoolArray,
    windows: CorrelationWindows,
) -> Displacements:
    """Correlate two fields of directions window by window.

    Args:
        first: (H, W) directions of the reference.
        second: (H, W) directions of the target resampled onto the reference.
        valid: (H, W) ground both of them see.
        windows: Layout.

    Returns:
        One row a window that sees enough valid ground.
    """
    side = min(windows.side, 2 * (min(valid.shape) // 6))
    corners = _corners(valid, side, windows) if side >= 12 else np.zeros((0, 2), dtype=np.int64)
    if len(corners) == 0:
        none = np.zeros(0)
        return Displacements(np.zeros((0, 2)), np.zeros((0, 2)), none, none, side)
    return measure_at(first, second, corners, side, windows.radius)


def measure_at(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    corners: NDArray[np.int64],
    side: int,
    radius: int,
) -> Displacements:
    """Correlate two fields of directions in windows that were chosen before.

    Args:
        first: (H, W) directions of the reference.
        second: (H, W) directions of the target resampled onto the reference.
        corners: (M, 2) top-left (x, y) of the windows, all of them inside the fields.
        side: Side of the windows, pixels, at least 12.
        radius: Largest displacement sought, pixels.

    Returns:
        One row a window, in the order given.
    """
    shift, peak, ratio = peaks(_correlate(first, second, corners, side, radius), radius)
    centre = corners.astype(np.float64) + (side - 1) / 2
    return Displacements(centre, shift, peak, ratio, side)


def _corners(valid: BoolArray, side: int, windows: CorrelationWindows) -> NDArray[np.int64]:
    """(M, 2) top-left (x, y) of the windows that see enough valid ground."""
    height, width = valid.shape
    span_x, span_y = width - side, height - side
    # Windows closer than a quarter of their side would only repeat one another.
    stride = max(int(np.sqrt(max(span_x * span_y, 1) / windows.count)), side // 4)
    x = np.linspace(0, span_x, span_x // stride + 1).astype(np.int64)
    y = np.linspace(0, span_y, span_y // stride + 1).astype(np.int64)
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return np.asarray(grid[_sums(valid, grid, side) >= windows.least_valid * side**2])


def _correlate(
    first: NDArray[np.complex64],
    second: NDArray[np.complex64],
    corners: NDArray[np.int64],
    side: int,
    radius: int,
) -> NDArray[np.float32]:
    """(M, S, S) normalised correlation up to `radius` and a rim, no displacement at the middle."""
    taper = np.hanning(side + 2)[1:-1].astype(np.float32)
    left, top = corners.T
    cuts, energy, seen = [], [], []
    for field in (first, second):
        cut = np.ascontiguousarray(sliding_window_view(field, (side, side))[top, left])
        cut *= np.outer(taper, taper)
        cuts.append(cut)
        parts = cut.view(np.float32).reshape(len(cut), -1)
        energy.append(np.einsum("mi,mi->m", parts, parts))
        seen.append(_share_seen(field, corners, side))
    partial = np.minimum(*seen) < _WHOLE
    common = _common_energy(*(cut[partial] for cut in cuts)) if partial.any() else None
    for cut in cuts:
        fft_in_place(cut)
    surfaces = np.multiply(np.conj(cuts[0], out=cuts[0]), cuts[1], out=cuts[1])
    fft_in_place(surfaces, inverse=True)
    near = np.arange(-_reach(side, radius), _reach(side, radius) + 1)
    surface = surfaces.real[:, near[:, None], near]
    scale = np.sqrt(energy[0] * energy[1]) + 1e-9
    scale = np.broadcast_to(scale[:, None, None], surface.shape)
    if common is not None:
        scale = scale.copy()
        scale[partial] = common[:, near[:, None], near]
    return np.asarray(surface / scale, dtype=np.float32)


def fft_in_place(windows: NDArray[np.complex64], *, inverse: bool = False) -> None:
    """Fourier-transforms windows (M, H, W), which lie one after another in memory, in place.

    One by one by OpenCV, which takes a third of the time of all at once by SciPy at 64 pixels.
    """
    flags = cv2.DFT_INVERSE | cv2.DFT_SCALE if inverse else 0
    for window in windows.view(np.float32).reshape(*windows.shape, 2):
        cv2.dft(window, dst=window, flags=flags)


def _share_seen(
    field: NDArray[np.complex64], corners: NDArray[np.int64], side: int
) -> NDArray[np.float64]:
    """(M,) share of the pixels of each window at which a field has a direction."""
    return np.asarray(_sums(field != 0, corners, side) / side**2)


def _sums(mask: BoolArray, corners: NDArray[np.int64], side: int) -> NDArray[np.int64]:
    """(M,) number of marked pixels in each window."""
    integral = cv2.integral(mask.astype(np.uint8))
    left, top = corners.T
    return np.asarray(
        integral[top + side, left + side]
        - integral[top, left + side]
        - integral[top + side, left]
        + integral[top, left]
    )


def _reach(side: int, radius: int) -> int:
    """How far the surface of a window is looked at, pixels: to the rim of a peak on the radius."""
    return min(radius, side // 2 - 2) + 2


def _common_energy(
    first: NDArray[np.complex64], second: NDArray[np.complex64]
) -> NDArray[np.float64]:
    """(M, side, side) what to normalise by at each displacement: what both windows see then.

    Two windows with gaps at the same places would else correlate best where the gaps lie on one
    another (Padfield, "Masked object registration in the Fourier domain", IEEE TIP 2012).
    """
    squares = [cut.real**2 + cut.imag**2 for cut in (first, second)]
    masks = [scipy.fft.rfft2((square > 0).astype(np.float32)) for square in squares]
    energy = [scipy.fft.rfft2(square) for square in squares]
    shape = first.shape[1:]
    total = [square.sum(axis=(1, 2))[:, None, None] for square in squares]
    common = [
        scipy.fft.irfft2(np.conj(energy[0]) * masks[1], s=shape),
        scipy.fft.irfft2(np.conj(masks[0]) * energy[1], s=shape),
    ]
    # Where hardly anything is common a high value would mean nothing.
    parts = [
        np.maximum(part, _LEAST_COMMON * whole) for part, whole in zip(common, total, strict=True)
    ]
    return np.asarray(np.sqrt(parts[0] * parts[1]) + 1e-9)


def peaks(
    surface: NDArray[np.float32], radius: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Displacement (M, 2), peak (M,) and its ratio to the best rival (M,)."""
    count, side, _ = surface.shape
    middle = side // 2
    radius = min(radius, middle - 2)
    reach = np.s_[middle - radius : middle + radius + 1]
    search = surface[:, reach, reach]
    span = 2 * radius + 1
    row, column = np.divmod(search.reshape(count, -1).argmax(axis=1), span)
    at = np.arange(count)
    peak = search[at, row, column].astype(np.float64)
    rows, columns = np.mgrid[:span, :span]
    far = (np.abs(rows - row[:, None, None]) > _APART) | (
        np.abs(columns - column[:, None, None]) > _APART
    )
    rival = np.where(far, search, -np.inf).max(axis=(1, 2))
    ratio = peak / np.maximum(rival, 1e-6)

    # Least-squares paraboloid through the 3 x 3 neighbourhood.
    offsets = np.arange(-1, 2)
    near_rows = (middle - radius + row)[:, None, None] + offsets[:, None]
    near_columns = (middle - radius + column)[:, None, None] + offsets
    p = surface[at[:, None, None], near_rows, near_columns].astype(np.float64)
    gx = (p[:, :, 2] - p[:, :, 0]).sum(axis=1) / 6
    gy = (p[:, 2, :] - p[:, 0, :]).sum(axis=1) / 6
    hxx = (p[:, :, 2] - 2 * p[:, :, 1] + p[:, :, 0]).sum(axis=1) / 3
    hyy = (p[:, 2, :] - 2 * p[:, 1, :] + p[:, 0, :]).sum(axis=1) / 3
    hxy = (p[:, 2, 2] + p[:, 0, 0] - p[:, 2, 0] - p[:, 0, 2]) / 4
    determinant = hxx * hyy - hxy**2
    concave = (hxx < 0) & (determinant > 0)
    safe = np.where(concave, determinant, 1.0)
    dx, dy = (hxy * gy - hyy * gx) / safe, (hxy * gx - hxx * gy) / safe
    inside = concave & (np.abs(dx) < 1.5) & (np.abs(dy) < 1.5)
    inside &= (row > 0) & (row < span - 1) & (column > 0) & (column < span - 1)
    shift = np.column_stack([column - radius + dx, row - radius + dy])
    shift[~inside] = np.nan
    return shift, peak, ratio
