from __future__ import annotations

from imatch.geometry.acceptance import EVIDENCE


def test_a_search_among_more_positions_needs_more() -> None:
    near, wide = EVIDENCE.after("near"), EVIDENCE.after("wide")
    assert near == EVIDENCE
    assert wide.offset < EVIDENCE.after("any").offset < EVIDENCE.offset
    assert wide.certain == EVIDENCE.certain
