"""What is known of each disk while the node runs, and what its parts share.

`Disk` is the state of one disk; it only ever gets worse by itself (a fault demotes it), and is
raised again by the layers above after a probe. `Context` is what writers, readers and logs of all
disks share: the engine, the tokens of what is under way, ids, clock, limits.
"""

from __future__ import annotations

import errno
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from s3node.base.clock import Clock
from s3node.base.errors import DiskFull, DiskOffline, StorageFault
from s3node.base.filesystem import FileSystem, Usage
from s3node.base.ids import EpochIds
from s3node.store.engine import (
    FULL,
    NO_ROOM,
    Append,
    Completion,
    Engine,
    File,
    Lane,
    Read,
    Room,
    Stage,
    Target,
    Write,
)
from s3node.store.identity import Identity
from s3node.store.limits import Limits
from s3node.store.seams import DiskState, DiskStatus

T = TypeVar("T")

_ORDER = (DiskState.ONLINE, DiskState.READONLY, DiskState.FENCED, DiskState.OFFLINE)
READABLE = (DiskState.ONLINE, DiskState.READONLY)
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN, errno.ESTALE, errno.ENOTCONN}


TOLD_SHARE = 64
"""A disk is told to have up to one part in this many more room than it has: its status is made
anew seldom while there is much, and with every shard when there is hardly any."""


@dataclass(slots=True)
class Disk:
    """One disk of the set, as the running node sees it."""

    slot: int
    path: str
    identity: Identity | None
    state: DiskState
    reason: str
    usage: Usage
    lock_fd: int
    room: int = 0  # bytes that shards may still take
    reserve: int = 0  # bytes that they leave free
    pending_bytes: int = 0  # of shards that wait, or are under way
    _told: DiskStatus | None = None  # the last status: asked for all the time, hardly ever another

    @property
    def readable(self) -> bool:
        return self.state in READABLE

    def demote(self, state: DiskState, reason: str) -> None:
        """Make the state worse; an earlier, worse one stays."""
        if _ORDER.index(state) > _ORDER.index(self.state):
            self.state, self.reason = state, reason

    def has_room(self, usage: Usage, limits: Limits) -> None:
        """It was asked. What is under way may be in its answer or not: it is counted."""
        self.usage = usage
        self.reserve = limits.reserve(usage.total)
        self.room = usage.free - self.reserve - self.pending_bytes

    def take(self, size: int) -> None:
        """A shard is to be written."""
        self.room -= size
        self.pending_bytes += size

    def ended(self, size: int, *, written: bool) -> None:
        """It was, or will never be."""
        self.pending_bytes -= size
        if not written:
            self.room += size

    def refusal(self) -> StorageFault | None:
        """Why this disk takes no appends now."""
        if self.state is DiskState.ONLINE:
            return None
        text = f"slot {self.slot} is {self.state.value}: {self.reason}"
        return DiskFull(text) if self.state is DiskState.READONLY else DiskOffline(text)

    def write_failed(self, error: int, stage: int, proven: bool) -> None:
        """A write or sync failed. `proven`: the file had taken something before.

        No room or no permission: read-only. A failed sync leaves open what the kernel dropped, a
        write past the page cache is told there and then that the medium failed, and a file that
        never took anything is no better than the next one: read-only until somebody has probed
        it. Any other failed write to a file that worked: the next file may do, as after a moment
        without memory, which is no disk's fault.
        """
        name = errno.errorcode.get(error, str(error))
        if error in _GONE:
            self.demote(DiskState.OFFLINE, f"the device is gone ({name})")
        elif error in FULL:
            self.demote(DiskState.READONLY, f"full ({name}): free some room or add a disk")
        elif error == errno.EROFS:
            self.demote(DiskState.READONLY, "the file system is read-only (EROFS): see dmesg")
        elif stage == Stage.SYNC or (stage == Stage.WRITE and error == errno.EIO):
            what = "sync" if stage == Stage.SYNC else "write"
            reason = f"a {what} failed ({name}): see dmesg, replace the disk"
            self.demote(DiskState.READONLY, reason)
        elif not proven and error != errno.ENOMEM:
            self.demote(DiskState.READONLY, f"writes fail ({name}): see dmesg, replace the disk")

    def read_failed(self, error: int) -> None:
        """A read failed: a bad sector is the shard's matter, a vanished device the disk's."""
        if error in _GONE:
            self.demote(DiskState.OFFLINE, f"the device is gone ({errno.errorcode.get(error)})")

    def status(self) -> DiskStatus:
        """What is told of it: its room as it is, or was a little earlier and little more."""
        disk_id = self.identity.disk_id if self.identity else None
        total, free = self.usage.total, self.room + self.reserve
        told = self._told
        if told is not None and 0 <= told.free_bytes - free <= self.room // TOLD_SHARE:
            free = told.free_bytes
        now = (self.slot, self.path, disk_id, self.state, self.reason, total, free)
        if told is None or told != now:
            told = self._told = DiskStatus(*now)
        return told


