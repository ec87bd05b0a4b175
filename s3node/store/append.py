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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from s3node.base.errors import DiskFull, StorageFault
from s3node.base.filesystem import FileSystem, Usage, write_all
from s3node.store import record, seal, segment
from s3node.store.checked import CRC_BYTES
from s3node.store.disks import SEGMENTS
from s3node.store.engine import (
    Append,
    Completion,
    File,
    Lane,
    Room,
    Target,
    Write,
    fault_from,
    fault_of,
)
from s3node.store.limits import SECTOR
from s3node.store.record import Heads
from s3node.store.seams import Answered, DiskState, Place, Records
from s3node.store.segment import SegmentHeader
from s3node.store.state import Context, Disk


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
    """Shards of one stripe on their way to the disks, and who is told of them.

    Its records are known by their position in what was asked for; sets of them are bits.
    """

    __slots__ = (
        "_context",
        "answered",
        "flying",
        "heads",
        "left",
        "offsets",
        "records",
        "segments",
        "shards",
        "since",
        "size",
        "tail",
        "token",
        "told",
        "writers",
    )

    def __init__(
        self,
        context: Context,
        records: Records,
        writers: Sequence[SegmentWriter],
        shards: Sequence[int],
        answered: Answered,
    ) -> None:
        record.assert_packable(records)
        self._context = context
        self.records = records
        self.writers = writers
        self.shards = shards
        self.answered = answered
        self.heads = Heads(records, context.sequence)
        self.size = record.record_bytes(records.payload_bytes, len(records.hint))
        used = record.payload_start(records.payload_bytes) + records.payload_bytes
        self.tail = records.hint + bytes(self.size - used - len(records.hint))
        count = len(shards)
        assert count, "of nothing nobody would hear again"
        self.segments: list[OpenSegment | None] = [None] * count
        self.offsets = [0] * count
        self.since = [0] * count  # how many looks there had been when they were given to a disk
        self.token = context.expect_records(self, count)  # of the first; the others' follow
        self.left = count  # of which the last has not been heard
        self.flying = 0  # given to the engine, and not completed
        self.told = 0  # who asked knows

    def begin(self) -> None:
        """Give each record its place, now or when its disk has a segment."""
        refused: list[tuple[int, StorageFault]] = []
        targets: list[Target] = []
        for position, writer in enumerate(self.writers):
            if writer.ready(self.size):
                targets.append(writer.place(self, position))
            elif fault := writer.refusal(self.size):
                refused.append((position, fault))
                self.left -= 1
            else:
                writer.wait(self, position)
        if targets:
            self.hand_over(targets)
        if refused:
            self._context.loop.call_soon(self.tell, refused)
            self._context.forget(self.token)

    def hand_over(self, targets: Sequence[Target]) -> None:
        """Records that have their place go to the engine."""
        append = Append(self.records, self.heads, self.tail, targets)
        self._context.append(self, append)

    def tell(self, outcomes: Sequence[tuple[int, Place | StorageFault]]) -> None:
        """Tell who asked, by position."""
        for position, _ in outcomes:
            self.told |= 1 << position
        self.answered([(self.shards[position], outcome) for position, outcome in outcomes])

    def fail(self, positions: Sequence[int], fault: StorageFault) -> None:
        """These never come to a disk."""
        self.left -= len(positions)
        self.tell([(position, fault) for position in positions])
        self._context.forget(self.token)

    def packed(self, targets: Sequence[Target], crcs: Sequence[int]) -> None:
        """The engine has made these records; the CRCs of their headers go into the seals."""
        for target, crc in zip(targets, crcs, strict=True):
            segment = self.segments[target.token - self.token]
            assert segment is not None, "it has a place"
            segment.chain = seal.extend(segment.chain, crc.to_bytes(CRC_BYTES, "little"))

    def done(self, completions: Sequence[Completion]) -> None:
        """The engine has written and synced these, or failed to."""
        outcomes: list[tuple[int, Place | StorageFault]] = []
        for completion in completions:
            position = completion.token - self.token
            self.flying &= ~(1 << position)
            self.left -= 1
            outcome = self.writers[position].wrote(self, position, completion)
            if outcome is not None:
                outcomes.append((position, outcome))
        if outcomes:
            self.tell(outcomes)

    def silent(self) -> Iterator[tuple[int, int]]:
        """Slots that have not completed what they were given, and since how many looks."""
        for position, writer in enumerate(self.writers):
            if self.flying >> position & 1:
                yield writer.disk.slot, self.since[position]

    def give_up(self, slot: int, fault: StorageFault) -> None:
        """Nobody waits for this disk any more."""
        waited = self.flying & ~self.told
        found = [
            (position, fault)
            for position, writer in enumerate(self.writers)
            if writer.disk.slot == slot and waited >> position & 1
        ]
        if found:
            self.tell(found)


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
        self._context = context
        self._room = context.limits.segment_bytes - seal.LAYOUT.size  # of a segment, for records
        self._open: OpenSegment | None = None
        self._retiring: set[OpenSegment] = set()
        self._creating: Future[tuple[int, Usage]] | None = None
        self._creating_in_vain = False
        self._waiting: deque[tuple[Appending, int]] = deque()

    def refusal(self, size: int = 0) -> StorageFault | None:
        """Why a record of `size` bytes cannot be appended now."""
        disk = self.disk
        if disk.state is not DiskState.ONLINE:
            return disk.refusal()
        if disk.room < size:
            return DiskFull(f"slot {disk.slot}: {disk.room + disk.reserve} bytes free")
        return None

    def ready(self, size: int) -> bool:
        """Nothing is refused, and there is a segment that takes so much now."""
        disk, one = self.disk, self._open
        return (
            disk.state is DiskState.ONLINE
            and disk.room >= size
            and self._creating is None
            and one is not None
            and self._fits(one, size)
        )

    def wait(self, of: Appending, position: int) -> None:
        """Have a record wait for a segment."""
        self.disk.take(of.size)
        self._waiting.append((of, position))
        self._roll()

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
        for of in self._context.flying():
            of.give_up(self.disk.slot, fault)

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
        return one.end + size <= self._room or not one.count

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
        try:
            self._creating = context.run(self.disk.slot, Lane.WRITE, work)
        except (RuntimeError, MemoryError) as fault:  # no thread for it: not the disk's fault
            reason = f"slot {self.disk.slot}: a new segment: {fault or 'no memory'}"
            self._fail_waiting(StorageFault(reason))
            return
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
        fd, usage = made.result()
        self.disk.has_room(usage, self._context.limits)
        limits, context = self._context.limits, self._context
        room = Room(limits.allocate_min_bytes, limits.allocate_max_bytes, limits.segment_bytes)
        file = context.attach(fd, SECTOR, room, direct=True)
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
        while self._waiting and self._fits(self._open, self._waiting[0][0].size):
            of, position = self._waiting.popleft()
            self.disk.ended(of.size, written=False)  # it is taken anew with its place
            of.hand_over([self.place(of, position)])
        if self._waiting:
            self._roll()

    def _fail_waiting(self, fault: StorageFault) -> None:
        failed, self._waiting = self._waiting, deque()
        for of, position in failed:
            self.disk.ended(of.size, written=False)
            self._context.loop.call_soon(of.fail, [position], fault)

    # ---- records

    def place(self, of: Appending, position: int) -> Target:
        """Give a record the next offset of the open segment."""
        segment, identity = self._open, self.disk.identity
        assert segment is not None and identity is not None, "ready"
        offset = segment.end
        of.segments[position], of.offsets[position] = segment, offset
        of.since[position] = self._context.looks
        of.flying |= 1 << position
        segment.end = offset + of.size
        segment.count += 1
        segment.in_flight += 1
        self.disk.take(of.size)
        self.pins[segment.id] = self.pins.get(segment.id, 0) + 1
        payload = of.shards[position] - of.records.stripe.shard_index
        return Target(
            of.token + position,
            self.disk.slot,
            segment.file,
            segment.id,
            offset,
            payload,
            identity.disk_id,
        )

    def wrote(
        self, of: Appending, position: int, completion: Completion
    ) -> Place | StorageFault | None:
        """A record is on the platter, or will never be: what to tell, if nobody has been told."""
        segment, told = of.segments[position], of.told >> position & 1
        assert segment is not None, "it was placed"
        outcome: Place | StorageFault | None = None
        self._context.heard(self.disk.slot)
        segment.in_flight -= 1
        self.disk.ended(of.size, written=not completion.error)
        if completion.error:
            self.unpin(segment.id)
            self._died(segment, completion)
            if not told:
                outcome = fault_of(completion.error, f"slot {self.disk.slot}")
        elif told:  # given up: nobody will decide it
            self.unpin(segment.id)
        else:
            offset = of.offsets[position]
            segment.answered = max(segment.answered, offset + of.size)
            outcome = Place(self.disk.slot, segment.id, offset)
        if segment.retiring:
            self._settle(segment)
        return outcome

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
