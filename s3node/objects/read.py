"""A range of a stripe becomes verified bytes, around failed disks.

Per stripe: the data shards that hold the range are read and verified (I7). What cannot be read
is rebuilt from other shards of the stripe, over just the bytes that are needed, rounded to the
blocks that digests cover. When that fails the location row is read once more, for compaction or
healing may have moved the records (I11), and then it is a QuorumLost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from ec import Codec, Geometry
from s3node.base.errors import DiskSlow, QuorumLost, ShardMissing
from s3node.base.limits import READ_HEDGE_AGAIN_S, REBUILD_INLINE_BYTES_MAX
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, LocationRow, Stripe
from s3node.objects import layout
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
        b"",
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

    def parts(self, ranges: Iterable[ShardRange]) -> list[Part]:
        """Where they are; an owed shard has no place."""
        shards = self.row.shards
        return [Part(shard, shards[shard], start, stop) for shard, start, stop in ranges]

    def others(self, parts: Sequence[Part]) -> Iterator[Part]:
        """Whole shards that are somewhere and of which none of `parts` is."""
        used = {part.shard for part in parts}
        for shard, location in enumerate(self.row.shards):
            if location is not None and shard not in used:
                yield Part(shard, location, 0, self.shard_bytes)


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

    def row(self, wanted: StripeRange) -> LocationRow | None:
        """The row that says where the stripe is, as of now."""
        return self._locate(wanted.data.data_id, wanted.run)

    def at_hand(self, wanted: StripeRange, row: LocationRow | None) -> Pieces | None:
        """`read`, if nothing speaks against it and all of it is in memory: at once, or not at all.

        `row` may have been true once: a record that is where it says, and what it says, is right.
        """
        position = wanted.stripe % STRIPES_PER_RUN
        if row is None or position >= len(row.stripes):
            return None
        stripe = row.stripes[position]
        identity = stripe_identity(wanted.data, wanted.stripe, stripe)
        size = layout.shard_bytes(stripe.stripe_bytes, stripe.k)
        found = self._disks.at_hand(identity, size, stripe.shards, wanted.start, wanted.stop)
        if found is None and wanted.stop - wanted.start == stripe.stripe_bytes:
            found = self._around(identity, size, stripe)
        return None if found is None else (found,)

    def _around(self, identity: Shard, size: int, stripe: Stripe) -> memoryview | None:
        """A whole stripe without the disks that cannot be asked, if that is little work."""
        if stripe.m * size > REBUILD_INLINE_BYTES_MAX:
            return None
        patience = self._patience.seconds
        found = self._disks.at_hand_around(identity, size, stripe.shards, stripe.k, patience)
        if found is None:
            return None
        memory, sources = found
        lost = [shard for shard in range(stripe.k) if shard not in sources]
        out = [memory[shard * size : (shard + 1) * size] for shard in lost]
        self._codec.rebuild(Geometry(stripe.k, stripe.m), sources, lost, out)
        self._counters.stripes_degraded += 1
        return memory[: stripe.stripe_bytes].toreadonly()

    async def read(self, wanted: StripeRange, row: LocationRow | None) -> Pieces:
        """The bytes of one stripe range, verified; ShardMissing or QuorumLost when it cannot.

        First around what is slow; then, if too few came for all disks are busy, around what is
        slower than that; in the end for as long as it takes. That `row` may have been true once,
        too: it is looked up again before it is a failure (I11).
        """
        stripe = self._stripe(wanted, row)
        for patience, hurry in ((self._patience.seconds, True), (READ_HEDGE_AGAIN_S, False)):
            slow = self._counters.reads_hedged
            try:
                return await self._read(wanted, stripe, patience, hurry)
            except QuorumLost:
                again = self._stripe(wanted, self.row(wanted))
                if again == stripe and slow == self._counters.reads_hedged:
                    raise
                stripe = again
        return await self._read(wanted, stripe, None, False)

    async def rebuild(
        self, item: Data, index: int, stripe: Stripe, lost: Sequence[int]
    ) -> dict[int, memoryview]:
        """The whole `lost` shards of a stripe, from any k others; QuorumLost."""
        one = _Stripe(item, index, stripe, None, False)
        out = {shard: memoryview(bytearray(one.shard_bytes)) for shard in lost}
        await self._rebuild(one, out, 0, one.shard_bytes, {})
        return out

    def _stripe(self, wanted: StripeRange, row: LocationRow | None) -> Stripe:
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
        start, stop = wanted.start, wanted.stop
        parts = stripe.parts(layout.shard_ranges(row.stripe_bytes, row.k, start, stop))
        spares: Iterable[Part] = ()
        if stop - start == row.stripe_bytes:  # what they are good for is known
            spares = stripe.others(parts)
        fetched = await self._fetch(stripe, parts, spares)
        pieces = fetched.whole()
        if pieces is None:
            pieces = await self._degraded(stripe, fetched, len(parts))
        return pieces

    async def _degraded(self, stripe: _Stripe, fetched: Fetched, count: int) -> Pieces:
        """The same where not all of the first `count` parts have come."""
        self._counters.stripes_degraded += 1
        parts = fetched.parts[:count]
        missing = [i for i in range(count) if fetched.got(i) is None]
        start = min(parts[i].start for i in missing) // BLOCK_BYTES * BLOCK_BYTES
        stop = max(parts[i].stop for i in missing)
        known = {
            part.shard: piece[start - part.start : stop - part.start]
            for i, part in enumerate(fetched.parts)
            if (piece := fetched.got(i)) is not None and part.start <= start and part.stop >= stop
        }
        out: dict[int, memoryview] = {}
        direct = set()
        for i in missing:  # to where it belongs, if that is so large, and nobody writes there
            room = fetched.room(i)
            if room is not None and len(room) == stop - start:
                direct.add(i)
            else:
                room = memoryview(bytearray(stop - start))
            out[parts[i].shard] = room
        await self._rebuild(stripe, out, start, stop, known)
        for i in missing:
            _, _, begin, end = parts[i]
            room = None if i in direct else fetched.room(i)
            if room is not None:
                room[:] = out[parts[i].shard][begin - start : end - start]
            if room is not None or i in direct:
                fetched.mended(i)
        return fetched.whole() or [
            fetched.got(i) or out[part.shard][part.start - start : part.stop - start]
            for i, part in enumerate(parts)
        ]

    async def _fetch(
        self,
        stripe: _Stripe,
        parts: Sequence[Part],
        spares: Iterable[Part] = (),
    ) -> Fetched:
        """What of `parts` can be read in time."""
        fetched = self._disks.fetch(
            stripe_identity(stripe.item, stripe.index, stripe.row),
            stripe.shard_bytes,
            parts,
            stripe.patience if stripe.hurry else None,
            spares,
        )
        if fetched.left:
            clock = asyncio.get_running_loop().time
            began = clock()
            await fetched.wait(stripe.patience)
            self._patience.learn(clock() - began, fetched.left)
            self._counters.reads_hedged += fetched.left
        for position, fault in fetched.faults.items():
            if isinstance(fault, DiskSlow):
                self._counters.reads_hedged += 1
            elif fetched.parts[position].place is not None:
                self._counters.fault(fault)
        return fetched

    async def _rebuild(
        self,
        stripe: _Stripe,
        out: Mapping[int, memoryview],
        start: int,
        stop: int,
        known: Mapping[int, memoryview],
    ) -> None:
        """Bytes start..stop of the lost shards into `out`, from any k others.

        `known` is what has been read of them already.
        """
        row = stripe.row
        sources = dict(known)
        untried = [
            shard
            for shard in range(row.k + row.m)
            if shard not in sources and shard not in out and row.shards[shard] is not None
        ]
        while len(sources) < row.k and untried:
            batch = untried[: row.k - len(sources)]
            del untried[: len(batch)]
            parts = stripe.parts((shard, start, stop) for shard in batch)
            fetched = await self._fetch(stripe, parts)
            for position, shard in enumerate(batch):
                piece = fetched.got(position)
                if piece is not None:
                    sources[shard] = piece
        if len(sources) < row.k:
            raise QuorumLost(
                f"{len(sources)} of the {row.k} shards needed for stripe {stripe.index} of data "
                f"{stripe.item.data_id.hex()} can be read now"
            )
        work = (Geometry(row.k, row.m), sources, tuple(out), tuple(out.values()))
        if len(out) * (stop - start) <= REBUILD_INLINE_BYTES_MAX:
            self._codec.rebuild(*work)
        else:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._threads, self._codec.rebuild, *work)
