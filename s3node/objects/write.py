"""A stream of bytes becomes stripes on a write quorum of disks.

    filling      pieces come into the stripe's buffer, received there or copied, on the loop: memory
                 of an arena, lent by the budget, and asked back when others wait and the client
                 is slow
    coding       hashed, encoded, its blocks digested, together with other requests' stripes: in a
                 thread, one stripe of an object at a time, while the next one fills
    appended     one crossing into the disk set; a shard's memory stays until its disk answered
    quorum       enough shards are on the platter: the stripe may be named by a row (I1)
    prompt       every disk answered, or is one that a write has waited for in vain before
    complete     every disk answered; what failed everywhere is owed

A shard whose disk fails goes to a spare disk that holds none of the stripe. An object that is
given up half-way leaves records that no row names: garbage of this epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ec import Geometry, NativeCodec
from s3node.base.arena import Arena, Row
from s3node.base.errors import DiskFull, EngineGone, MemoryChanged, QuorumLost, StorageFault
from s3node.base.inplace import InPlace
from s3node.base.limits import OFFLOAD_BYTES_MIN, STRAGGLER_GRACE_S
from s3node.model.rows import STRIPES_PER_RUN, Data, Location, LocationRow, OwedRow, Stripe
from s3node.objects import layout
from s3node.objects.backlog import Backlog
from s3node.objects.budget import Budget, Lease
from s3node.objects.coding import Job, Streams, run
from s3node.objects.filling import FullStripe, StripeBuffer
from s3node.objects.hashing import SharedHashing, Upload
from s3node.objects.placement import Plan, leave_out, need_room, plan_stripe, write_quorum
from s3node.store.seams import Place, Records, Shard, ShardDisks

CODE_CAUCHY = 1
"""The number of the erasure code in records and rows: Cauchy over GF(2^8), polynomial 0x11d."""

STRIPES_IN_FLIGHT_MAX = 2
"""Stripes of one object that may be waiting for their quorum while the next one fills."""

STRIPES_WHOLE_MAX = 2 * STRIPES_IN_FLIGHT_MAX
"""Of an object's last so many the memory may stay in one piece while a disk has not answered."""


