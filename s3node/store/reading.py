"""Reading from one disk: only what is asked for, and never an unverified byte (I7).

A read fetches the record's header and digests and the blocks that the range overlaps, in one
operation. The header must name this very record at this very place; each block must match its
digest. An engine may have found so already; what it did not is looked at here. Segment files are
read through descriptors of their own, never through the one that writes; the least recently used
are closed.
"""

from __future__ import annotations

import errno
import os
import zlib
from asyncio import Future
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

import xxhash

from s3node.base.errors import (
    DiskFailed,
    DiskOffline,
    DiskSlow,
    FormatError,
    FormatUnknown,
    ShardCorrupt,
    ShardMissing,
    StorageFault,
)
from s3node.base.filesystem import Buffer
from s3node.store import record, segment
from s3node.store.disks import SEGMENTS
from s3node.store.engine import Completion, File, Lane, Read, Stage
from s3node.store.record import BLOCK_BITS, BLOCK_BYTES
from s3node.store.seams import At, Shard
from s3node.store.state import READABLE, Context, Disk

READ_QUEUES = 2
"""What may be read from a disk at once, in `queue_bytes`: more only piles up on a slow one."""


Opened = tuple[int, bytes]
"""A file's address, as its engine has it, and the id of its disk."""


class Wanted(NamedTuple):
    """Bytes start..stop of the payload of the record at `place`."""

    place: At
    shard: Shard
    payload_bytes: int
    start: int
    stop: int

    @property
    def head(self) -> int:
        """Bytes of header and digests."""
        return record.payload_start(self.payload_bytes)

    @property
    def first(self) -> int:
        """Where in the payload the first block that is read begins."""
        return self.start & -BLOCK_BYTES

    @property
    def tail(self) -> int:
        """Bytes of payload that are read: whole blocks."""
        end = (self.stop + BLOCK_BYTES - 1) & -BLOCK_BYTES
        return min(end, self.payload_bytes) - self.first


def check(wanted: Wanted, disk_id: bytes, head: Buffer, body: Buffer, count: int) -> None:
    """Whether what was read is what was wanted; ShardMissing or ShardCorrupt.

    `head` is header and digests, `body` the blocks; `count` of all these bytes were there.
    """
    where = (
        f"slot {wanted.place.slot}, segment {wanted.place.segment:016x} at {wanted.place.offset}"
    )
    view = memoryview(head)
    if count < record.HEADER_BYTES:
        raise ShardMissing(f"{where}: the segment ends before it")
    try:
        header = record.unpack(bytes(view[: record.HEADER_BYTES]))
    except FormatUnknown:
        raise
    except FormatError as fault:
        raise ShardCorrupt(f"{where}: {fault}") from None
    if not _names(header, wanted, disk_id):
        raise ShardMissing(f"{where}: another record is there")
    if count < len(head) + len(body):
        raise ShardCorrupt(f"{where}: the segment ends within it")
    packed = view[record.HEADER_BYTES :]
    if zlib.crc32(packed) != header.digest_crc:
        raise ShardCorrupt(f"{where}: its digests are damaged")
    digests = record.unpack_digests(packed)
    _check_blocks(memoryview(body), digests, wanted.first >> BLOCK_BITS, where)


def _names(header: record.RecordHeader, wanted: Wanted, disk_id: bytes) -> bool:
    """Whether the header is of this very record, at this very place."""
    return (
        record.says(header, wanted.shard)
        and header.payload_bytes == wanted.payload_bytes
        and header.segment == wanted.place.segment
        and header.offset == wanted.place.offset
        and header.disk_id == disk_id
    )


def _check_blocks(payload: memoryview, digests: tuple[int, ...], first: int, where: str) -> None:
    for index, at in enumerate(range(0, len(payload), BLOCK_BYTES), first):
        if xxhash.xxh3_64_intdigest(payload[at : at + BLOCK_BYTES]) != digests[index]:
            raise ShardCorrupt(f"{where}: block {index} does not match its digest")


class Asked(Protocol):
    """Who asked for a part of a record (`s3node.store.fetch.Fetch`)."""

    def read_of(self, index: int, token: int, file: File, disk_id: bytes) -> Read:
        """What the engine is to do for part `index`."""

    def wanted(self, index: int) -> Wanted: ...

    def hurried(self, index: int) -> bool:
        """Whether part `index` is not worth asking the disk."""

    def flying(self, index: int, *, now: bool) -> None:
        """Whether the engine may yet write where part `index` belongs."""

    def settle(self, index: int, fault: StorageFault | None) -> None:
        """Part `index` has been read and is right, or will not come. The first time counts."""


