"""Which classes of imatch a reader meets on the path of a call."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import cached_property
from types import CodeType, FrameType
from typing import Any


def classes_on_path(call: Callable[[], object]) -> list[str]:
    """Names of the classes of `imatch` of which a method, or the initialiser, runs during a call.

    It is made once before, so that what is imported and built for good is not counted.

    Args:
        call: Does it.

    Returns:
        ``module.Class``, sorted; of inherited methods the class of the object.
    """
    found: set[str] = set()

    def record(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event != "call" or code.co_argcount == 0:
            return
        first = frame.f_locals.get(code.co_varnames[0])
        kind = first if isinstance(first, type) else type(first)
        if kind.__module__.split(".")[0] == "imatch" and _has(kind, code):
            found.add(f"{kind.__module__}.{kind.__qualname__}")

    call()
    before = sys.getprofile()
    sys.setprofile(record)
    try:
        call()
    finally:
        sys.setprofile(before)
    return sorted(found)


def _has(kind: type, code: CodeType) -> bool:
    """Whether a piece of code is a method of a class or of one of its bases."""
    named = (vars(base).get(code.co_name) for base in kind.__mro__)
    return any(getattr(_function(member), "__code__", None) is code for member in named)


def _function(member: Any) -> Any:
    """The function behind what a class holds by a name."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, cached_property):
        return member.func
    return inspect.unwrap(getattr(member, "__func__", member))
