"""How long shards are waited for before others are asked for in their place.

As long as reads usually take and four times as much as they usually differ, as TCP does it: disks
that are busy are given more time, for asking others only adds to their work. Pure.
"""

from __future__ import annotations

from s3node.base.limits import READ_HEDGE_S, READ_HEDGE_S_FIRST, READ_HEDGE_S_MIN

_KEPT = 7 / 8
"""Of the mean, when another measurement comes; of the deviation twice as much is given up."""


class Patience:
    """Learns from how long reads took that had to be waited for."""

    def __init__(self) -> None:
        self._mean: float | None = None
        self._deviation = 0.0

    @property
    def seconds(self) -> float:
        """Between READ_HEDGE_S_MIN and READ_HEDGE_S."""
        if self._mean is None:
            return READ_HEDGE_S_FIRST
        return min(READ_HEDGE_S, max(READ_HEDGE_S_MIN, self._mean + 4 * self._deviation))

    def learn(self, seconds: float, late: int) -> None:
        """Reads of a stripe's shards took so long; when `late` had not come, they were given up.

        One that is late alone says something of its disk, and nothing of the others.
        """
        if late == 1:
            return
        if late:  # they would have taken longer; who knows how long
            seconds *= 2
        if self._mean is None:
            self._mean, self._deviation = seconds, seconds / 2
            return
        kept = 2 * _KEPT - 1
        self._deviation = kept * self._deviation + (1 - kept) * abs(seconds - self._mean)
        self._mean = _KEPT * self._mean + (1 - _KEPT) * seconds
