"""Clocks are values that are passed in; this is the only module that reads the system's.

`Hlc` is a hybrid logical clock (Kulkarni et al., 2014) in one 64-bit number: milliseconds since
1970 in the upper 48 bits, a counter in the lower 16. It orders versions (I9): a new version is
stamped above the current one that was read in the same transaction, so order never depends on
the wall clock alone. It never feeds retention.
"""

from __future__ import annotations

import time
from typing import Protocol

COUNTER_BITS = 16


class Clock(Protocol):
    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC; may jump."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point; never goes back."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()


def hlc_after(wall_ms: int, floor: int) -> int:
    """The clock value for an event at `wall_ms` that must come after `floor`."""
    return max(wall_ms << COUNTER_BITS, floor + 1)
