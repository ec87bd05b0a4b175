"""Reading from one disk: only what is asked for, and never an unverified byte (I7).

A read fetches the record's header and digests and the blocks that the range overlaps, in one
operation. The header must name this very record at this very place; each block must match its
digest. Segment files are read through descriptors of their own, never through the one that
writes; the least recently used are closed.
"""

from __future__ import annotations

import errno
import os
import zlib
from asyncio import Future
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import xxhash

from s3node.base.errors import (
    DiskFailed,
    DiskOffline,
    FormatError,
    FormatUnknown,
    ShardCorrupt,
    ShardMissing,
    StorageFault,
)
from s3node.store import record, segment
from s3node.store.disks import SEGMENTS
from s3node.store.engine import Completion, File, Lane, Read
from s3node.store.record import BLOCK_BITS, BLOCK_BYTES
from s3node.store.seams import Place, Shard
from s3node.store.state import Context, Disk

READ_QUEUES = 2
"""What may be read from a disk at once, in queues of writes: more only piles up on a slow one."""


class Wanted(NamedTuple):
    """Bytes start..stop of the payload of the record at `place`."""

    place: Place
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


def check(wanted: Wanted, disk_id: bytes, data: bytearray, count: int) -> memoryview:
    """The bytes that were wanted out of what was read; ShardMissing or ShardCorrupt.

    `data` is header and digests, then the blocks; `count` of it were there.
    """
    where = (
        f"slot {wanted.place.slot}, segment {wanted.place.segment:016x} at {wanted.place.offset}"
    )
    head = wanted.head
    view = memoryview(data).toreadonly()
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
    if count < len(data):
        raise ShardCorrupt(f"{where}: the segment ends within it")
    packed = view[record.HEADER_BYTES : head]
    if zlib.crc32(packed) != header.digest_crc:
        raise ShardCorrupt(f"{where}: its digests are damaged")
    _check_blocks(view[head:], record.unpack_digests(packed), wanted.first >> BLOCK_BITS, where)
    begin = head + wanted.start - wanted.first
    return view[begin : begin + wanted.stop - wanted.start]


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


@dataclass(slots=True, eq=False)
class _OpenFile:
    """A segment open for reading, or being opened."""

    file: File | None = None
    users: int = 0
    kept: bool = True  # for the next read
    waiting: list[tuple[Wanted, Future[memoryview]]] = field(default_factory=list)


class SegmentReader:
    """All reads from one disk."""

    def __init__(self, disk: Disk, context: Context) -> None:
        self.disk = disk
        self._context = context
        self._files: OrderedDict[int, _OpenFile] = OrderedDict()
        self._flying: dict[int, Future[memoryview]] = {}  # by token: given to the engine
        self._flying_bytes = 0

    def read(self, wanted: Wanted, out: list[Read]) -> Future[memoryview]:
        """Verified bytes, in time; reads that can start now go to `out`."""
        assert 0 <= wanted.start < wanted.stop <= wanted.payload_bytes, "not within the payload"
        future: Future[memoryview] = self._context.loop.create_future()
        if not self.disk.readable:
            text = f"slot {self.disk.slot} is {self.disk.state.value}: {self.disk.reason}"
            future.set_exception(DiskOffline(text))
            return future
        if self._flying_bytes > READ_QUEUES * self._context.limits.queue_bytes:
            text = f"slot {self.disk.slot}: {self._flying_bytes} bytes are being read already"
            future.set_exception(DiskOffline(text))
            return future
        one = self._files.get(wanted.place.segment)
        if one is None:
            one = self._open(wanted.place.segment)
        else:
            self._files.move_to_end(wanted.place.segment)
        if one.file is None:
            one.waiting.append((wanted, future))
        else:
            out.append(self._start(one, one.file, wanted, future))
        return future

    def forget(self, segment_id: int) -> None:
        """Close the segment's file once nobody reads from it; the next read opens it again."""
        one = self._files.pop(segment_id, None)
        if one is not None:
            one.kept = False
            self._close_idle(one)

    def give_up(self, fault: StorageFault) -> None:
        """Tell whoever waits; what the disk may yet answer is thrown away."""
        waiting = [future for one in self._files.values() for _, future in one.waiting]
        for one in self._files.values():
            one.waiting.clear()
        for future in [*waiting, *self._flying.values()]:
            if not future.done():
                future.set_exception(fault)

    def close(self) -> None:
        for segment_id in list(self._files):
            self.forget(segment_id)

    # ---- files

    def _open(self, segment_id: int) -> _OpenFile:
        one = self._files[segment_id] = _OpenFile()
        path = f"{self.disk.path}/{SEGMENTS}/{segment.file_name(segment_id)}"
        work = partial(self._context.fs.open, path, os.O_RDONLY)
        opening = self._context.run(self.disk.slot, Lane.READ, work)
        opening.add_done_callback(partial(self._opened, segment_id, one))
        return one

    def _opened(self, segment_id: int, one: _OpenFile, opening: Future[int]) -> None:
        waiting, one.waiting = one.waiting, []
        error = opening.exception()
        one.file = None if error else self._context.attach(opening.result(), 0)
        if one.file is None:
            if self._files.get(segment_id) is one:
                del self._files[segment_id]
            fault = self._open_fault(segment_id, error or OSError(errno.ENOMEM, "no memory"))
            for _, future in waiting:
                if not future.done():
                    future.set_exception(fault)
            return
        file = one.file
        out = [self._start(one, file, wanted, future) for wanted, future in waiting]
        self._context.submit([], out)
        self._close_idle(one)
        self._trim()

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

    def _start(
        self, one: _OpenFile, file: File, wanted: Wanted, future: Future[memoryview]
    ) -> Read:
        one.users += 1
        head, first = wanted.head, wanted.first
        buffer = bytearray(head + wanted.tail)
        token = self._context.expect(
            self.disk.slot, partial(self._done, one, wanted, future, buffer)
        )
        self._flying[token] = future
        self._flying_bytes += len(buffer)
        offset = wanted.place.offset
        if first == 0:  # header, digests and blocks lie next to each other
            return Read(token, self.disk.slot, file, buffer, offset, len(buffer), 0)
        return Read(token, self.disk.slot, file, buffer, offset, head, offset + head + first)

    def _done(
        self,
        one: _OpenFile,
        wanted: Wanted,
        future: Future[memoryview],
        buffer: bytearray,
        completion: Completion,
    ) -> None:
        one.users -= 1
        del self._flying[completion.token]
        self._flying_bytes -= len(buffer)
        self._close_idle(one)
        if future.done():  # nobody waits any more
            return
        try:
            future.set_result(self._verified(wanted, buffer, completion))
        except StorageFault as fault:
            future.set_exception(fault)

    def _verified(self, wanted: Wanted, buffer: bytearray, completion: Completion) -> memoryview:
        assert self.disk.identity is not None, "a disk without identity is not read"
        if completion.error:
            self.disk.read_failed(completion.error)
            name = errno.errorcode.get(completion.error, str(completion.error))
            raise ShardCorrupt(f"slot {self.disk.slot}: {wanted.place} cannot be read: {name}")
        return check(wanted, self.disk.identity.disk_id, buffer, completion.got)