@dataclass(slots=True, eq=False)
class _OpenFile:
    """A segment open for reading, or being opened."""

    file: File | None = None
    users: int = 0
    kept: bool = True  # for the next read
    waiting: list[tuple[Asked, int]] = field(default_factory=list)


class _Flying(NamedTuple):
    """A read that was given to the engine."""

    asked: Asked
    position: int
    one: _OpenFile
    read: Read


class SegmentReader:
    """All reads from one disk."""

    def __init__(self, disk: Disk, context: Context) -> None:
        self.disk = disk
        self._context = context
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()
        self._flying: dict[int, _Flying] = {}  # by token: given to the engine
        self._flying_bytes = 0
        self._flying_max = READ_QUEUES * context.limits.queue_bytes
        self._since: dict[int | _OpenFile, float] = {}  # when the disk was asked, oldest first

    def refusal(self) -> StorageFault | None:
        """Why nothing is read from this disk now."""
        if self.disk.state not in READABLE:
            text = f"slot {self.disk.slot} is {self.disk.state.value}: {self.disk.reason}"
            return DiskOffline(text)
        if self._flying_bytes > self._flying_max:
            text = f"slot {self.disk.slot}: {self._flying_bytes} bytes are being read already"
            return DiskOffline(text)
        return None

    def at_rest(self, segment_id: int) -> Opened | None:
        """The segment's file, unless it is not open, or anything speaks against asking the disk:
        a `refusal`, or that it has not answered yet what it was asked before.
        """
        disk, one = self.disk, self._files.get(segment_id)
        if one is None or one.file is None or self._since or disk.state not in READABLE:
            return None
        assert disk.identity is not None, "a disk without identity is not read"
        self._files.move_to_end(segment_id)
        return one.file.address, disk.identity.disk_id

    def silent_s(self) -> float:
        """For how long the disk has not answered what it was asked first."""
        if not self._since:
            return 0.0
        return self._context.loop.time() - next(iter(self._since.values()))

    def begin(self, asked: Asked, index: int, segment_id: int, token: int) -> Read | None:
        """What the engine is to do for part `index`; None when it will be told later, or never."""
        assert self.disk.identity is not None, "a disk without identity is not read"
        one = self._files.get(segment_id)
        if one is None:
            one = self._open(segment_id)
        else:
            self._files.move_to_end(segment_id)
        if one.file is None:
            if asked.hurried(index):  # not even for the file to be opened
                asked.settle(index, DiskSlow(f"slot {self.disk.slot} is slow to open a segment"))
            else:
                one.waiting.append((asked, index))
            return None
        return asked.read_of(index, token, one.file, self.disk.identity.disk_id)

    def queued(self, asked: Asked, index: int, segment_id: int, read: Read) -> None:
        """The engine took a read of `begin` and will complete it."""
        self._queue(_Flying(asked, index, self._files[segment_id], read))

    def finish(self, asked: Asked, index: int, read: Read, completion: Completion) -> None:
        """A read is complete: tell who asked what came of it."""
        try:
            self._judge(asked.wanted(index), read, completion)
        except StorageFault as fault:
            asked.settle(index, fault)
        else:
            asked.settle(index, None)

    def forget(self, segment_id: int) -> None:
        """Close the segment's file once nobody reads from it; the next read opens it again."""
        one = self._files.pop(segment_id, None)
        if one is not None:
            one.kept = False
            self._close_idle(one)

    def give_up(self, fault: StorageFault) -> None:
        """Tell whoever waits; what the disk may yet answer is thrown away."""
        waiting = [asked for one in self._files.values() for asked in one.waiting]
        for one in self._files.values():
            one.waiting.clear()
        for asked, index in [
            *waiting,
            *((one.asked, one.position) for one in self._flying.values()),
        ]:
            asked.settle(index, fault)

    def close(self) -> None:
        for segment_id in list(self._files):
            self.forget(segment_id)

    # ---- files

    def _open(self, segment_id: int) -> _OpenFile:
        one = self._files[segment_id] = _OpenFile()
        path = f"{self.disk.path}/{SEGMENTS}/{segment.file_name(segment_id)}"
        work = partial(self._context.fs.open, path, os.O_RDONLY)
        self._since[one] = self._context.loop.time()
        opening = self._context.run(self.disk.slot, Lane.READ, work)
        opening.add_done_callback(partial(self._opened, segment_id, one))
        return one

    def _opened(self, segment_id: int, one: _OpenFile, opening: Future[int]) -> None:
        waiting, one.waiting = one.waiting, []
        self._since.pop(one, None)
        error = opening.exception()
        one.file = None if error else self._context.attach(opening.result(), 0)
        if one.file is None:
            if self._files.get(segment_id) is one:
                del self._files[segment_id]
            fault = self._open_fault(segment_id, error or OSError(errno.ENOMEM, "no memory"))
            for asked, index in waiting:
                asked.settle(index, fault)
            return
        self._give_waiting(one, one.file, waiting)
        self._close_idle(one)
        self._trim()

    def _give_waiting(
        self, one: _OpenFile, file: File, waiting: Sequence[tuple[Asked, int]]
    ) -> None:
        """The file is open: now the engine is told."""
        assert self.disk.identity is not None, "a disk without identity is not read"
        disk_id = self.disk.identity.disk_id
        token = self._context.tokens(len(waiting))
        reads = [
            asked.read_of(index, number, file, disk_id)
            for number, (asked, index) in enumerate(waiting, token)
        ]
        answers = self._context.engine.read(reads)
        for (asked, index), read, answer in zip(waiting, reads, answers, strict=True):
            if answer is None:
                self._queue(_Flying(asked, index, one, read))
            else:
                self.finish(asked, index, read, answer)

    def _open_fault(self, segment_id: int, error: BaseException) -> StorageFault:
        where = f"slot {self.disk.slot}, segment {segment_id:016x}"
        if isinstance(error, FileNotFoundError):
            return ShardMissing(f"{where}: no such segment")
        if not isinstance(error, OSError):
            raise error
        self.disk.read_failed(error.errno or errno.EIO)
        return DiskFailed(f"{where}: cannot be opened: {error.strerror}")

    def _trim(self) -> None:
        excess = len(self._files) - self._context.limits.read_files
        idle = [key for key, one in self._files.items() if one.file and not one.users]
        for segment_id in idle[: max(0, excess)]:
            self.forget(segment_id)

    def _close_idle(self, one: _OpenFile) -> None:
        """Close a file that is no longer kept, when its last read is done."""
        if one.kept or one.users or one.file is None:
            return
        fd, file = one.file.fd, one.file
        one.file = None
        self._context.engine.detach(file)
        self._context.run(self.disk.slot, Lane.READ, partial(self._context.fs.close, fd))

    # ---- reads

    def _queue(self, flying: _Flying) -> None:
        token = flying.read.token
        flying.one.users += 1
        flying.asked.flying(flying.position, now=True)
        self._flying[token] = flying
        self._flying_bytes += flying.read.head_bytes + flying.read.body_bytes
        self._since[token] = self._context.loop.time()
        self._context.await_one(token, self.disk.slot, self._done)

    def _done(self, completion: Completion) -> None:
        flying = self._flying.pop(completion.token)
        flying.one.users -= 1
        flying.asked.flying(flying.position, now=False)
        self._flying_bytes -= flying.read.head_bytes + flying.read.body_bytes
        del self._since[completion.token]
        self._close_idle(flying.one)
        self.finish(flying.asked, flying.position, flying.read, completion)

    def _judge(self, wanted: Wanted, read: Read, completion: Completion) -> None:
        assert self.disk.identity is not None, "a disk without identity is not read"
        if completion.stage == Stage.VERIFIED:
            return
        if completion.error == errno.EAGAIN and read.hurry:
            raise DiskSlow(f"slot {self.disk.slot} has not answered for {self.silent_s():.3f} s")
        if completion.error:
            self.disk.read_failed(completion.error)
            name = errno.errorcode.get(completion.error, str(completion.error))
            place = wanted.place
            raise ShardCorrupt(
                f"slot {place.slot}, segment {place.segment:016x} at {place.offset}: "
                f"cannot be read: {name}"
            )
        check(wanted, self.disk.identity.disk_id, read.head, read.body, completion.got)
