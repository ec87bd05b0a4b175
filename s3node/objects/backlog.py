"""What this process has on its way to each disk, and which disks its writes do not wait for.

A disk that answers slowly, or not at all, gathers shards, and their memory is the budget's. One
with twice its even part of the budget is *behind*: the others are not, so it is not the machine,
and stripes leave it out as far as they can miss a shard. Where they cannot, they wait for it: that
all disks are slow is no reason to refuse a write, only to take the next one later.
"""

from __future__ import annotations

BEHIND_PARTS = 2
"""Even parts of the budget that a disk may hold before it is behind."""


class Backlog:
    """Bytes of payload that were given to each disk and not answered; of one event loop."""

    def __init__(self, budget_bytes: int, disks: int) -> None:
        """`disks`: how many share a stripe."""
        self.lagging: set[int] = set()  # slots that a write waited for in vain, silent ever since
        self._bound = BEHIND_PARTS * budget_bytes // disks
        self._sent: dict[int, int] = {}

    def send(self, slot: int, amount: int) -> None:
        """So much was given to this disk."""
        self._sent[slot] = self._sent.get(slot, 0) + amount

    def answered(self, slot: int, amount: int) -> None:
        """It was answered, well or not."""
        self._sent[slot] -= amount
        assert self._sent[slot] >= 0, "answered more often than sent"

    def behind(self, amount: int) -> list[int]:
        """Slots that would hold more than they may with `amount` more; the fullest first."""
        full = [slot for slot, sent in self._sent.items() if sent and sent + amount > self._bound]
        return sorted(full, key=lambda slot: (-self._sent[slot], slot))
