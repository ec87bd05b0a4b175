"""Appending to one disk: its open segment, what waits for one, sealing.

```
            append: no segment          created               full, seal()        seal synced
  (none) ----------------------> creating ------> open ----------------> retiring ------> sealed
                                    |               | a write or sync failed |
                                    v               v                        v
                                 failed            dead: never touched again, closed when idle,
                                                   read back if it had answered something
```

Invariants: one open segment per disk, its records contiguous in the order they were given out
(I3). What a dead segment had not answered fails; somebody above rewrites it elsewhere. A segment
is pinned once per record given out, until the record fails or `unpin` says that it is decided (I5).
Every record is answered once. All of this runs on the event loop; nothing here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
from asyncio import Future
from collections import deque
from dataclasses import dataclass
from functools import partial

from s3node.base.errors import DiskFull, StorageFault
from s3node.base.filesystem import FileSystem, Usage, write_all
from s3node.store import record, seal, segment
from s3node.store.checked import CRC_BYTES
from s3node.store.disks import SEGMENTS
from s3node.store.engine import Completion, File, Lane, Write, fault_from, fault_of
from s3node.store.limits import SECTOR
from s3node.store.record import Heads
from s3node.store.seams import Answered, DiskState, Place, Records
from s3node.store.segment import SegmentHeader
from s3node.store.state import Context, Disk

CRC_AT = record.HEADER_BYTES - CRC_BYTES


@dataclass(slots=True, eq=False)
class OpenSegment:
    """A segment that is written, or was until its seal is on the platter."""

    id: int
    file: File
    closed: Future[None]
    end: int = SECTOR
    count: int = 0
    chain: int = 0
    in_flight: int = 0
    answered: int = 0  # where what was answered ends
    dead: bool = False
    retiring: bool = False
    finishing: bool = False


class Appending:
    """Shards of one stripe on their way to the disks, and who is told of each."""

    __slots__ = ("answered", "heads", "padding", "records", "size")

    def __init__(self, records: Records, sequence: int, answered: Answered) -> None:
        record.assert_packable(records)
        self.records = records
        self.heads = Heads(records, sequence)
        self.answered = answered
        self.size = record.record_bytes(records.payload_bytes, len(records.hint))
        used = record.payload_start(records.payload_bytes) + records.payload_bytes
        self.padding = records.hint + bytes(self.size - used - len(records.hint))


class _Append:
    """One record: to which disk, and, once it has a place, where."""

    __slots__ = ("known", "of", "offset", "segment", "shard", "writer")
    segment: OpenSegment
    offset: int

    def __init__(self, writer: SegmentWriter, of: Appending, shard: int) -> None:
        self.writer = writer
        self.of = of
        self.shard = shard
        self.known = False  # who asked has been told

    def answer(self, outcome: Place | StorageFault) -> None:
        """Tell who asked."""
        self.known = True
        self.of.answered(self.shard, outcome)

    def done(self, completion: Completion) -> None:
        """The engine has written and synced it, or failed to."""
        self.writer.wrote(self, completion)


def create_segment(fs: FileSystem, disk_path: str, header: SegmentHeader) -> tuple[int, Usage]:
    """A new segment file, durable with its name: its descriptor, and the disk's room."""
    directory = f"{disk_path}/{SEGMENTS}"
    path = f"{directory}/{segment.file_name(header.segment)}"
    fd = fs.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        write_all(fs, fd, segment.pack(header), 0)
        fs.fdatasync(fd)
        fs.fsync_dir(directory)
        return fd, fs.usage(disk_path)
    except OSError:
        fs.close(fd)
        with contextlib.suppress(OSError):  # it holds nothing; a leftover is told by its header
            fs.unlink(path)
        raise


