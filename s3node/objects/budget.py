"""The memory that stripes in flight may take, for all requests together.

Whoever wants a stripe's buffer takes its bytes from the budget first and gives them back when no
one reads the buffer any more. Waiters are served in order, so a large request is not starved by
small ones. `try_take` is for what may be left undone (read-ahead). Who holds bytes must never
wait for another's: a writer gives back what it holds as soon as its disks answered, whatever it
still wants.
"""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """A counted amount of bytes; belongs to one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def try_take(self, amount: int) -> bool:
        """Take `amount` if it is there now and nobody waits for it."""
        if self._waiting or self.used + amount > self.total:
            return False
        self._take(amount)
        return True

    async def take(self, amount: int) -> None:
        """Take `amount`, waiting for others to give back."""
        assert amount <= self.total, "asked for more than there will ever be"
        if self.try_take(amount):
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            else:
                self._waiting.remove((amount, turn))
                self._wake()
            raise

    def exchange(self, held: int, amount: int) -> None:
        """Hold `amount` instead of `held`, even above the total: the memory is there already.

        Nobody is let in between, so that what is used goes above the total only by how much
        larger stripes become that are coded over fewer disks.
        """
        assert 0 <= held <= self.used, "exchanged more than was taken"
        self._take(amount - held)
        self._wake()

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        self.used -= amount
        assert self.used >= 0, "gave back more than was taken"
        self._wake()

    def _take(self, amount: int) -> None:
        self.used += amount
        self.peak = max(self.peak, self.used)

    def _wake(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._take(amount)
                turn.set_result(None)
