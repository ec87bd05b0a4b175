"""What this process has on its way to each disk, and which disks its writes do not wait for.

A disk that answers slowly, or not at all, gathers shards, and their memory is the budget's. One
that has gathered far more than the disks beside it is *behind*, and stripes leave it out as far
as they can miss a shard. Where they cannot, or where all disks are slow, they wait: that is no
reason to refuse a write, only to take the next one later.
"""

from __future__ import annotations

from collections.abc import Collection

ALLOWED_PARTS = 6
"""One part in this many of the budget is what a disk may hold beyond twice the mean of all: two
hung ones of twelve hold half of it together before they are left out."""


class Backlog:
    """Bytes of payload that were given to each disk and not answered; of one event loop."""

    def __init__(self, budget_bytes: int) -> None:
        self.lagging: set[int] = set()  # slots that a write waited for in vain, silent ever since
        self._allowed = budget_bytes // ALLOWED_PARTS
        self._sent: dict[int, int] = {}

    def send(self, slot: int, amount: int) -> None:
        """So much was given to this disk."""
        self._sent[slot] = self._sent.get(slot, 0) + amount

    def answered(self, slot: int, amount: int) -> None:
        """It was answered, well or not."""
        self._sent[slot] -= amount
        assert self._sent[slot] >= 0, "answered more often than sent"

    def behind(self, slots: Collection[int]) -> list[int]:
        """Those of `slots` that are behind the others, the worst first."""
        if max(self._sent.values(), default=0) <= self._allowed:
            return []
        held = {slot: self._sent.get(slot, 0) for slot in slots}
        bound = 2 * sum(held.values()) // len(held) + self._allowed
        return sorted((slot for slot in slots if held[slot] > bound), key=lambda slot: -held[slot])
