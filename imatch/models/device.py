"""Selects the device of a network and seeds its random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from imatch.core.errors import MatcherError


def resolve_device(name: str = "auto") -> torch.device:
    """Resolves the name of a device, ``auto`` included.

    Args:
        name: ``"auto"`` (CUDA, else Apple's MPS, else the CPU), ``"cpu"``, ``"cuda"``, ``"cuda:1"``
            or ``"mps"``.

    Raises:
        MatcherError: The name is unknown, or this machine or this build of torch has no such
            device.
    """
    has_cuda, has_mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if has_cuda else "mps" if has_mps else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise MatcherError("unknown device", subject=name, hint="choose auto, cpu, cuda or mps")
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(has_mps)}[kind]
    if int(number or 0) >= count:
        raise MatcherError(
            f"not available: torch {torch.__version__} sees {count} such device(s) here",
            subject=name,
            hint="run imatch doctor, or use device cpu",
        )
    return torch.device(name)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix torch's random numbers inside the block and restore the caller's afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
