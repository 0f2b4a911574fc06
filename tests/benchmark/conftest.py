from __future__ import annotations

from tests.support.bench_cases import result, table

__all__ = ["result", "table"]
