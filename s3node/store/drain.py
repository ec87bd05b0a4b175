"""How a queue is drained, in plain Python over a `FileSystem`: the definition of an engine.

Both plain engines (threads, inline) use it; the C engine does the same and passes the same
conformance suite. Errors come back as errno and stage in completions, never as exceptions.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence

from s3node.base.filesystem import Buffer, FileSystem
from s3node.store import record
from s3node.store.engine import (
    FULL,
    NO_ROOM,
    Append,
    Completion,
    Counters,
    File,
    Read,
    Stage,
    Write,
)
from s3node.store.limits import IOV_MAX


def drain_writes(fs: FileSystem, batch: Sequence[Write], counters: Counters) -> list[Completion]:
    """Write and sync a batch of one disk; file by file, so that one's fault is not another's."""
    counters.drains += 1
    files: dict[int, list[Write]] = {}
    for one in batch:
        files.setdefault(id(one.file), []).append(one)
    done: list[Completion] = []
    for group in files.values():
        error, stage = _write_file(fs, group[0].file, group, counters)
        done += [Completion(one.token, error, stage, 0) for one in group]
    return done


def _write_file(
    fs: FileSystem, file: File, group: Sequence[Write], counters: Counters
) -> tuple[int, int]:
    """Everything for one file, and one sync. Any failure kills the file."""
    if file.error:
        return file.error, Stage.DEAD
    stage = Stage.WRITE
    try:
        end = max(_end(one) for one in group)
        _reserve(fs, file, end)
        for offset, buffers in _runs(group):
            _write_run(fs, file.fd, offset, buffers, counters)
        _fill_ahead(fs, file, end, counters)
        stage = Stage.SYNC
        counters.syncs += 1
        fs.fdatasync(file.fd)
    except OSError as fault:
        file.error = fault.errno or errno.EIO
        return file.error, stage
    return 0, Stage.NONE


def _end(write: Write) -> int:
    return write.offset + write.size


def _room_for(file: File, end: int) -> int:
    """Up to where room is to be reserved for writes that end at `end`; 0: no more is."""
    room = file.room
    if not room.step_max or end <= file.allocated:
        return 0
    step = min(max(end, room.step_min), room.step_max)
    return max(end, min(end + step, room.limit))


def _reserve(fs: FileSystem, file: File, end: int) -> None:
    """Reserve room ahead of the writes. No room for a whole step is no failure: writes tell."""
    target = _room_for(file, end)
    if not target or file.room.filled:
        return
    try:
        fs.fallocate(file.fd, file.allocated, target - file.allocated)
        file.allocated = target
    except OSError:
        file.room = NO_ROOM  # not to be had here, or no longer: do not ask again


def _fill_ahead(fs: FileSystem, file: File, end: int, counters: Counters) -> None:
    """Behind what was written, and so never in its stead, write zeros for what comes next.

    Not behind the first write: logs that fail at once are made again and again.
    """
    target = _room_for(file, end)
    if not target or not file.room.filled:
        return
    if not file.allocated:
        target = end
    file.allocated = target
    if target == end:
        return
    try:
        _write_run(fs, file.fd, end, [bytes(target - end)], counters)
    except OSError as fault:
        if fault.errno not in FULL:
            raise
        file.room = NO_ROOM


def _runs(group: Sequence[Write]) -> Iterator[tuple[int, list[Buffer]]]:
    """Writes that follow each other, joined, at most IOV_MAX buffers at a time."""
    start = end = group[0].offset
    buffers: list[Buffer] = []
    for one in group:
        if one.offset != end or len(buffers) + len(one.buffers) > IOV_MAX:
            yield start, buffers
            start = end = one.offset
            buffers = []
        buffers += one.buffers
        end = _end(one) if one.offset == end else end
    yield start, buffers


def _write_run(
    fs: FileSystem, fd: int, offset: int, buffers: list[Buffer], counters: Counters
) -> None:
    """Write all buffers at `offset`, however short the single writes are."""
    while buffers:
        counters.writes += 1
        written = fs.pwritev(fd, buffers, offset)
        if written <= 0:
            raise OSError(errno.EIO, "a write that wrote nothing")
        counters.bytes_written += written
        offset += written
        buffers = _rest(buffers, written)


def _rest(buffers: list[Buffer], written: int) -> list[Buffer]:
    """The buffers without their first `written` bytes."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []


def writes_of(append: Append) -> tuple[list[Write], list[int]]:
    """What an append is in single writes, and the CRCs of its headers."""
    records, heads, tail, targets = append
    first = records.stripe.shard_index
    writes, crcs = [], []
    for token, slot, file, segment, offset, payload, disk_id in targets:
        head = heads.pack(first + payload, disk_id, segment, offset)
        span = records.span(first + payload)
        writes.append(Write(token, slot, file, offset, head, records.payloads, *span, tail))
        crcs.append(int.from_bytes(head[record.CRC_AT : record.HEADER_BYTES], "little"))
    return writes, crcs


def drain_read(fs: FileSystem, read: Read, counters: Counters) -> Completion:
    """Fill a read's head, then its body. What was read is not looked at."""
    fd = read.file.fd
    try:
        count = _fill(fs, fd, read.head, read.offset, counters)
        if count == read.head_bytes:
            count += _fill(fs, fd, read.body, read.tail_offset, counters)
    except OSError as fault:
        return Completion(read.token, fault.errno or errno.EIO, Stage.READ, 0)
    return Completion(read.token, 0, Stage.NONE, count)


def refused(read: Read) -> Completion | None:
    """What an engine that cannot see what is in memory answers at once."""
    return Completion(read.token, errno.EAGAIN, Stage.READ, 0) if read.hurry else None


def _fill(fs: FileSystem, fd: int, view: memoryview, offset: int, counters: Counters) -> int:
    count = 0
    while count < len(view):
        counters.reads += 1
        data = fs.pread(fd, len(view) - count, offset + count)
        if not data:
            break
        view[count : count + len(data)] = data
        count += len(data)
    counters.bytes_read += count
    return count
