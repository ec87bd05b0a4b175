"""The memory that stripes in flight may take, for all requests together.

Whoever wants a stripe's buffer takes its bytes from the budget first and gives them back when no
one reads the buffer any more. Waiters are served in order, so a large request is not starved by
small ones. `try_take` is for what may be left undone (read-ahead).

A stripe that fills from a client is a `Lease`: room for all of it, so that who fills never waits
for who fills. Only when others wait, and the client has been silent for `CLIENT_SILENCE_S`, is the
room for bytes that have not come given back. (Silence is judged by several looks, not by the clock:
bytes that lie unread because this process stood still are none.) The lease is *shrunk*, and queues
for the rest once there are bytes again. Shrunk leases hold a bounded part of the budget (the
longest begun are dropped for it), so that the rest always moves on: it belongs to whole leases,
whose clients send, and to stripes on their way to disks, which wait for nobody.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from s3node.base.errors import BufferLost
from s3node.base.limits import CLIENT_SILENCE_S

SHARE_KEPT = 4
"""One part in this many of the budget is kept from shrunk leases: for stripes that move on."""

LOOKS = 5
"""At a client that sends nothing, before it is silent; the loop reads sockets between them."""


class Memory(Protocol):
    """What a lease is for."""

    def shrink(self) -> int:
        """Let go of what no bytes have come for; how much stays."""

    def drop(self) -> None:
        """Let go of all of it."""


class Lease:
    """The room of one stripe while it fills; `memory` is what fills it, once there is any."""

    __slots__ = ("_budget", "dropped", "held", "looks", "memory", "whole")

    def __init__(self, budget: Budget, whole: int) -> None:
        self._budget = budget
        self.whole = self.held = whole
        self.memory: Memory | None = None
        self.looks: int | None = None  # at its client, while that is waited for
        self.dropped = False

    def await_client(self) -> None:
        """The client's next bytes are waited for."""
        self.looks = 0

    def hear(self) -> None:
        """They came; BufferLost when the stripe has been given up meanwhile."""
        self.looks = None
        if self.dropped:
            raise BufferLost("others needed the memory of a stripe whose client is slow")

    async def restore(self) -> None:
        """Have room for the whole stripe again, in turn with others."""
        assert self.looks is None, "who waits for memory does not wait for the client"
        missing = self.whole - self.held
        if missing:
            await self._budget.take(missing)
            self.held = self.whole

    def end(self) -> None:
        """Give everything back."""
        self.become(0)

    def become(self, amount: int) -> None:
        """The stripe is full and coded: in its place stand `amount` bytes on their way to disks."""
        self._budget.forget(self, amount)


class Budget:
    """A counted amount of bytes; belongs to one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self.peak = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._leases: dict[Lease, None] = {}  # in the order they began
        self._timer: asyncio.TimerHandle | None = None

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
        self._watch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(amount)
            else:
                self._waiting.remove((amount, turn))
                self._wake()
            raise

    def force(self, amount: int) -> None:
        """Take `amount` without waiting, even above the total: what a request must have."""
        self._take(amount)

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

    async def lease(self, whole: int) -> Lease:
        """Room for a stripe that fills from a client; `end` it."""
        await self.take(whole)
        lease = Lease(self, whole)
        self._leases[lease] = None
        return lease

    def forget(self, lease: Lease, amount: int) -> None:
        """`lease` is over; of what it held, `amount` bytes (or more) stay taken."""
        lease.memory = None
        del self._leases[lease]
        self.exchange(lease.held, amount)

    def _watch(self) -> None:
        """While anybody waits, look for clients that are silent."""
        if self._waiting and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CLIENT_SILENCE_S / LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        silent = []
        for lease in self._leases:
            if lease.looks is not None:
                lease.looks += 1
                if lease.looks >= LOOKS:
                    silent.append(lease)
        for lease in silent:
            self._shrink(lease, lease.memory.shrink() if lease.memory else 0)
        shrunk = sum(lease.held for lease in self._leases if lease.held < lease.whole)
        for lease in silent:
            if shrunk > self.total - self.total // SHARE_KEPT:
                shrunk -= lease.held
                if lease.memory:
                    lease.memory.drop()
                    lease.memory = None  # its client may be silent for long yet
                lease.dropped = True
                self._shrink(lease, 0)
        self._watch()

    def _shrink(self, lease: Lease, amount: int) -> None:
        freed, lease.held = lease.held - amount, amount
        self.give(freed)

    def _take(self, amount: int) -> None:
        self.used += amount
        self.peak = max(self.peak, self.used)

    def _wake(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            amount, turn = self._waiting.popleft()
            if not turn.done():
                self._take(amount)
                turn.set_result(None)
