"""How long shards are waited for before others are asked for in their place.

As long as reads usually take and four times as much as they usually differ, as TCP does it: disks
that are busy are given more time, for asking others only adds to their work. Pure.
"""

from __future__ import annotations

from s3node.base.limits import READ_HEDGE_S, READ_HEDGE_S_MIN

_KEPT = 7 / 8
"""Of the mean, when another measurement comes; of the deviation twice as much is given up."""


class Patience:
    """Learns from how long reads took that had to be waited for."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def seconds(self) -> float:
        """READ_HEDGE_S as long as nothing is known, and at the most."""
        if self._mean is None:
            return READ_HEDGE_S
        return min(READ_HEDGE_S, max(READ_HEDGE_S_MIN, self._mean + 4 * self._deviation))

    def learn(self, seconds: float) -> None:
        """A read took so long, or was given up then."""
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        kept = 2 * _KEPT - 1
        self._deviation = kept * self._deviation + (1 - kept) * abs(seconds - self._mean)
        self._mean = _KEPT * self._mean + (1 - _KEPT) * seconds
