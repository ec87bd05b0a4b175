"""ObjectStore: bytes in, bytes out. The face of this layer, and where faults become answers.

written = await store.write(pieces, update, length)      # on a write quorum, not visible
await kv.write(lambda tx: store.stage(tx, written) ...)  # visible, by one transaction (I2)
store.release(written)                                   # whatever the outcome was
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor

from ec import Geometry, NativeCodec
from s3node.base.arena import Arena
from s3node.base.clock import Clock
from s3node.base.crc64 import Crc64
from s3node.base.errors import StorageFault
from s3node.base.ids import EpochIds
from s3node.base.limits import INLINE_BYTES_MAX, READ_BUFFER_BYTES, WRITE_BUFFER_BYTES
from s3node.base.md5 import Md5
from s3node.meta import tables
from s3node.meta.kv import Kv, WriteTx
from s3node.model.rows import LocationRow, PartRow, VersionRow
from s3node.objects import layout
from s3node.objects.backlog import Backlog
from s3node.objects.budget import Budget
from s3node.objects.coding import Streams, Update
from s3node.objects.counters import ObjectCounters
from s3node.objects.faults import as_s3_error
from s3node.objects.hashing import SharedHashing
from s3node.objects.read import Pieces, StripeReader
from s3node.objects.reading import Held, Reading
from s3node.objects.repair import Repairer, fill
from s3node.objects.write import ObjectWriter, Written, owed_row, write_inline
from s3node.store.seams import ShardDisks

_log = logging.getLogger(__name__)


class ObjectStore:
    """Everything that ops may do with the bytes of objects."""

    def __init__(
        self,
        kv: Kv,
        disks: ShardDisks,
        codec: NativeCodec,
        geometry: Geometry,
        ids: EpochIds,
        clock: Clock,
        threads: Executor,
        hashing: SharedHashing,
        sequence: Callable[[], int],
        arena: Arena,
        write_bytes: int = WRITE_BUFFER_BYTES,
        read_bytes: int = READ_BUFFER_BYTES,
    ) -> None:
        """`sequence` tells the last committed one of the journal; records carry it.

        `arena` holds stripes that are written: larger than `write_bytes`, for its gaps.
        """
        self.geometry = geometry
        self.counters = ObjectCounters()
        self.writing = Budget(write_bytes)
        self.reading = Budget(read_bytes)
        self._kv = kv
        self._disks = disks
        self._codec = codec
        self._ids = ids
        self._clock = clock
        self._hashing = hashing
        self._backlog = Backlog(write_bytes)
        self._sequence = sequence
        self._arena = arena
        self._late: set[asyncio.Task[None]] = set()
        self._broken: BaseException | None = None
        self._reader = StripeReader(disks, codec, threads, self._locate, self.counters)
        self.repairer = Repairer(kv, disks, self._reader, clock)

    async def write(
        self,
        pieces: AsyncIterator[memoryview],
        update: Update | None,
        length: int,
        *,
        md5: Md5 | None = None,
        crc64: Crc64 | None = None,
        inline: bool = True,
        exact: bool = True,
    ) -> Written:
        """Put `length` bytes on a write quorum of disks. Nothing is visible yet.

        Unless it is `exact`, that is the most that may come, and more than goes to a row.

        `md5` and `crc64` take every byte in order, together with those of other requests, possibly
        in a worker thread; so does `update`, which is called there. Without
        `inline` they get a data id however few they are: a part is never in its row.
        """
        streams = Streams(md5 or Md5(), crc64, update)
        try:
            if inline and exact and length <= INLINE_BYTES_MAX:
                written = await write_inline(self._disks, self.geometry, pieces, length, streams)
            else:
                written = await self._write_stripes(pieces, length, streams, exact)
        except StorageFault as fault:
            raise as_s3_error(fault) from fault
        self.counters.objects_written += 1
        self.counters.bytes_written += written.size
        self.counters.bytes_copied += written.size
        return written

    async def _write_stripes(
        self,
        pieces: AsyncIterator[memoryview],
        length: int,
        streams: Streams,
        exact: bool,
    ) -> Written:
        self._disks.set_sequence(self._sequence())
        writer = ObjectWriter(
            self._disks,
            self._codec,
            self.geometry,
            self.writing,
            self._arena,
            self._hashing,
            self._backlog,
            self._ids.data_id(),
            streams,
        )
        written = await writer.run(pieces, length, exact=exact)
        self.counters.stripes_written += len(written.stripes)
        self.counters.shards_owed += sum(one.places.count(None) for one in written.stripes)
        return written

    def stage(self, tx: WriteTx, written: Written) -> None:
        """Location rows, and what they owe, into the transaction that makes it visible (I1)."""
        if written.data is None:
            return
        now_ms = self._clock.wall_ms()
        for run, row in written.location_rows().items():
            tables.put_locations(tx, written.data.data_id, run, row)
            owed = owed_row(run, row, now_ms)
            if owed is not None:
                tables.put_owed(tx, written.data.data_id, run, owed)

    def release(self, written: Written) -> None:
        """The decision is made, either way; late shards are entered when they arrive."""
        if written.stragglers:
            task = asyncio.get_running_loop().create_task(self._await_late(written))
            self._late.add(task)
            task.add_done_callback(self._late_ended)
        else:
            for stripe in written.stripes:
                stripe.unpin()
        if written.upload is not None:
            written.upload.end()

    async def read(self, row: VersionRow | PartRow, start: int, stop: int) -> AsyncIterator[Pieces]:
        """Bytes start..stop of a version or part, verified, in order.

        What cannot be read is an S3Error here, before anything is answered; later it is raised
        by the iterator, and the answer must be cut off.
        """
        assert 0 <= start <= stop <= row.size
        if start == stop:
            return Held()
        if row.inline is not None:
            return Held(memoryview(row.inline)[start:stop])
        data = row.data if isinstance(row, VersionRow) else (row.data,)
        assert all(item is not None for item in data), "a row names its bytes"
        items = [item for item in data if item is not None]
        ranges = layout.stripe_ranges(items, start, stop)
        reading = Reading(self._reader, self.reading, self.counters, ranges)
        await reading.begin()
        return reading

    def failed(self) -> BaseException | None:
        """The broken invariant that ended the entering of late shards, if one did."""
        return self._broken

    async def close(self) -> None:
        """Wait for late shards to be entered."""
        if self._late:
            await asyncio.gather(*self._late, return_exceptions=True)

    async def _await_late(self, written: Written) -> None:
        """Enter what arrives late; a task of its own, for no request waits for it."""
        assert written.data is not None, "only stripes have stragglers"
        for stripe in written.stripes:
            await asyncio.shield(stripe.complete)
        for run, found in written.arrived().items():
            try:
                await fill(self._kv, written.data.data_id, run, found, self._clock.wall_ms())
            except StorageFault as fault:
                _log.warning("late shards stay owed until the next repair: %s", fault)
        for stripe in written.stripes:
            stripe.unpin()

    def _late_ended(self, task: asyncio.Task[None]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            self._broken = self._broken or task.exception()

    def _locate(self, data_id: bytes, run: int) -> LocationRow | None:
        return self._kv.read(lambda tx: tables.get_locations(tx, data_id, run))
