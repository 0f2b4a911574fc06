"""A batch at a glance, for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imatch.export.batch.report import failure_reason, failures
from imatch.export.text import number
from imatch.pipeline.batch.run import BatchRun

if TYPE_CHECKING:
    from rich.console import Console

# Failures that are worth a line on the terminal; the report has them all.
_SHOWN = 10


def print_batch(run: BatchRun, summary: dict[str, Any], console: Console) -> None:
    """Print counts, typical figures, and the first failures."""
    from rich.markup import escape
    from rich.table import Table

    counts = ", ".join(f"{n} {status}" for status, n in reversed(run.counts.items()) if n)
    lost = failures(run.results)
    console.print(f"[bold]{summary['registered']} of {len(run.results)}[/] registered ({counts})")
    for name, label in (("bound_px", "95 % bound"), ("rmse_px", "RMSE")):
        spread = summary["figures"][name]
        if spread["median"] is not None:
            median, most = number(spread["median"]), number(spread["max"])
            console.print(f"{label}: median {median} px, at most {most} px")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    for row in lost[:_SHOWN]:
        table.add_row(escape(row.name), row.status, escape(failure_reason(row)))
    if lost:
        console.print(table)
    if len(lost) > _SHOWN:
        console.print(f"and {len(lost) - _SHOWN} more; see report.html")
