"""A range of a version becomes verified bytes, around failed disks.

Per stripe: the data shards that hold the range are read and verified (I7). What cannot be read
is rebuilt from other shards of the stripe, over just the bytes that are needed, rounded to the
blocks that digests cover. When that fails the location row is read once more, for compaction or
healing may have moved the records (I11), and then it is a QuorumLost.

The first stripe is read before anything is answered, the next one while the last is being sent.
Where all bytes of a data id are read, its last piece is held back until their digest has
matched: an error of the code itself would be caught there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import xxhash

from ec import Codec, Geometry
from s3node.base.errors import DiskSlow, QuorumLost, ShardCorrupt, ShardMissing
from s3node.base.limits import (
    CLIENT_SLOW_S,
    OFFLOAD_BYTES_MIN,
    READ_HEDGE_AGAIN_S,
    READ_STEP_BYTES_MIN,
)
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, LocationRow, Stripe
from s3node.objects import layout
from s3node.objects.budget import Budget
from s3node.objects.counters import ObjectCounters
from s3node.objects.layout import ShardRange, StripeRange
from s3node.objects.patience import Patience
from s3node.store.record import BLOCK_BYTES
from s3node.store.seams import Fetched, Part, Place, Shard, ShardDisks

Locate = Callable[[bytes, int], LocationRow | None]
"""(data id, run) -> its location row, from the latest snapshot."""

Pieces = Sequence[memoryview]


def stripe_identity(item: Data, index: int, stripe: Stripe) -> Shard:
    """What the records of all shards of a stripe must say about themselves."""
    return Shard(
        item.data_id,
        index,
        0,
        stripe.k,
        stripe.m,
        stripe.code,
        stripe.stripe_bytes,
        index * item.stripe_bytes,
        (),
    )


def shard_identity(item: Data, index: int, stripe: Stripe, shard: int) -> Shard:
    """What the record of one shard must say about itself."""
    return stripe_identity(item, index, stripe)._replace(shard_index=shard)


def place_of(location: Location) -> Place:
    """The row's words for a place, in the disk set's."""
    return Place(location.slot, location.segment, location.offset)


@dataclass(slots=True)
class _Stripe:
    """A stripe that is read from."""

    item: Data
    index: int
    row: Stripe
    patience: float | None  # seconds until others are asked for; None: for as long as it takes
    hurry: bool  # disks that have been silent for so long are not even asked

    @property
    def shard_bytes(self) -> int:
        return layout.shard_bytes(self.row.stripe_bytes, self.row.k)


class StripeReader:
    """Reads ranges of single stripes; knows nothing of whole objects."""

    def __init__(
        self,
        disks: ShardDisks,
        codec: Codec,
        threads: Executor,
        locate: Locate,
        counters: ObjectCounters,
    ) -> None:
        self._disks = disks
        self._codec = codec
        self._threads = threads
        self._locate = locate
        self._counters = counters
        self._patience = Patience()

    async def read(self, wanted: StripeRange) -> Pieces:
        """The bytes of one stripe range, verified; ShardMissing or QuorumLost when it cannot.

        First around what is slow; then, if too few came for all disks are busy, around what is
        slower than that; in the end for as long as it takes.
        """
        row = self._stripe(wanted)
        for patience, hurry in ((self._patience.seconds, True), (READ_HEDGE_AGAIN_S, False)):
            slow = self._counters.reads_hedged
            try:
                return await self._read(wanted, row, patience, hurry)
            except QuorumLost:
                again = self._stripe(wanted)
                if again == row and slow == self._counters.reads_hedged:
                    raise
                row = again
        return await self._read(wanted, row, None, False)

    async def rebuild(
        self, item: Data, index: int, stripe: Stripe, lost: Sequence[int]
    ) -> dict[int, memoryview]:
        """The whole `lost` shards of a stripe, from any k others; QuorumLost."""
        one = _Stripe(item, index, stripe, None, False)
        return await self._rebuild(one, lost, 0, one.shard_bytes, {})

    def _stripe(self, wanted: StripeRange) -> Stripe:
        row = self._locate(wanted.data.data_id, wanted.run)
        position = wanted.stripe % STRIPES_PER_RUN
        if row is None or position >= len(row.stripes):
            raise ShardMissing(
                f"no location row for stripe {wanted.stripe} of data {wanted.data.data_id.hex()}"
            )
        return row.stripes[position]

    async def _read(
        self, wanted: StripeRange, row: Stripe, patience: float | None, hurry: bool
    ) -> Pieces:
        """Shards that are too slow are rebuilt from others."""
        stripe = _Stripe(wanted.data, wanted.stripe, row, patience, hurry)
        ranges = list(layout.shard_ranges(row.stripe_bytes, row.k, wanted.start, wanted.stop))
        fetched = await self._fetch(stripe, ranges)
        if fetched is not None and len(fetched.parts) == len(ranges):
            pieces = fetched.whole()
            if pieces is not None:
                return pieces
        return await self._degraded(stripe, ranges, _got(fetched))

    async def _degraded(
        self, stripe: _Stripe, ranges: Sequence[ShardRange], got: dict[int, memoryview]
    ) -> Pieces:
        """The same where not all of the shards have come."""
        self._counters.stripes_degraded += 1
        missing = [part for part in ranges if part.shard not in got]
        start = min(part.start for part in missing) // BLOCK_BYTES * BLOCK_BYTES
        stop = max(part.stop for part in missing)
        known = {
            part.shard: got[part.shard][start - part.start : stop - part.start]
            for part in ranges
            if part.shard in got and part.start <= start and part.stop >= stop
        }
        lost = tuple(part.shard for part in missing)
        rebuilt = await self._rebuild(stripe, lost, start, stop, known)
        for part in missing:
            got[part.shard] = rebuilt[part.shard][part.start - start : part.stop - start]
        return [got[part.shard] for part in ranges]

    async def _fetch(self, stripe: _Stripe, ranges: Sequence[ShardRange]) -> Fetched | None:
        """What of `ranges` can be read in time; None if none of them is anywhere."""
        shards = stripe.row.shards
        parts = []
        for shard, start, stop in ranges:
            location = shards[shard]
            if location is not None:
                parts.append(Part(shard, place_of(location), start, stop))
        if not parts:
            return None
        identity = stripe_identity(stripe.item, stripe.index, stripe.row)
        hurry_s = stripe.patience if stripe.hurry else None
        fetched = self._disks.fetch(identity, stripe.shard_bytes, parts, hurry_s)
        if fetched.left:
            clock = asyncio.get_running_loop().time
            began = clock()
            await fetched.wait(stripe.patience)
            self._patience.learn(clock() - began)
            self._counters.reads_hedged += fetched.left
        for fault in fetched.faults.values():
            if isinstance(fault, DiskSlow):
                self._counters.reads_hedged += 1
            else:
                self._counters.fault(fault)
        return fetched

    async def _rebuild(
        self,
        stripe: _Stripe,
        lost: Sequence[int],
        start: int,
        stop: int,
        known: dict[int, memoryview],
    ) -> dict[int, memoryview]:
        """Bytes start..stop of the `lost` shards, from any k others; `known` is already read."""
        row = stripe.row
        sources = dict(known)
        untried = [
            shard
            for shard in range(row.k + row.m)
            if shard not in sources and shard not in lost and row.shards[shard] is not None
        ]
        while len(sources) < row.k and untried:
            batch = untried[: row.k - len(sources)]
            del untried[: len(batch)]
            ranges = [ShardRange(shard, start, stop) for shard in batch]
            sources |= _got(await self._fetch(stripe, ranges))
        if len(sources) < row.k:
            raise QuorumLost(
                f"{len(sources)} of the {row.k} shards needed for stripe {stripe.index} of data "
                f"{stripe.item.data_id.hex()} can be read now"
            )
        out = {shard: memoryview(bytearray(stop - start)) for shard in lost}
        work = (Geometry(row.k, row.m), sources, tuple(lost), tuple(out.values()))
        if stop - start < OFFLOAD_BYTES_MIN:
            self._codec.rebuild(*work)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._codec.rebuild, *work)
        return out


def _got(fetched: Fetched | None) -> dict[int, memoryview]:
    """What has come, by shard index."""
    got: dict[int, memoryview] = {}
    for position, part in enumerate(fetched.parts if fetched is not None else ()):
        piece = fetched.got(position) if fetched is not None else None
        if piece is not None:
            got[part.shard] = piece
    return got


class ItemCheck:
    """The digest of one data id's bytes, when a read covers all of them in order."""

    def __init__(self) -> None:
        self._hasher = xxhash.xxh3_128()
        self._next = 0

    def take(self, wanted: StripeRange, pieces: Pieces) -> None:
        """Account for the bytes of one stripe range; ShardCorrupt when the item is not itself."""
        item = wanted.data
        begin = wanted.stripe * item.stripe_bytes + wanted.start
        if begin == 0:
            self._hasher.reset()
            self._next = 0
        if begin != self._next:
            return
        for piece in pieces:
            self._hasher.update(piece)
        self._next += wanted.stop - wanted.start
        if self._next == item.size and item.digest and self._hasher.digest() != item.digest:
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
        if self._left is None:
            return None
        if not self.slow and self._budget.try_take(_size(self._left)):
            return self._pass(self._left)
        step = self._left.start // READ_STEP_BYTES_MIN + 1
        wanted = self._left._replace(stop=min(self._left.stop, step * READ_STEP_BYTES_MIN))
        self._budget.force(_size(wanted))
        return self._pass(wanted)

    def ahead(self) -> StripeRange | None:
        """The next step if it is a whole one; its bytes taken."""
        if self._left is None or self.slow or not self._budget.try_take(_size(self._left)):
            return None
        return self._pass(self._left)

    def give(self, wanted: StripeRange | None) -> None:
        """Its bytes are not needed any more."""
        if wanted is not None:
            self._budget.give(_size(wanted))

    def _pass(self, wanted: StripeRange) -> StripeRange:
        assert self._left is not None
        rest = self._left._replace(start=wanted.stop)
        self._left = rest if _size(rest) else next(self._ranges, None)
        return wanted


