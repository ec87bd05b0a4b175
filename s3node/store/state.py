"""What is known of each disk while the node runs, and what its parts share.

`Disk` is the state of one disk; it only ever gets worse by itself (a fault demotes it), and is
raised again by the layers above after a probe. `Context` is what writers, readers and logs of all
disks share: the engine, the tokens of what is under way, ids, clock, limits.
"""

from __future__ import annotations

import errno
from asyncio import AbstractEventLoop, Future
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from s3node.base.clock import Clock
from s3node.base.errors import DiskFull, DiskOffline, StorageFault
from s3node.base.filesystem import FileSystem, Usage
from s3node.base.ids import EpochIds
from s3node.store.engine import Completion, Engine, File, Lane, Read, Stage, Write
from s3node.store.identity import Identity
from s3node.store.limits import Limits
from s3node.store.seams import DiskState, DiskStatus

T = TypeVar("T")

_ORDER = (DiskState.ONLINE, DiskState.READONLY, DiskState.FENCED, DiskState.OFFLINE)
READABLE = (DiskState.ONLINE, DiskState.READONLY)
_GONE = {errno.ENODEV, errno.ENXIO, errno.ESHUTDOWN, errno.ESTALE, errno.ENOTCONN}
_FULL = {errno.ENOSPC, errno.EDQUOT}


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
    _told: DiskStatus | None = None  # the last status: asked for all the time, hardly ever another

    @property
    def readable(self) -> bool:
        return self.state in READABLE

    def demote(self, state: DiskState, reason: str) -> None:
        """Make the state worse; an earlier, worse one stays."""
        if _ORDER.index(state) > _ORDER.index(self.state):
            self.state, self.reason = state, reason

    def refusal(self) -> StorageFault | None:
        """Why this disk takes no appends now."""
        if self.state is DiskState.ONLINE:
            return None
        text = f"slot {self.slot} is {self.state.value}: {self.reason}"
        return DiskFull(text) if self.state is DiskState.READONLY else DiskOffline(text)

    def write_failed(self, error: int, stage: int, proven: bool) -> None:
        """A write or sync failed. `proven`: the file had taken something before.

        No room or no permission: read-only. A failed sync leaves open what the kernel dropped,
        and a file that never took anything is no better than the next one: read-only until
        somebody has probed it. A failed write to a file that worked: the next file may do, as
        after a moment without memory, which is no disk's fault.
        """
        name = errno.errorcode.get(error, str(error))
        if error in _GONE:
            self.demote(DiskState.OFFLINE, f"the device is gone ({name})")
        elif error in _FULL:
            self.demote(DiskState.READONLY, f"full ({name}): free some room or add a disk")
        elif error == errno.EROFS:
            self.demote(DiskState.READONLY, "the file system is read-only (EROFS): see dmesg")
        elif stage == Stage.SYNC:
            self.demote(DiskState.READONLY, f"a sync failed ({name}): see dmesg, replace the disk")
        elif not proven and error != errno.ENOMEM:
            self.demote(DiskState.READONLY, f"writes fail ({name}): see dmesg, replace the disk")

    def read_failed(self, error: int) -> None:
        """A read failed: a bad sector is the shard's matter, a vanished device the disk's."""
        if error in _GONE:
            self.demote(DiskState.OFFLINE, f"the device is gone ({errno.errorcode.get(error)})")

    def status(self) -> DiskStatus:
        disk_id = self.identity.disk_id if self.identity else None
        total, free = self.usage
        told = self._told
        now = (self.slot, self.path, disk_id, self.state, self.reason, total, free)
        if told is None or told != now:
            told = self._told = DiskStatus(*now)
        return told


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
    _token: int = 0

    def expect(self, slot: int, callback: Callable[[Completion], None]) -> int:
        """A token for a write of a slot; its completion goes to `callback`."""
        self._token += 1
        self._waiting[self._token] = (slot, self.looks, True), callback
        return self._token

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
        for slot, since, write in [*asked, *self._cold.values()]:
            heard = max(since, self._wrote.get(slot, 0)) if write else since
            silent[slot] = max(silent.get(slot, 0), self.looks - heard)
        return silent

    def attach(
        self, fd: int, size: int, *, step_min: int = 0, step_max: int = 0, limit: int = 0
    ) -> File | None:
        """Make a file known to the engine; None, and it is closed, if there is no memory."""
        try:
            return self.engine.attach(fd, size, step_min=step_min, step_max=step_max, limit=limit)
        except MemoryError:
            self.fs.close(fd)
            return None

    def submit(self, writes: Sequence[Write], reads: Sequence[Read] = ()) -> None:
        """Hand a batch to the engine; if it has no room for it, everything in it fails."""
        if reads:
            self._hand_over((), reads)
        if writes:
            if not self._writes:
                self.loop.call_soon(self._flush)
            self._writes += writes

    def _flush(self) -> None:
        """What was appended in this turn of the loop, for all requests together."""
        writes, self._writes = self._writes, []
        self._hand_over(writes, ())

    def _hand_over(self, writes: Sequence[Write], reads: Sequence[Read]) -> None:
        try:
            self.engine.submit(writes, reads)
        except MemoryError:
            for token in [one.token for one in writes] + [one.token for one in reads]:
                failed = Completion(token, errno.ENOMEM, Stage.DEAD, 0)
                self.loop.call_soon(self._waiting.pop(token)[1], failed)

    def wake(self) -> None:
        """Hand out what the engine completed; who cannot take it keeps no other from it."""
        self._hand_out(deque(self.engine.completions()))

    def _hand_out(self, done: deque[Completion]) -> None:
        try:
            while done:
                completion = done.popleft()
                (slot, _, write), callback = self._waiting.pop(completion.token)
                if write:
                    self._wrote[slot] = self.looks
                callback(completion)
        finally:
            if done:
                self.loop.call_soon(self._hand_out, done)
