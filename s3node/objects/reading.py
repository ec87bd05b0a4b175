"""The bytes of an answer, stripe by stripe, as whoever sends them asks for them.

The first step is read before anything is answered, the next one while the last is being sent.
Where all bytes of a data id are read, its last piece is held back until their digest has
matched: an error of the code itself would be caught there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import xxhash

from s3node.base.errors import ShardCorrupt, StorageFault
from s3node.base.limits import CLIENT_SLOW_S, READ_STEP_BYTES_MIN
from s3node.objects.budget import Budget
from s3node.objects.counters import ObjectCounters
from s3node.objects.faults import as_s3_error
from s3node.objects.layout import StripeRange
from s3node.objects.read import Pieces, StripeReader


class ItemCheck:
    """The digest of one data id's bytes, when a read covers all of them in order."""

    def __init__(self) -> None:
        self._hasher: xxhash.xxh3_128 | None = None
        self._next = 0

    def take(self, wanted: StripeRange, pieces: Pieces) -> None:
        """Account for the bytes of one stripe range; ShardCorrupt when the item is not itself."""
        item = wanted.data
        begin = wanted.stripe * item.stripe_bytes + wanted.start
        end = begin + wanted.stop - wanted.start
        if begin == 0 and end == item.size and len(pieces) == 1:
            digest = xxhash.xxh3_128_digest(pieces[0])
        else:
            if begin == 0:
                self._hasher = xxhash.xxh3_128()
            elif begin != self._next or self._hasher is None:
                return
            for piece in pieces:
                self._hasher.update(piece)
            self._next = end
            if end < item.size:
                return
            digest = self._hasher.digest()
        if item.digest and digest != item.digest:
            raise ShardCorrupt(
                f"data {item.data_id.hex()}: every shard is as it was written, but together "
                "they are not the bytes that were stored"
            )


class Steps:
    """What is read at once, and its memory: whole stripe ranges, small steps of them when memory
    is short or the client slow. Nobody waits for memory here, since those who hold it wait for
    clients.
    """

    def __init__(self, budget: Budget, ranges: Iterator[StripeRange]) -> None:
        self._budget = budget
        self._ranges = ranges
        self._left = next(ranges, None)
        self.slow = False

    def next(self) -> StripeRange | None:
        """The next step, its bytes taken from the budget."""
        wanted = self.ahead()
        left = self._left
        if wanted is not None or left is None:
            return wanted
        stop = (left.start // READ_STEP_BYTES_MIN + 1) * READ_STEP_BYTES_MIN
        if stop < left.stop:
            wanted = left._replace(stop=stop)
            self._left = left._replace(start=stop)
        else:
            wanted, self._left = left, next(self._ranges, None)
        self._budget.force(wanted.stop - wanted.start)
        return wanted

    def ahead(self) -> StripeRange | None:
        """The next step if it is a whole one; its bytes taken."""
        left = self._left
        if left is None or self.slow or not self._budget.try_take(left.stop - left.start):
            return None
        self._left = next(self._ranges, None)
        return left

    def give(self, wanted: StripeRange | None) -> None:
        """Its bytes are not needed any more."""
        if wanted is not None:
            self._budget.give(wanted.stop - wanted.start)

    def end(self) -> None:
        """There is nothing more to be read."""
        self._left = None


class Reading:
    """The bytes of an answer, one step's pieces at a time.

    It holds its part of the budget until it has ended: by the last step, a fault, or `aclose`. No
    generator, which the loop keeps track of, and which gives nothing back if it never began.
    """

    def __init__(
        self,
        stripes: StripeReader,
        budget: Budget,
        counters: ObjectCounters,
        ranges: Iterator[StripeRange],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._stripes = stripes
        self._counters = counters
        self._steps = Steps(budget, ranges)
        self._check = ItemCheck()
        self._first: Pieces | None = None
        self._wanted: StripeRange | None = None  # what was handed out last, or will be next
        self._ahead: StripeRange | None = None  # what comes after it, and is being read
        self._reading: asyncio.Task[Pieces] | None = None
        self._handed = 0.0

    async def begin(self) -> None:
        """Read the first step: what cannot be read is an error now, and not a broken answer."""
        self._wanted = self._steps.next()
        self._first = await self._read()

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> Pieces:
        """S3Error when it cannot be read."""
        pieces, self._first = self._first, None
        if pieces is None:
            self._step()
            pieces = await self._read()
        wanted = self._wanted
        if pieces is None or wanted is None:
            raise StopAsyncIteration
        self._handed = self._loop.time()
        self._counters.bytes_read += wanted.stop - wanted.start
        return pieces

    async def aclose(self) -> None:
        """Give back what it holds; there are no more pieces."""
        self._steps.end()
        self._first = None
        reading, self._reading = self._reading, None
        try:
            if reading is not None:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        finally:
            self._steps.give(self._wanted)
            self._steps.give(self._ahead)
            self._wanted = self._ahead = None

    def _step(self) -> None:
        """What was handed out has been taken."""
        steps = self._steps
        if self._wanted is not None:
            steps.slow = self._loop.time() - self._handed > CLIENT_SLOW_S
            steps.give(self._wanted)
        self._wanted, self._ahead = self._ahead, None
        if self._wanted is None:
            self._wanted = steps.next()

    async def _read(self) -> Pieces | None:
        """The pieces of what is wanted, and begin to read what comes after it; None at the end."""
        wanted = self._wanted
        if wanted is None:
            return None
        try:
            pieces = await (self._reading or self._stripes.read(wanted))
            self._reading = None
            self._ahead = self._steps.ahead()
            if self._ahead is not None:
                self._reading = self._loop.create_task(self._stripes.read(self._ahead))
            self._check.take(wanted, pieces)
        except StorageFault as fault:
            await self.aclose()
            raise as_s3_error(fault) from fault
        except BaseException:
            await self.aclose()
            raise
        return pieces


class Held:
    """Bytes that are in memory already, as pieces; no generator, which the loop keeps track of."""

    def __init__(self, *pieces: memoryview) -> None:
        self._pieces: Pieces = pieces

    def __aiter__(self) -> Held:
        return self

    async def __anext__(self) -> Pieces:
        pieces, self._pieces = self._pieces, ()
        if not pieces:
            raise StopAsyncIteration
        return pieces
