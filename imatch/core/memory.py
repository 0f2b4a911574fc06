"""Checks a memory request against available memory."""

from __future__ import annotations

import os
import resource
from os import PathLike

from imatch.core.errors import InputError

#: Share of the machine's memory, or of the process's limit, that one image may take.
_SHARE = 0.5


def check_memory(needed: float, what: str, *, subject: str | PathLike[str], hint: str) -> None:
    """Checks that an allocation takes no more than half of the machine's memory.

    Args:
        needed: Bytes.
        what: What they are for, as the subject of a clause.
        subject: The file.
        hint: The next step.

    Raises:
        InputError: They are more than half of what there is.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        there = min(there, limit)
    if needed > _SHARE * there:
        raise InputError(
            f"{what} would take {needed / 2**30:,.1f} GiB of memory", subject=subject, hint=hint
        )