def _size(wanted: StripeRange) -> int:
    return wanted.stop - wanted.start


async def read_range(
    stripes: StripeReader, budget: Budget, data: Sequence[Data], start: int, stop: int
) -> AsyncGenerator[Pieces, None]:
    """Bytes start..stop of an object made of `data`, one step's pieces at a time.

    Must be started by the caller (`anext`) before it answers, so that what cannot be read is an
    error and not a broken answer.
    """
    loop = asyncio.get_running_loop()
    check = ItemCheck()
    steps = Steps(budget, layout.stripe_ranges(data, start, stop))
    reading: asyncio.Task[Pieces] | None = None
    wanted = steps.next()
    ahead: StripeRange | None = None
    try:
        while wanted is not None:
            pieces = await (reading or stripes.read(wanted))
            reading = None
            ahead = steps.ahead()
            if ahead is not None:
                reading = loop.create_task(stripes.read(ahead))
            check.take(wanted, pieces)
            handed = loop.time()
            yield pieces
            del pieces
            steps.slow = loop.time() - handed > CLIENT_SLOW_S
            steps.give(wanted)
            wanted, ahead = ahead, None
            if wanted is None:
                wanted = steps.next()
    finally:
        if reading is not None:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        steps.give(wanted)
        steps.give(ahead)
