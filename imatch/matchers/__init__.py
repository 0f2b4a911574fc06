"""Matchers: two rendered images in, tie points out.

Importing this package imports no network library; names are resolved when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imatch.matchers.registry import MATCHERS, MatcherRow, load_matcher

if TYPE_CHECKING:
    from imatch.matchers.base import Matcher, MatcherOptions

__all__ = ["MATCHERS", "Matcher", "MatcherOptions", "MatcherRow", "load_matcher"]


def __getattr__(name: str) -> Any:
    if name in ("Matcher", "MatcherOptions"):
        from imatch.matchers import base

        return getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
