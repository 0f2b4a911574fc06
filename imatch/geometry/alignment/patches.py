"""What a transform leaves in patches of a scene: displacements that windows and lines share.

A scene's tie points lie far apart, and those that agree are chosen. Patches are contiguous ground
at full resolution, in which every window counts that correlates as those do: they show what lies
between tie points, and what is shorter than a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from imatch.core.types import BoolArray
from imatch.geometry.alignment import coherence, systematic
from imatch.geometry.alignment.fine_alignment import AGREES, AlignedImages, reliable_peaks
from imatch.geometry.alignment.refine import CorrelationWindows, measure
from imatch.geometry.estimate import BandShift
from imatch.geometry.transform import apply_matrix

# Windows of a patch, and how far they look at first and where that does not suffice, pixels.
_COUNT, _RADIUS, _FURTHER = 100, 6, 20
# Of a band, where all together only have to give its mean.
_COUNT_OF_BAND = 16
# Lines of all patches count from so many standard errors, and those of one, or of a direction that
# was sought, from more: of many, some stand out by chance.
_TOGETHER, _ALONE = 3.0, 4.0
# Of the lines of one patch so many have to be sure of where they lie.
_MOST_LINES = 0.6
_FEWEST_WINDOWS = 4
# Waves are sought in fields reduced by so much, and in so many of their pixels at least.
_REDUCED, _LEAST_SPECTRUM = 4, 32


@dataclass(frozen=True, eq=False)
class PatchWindows:
    """The windows of some patches in which a displacement was found; N of them.

    Attributes:
        xy: (N, 2) centres, pixels of the scene.
        residual: (N, 2) displacement from the transform, pixels.
        peak: (N,) correlation.
        side: Side of the windows, pixels.
        sought: How many were correlated.
    """

    xy: NDArray[np.float64]
    residual: NDArray[np.float64]
    peak: NDArray[np.float64]
    side: int
    sought: int

    @property
    def agrees(self) -> BoolArray:
        """(N,) bool, windows that lie where the transform says."""
        return np.asarray(np.hypot(*self.residual.T) < AGREES)

    @property
    def reliable(self) -> BoolArray:
        """(N,) bool, windows that correlate as those that agree, wherever they lie."""
        agrees = self.agrees
        # Where a model is off everywhere, no window is any better than the others.
        return reliable_peaks(self.peak, agrees if agrees.any() else ~agrees)


def windows_of(
    patches: Sequence[AlignedImages], radius: int = _RADIUS, count: int = _COUNT
) -> PatchWindows:
    """Correlates the windows of all patches and returns where they lie.

    Args:
        patches: Patches of one scene.
        radius: Largest displacement sought, pixels.
        count: About how many windows a patch.
    """
    centre, shift, peak = [np.zeros((0, 2))], [np.zeros((0, 2))], [np.zeros(0)]
    windows, side, sought = CorrelationWindows(count=count, radius=radius), 0, 0
    for patch in patches:
        moved = measure(*patch.fields, patch.common, windows)
        usable = np.isfinite(moved.shift).all(axis=1)
        centre.append(apply_matrix(patch.to_ref, moved.centre[usable]))
        shift.append(moved.shift[usable])
        peak.append(moved.peak[usable])
        side, sought = max(side, moved.side), sought + len(moved)
    return PatchWindows(
        np.concatenate(centre), np.concatenate(shift), np.concatenate(peak), side, sought
    )


def misfit(patches: Sequence[AlignedImages], windows: PatchWindows) -> NDArray[np.float64]:
    """Measures how far the ground of a scene departs from its model, in windows and in lines.

    Args:
        patches: The scene's patches, the target resampled by the model.
        windows: Their windows.

    Returns:
        (2,) standard deviation along the reference's x and y, pixels.
    """
    found = np.maximum(systematic.misfit_of(_shared(windows)), _of_lines(patches, _RADIUS))
    if systematic.reaches_further(found, _share(windows)):
        least = windows.peak[windows.reliable].min(initial=1.0)
        further = windows_of(patches, _FURTHER)
        kept = further.peak >= least
        further = PatchWindows(
            further.xy[kept], further.residual[kept], further.peak[kept], further.side, 0
        )
        far = systematic.misfit_of(_shared(further, far=True), far=True)
        # Lines over changed ground or water wander when they are let: they need a cause.
        bent = systematic.reaches_further(np.maximum(found, far), 1.0)
        found = np.maximum(found, far)
        if bent:
            found = np.maximum(found, _of_lines(patches, _FURTHER))
    return found


def _of_lines(patches: Sequence[AlignedImages], reach: int) -> NDArray[np.float64]:
    """(2,) standard deviation of rows, of columns and of lines of the likeliest direction."""
    fields = [patch.fields for patch in patches]
    lines = [coherence.line_offsets(*pair, reach) for pair in fields]
    near = reach == _RADIUS
    # Sought far, single patches and single lines find others that look alike.
    alone = [
        found
        for own in lines
        if near
        for found in coherence.of_offsets([own], tail=True, least_alike=_MOST_LINES)
    ]
    angle = crest(fields)
    if angle is not None:
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        along: list[coherence.LineOffsets] = []
        for first, second in fields:
            offsets = coherence.row_offsets(_turned(first, angle), _turned(second, angle), reach)
            along.append((None if offsets is None else offsets @ turn, None))
        # The direction was chosen because much is alike along it: by chance, something is.
        alone += coherence.of_offsets(along)
    return np.maximum(
        systematic.misfit_of(coherence.of_offsets(lines, tail=near), times=_TOGETHER),
        systematic.misfit_of(alone, times=_ALONE),
    )


def _shared(windows: PatchWindows, *, far: bool = False) -> list[coherence.Coherence]:
    """What neighbouring windows share, of those that are reliable; of all where sought far."""
    chosen = np.ones(len(windows.peak), dtype=bool) if far else windows.reliable
    if not chosen.any():
        return []
    return coherence.of_windows(windows.xy[chosen], windows.residual[chosen], windows.side, far=far)


def crest(
    fields: Sequence[tuple[NDArray[np.complex64], NDArray[np.complex64]]],
) -> float | None:
    """Finds the direction along which most of what is displaced is displaced alike; returns it.

    Where one field is the other, displaced by little, the difference of the products of each with
    the other's gradient is proportional to the displacement, pixel by pixel (Lucas & Kanade, IJCAI
    1981, both ways round). A wave of any direction is a peak of its spectrum.

    Args:
        fields: (H, W) directions of the reference, and of the target resampled onto it, for each
            patch; all of one size.

    Returns:
        Angle of the lines from the x axis, radians; None where patches are too small to tell.
    """
    power: NDArray[np.float64] | None = None
    for first, second in fields:
        height, width = (side // _REDUCED for side in first.shape)
        if min(height, width) < _LEAST_SPECTRUM:
            return None
        taper = np.outer(np.hanning(height), np.hanning(width))
        own = np.zeros((2 * height, 2 * width))
        for axis in (0, 1):
            moved = (np.conj(np.gradient(first, axis=axis)) * second).real
            moved -= (np.conj(first) * np.gradient(second, axis=axis)).real
            small = cv2.resize(moved, (width, height), interpolation=cv2.INTER_AREA)
            spectrum = scipy.fft.fft2((small - small.mean()) * taper, own.shape)
            own += np.abs(spectrum) ** 2
        power = own if power is None else power + own
    if power is None:
        return None
    y, x = (scipy.fft.fftfreq(side) for side in power.shape)
    length = np.hypot(x, y[:, None])
    # As often as noise has it at this wavelength.
    rings = np.minimum((length * min(power.shape) / 2).astype(int), min(power.shape))
    usual = np.bincount(rings.ravel(), power.ravel()) / np.maximum(np.bincount(rings.ravel()), 1)
    told = (length >= 3 / min(power.shape)) & (length <= 0.25) & (y[:, None] >= 0)
    smooth = cv2.GaussianBlur(power, (3, 3), 0, borderType=cv2.BORDER_REPLICATE)
    stands = np.where(told, smooth / np.maximum(usual[rings], 1e-30), 0)
    row, column = np.unravel_index(int(stands.argmax()), stands.shape)
    return float(np.arctan2(-x[column], y[row])) if stands.any() else None


def _turned(field: NDArray[np.complex64], angle: float) -> NDArray[np.complex64]:
    """A field turned about its middle, so that lines at an angle become rows; zero beyond it.

    Directions stay what they were: only products of two fields turned alike count.
    """
    height, width = field.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), np.degrees(angle), 1.0)
    real, imaginary = (
        cv2.warpAffine(np.ascontiguousarray(part), turn, (width, height))
        for part in (field.real, field.imag)
    )
    return np.asarray(real + 1j * imaginary, dtype=np.complex64)


def _share(windows: PatchWindows) -> float:
    return float(windows.agrees.sum() / max(windows.sought, 1))


def band_shifts(patches: Sequence[AlignedImages]) -> list[BandShift]:
    """Measures the displacement that each band of a scene shows by itself.

    Args:
        patches: The scene's patches.

    Returns:
        One for each band in which enough windows agree, called by its number from 0.
    """
    split = [systematic.split_bands(patch) for patch in patches]
    found = []
    for number in range(min((len(bands) for bands in split), default=0)):
        windows = windows_of([bands[number] for bands in split], count=_COUNT_OF_BAND)
        agrees = windows.agrees
        if agrees.sum() < _FEWEST_WINDOWS:
            continue
        x, y = windows.residual[agrees].mean(axis=0)
        strength = float(windows.peak[agrees].mean())
        found.append(BandShift((float(x), float(y)), strength, str(number)))
    return found
