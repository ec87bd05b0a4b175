"""`Kv` in an edge: fn runs here, on the edge's own view of the index; the engine decides.

    read    one snapshot; answered only if the engine still lived when it was taken
    write   fn on a snapshot, its write set to the engine: durable and in the index, or a
            conflict; then what it ran into is in the index, and fn runs again

Invariants: nothing is answered from an index whose engine is gone (another one may have begun,
with another index); what was offered to an engine that is gone is in doubt and never offered to
another, for its shards are of an ended epoch (I5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from s3node.base.errors import EngineGone, S3Error, StorageFault
from s3node.base.ids import RandomBytes
from s3node.base.limits import RETRY_AFTER_S
from s3node.meta.frame import Position
from s3node.meta.kv import ReadTx, WriteTx
from s3node.meta.transaction import WRITE_SET_BYTES_MAX, SnapshotTx, WriteSet
from s3node.processes.messages import BadMessage, FromEdge, Offer

T = TypeVar("T")

TRIES_AT_ONCE = 3
"""Conflicts after which the next try waits a little, at random, so that rivals get apart."""

TRIES_MAX = 64
PAUSE_S = 0.001
"""The longest first pause; it grows with every try, up to `PAUSE_GROWTH_MAX` times this."""

PAUSE_GROWTH_MAX = 20


class Reader(Protocol):
    """The edge's view of the index."""

    def read(self, fn: Callable[[ReadTx, Position], T]) -> T:
        """fn(snapshot, the position it stands at). DiskFailed."""

    def look(self, fn: Callable[[ReadTx], T]) -> T:
        """As `read`, for those who do not ask where the snapshot stands."""


class RemoteKv:
    """See above. Belongs to one event loop; reads may come from any thread."""

    def __init__(
        self,
        index: Reader,
        send: Callable[[FromEdge], None],
        still: Callable[[], bool],
        random: RandomBytes,
    ) -> None:
        """`still` tells whether no other engine can have begun: with another index, in which
        more is written than here.
        """
        self._index = index
        self._send = send
        self._still = still
        self._random = random
        self._number = 0
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._gone = ""

    def read(self, fn: Callable[[ReadTx], T]) -> T:
        """See `Kv.read`. EngineGone."""
        try:
            return self._index.look(fn)
        finally:
            self._refuse_when_gone()

    async def write(self, fn: Callable[[WriteTx], T]) -> T:
        """See `Kv.write`. EngineGone: in doubt, as for JournalStalled; SlowDown: not written."""
        for tried in range(TRIES_MAX):
            if tried >= TRIES_AT_ONCE:
                await asyncio.sleep(self._pause(tried - TRIES_AT_ONCE + 1))
            try:
                result, write_set = self._index.read(lambda tx, at: _run(fn, tx, at.sequence))
            finally:
                self._refuse_when_gone()
            if not write_set.writes and not write_set.adds:
                return result
            if await self._offer(write_set):
                return result
        raise S3Error("SlowDown", headers={"Retry-After": str(RETRY_AFTER_S)})

    # ---- what the engine answers

    def decided(self, number: int, accepted: bool) -> None:
        """BadMessage if nothing was offered under that number."""
        answer = self._take(number)
        if not answer.done():  # else the client went away
            answer.set_result(accepted)

    def refused(self, number: int, fault: StorageFault) -> None:
        """BadMessage if nothing was offered under that number."""
        answer = self._take(number)
        if not answer.done():
            answer.set_exception(fault)

    def gone(self, reason: str) -> None:
        """The engine is: whoever waits is told, and whoever comes."""
        self._gone = reason
        waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if not answer.done():
                answer.set_exception(EngineGone(reason))

    # ---- how

    def _refuse_when_gone(self) -> None:
        if self._gone or not self._still():
            raise EngineGone(self._gone or "another engine has begun")

    def _offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
        self._number += 1
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = answer
        self._send(Offer(self._number, write_set))
        return answer

    def _take(self, number: int) -> asyncio.Future[bool]:
        answer = self._waiting.pop(number, None)
        if answer is None:
            raise BadMessage(f"nothing was offered as number {number}")
        return answer

    def _pause(self, growth: int) -> float:
        share = int.from_bytes(self._random(2), "big") / 0xFFFF
        return share * PAUSE_S * min(growth, PAUSE_GROWTH_MAX)


def _run(fn: Callable[[WriteTx], T], snapshot: ReadTx, basis: int) -> tuple[T, WriteSet]:
    tx = SnapshotTx(snapshot, basis)
    result = fn(tx)
    write_set = tx.write_set()
    assert write_set.size() <= WRITE_SET_BYTES_MAX, "a transaction's writes are bounded"
    return result, write_set