RECORDS = 1 << 62
"""Tokens from here on are records'. Those of one stripe differ in the lowest bits alone."""

POSITION_BITS = 8


class Shards(Protocol):
    """Records of one stripe on their way to the disks."""

    @property
    def left(self) -> int:
        """How many have not come to an end."""

    def packed(self, targets: Sequence[Target], crcs: Sequence[int]) -> None:
        """The engine has made these; the CRCs of their headers."""

    def done(self, completions: Sequence[Completion]) -> None:
        """The engine has completed these."""

    def give_up(self, slot: int, fault: StorageFault) -> None:
        """Nobody waits for this disk any more."""

    def silent(self) -> Iterator[tuple[int, int]]:
        """Slots that were given one and have not answered, and how many looks there had been."""


_Since = tuple[int, int, bool]  # slot that was asked, how many looks there had been, for a write
_Expected = tuple[_Since, Callable[[Completion], None]]


@dataclass(slots=True)
class Context:
    """What the parts of a disk set share."""

    fs: FileSystem
    engine: Engine
    loop: AbstractEventLoop
    ids: EpochIds
    clock: Clock
    limits: Limits
    sequence: int = 0  # the last committed journal sequence, stamped into records
    looks: int = 0  # how often the disks were looked at: the clock of what does not answer
    _waiting: dict[int, _Expected] = field(default_factory=dict)
    _cold: dict[Future[Any], _Since] = field(default_factory=dict)
    _wrote: dict[int, int] = field(default_factory=dict)  # looks when a slot last answered a write
    _writes: list[Write] = field(default_factory=list)
    _stripes: dict[int, Shards] = field(default_factory=dict)  # by token of the first record
    _appends: list[tuple[Shards, Append]] = field(default_factory=list)
    _flushing: bool = False
    _token: int = 0

    def expect(self, slot: int, callback: Callable[[Completion], None]) -> int:
        """A token for a write of a slot; its completion goes to `callback`."""
        self._token += 1
        self._waiting[self._token] = (slot, self.looks, True), callback
        return self._token

    def expect_records(self, of: Shards, count: int) -> int:
        """The token of the first of a stripe's records; `forget` it when none is left."""
        assert count <= 1 << POSITION_BITS, "more than a stripe has"
        self._token += 1
        token = RECORDS | self._token << POSITION_BITS
        self._stripes[token] = of
        return token

    def flying(self) -> list[Shards]:
        """Stripes that have records under way."""
        return list(self._stripes.values())

    def tokens(self, count: int) -> int:
        """The first of so many tokens in a row, for operations that may be done at once."""
        first = self._token + 1
        self._token += count
        return first

    def await_one(self, token: int, slot: int, callback: Callable[[Completion], None]) -> None:
        """The completion of one of `tokens`, a read, goes to `callback`."""
        self._waiting[token] = (slot, self.looks, False), callback

    def run(self, slot: int, lane: Lane, work: Callable[[], T]) -> Future[T]:
        """Cold work of a slot, see `Engine.run`."""
        future = self.engine.run(slot, lane, work)
        self._cold[future] = (slot, self.looks, False)
        future.add_done_callback(self._cold.pop)
        return future

    def unanswered(self) -> dict[int, int]:
        """For how many looks each slot has not answered what it was asked.

        Looks and not seconds: a process that was stopped for a minute blames no disk. Writes are
        done in turn: one that waits behind others is not unanswered while those are answered.
        """
        silent: dict[int, int] = {}
        asked = [since for since, _ in self._waiting.values()]
        for of in self._stripes.values():
            asked += [(slot, since, True) for slot, since in of.silent()]
        for slot, since, write in [*asked, *self._cold.values()]:
            heard = max(since, self._wrote.get(slot, 0)) if write else since
            silent[slot] = max(silent.get(slot, 0), self.looks - heard)
        return silent

    def attach(
        self, fd: int, size: int, room: Room = NO_ROOM, *, direct: bool = False
    ) -> File | None:
        """Make a file known to the engine; None, and it is closed, if there is no memory."""
        try:
            return self.engine.attach(fd, size, room, direct=direct)
        except MemoryError:
            self.fs.close(fd)
            return None

    def submit(self, writes: Sequence[Write], reads: Sequence[Read] = ()) -> None:
        """Hand a batch to the engine; if it has no room for it, everything in it fails."""
        if reads:
            self._hand_over((), reads)
        if writes:
            self._writes += writes
            self._flush_soon()

    def append(self, of: Shards, append: Append) -> None:
        """Hand records of a stripe to the engine; without room for them they fail."""
        self._appends.append((of, append))
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """What was written in this turn of the loop, for all requests together."""
        self._flushing = False
        writes, self._writes = self._writes, []
        appends, self._appends = self._appends, []
        if appends:
            self._hand_over_records(appends)
        if writes:
            self._hand_over(writes, ())

    def _hand_over(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        try:
            self.engine.submit(writes, reads)
        except MemoryError:
            for token in [one.token for one in writes] + [one.token for one in reads]:
                failed = Completion(token, errno.ENOMEM, Stage.DEAD, 0)
                self.loop.call_soon(self._waiting.pop(token)[1], failed)

    def _hand_over_records(self, appends: Sequence[tuple[Shards, Append]]) -> None:
        try:
            crcs = self.engine.append([append for _, append in appends])
        except MemoryError:
            for _, (*_, targets) in appends:
                failed = [Completion(one.token, errno.ENOMEM, Stage.DEAD, 0) for one in targets]
                self.loop.call_soon(self._records_done, failed)
            return
        at = 0
        for of, (*_, targets) in appends:
            of.packed(targets, crcs[at : at + len(targets)])
            at += len(targets)

    def wake(self) -> None:
        """Hand out what the engine completed; who cannot take it keeps no other from it."""
        work: deque[Callable[[], None]] = deque()
        stripes: dict[int, list[Completion]] = {}
        for completion in self.engine.completions():
            if completion.token < RECORDS:
                work.append(partial(self._one_done, completion))
            else:
                of = completion.token >> POSITION_BITS
                stripes.setdefault(of, []).append(completion)
        for completions in stripes.values():
            work.append(partial(self._records_done, completions))
        self._hand_out(work)

    def _hand_out(self, work: deque[Callable[[], None]]) -> None:
        try:
            while work:
                work.popleft()()
        finally:
            if work:
                self.loop.call_soon(self._hand_out, work)

    def _one_done(self, completion: Completion) -> None:
        (slot, _, write), callback = self._waiting.pop(completion.token)
        if write:
            self._wrote[slot] = self.looks
        callback(completion)

    def _records_done(self, completions: Sequence[Completion]) -> None:
        """Of one stripe."""
        first = completions[0].token >> POSITION_BITS << POSITION_BITS
        of = self._stripes[first]
        of.done(completions)
        self.forget(first)

    def forget(self, token: int) -> None:
        """Of a stripe, when none of its records is left."""
        if not self._stripes[token].left:
            del self._stripes[token]

    def heard(self, slot: int) -> None:
        """It has answered a write."""
        self._wrote[slot] = self.looks
