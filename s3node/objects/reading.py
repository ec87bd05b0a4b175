"""The bytes of an answer, step by step, as whoever sends them asks for them.

The first step is a whole stripe, which is read before anything is answered: what cannot be read is
mostly seen by then. As long as all is in memory, the next ones are strides, each read when it is to
be sent. From the first on that is not they are whole stripes, so that many disks are asked at once,
and the next one is read while the last is being sent.

Where all bytes of a data id are read, its last piece is held back until their digest has
matched: an error of the code itself would be caught there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import xxhash

from s3node.base.errors import ShardCorrupt, StorageFault
from s3node.base.limits import (
    CLIENT_SLOW_S,
    READ_STEP_BYTES_MIN,
    READ_STRIDE_BYTES,
    READ_STRIDE_BYTES_MAX,
)
from s3node.model.rows import LocationRow
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
    """What is read at once, and its memory: strides or whole stripe ranges, small steps of them
    when memory is short or the client slow. Nobody waits for memory here, since those who hold it
    wait for clients.
    """

    def __init__(self, budget: Budget, ranges: Iterator[StripeRange]) -> None:
        self._budget = budget
        self._ranges = ranges
        self._left = next(ranges, None)
        self.slow = False

    def next(self) -> StripeRange | None:
        """The next step, its bytes taken from the budget."""
        return self.ahead() or self._small()

    def stride(self) -> StripeRange | None:
        """The same, but of a stripe range no more than a stride."""
        left = self._left
        if left is None:
            return None
        stop = left.stop
        if stop - left.start > READ_STRIDE_BYTES_MAX:
            stop = (left.start // READ_STRIDE_BYTES + 1) * READ_STRIDE_BYTES
        if self.slow or not self._budget.try_take(stop - left.start):
            return self._small()
        return self._cut(left, stop)

    def ahead(self) -> StripeRange | None:
        """The next step if it is a whole one; its bytes taken."""
        left = self._left
        if left is None or self.slow or not self._budget.try_take(left.stop - left.start):
            return None
        return self._cut(left, left.stop)

    def widen(self, wanted: StripeRange) -> StripeRange:
        """The step that was the last one, with what follows of its stripe, if there is memory."""
        left = self._left
        if left is None or left.data is not wanted.data or left.stripe != wanted.stripe:
            return wanted
        rest = self.ahead()
        return wanted if rest is None else wanted._replace(stop=rest.stop)

    def _small(self) -> StripeRange | None:
        left = self._left
        if left is None:
            return None
        stop = (left.start // READ_STEP_BYTES_MIN + 1) * READ_STEP_BYTES_MIN
        stop = min(stop, left.stop)
        self._budget.force(stop - left.start)
        return self._cut(left, stop)

    def _cut(self, left: StripeRange, stop: int) -> StripeRange:
        """What is left, up to `stop`."""
        if stop == left.stop:
            self._left = next(self._ranges, None)
            return left
        self._left = left._replace(start=stop)
        return left._replace(stop=stop)

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
        self._at_hand = True  # all that came so far was in memory
        self._row: LocationRow | None = None  # of what is wanted, read for the data id and run:
        self._located: tuple[bytes, int] | None = None
        self._handed = 0.0  # when anything was handed out last; never yet

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
            if not self._at_hand:
                self._located = None
            self._wanted = steps.stride() if self._at_hand else steps.next()

    async def _read(self) -> Pieces | None:
        """The pieces of what is wanted, and begin to read what comes after it; None at the end."""
        if self._wanted is None:
            return None
        try:
            pieces = await self._glance(self._wanted) if self._at_hand else None
            if pieces is None:
                pieces = await self._fetch(self._wanted)
            self._check.take(self._wanted, pieces)
        except StorageFault as fault:
            await self.aclose()
            raise as_s3_error(fault) from fault
        except BaseException:
            await self.aclose()
            raise
        return pieces

    async def _glance(self, wanted: StripeRange) -> Pieces | None:
        """What is wanted, if it is in memory. Others have a turn after each stripe."""
        if wanted.start == 0 and self._handed:
            await asyncio.sleep(0)
        pieces = self._stripes.at_hand(wanted, self._known(wanted))
        if pieces is None:
            self._at_hand = False
            self._wanted = self._steps.widen(wanted)
            if self._handed:  # a row that was looked at for an earlier step may be why
                self._located = None
        return pieces

    async def _fetch(self, wanted: StripeRange) -> Pieces:
        """What is wanted, from the disks; and begin to read what comes after it."""
        pieces = await (self._reading or self._stripes.read(wanted, self._known(wanted)))
        self._reading = None
        self._ahead = self._steps.ahead()
        if self._ahead is not None:
            reading = self._stripes.read(self._ahead, self._stripes.row(self._ahead))
            self._reading = self._loop.create_task(reading)
        return pieces

    def _known(self, wanted: StripeRange) -> LocationRow | None:
        """The row that says where it is, as of when this came to that run."""
        of = (wanted.data.data_id, wanted.run)
        if of != self._located:
            self._row, self._located = self._stripes.row(wanted), of
        return self._row


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
