"""What is made of many measurements: pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

__all__ = ["median", "percentile", "ratio"]


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of all values do not exceed (nearest rank)."""
    assert values, "nothing was measured"
    assert 0 < percent <= 100
    rank = -(-len(values) * percent // 100)
    return sorted(values)[int(rank) - 1]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median over median: how many times as fast; infinite when the other did nothing."""
    other = median(theirs)
    return median(ours) / other if other else float("inf")