class StripeWrite:
    """One stripe on its way to the disks: who has answered, who is still owed."""

    def __init__(
        self,
        disks: ShardDisks,
        plan: Plan,
        records: Records,
        row: Row,
        budget: Budget,
        backlog: Backlog,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.geometry = plan.geometry
        self.index = records.stripe.stripe_index
        self.stripe_bytes = records.stripe.stripe_bytes
        self.places: list[Place | None] = [None] * plan.geometry.n
        self.quorum: asyncio.Future[None] = loop.create_future()
        self.prompt: asyncio.Future[None] = loop.create_future()
        self.complete: asyncio.Future[None] = loop.create_future()
        self._disks = disks
        self._records: Records | None = records  # with their memory
        self._memory: Row | None = row
        self._parted = False
        self._budget = budget
        self._spares = list(plan.spares)
        self._backlog = backlog
        self._pending: dict[int, int] = {}  # shard index: the slot that is to answer
        self._needed = write_quorum(plan.geometry)
        self._synced = 0
        self._faults: list[tuple[int, StorageFault]] = []  # shard index, what befell it
        self._append(plan.sent)

    def _append(self, targets: Sequence[tuple[int, int]]) -> None:
        assert self._records is not None, "a shard is appended until it is answered"
        amount = self._records.payload_bytes
        self._disks.append(self._records, targets, self._answered)  # counted if it took them
        for slot, shard in targets:
            self._pending[shard] = slot
            self._backlog.send(slot, amount)

    def _answered(self, outcomes: Sequence[tuple[int, Place | StorageFault]]) -> None:
        assert self._memory is not None and self._records is not None, "a shard is answered once"
        amount = self._records.payload_bytes
        again: list[tuple[int, int]] = []
        for shard, outcome in outcomes:
            slot = self._pending.pop(shard)
            self._backlog.answered(slot, amount)
            if isinstance(outcome, Place):
                self._backlog.lagging.discard(slot)
                self.places[shard] = outcome
                self._synced += 1
                if self._parted:
                    self._end(shard)
            else:
                self._faults.append((shard, outcome))
                if self._spares:
                    again.append((self._spares.pop(0), shard))
        if again:
            try:
                self._append(again)
            except MemoryError:  # nobody can be asked in their place: they are missing
                again = []
        self._budget.give(amount * (len(outcomes) - len(again)))
        self._judge()

    def _too_few(self) -> StorageFault:
        """Why the quorum is out of reach: of an engine that has gone the disks know nothing."""
        faults = [fault for _, fault in self._faults]
        gone = next((fault for fault in faults if isinstance(fault, EngineGone)), None)
        told = "; ".join(sorted({str(fault) for fault in faults}))
        written = f"{self._synced} of {self._needed} shards could be written: {told}"
        full = all(isinstance(fault, DiskFull) for fault in faults)
        return gone or (DiskFull(written) if full else QuorumLost(written))

    def part(self) -> None:
        """Nobody waits for the disks that have not answered."""
        self._backlog.lagging.update(self._pending.values())
        self.loosen()

    def loosen(self) -> None:
        """What no disk is asked for is given back; else the row stays whole until all answered.

        The budget counts it as given back: one slow disk is not to hold all shards' memory.
        """
        if self._memory is not None and not self._parted:
            self._parted = True
            for shard in range(self.geometry.n):
                if shard not in self._pending:
                    self._end(shard)

    def _end(self, shard: int) -> None:
        """Its memory by itself: unless a disk failed it, before another took it, and may be
        reading it still. That ends with the last reference.
        """
        if self._memory is not None and all(failed != shard for failed, _ in self._faults):
            self._memory.end(shard)

    def _judge(self) -> None:
        if not self.quorum.done():
            if self._synced >= self._needed:
                self.quorum.set_result(None)
            elif self._synced + len(self._pending) < self._needed:
                self.quorum.set_exception(self._too_few())
        pending, lagging = self._pending, self._backlog.lagging
        if not self.prompt.done() and (
            not pending or (lagging and lagging.issuperset(pending.values()))
        ):
            self.prompt.set_result(None)
        if not pending:
            self._memory = self._records = None
            self.complete.set_result(None)

    def unpin(self) -> None:
        """The write is decided, and every disk has answered."""
        assert self.complete.done(), "a disk may still answer"
        self._disks.unpin([place for place in self.places if place is not None])

    def abandon(self) -> None:
        """Nobody waits for it, no row will name it: unpinned when every disk has answered.

        No other disk is asked in the place of one that fails.
        """
        self._spares.clear()
        self.loosen()
        self.quorum.add_done_callback(_consume)
        self.complete.add_done_callback(lambda _: self.unpin())

    def row(self) -> Stripe:
        """The stripe as far as it is on the platter now."""
        assert self._synced >= self._needed, "I1: a row needs a write quorum"
        shards = tuple(place and Location(*place) for place in self.places)
        return Stripe(self.geometry.k, self.geometry.m, self.stripe_bytes, shards, CODE_CAUCHY)


@dataclass(slots=True)
class Written:
    """What one stream of bytes became; not visible until a transaction stages it."""

    size: int
    digest: bytes  # XXH3-128 of the bytes
    inline: bytes | None = None
    data: Data | None = None
    stripes: list[StripeWrite] = field(default_factory=list)
    stragglers: bool = False  # some disks had not answered when the write was answered
    upload: Upload | None = None  # to be ended when it is decided

    def arrived(self) -> dict[int, dict[tuple[int, int], Location]]:
        """By run: where every shard is that is on the platter now, by (stripe, shard) index."""
        runs: dict[int, dict[tuple[int, int], Location]] = {}
        for stripe in self.stripes:
            found = runs.setdefault(stripe.index // STRIPES_PER_RUN, {})
            for shard, place in enumerate(stripe.places):
                if place is not None:
                    found[stripe.index, shard] = Location(*place)
        return runs

    def location_rows(self) -> dict[int, LocationRow]:
        """Location rows by run, from what is on the platter now."""
        runs: dict[int, list[Stripe]] = {}
        for stripe in self.stripes:
            runs.setdefault(stripe.index // STRIPES_PER_RUN, []).append(stripe.row())
        return {run: LocationRow(tuple(stripes)) for run, stripes in runs.items()}


def owed_stripes(run: int, row: LocationRow) -> tuple[int, ...]:
    """Indexes of the stripes of `row` that still owe shards."""
    first = run * STRIPES_PER_RUN
    return tuple(
        first + position for position, stripe in enumerate(row.stripes) if None in stripe.shards
    )


def owed_row(run: int, row: LocationRow, now_ms: int) -> OwedRow | None:
    """The row that counts what `row` owes; None when it owes nothing."""
    owed = owed_stripes(run, row)
    shards = sum(stripe.shards.count(None) for stripe in row.stripes)
    return OwedRow(now_ms, owed, shards) if owed else None


async def write_inline(
    disks: ShardDisks,
    geometry: Geometry,
    pieces: AsyncIterator[memoryview],
    length: int,
    streams: Streams,
) -> Written:
    """Bytes that go to a row, not to the disks; as `ObjectWriter.run`."""
    content = bytearray()
    async for piece in pieces:
        content += piece
    assert len(content) == length, "the payload promised another length"
    # Journal and checkpoints take it. They must keep room for deletes: what is refused to
    # large objects is refused to small ones.
    need_room(disks, geometry, length)
    inline = bytes(content)
    return Written(length, streams.whole(inline), inline=inline)


class ObjectWriter:
    """Writes one stream of bytes; made for it, and used once."""

    def __init__(
        self,
        disks: ShardDisks,
        codec: NativeCodec,
        geometry: Geometry,
        budget: Budget,
        arena: Arena,
        hashing: SharedHashing,
        backlog: Backlog,
        data_id: bytes,
        streams: Streams,
    ) -> None:
        self._disks = disks
        self._codec = codec
        self._geometry = geometry
        self._budget = budget
        self._arena = arena
        self._hashing = hashing
        self._backlog = backlog
        self._streams = streams
        self._data_id = data_id
        self._stripe_bytes = layout.stripe_bytes(geometry.k)
        self._stripes: list[StripeWrite] = []
        self._coding: asyncio.Task[None] | None = None
        self._upload = hashing.begin()
        self._given_up = False

    async def run(
        self, pieces: AsyncIterator[memoryview], length: int, *, exact: bool = True
    ) -> Written:
        """Take `length` bytes from `pieces`, or up to so many where that is not `exact`.

        Returns when all of it is on a write quorum.

        The streams take every byte in order, possibly in a worker thread. Raises what `pieces` and
        they raise, and QuorumLost or DiskFull when the disks cannot take it.
        """
        try:
            size = await self._fill(pieces, length)
            assert size == length or not exact, "the payload promised another length"
            await self._settle()
            digest = self._streams.digest()
            data = Data(self._data_id, size, self._stripe_bytes, digest=digest)
            written = Written(size, digest, data=data, stripes=self._stripes, upload=self._upload)
            written.stragglers = any(not stripe.complete.done() for stripe in self._stripes)
            self._upload.stored()
        except BaseException:
            self._upload.end()
            await self._abandon()
            raise
        return written

    async def _fill(self, pieces: AsyncIterator[memoryview], length: int) -> int:
        """How much came: `length` at the most."""
        received = 0
        buffer: StripeBuffer | None = None
        lease: Lease | None = None
        in_place = pieces if isinstance(pieces, InPlace) else None
        try:
            async for piece in pieces:
                view = memoryview(piece)
                del piece  # what is waited with must not keep a stripe's memory
                if lease is not None:
                    lease.hear()
                while view:
                    if buffer is None or lease is None:
                        size = min(self._stripe_bytes, length - received)
                        buffer, lease = await self._buffer(size)
                    if not buffer.room:
                        await lease.restore()
                        buffer.renew()
                    count = buffer.take(view)
                    received += count
                    view = view[count:]
                    if buffer.filled == buffer.size:
                        full, buffer, leased, lease = buffer, None, lease, None
                        await self._pass_on(full, leased, last=received == length)
                del view
                if lease is not None and buffer is not None:
                    if in_place is not None:
                        buffer.lend_to(in_place)
                    lease.await_client()
            if buffer is not None and lease is not None:  # less came than there was room for
                lease.hear()
                buffer.close()
                full, leased, lease = buffer, lease, None
                await self._pass_on(full, leased, last=True)
        finally:
            if in_place is not None:
                in_place.give_back()
            if lease is not None:
                lease.end()
        return received

    async def _buffer(self, size: int) -> tuple[StripeBuffer, Lease]:
        """An empty stripe, and room for its data and parity."""
        assert size > 0, "the payload is longer than it promised"
        k, n = self._geometry.k, self._geometry.n
        lease = await self._budget.lease(n * layout.shard_bytes(size, k))
        try:
            lease.memory = buffer = StripeBuffer(size, self._geometry, self._arena)
            return buffer, lease
        except BaseException:
            lease.end()
            raise

    async def _pass_on(self, buffer: StripeBuffer, lease: Lease, *, last: bool) -> None:
        """Code and append a full stripe; in the background unless it is the last."""
        work = self._code(buffer, lease, last=last)
        try:
            await lease.restore()
            buffer.renew()
            await self._coded()
            if len(self._stripes) >= STRIPES_IN_FLIGHT_MAX:
                await asyncio.shield(self._stripes[-STRIPES_IN_FLIGHT_MAX].quorum)
            if len(self._stripes) >= STRIPES_WHOLE_MAX:
                self._stripes[-STRIPES_WHOLE_MAX].loosen()
        except BaseException:
            work.close()
            lease.end()
            raise
        if last:
            await work
        else:
            self._coding = asyncio.get_running_loop().create_task(work)

    async def _coded(self) -> None:
        coding, self._coding = self._coding, None
        if coding is not None:
            await coding

    async def _code(self, buffer: StripeBuffer, lease: Lease, *, last: bool) -> None:
        index = len(self._stripes)
        try:
            writable = self._disks.writable()
            plan = plan_stripe(writable, self._geometry, self._data_id, index, buffer.size)
            plan = leave_out(plan, self._backlog.behind(plan.disks))
            full = buffer.stripe(plan.geometry)
            digests = await self._hash_and_encode(plan.geometry, full, last=last)
        except BaseException:
            lease.end()
            raise
        lease.become(len(plan.sent) * full.shard_bytes)
        k, m = plan.geometry.k, plan.geometry.m
        start = index * self._stripe_bytes
        shard = Shard(self._data_id, index, 0, k, m, CODE_CAUCHY, buffer.size, start, digests)
        records = Records(shard, full.row.whole, full.shard_bytes)
        try:
            stripe = StripeWrite(self._disks, plan, records, full.row, self._budget, self._backlog)
        except BaseException:  # nothing of it is on its way
            self._budget.give(len(plan.sent) * full.shard_bytes)
            raise
        self._stripes.append(stripe)
        if self._given_up:
            stripe.abandon()

    async def _hash_and_encode(self, geometry: Geometry, full: FullStripe, *, last: bool) -> bytes:
        """Hash and code a stripe; the digests of all its shards' blocks."""
        job = Job(self._streams, self._codec, geometry, full)
        if full.size < OFFLOAD_BYTES_MIN:
            run(job)
        else:
            await self._hashing.advance(job, self._upload if last else None)
        if job.changed:
            raise MemoryChanged(
                f"stripe of data {self._data_id.hex()} changed in memory while it was coded: "
                "test this machine's memory"
            )
        return job.digests()

    async def _settle(self) -> None:
        """Wait for every stripe's quorum, then a little for the stragglers."""
        await self._coded()
        for stripe in self._stripes:
            await asyncio.shield(stripe.quorum)
        waiting = [stripe.prompt for stripe in self._stripes if not stripe.prompt.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=STRAGGLER_GRACE_S)
        for stripe in self._stripes:
            if not stripe.complete.done():
                stripe.part()

    async def _abandon(self) -> None:
        """Given up: let the coding thread end; the appends answer by themselves."""
        self._given_up = True
        for stripe in self._stripes:
            stripe.abandon()
        coding, self._coding = self._coding, None
        if coding is not None:
            coding.add_done_callback(_consume)
            await asyncio.wait([coding])


def _consume(future: asyncio.Future[None]) -> None:
    """Nobody waits for this outcome any more: that it failed is not news."""
    if not future.cancelled():
        future.exception()
