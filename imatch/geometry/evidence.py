"""Is an alignment true? The odds, learnt on training places.

Three figures an alignment comes with (share of agreeing windows, their correlation, number of
independent windows) are weighed by logistic regression on
alignments of training pairs whose truth is known: right ones, wrong ones of the same place, and
unrelated places. `experiments/auto/fit_evidence.py` makes the table and the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from imatch.geometry.alignment.fine_alignment import Alignment


@dataclass(frozen=True)
class Evidence:
    """Weights of the log-odds and what they must reach.

    Attributes:
        agree: Weight of the logarithm of the share of agreeing windows.
        strength: Weight of the logarithm of their correlation.
        independent: Weight of the logarithm of the number of independent windows.
        offset: Added to the sum.
        found: Log-odds below which nothing was found.
        certain: Log-odds from which an alignment is believed, once all stages have had their say.
        stop: Log-odds from which the other stages need not be asked.
        margin: How far the best alignment must exceed one that contradicts it.
    """

    agree: float = 7.915
    strength: float = 3.117
    independent: float = 4.544
    offset: float = 2.071
    found: float = -1.0
    certain: float = 1.5
    stop: float = 4.0
    margin: float = 2.0

    def log_odds(self, alignment: Alignment) -> float:
        """Natural logarithm of the odds that an alignment is right."""
        return (
            self.agree * _log(alignment.agree)
            + self.strength * _log(alignment.strength)
            + self.independent * _log(alignment.independent)
            + self.offset
        )


def _log(value: float) -> float:
    return math.log(max(value, 1e-3))