class SegmentWriter:
    """All appends to one disk."""

    def __init__(self, disk: Disk, context: Context) -> None:
        self.disk = disk
        self.pins: dict[int, int] = {}
        self.suspects: dict[int, int] = {}  # segment: where what it had answered ends
        self.queued_bytes = 0
        self._context = context
        self._open: OpenSegment | None = None
        self._retiring: set[OpenSegment] = set()
        self._creating: Future[tuple[int, Usage]] | None = None
        self._creating_in_vain = False
        self._waiting: deque[_Append] = deque()
        self._flying: dict[int, _Append] = {}  # by token: given to the engine

    def append(self, of: Appending, shard: int, out: list[Write]) -> None:
        """Give the record its place, now or when there is a segment; writes go to `out`."""
        one = _Append(self, of, shard)
        fault = self.refusal(of.size)
        if fault:
            self._context.loop.call_soon(one.answer, fault)
            return
        self.queued_bytes += of.size
        if self._creating is None and self._open and self._fits(self._open, of.size):
            out.append(self._place(self._open, one))
        else:
            self._waiting.append(one)
            self._roll()

    def refusal(self, size: int = 0) -> StorageFault | None:
        """Why a record of `size` bytes cannot be appended now."""
        if self.disk.state is not DiskState.ONLINE:
            return self.disk.refusal()
        limits, (total, free) = self._context.limits, self.disk.usage
        if free - self.queued_bytes - size < limits.reserve(total):
            return DiskFull(f"slot {self.disk.slot}: {free} bytes free")
        return None

    def unpin(self, segment_id: int) -> None:
        """One record of the segment is decided."""
        count = self.pins.pop(segment_id, 0)
        assert count > 0, "unpinned more often than pinned"
        if count > 1:
            self.pins[segment_id] = count - 1

    def abandon(self) -> None:
        """Seal nothing that is written, nor touch one being made: the disk was away, or failed."""
        self._creating_in_vain = self._creating is not None
        for one in self._retiring:
            one.dead = True
        if self._open:
            self._open.dead = True
            self._retire(self._open)

    def give_up(self, fault: StorageFault) -> None:
        """Tell whoever waits; what the disk may yet do of it is garbage.

        Not even whole: from now on its memory may be used for something else.
        """
        self.abandon()
        self._fail_waiting(fault)
        for one in list(self._flying.values()):
            if not one.known:
                one.answer(fault)

    def live(self) -> set[int]:
        """Segments that are still written, or not yet sealed."""
        found = {one.id for one in self._retiring}
        return found | {self._open.id} if self._open else found

    async def seal(self) -> None:
        """Seal what is open and wait until nothing is under way."""
        while self._creating or self._open or self._retiring:
            if self._creating:
                with contextlib.suppress(OSError):  # told to those who wait for the segment
                    await self._creating
                continue
            if self._open:
                self._retire(self._open)
            for one in list(self._retiring):
                await one.closed

    # ---- segments come and go

    def _fits(self, one: OpenSegment, size: int) -> bool:
        """A segment takes at least one record, however small it is told to be."""
        end = one.end + size + seal.LAYOUT.size
        return end <= self._context.limits.segment_bytes or not one.count

    def _roll(self) -> None:
        """Have a new segment made; the one that is full goes."""
        if self._creating:
            return
        if self._open:
            self._retire(self._open)
        assert self.disk.identity is not None, "a disk without identity is not written"
        context = self._context
        header = SegmentHeader(
            self.disk.identity.deployment_id,
            self.disk.identity.disk_id,
            context.ids.segment_id(),
            context.ids.epoch,
            context.clock.wall_ms(),
        )
        work = partial(create_segment, context.fs, self.disk.path, header)
        self._creating = context.run(self.disk.slot, Lane.WRITE, work)
        self._creating.add_done_callback(partial(self._created, header.segment))

    def _created(self, segment_id: int, made: Future[tuple[int, Usage]]) -> None:
        self._creating = None
        error = made.exception()
        if error is not None:
            self._creating_in_vain = False
            fault = fault_from(error, f"slot {self.disk.slot}: a new segment")
            self.disk.write_failed(getattr(error, "errno", None) or 0, 0, proven=False)
            self._fail_waiting(fault)
            return
        fd, self.disk.usage = made.result()
        limits, context = self._context.limits, self._context
        file = context.attach(
            fd,
            SECTOR,
            step_min=limits.allocate_min_bytes,
            step_max=limits.allocate_max_bytes,
            limit=limits.segment_bytes,
        )
        if file is None:
            self._fail_waiting(fault_of(errno.ENOMEM, f"slot {self.disk.slot}: a new segment"))
            return
        self._open = OpenSegment(segment_id, file, context.loop.create_future())
        if self._creating_in_vain:  # it may lie on what was at the path before
            self._creating_in_vain = False
            self.abandon()
            if self._waiting:
                self._roll()
            return
        refusal = self.disk.refusal()
        if refusal:  # the disk failed or was fenced while the file was made
            self._fail_waiting(refusal)
            return
        out: list[Write] = []
        while self._waiting and self._fits(self._open, self._waiting[0].of.size):
            out.append(self._place(self._open, self._waiting.popleft()))
        context.submit(out)
        if self._waiting:
            self._roll()

    def _fail_waiting(self, fault: StorageFault) -> None:
        failed, self._waiting = self._waiting, deque()
        self.queued_bytes -= sum(one.of.size for one in failed)
        for one in failed:
            self._context.loop.call_soon(one.answer, fault)

    # ---- records

    def _place(self, segment: OpenSegment, one: _Append) -> Write:
        """Give a record the next offset of the open segment."""
        assert self.disk.identity is not None, "a disk without identity is not written"
        of, slot, offset = one.of, self.disk.slot, segment.end
        head = of.heads.pack(one.shard, self.disk.identity.disk_id, segment.id, offset)
        one.segment, one.offset = segment, offset
        segment.end = offset + of.size
        segment.count += 1
        segment.chain = seal.extend(segment.chain, head[CRC_AT : record.HEADER_BYTES])
        segment.in_flight += 1
        self.pins[segment.id] = self.pins.get(segment.id, 0) + 1
        token = self._context.expect(slot, one.done)
        self._flying[token] = one
        span = of.records.span(one.shard)
        return Write(
            token, slot, segment.file, offset, head, of.records.payloads, *span, of.padding
        )

    def wrote(self, one: _Append, completion: Completion) -> None:
        """A record is on the platter, or will never be."""
        segment, size = one.segment, one.of.size
        segment.in_flight -= 1
        self.queued_bytes -= size
        del self._flying[completion.token]
        if completion.error:
            self.unpin(segment.id)
            self._died(segment, completion)
            if not one.known:
                one.answer(fault_of(completion.error, f"slot {self.disk.slot}"))
        else:
            total, free = self.disk.usage
            self.disk.usage = Usage(total, free - size)
            if one.known:  # given up: nobody will decide it
                self.unpin(segment.id)
            else:
                segment.answered = max(segment.answered, one.offset + size)
                one.answer(Place(self.disk.slot, segment.id, one.offset))
        if segment.retiring:
            self._settle(segment)

    def _died(self, one: OpenSegment, completion: Completion) -> None:
        if one.dead:
            return
        one.dead = True
        self.disk.write_failed(completion.error, completion.stage, one.answered > 0)
        self._retire(one)
        refusal = self.disk.refusal()
        if refusal:
            self._fail_waiting(refusal)

    # ---- the end of a segment

    def _retire(self, one: OpenSegment) -> None:
        """No more records for it; sealed, or only closed if it is dead, once it is idle."""
        if one.retiring:
            return
        one.retiring = True
        self._retiring.add(one)
        if self._open is one:
            self._open = None
        self._settle(one)

    def _settle(self, one: OpenSegment) -> None:
        if not one.retiring or one.in_flight:
            return
        if one.dead:
            self._finish(one, cut=None)
            return
        assert self.disk.identity is not None, "a disk without identity is not written"
        what = seal.Seal(self.disk.identity.disk_id, one.id, one.end, one.count, one.chain)
        one.in_flight += 1
        token = self._context.expect(self.disk.slot, partial(self._sealed, one))
        write = Write(token, self.disk.slot, one.file, one.end, seal.pack(what))
        self._context.submit([write])

    def _sealed(self, one: OpenSegment, completion: Completion) -> None:
        one.in_flight -= 1
        if completion.error:
            self._died(one, completion)
        self._finish(one, cut=None if one.dead else one.end + seal.LAYOUT.size)

    def _finish(self, one: OpenSegment, cut: int | None) -> None:
        """Close the file; `cut` is the size of one that was sealed."""
        if one.finishing:
            return
        one.finishing = True
        context = self._context
        fd = one.file.fd
        context.engine.detach(one.file)

        def work() -> None:
            try:
                if cut is not None:
                    context.fs.ftruncate(fd, cut)
            finally:
                context.fs.close(fd)

        closing = context.run(self.disk.slot, Lane.WRITE, work)
        closing.add_done_callback(partial(self._closed, one))

    def _closed(self, one: OpenSegment, closing: Future[None]) -> None:
        error = closing.exception()
        if isinstance(error, OSError):  # the cut can wait for a scan
            self.disk.write_failed(error.errno or 0, 0, proven=True)
        if one.answered and (one.dead or error is not None):
            self.suspects[one.id] = one.answered
        self._retiring.discard(one)
        one.closed.set_result(None)
