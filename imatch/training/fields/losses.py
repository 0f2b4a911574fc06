"""The loss of field networks: the correlation surface as a classification of shifts.

Two images of one ground have one right shift; all others, and all shifts against other ground, are
wrong. The softmax over them is what the network is trained through, with the normalisation that
judges whole images (`imatch.geometry.sensor_field.correlation`).
"""

from __future__ import annotations

import scipy.fft
import torch
from torch import Tensor

from imatch.models.fields.network import STRIDE

_LEAST_COMMON, _WEAK = 0.35, 0.1
# Maps are padded to so many times their side: shifts of a third have nothing in common enough.
_PADDED = 1.4
_NEVER = -1e4


def padded(side: int) -> int:
    """Side of the correlation surface of square maps."""
    return int(scipy.fft.next_fast_len(round(_PADDED * side), real=True))


def spectra(maps: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Returns the flattened spectra (B, C, U, V) of maps and the spectra of their energy."""
    spectrum = torch.fft.rfft2(maps, s=(side, side))
    modulus = (spectrum.abs().square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
    usual = modulus.mean(dim=(2, 3), keepdim=True)
    energy = torch.fft.rfft2(maps.square().sum(dim=1), s=(side, side))
    return spectrum / (modulus + _WEAK * usual).sqrt(), energy


def surfaces(
    ref: tuple[Tensor, Tensor], tgt: tuple[Tensor, Tensor], side: int
) -> tuple[Tensor, Tensor]:
    """Correlates pairs of spectra at every shift.

    Returns:
        (B, side, side) correlation in standard deviations of each surface, circular, and where the
        images have enough in common.
    """
    size = (side, side)
    surface = torch.fft.irfft2((ref[0].conj() * tgt[0]).sum(dim=1), s=size)
    common = torch.fft.irfft2(ref[1].conj() * tgt[1], s=size)
    most = common.amax(dim=(1, 2), keepdim=True)
    enough = common > (_LEAST_COMMON * most).clamp(min=1e-3)
    height = torch.where(enough, surface / common.clamp(min=1e-4).sqrt(), 0.0)
    count = enough.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    mean_square = height.square().sum(dim=(1, 2), keepdim=True) / count
    return height / mean_square.clamp(min=1e-12).sqrt(), enough


def right_shifts(shift: Tensor, side: int, tolerance_px: float) -> Tensor:
    """(B, side, side) bool: places of the surface within reach of the true shifts (B, 2)."""
    step = torch.fft.fftfreq(side, 1 / side, device=shift.device) * STRIDE
    x, y = step - shift[:, 0, None], step - shift[:, 1, None]
    return torch.as_tensor(torch.hypot(x[:, None, :], y[:, :, None]) <= tolerance_px)


def correlation_loss(
    ref: Tensor,
    tgt: Tensor,
    shift: Tensor,
    *,
    temperature: float,
    tolerance_px: float,
    others: int,
    most: float,
) -> Tensor:
    """Mean cross-entropy of the right shift among all shifts of one's own and of other ground.

    Args:
        ref: (B, C, h, h) maps of the references.
        tgt: (B, C, h, h) maps of the targets.
        shift: (B, 2) where the middle of a reference lies in its target, less its place, pixels.
        temperature: What heights are multiplied by.
        tolerance_px: Within so many pixels a shift is right.
        others: How many targets of other pairs each reference is held against.
        most: Largest loss of a pair.
    """
    count, side = len(ref), padded(ref.shape[-1])
    one, two = spectra(ref, side), spectra(tgt, side)
    order = [torch.arange(count).roll(step) for step in range(min(others, count - 1) + 1)]
    all_ones = (one[0].repeat(len(order), 1, 1, 1), one[1].repeat(len(order), 1, 1))
    whole = torch.cat(order)
    height, enough = surfaces(all_ones, (two[0][whole], two[1][whole]), side)
    scaled = (temperature * height).masked_fill(~enough, _NEVER)
    right = right_shifts(shift, side, tolerance_px)
    found = scaled[:count].masked_fill(~right, _NEVER).flatten(1).logsumexp(dim=1)
    by_pair = scaled.reshape(len(order), count, -1).logsumexp(dim=2)
    return torch.as_tensor((by_pair.logsumexp(dim=0) - found).clamp(max=most).mean())
