"""The seam below the disk set: who moves the bytes.

An engine has, per slot, one queue of writes and one of reads. `submit` hands over a batch at one
crossing, `append` the records of stripes, whose headers it packs. A queue is drained whole: writes
that follow each other in a file become one pwritev, each file touched is synced once, then all is
completed and `wake` called once. While a batch syncs, the next one gathers: that is the group
commit, and at most one batch per disk is unsynced.

A file that failed a write or a sync is dead (I3): nothing more is tried on its descriptor, and
what was queued for it completes with the same error and stage DEAD or later.

Cold work (creating, cutting, opening, listing) runs as plain functions over the `FileSystem`, one
at a time per slot and lane, so that opening a file for reading never waits behind a sync.
"""

from __future__ import annotations

import errno
from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple, Protocol, TypeVar

from s3node.base.errors import DiskFailed, DiskFull, StorageFault
from s3node.base.filesystem import Buffer
from s3node.store.record import Heads
from s3node.store.seams import Records

T = TypeVar("T")

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Errors of a file system that has no room for what is written."""

_FULL = FULL | {errno.EROFS}


class Stage(IntEnum):
    """Where a completion's error came from."""

    NONE = 0
    WRITE = 1
    SYNC = 2
    READ = 3
    DEAD = 4  # the file had failed before; nothing was tried
    VERIFIED = 5  # no error: a read found the record claimed, and its digests match


class Lane(IntEnum):
    """Which of a slot's two lines of cold work."""

    WRITE = 0
    READ = 1


class Room(NamedTuple):
    """Of a file, reserved ahead of what is appended to it.

    In steps that double from `step_min` to `step_max` bytes, never beyond `limit`. If it is to be
    `filled`, zeros are written behind what needs it, but for the first: what is written there later
    changes no metadata, which a sync would have to write too. That is for little that is waited
    for: it is written twice.
    """

    step_min: int
    step_max: int
    limit: int
    filled: bool = False


NO_ROOM = Room(0, 0, 0)


@dataclass(slots=True, eq=False)
class File:
    """A file attached to an engine. The engine's alone, but for `fd`, which the owner closes."""

    fd: int
    allocated: int
    room: Room = NO_ROOM
    error: int = 0
    address: int = 0  # an engine's own name for it


NOTHING = memoryview(b"")


class Write(NamedTuple):
    """Put `head`, bytes start..stop of `body`, and `tail` at `offset`, and make them durable.

    All of it stays unchanged and alive until the write completes.
    """

    token: int
    slot: int
    file: File
    offset: int
    head: Buffer
    body: memoryview = NOTHING
    start: int = 0
    stop: int = 0
    tail: bytes = b""

    @property
    def size(self) -> int:
        return len(self.head) + self.stop - self.start + len(self.tail)

    @property
    def buffers(self) -> list[Buffer]:
        """What is not empty of it, in order."""
        parts = (self.head, self.body[self.start : self.stop], self.tail)
        return [part for part in parts if part]


class Target(NamedTuple):
    """Where one record of a stripe goes. Completes like a write."""

    token: int
    slot: int
    file: File
    segment: int
    offset: int
    payload: int  # which of the stripe's payloads, counted from 0
    disk_id: bytes


class Append(NamedTuple):
    """Put records of one stripe where they go, and make them durable.

    All of it stays unchanged and alive until the last of them completes.
    """

    records: Records
    heads: Heads
    tail: bytes  # behind each payload: hint and padding
    targets: Sequence[Target]


class Read(NamedTuple):
    """Read a record's header and digests, and blocks of its payload.

    Into `memory` go `head_bytes` from `offset` to `head_at`, and `body_bytes` from `tail_offset`
    to `body_at`. `claim` is what the record must say of itself (`record.claim`).
    """

    token: int
    slot: int
    file: File
    memory: memoryview
    head_at: int
    head_bytes: int
    body_at: int
    body_bytes: int
    offset: int
    tail_offset: int
    claim: bytes
    hurry: bool  # fails with EAGAIN rather than to ask the disk

    @property
    def head(self) -> memoryview:
        return self.memory[self.head_at : self.head_at + self.head_bytes]

    @property
    def body(self) -> memoryview:
        return self.memory[self.body_at : self.body_at + self.body_bytes]


class Completion(NamedTuple):
    """`got` is the number of bytes read; fewer than asked means that the file ended."""

    token: int
    error: int
    stage: int
    got: int


SPOT = "4Q3I4x16s"
"""Blocks of a record, in the words of `struct`: the file's address, segment, offset; where the
blocks go in memory, where they begin in the payload, and how many bytes they are; shard index and
disk id."""

BUFFERS_MAX = 3  # of a write: header and digests, payload, hint with padding


@dataclass(slots=True)
class Counters:
    """What an engine did, for metrics and measurements. Plain sums since it started."""

    crossings: int = 0
    drains: int = 0
    writes: int = 0
    syncs: int = 0
    reads: int = 0
    wakes: int = 0
    bytes_written: int = 0
    bytes_read: int = 0


class Engine(Protocol):
    def start(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        """Begin; `wake` is called on the loop when there are completions."""

    def attach(self, fd: int, size: int, room: Room = NO_ROOM, *, direct: bool = False) -> File:
        """Make a file known. `size` is what is reserved already, `room` what is to be.

        `direct`: it is only appended to, and what is written had better not stay in memory; the
        descriptor may then be one whose writes all pass the page cache by.
        """

    def detach(self, file: File) -> None:
        """Forget a file; nothing of it may be queued. The descriptor stays the caller's."""

    def submit(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        """Queue a batch: all of it or, with MemoryError, nothing."""

    def append(self, appends: Sequence[Append]) -> Sequence[int]:
        """Queue records: all of them or, with MemoryError, none.

        The CRCs of their headers, in order.
        """

    def read(self, reads: Sequence[Read]) -> Sequence[Completion | None]:
        """Read what can be had without waiting, here and now: its completions, in order.

        Those that are None are queued, and complete like what was submitted.
        """

    def at_hand(self, memory: memoryview, stripe: bytes, spots: bytes) -> int:
        """Read what is in memory of a stripe's records, here and now, and verify it.

        One bit for each of `spots` (`SPOT`, behind each other) of which all is there and right;
        of the others nothing is known. `stripe` is what all records must say of themselves
        (`record.claim`).
        """

    def completions(self) -> Sequence[Completion]:
        """What was done since the last call."""

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> Future[T]:
        """Cold work on the slot's lane."""

    def counters(self) -> Counters: ...

    async def stop(self) -> None:
        """Finish what is queued, then end; nothing may be submitted afterwards."""


def fault_of(error: int, what: str) -> StorageFault:
    """The storage fault for an errno of a write or a sync."""
    text = f"{what}: {errno.errorcode.get(error, error)}"
    return DiskFull(text) if error in _FULL else DiskFailed(text)


def fault_from(error: BaseException, what: str) -> StorageFault:
    """The storage fault for what cold work raised."""
    if isinstance(error, StorageFault):
        return error
    if isinstance(error, OSError):
        return fault_of(error.errno or errno.EIO, what)
    raise error
