"""The disk set: the D disks of a node, behind the `DiskSet` seam.

Each disk has a writer (its open segment), a reader and a log; this module gives batches to them
and crosses into the engine once per batch. It belongs to one event loop; nothing here blocks but
the constructor and `segments`, which list directories.
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from s3node.base.clock import Clock
from s3node.base.errors import ConfigError, DiskOffline, FormatError
from s3node.base.filesystem import Buffer, FileSystem, Usage
from s3node.base.ids import EpochIds, segment_epoch
from s3node.store import epoch as epochs
from s3node.store import scan, segment
from s3node.store.append import Appending, SegmentWriter
from s3node.store.disks import (
    DIRECTORIES,
    JOURNAL,
    LOCK,
    QUARANTINE,
    SEGMENTS,
    Opened,
    common_deployment,
    lock_disk,
    probe_writing,
    read_identity,
)
from s3node.store.engine import Counters, Engine, Lane
from s3node.store.fetch import Memory, Reads
from s3node.store.identity import USABLE, Standing, classify
from s3node.store.limits import Limits
from s3node.store.logs import LogWriter
from s3node.store.readback import Examination
from s3node.store.seams import (
    Answered,
    At,
    DiskState,
    DiskStatus,
    Fault,
    Fetched,
    Part,
    Place,
    Probe,
    ReadBack,
    Records,
    Shard,
)
from s3node.store.state import Context, Disk

T = TypeVar("T")

LOOK_S = 1.0
"""How long a look waits for the disks' answers; those that come later count for the next one."""


class Disks:
    """A running disk set over one engine. Construct it on the loop that will use it."""

    def __init__(
        self,
        fs: FileSystem,
        engine: Engine,
        opened: Sequence[Opened],
        ids: EpochIds,
        clock: Clock,
        limits: Limits | None = None,
        memory: Memory | None = None,
    ) -> None:
        """`memory` is where payloads are read to; None: an arena of its own."""
        loop = asyncio.get_running_loop()
        self._context = Context(fs, engine, loop, ids, clock, limits or Limits())
        self._disks = [_disk(fs, one, self._context.limits) for one in opened]
        self._writers = [SegmentWriter(disk, self._context) for disk in self._disks]
        self._reads = Reads(self._disks, self._context, memory)
        self._logs = [LogWriter(disk, self._context) for disk in self._disks]
        self._returns = [0] * len(self._disks)
        self._closed = False
        self._looking: dict[int, asyncio.Future[None]] = {}
        engine.start(loop, self._context.wake)

    # ---- what there is

    def status(self) -> Sequence[DiskStatus]:
        return [disk.status() for disk in self._disks]

    def writable(self) -> Sequence[DiskStatus]:
        return [writer.disk.status() for writer in self._writers if writer.refusal() is None]

    def have_room(self, count: int, size: int) -> bool:
        for writer in self._writers:
            if count <= 0:
                break
            count -= writer.refusal(size) is None
        return count <= 0

    def counters(self) -> Counters:
        """What the engine did since it started."""
        return self._context.engine.counters()

    def set_sequence(self, sequence: int) -> None:
        """The last committed journal sequence, stamped into every record from now on."""
        assert sequence >= self._context.sequence, "the journal never goes back"
        self._context.sequence = sequence

    # ---- shards

    def append(
        self, records: Records, targets: Sequence[tuple[int, int]], answered: Answered
    ) -> None:
        self._check_open()
        writers = [self._writers[slot] for slot, _ in targets]
        shards = [shard for _, shard in targets]
        Appending(self._context, records, writers, shards, answered).begin()

    def read(
        self, place: Place, shard: Shard, payload_bytes: int, start: int, stop: int
    ) -> Future[memoryview]:
        self._check_open()
        return self._reads.read(place, shard, payload_bytes, start, stop)

    def fetch(
        self,
        stripe: Shard,
        payload_bytes: int,
        parts: Sequence[Part],
        hurry_s: float | None,
        spares: Iterable[Part] = (),
    ) -> Fetched:
        self._check_open()
        return self._reads.fetch(stripe, payload_bytes, parts, hurry_s, spares)

    def at_hand(
        self, stripe: Shard, payload_bytes: int, places: Sequence[At | None], start: int, stop: int
    ) -> memoryview | None:
        self._check_open()
        return self._reads.at_hand(stripe, payload_bytes, places, start, stop)

    def at_hand_around(
        self,
        stripe: Shard,
        payload_bytes: int,
        places: Sequence[At | None],
        count: int,
        hurry_s: float,
    ) -> tuple[memoryview, dict[int, memoryview]] | None:
        self._check_open()
        return self._reads.at_hand_around(stripe, payload_bytes, places, count, hurry_s)

    def unpin(self, places: Sequence[Place]) -> None:
        for place in places:
            self._writers[place.slot].unpin(place.segment)

    def returns(self, slot: int) -> int:
        return self._returns[slot]

    def pinned(self, slot: int, segment_id: int) -> bool:
        writer = self._writers[slot]
        return segment_id in writer.pins or segment_id in writer.live()

    def pins(self) -> int:
        return sum(sum(writer.pins.values()) for writer in self._writers)

    # ---- logs

    def writable_logs(self) -> Sequence[int]:
        return [disk.slot for disk in self._disks if disk.readable]

    def log_append(
        self, slots: Sequence[int], data: Buffer, answered: Callable[[int, Fault], None]
    ) -> None:
        self._check_open()
        for slot in slots:
            self._logs[slot].append(data, answered)

    def log_rotate(self, slot: int, name: str) -> Future[None]:
        self._check_open()
        return self._logs[slot].rotate(name)

    # ---- segments

    def segments(self, slot: int) -> Iterator[int]:
        disk = self._disks[slot]
        if not disk.readable:
            raise DiskOffline(f"slot {slot} is {disk.state.value}: {disk.reason}")
        for name in self._context.fs.listdir(f"{disk.path}/{SEGMENTS}"):
            found = segment.segment_of(name)
            if found is not None:
                yield found

    async def drop(self, slot: int, segment_id: int) -> None:
        assert not self.pinned(slot, segment_id), "a pinned segment is not dropped"
        self._reads.forget(slot, segment_id)
        disk, fs = self._disks[slot], self._context.fs
        name = segment.file_name(segment_id)

        def work() -> None:
            fs.rename(f"{disk.path}/{SEGMENTS}/{name}", f"{disk.path}/{QUARANTINE}/{name}")
            fs.fsync_dir(f"{disk.path}/{QUARANTINE}")
            fs.fsync_dir(f"{disk.path}/{SEGMENTS}")

        await self._run(slot, work)

    async def trim(self, slot: int) -> int:
        disk, fs, epoch = self._disks[slot], self._context.fs, self._context.ids.epoch
        identity = disk.identity
        assert identity is not None, "a readable disk has an identity"

        def work(segment_id: int) -> bool:
            path = f"{disk.path}/{SEGMENTS}/{segment.file_name(segment_id)}"
            return scan.trim(fs, path, segment_id, identity.disk_id)

        cut = 0
        for segment_id in await self._run(slot, lambda: list(self.segments(slot)), Lane.READ):
            if segment_epoch(segment_id) < epoch:
                cut += await self._run(slot, partial(work, segment_id), Lane.READ)
        return cut

    # ---- segments that failed

    def suspects(self) -> Sequence[tuple[int, int]]:
        found = [(one.disk.slot, one.suspects) for one in self._writers if one.disk.readable]
        return [(slot, segment_id) for slot, suspects in found for segment_id in suspects]

    async def read_back(self, slot: int, segment_id: int) -> ReadBack:
        disk, suspects = self._disks[slot], self._writers[slot].suspects
        assert disk.identity is not None, "a readable disk has an identity"
        path = f"{disk.path}/{SEGMENTS}/{segment.file_name(segment_id)}"
        one = Examination(
            self._context.fs, path, segment_id, disk.identity.disk_id, suspects[segment_id]
        )
        try:
            while await self._run(slot, one.step, Lane.READ):
                if not disk.readable:
                    break
        finally:
            closing = self._run(slot, one.close, Lane.READ)
        await closing
        if one.error:
            disk.read_failed(one.error)
        if not disk.readable:
            raise DiskOffline(f"slot {slot} is {disk.state.value}: {disk.reason}")
        del suspects[segment_id]
        return ReadBack(slot, segment_id, tuple(one.missing), one.reason)

    async def seal(self) -> None:
        await asyncio.gather(*(writer.seal() for writer in self._writers))

    # ---- disks that fail and come back

    async def refresh(self) -> None:
        """Look whether every readable disk is still there, and how much room it has."""

        async def one(disk: Disk) -> None:
            work = partial(_look, self._context.fs, disk)
            usage, reason = await self._run(disk.slot, work, Lane.READ)
            if usage is None:
                disk.demote(DiskState.OFFLINE, reason)
            else:
                disk.has_room(usage, self._context.limits)

        self._context.looks += 1
        for disk in self._disks:
            if disk.readable and disk.slot not in self._looking:
                self._looking[disk.slot] = asyncio.ensure_future(one(disk))
        if self._looking:
            done, _ = await asyncio.wait(self._looking.values(), timeout=LOOK_S)
            self._looking = {s: task for s, task in self._looking.items() if task not in done}
            for task in done:
                task.result()
        self._give_up_hung()

    def _give_up_hung(self) -> None:
        """Take disks out of service that do not answer; who waits for them is told."""
        limits, unanswered = self._context.limits, self._context.unanswered()
        hung = [slot for slot, looks in unanswered.items() if looks >= limits.hung_looks]
        if len(hung) > limits.hung_max:
            return
        hung = [slot for slot in hung if self._disks[slot].readable]
        for slot in hung:  # all of them first: who is told goes to another disk at once
            reason = "it does not answer: see dmesg, replace the disk"
            self._disks[slot].demote(DiskState.OFFLINE, reason)
        for slot in hung:
            fault = DiskOffline(f"slot {slot} does not answer")
            self._writers[slot].give_up(fault)
            self._reads.give_up(slot, fault)
            self._logs[slot].give_up(fault)

    async def probe(self, slot: int) -> Probe:
        if self._context.unanswered().get(slot, 0) > 0:
            reason = "it has not answered yet what it was asked before"
            return Probe(slot, Standing.MISSING, None, None, False, reason)
        others = [one for one in self._disks if one.slot != slot]
        work = partial(_probe, self._context.fs, self._disks[slot], others)
        return await self._run(slot, work, Lane.READ)

    async def readmit(self, slot: int) -> None:
        disk, fs = self._disks[slot], self._context.fs
        probed = await self.probe(slot)
        if probed.identity is None or not probed.writable:
            raise DiskOffline(f"slot {slot} is not readmitted: {probed.reason}")
        try:
            disk.lock_fd = await self._run(slot, partial(_relock, fs, disk), Lane.READ)
        except ConfigError as fault:  # at start that is the operator's mistake, here the disk's
            raise DiskOffline(f"slot {slot} is not readmitted: {fault}") from None
        # Descriptors of the time before mean nothing, if the disk was away.
        self._returns[slot] += 1
        self._reads.close_slot(slot)
        self._writers[slot].abandon()
        if not disk.readable:
            self._logs[slot].abandon()
        disk.identity = probed.identity
        usage = await self._run(slot, partial(fs.usage, disk.path), Lane.READ)
        disk.has_room(usage, self._context.limits)
        disk.state, disk.reason = DiskState.ONLINE, ""

    def fence(self, slot: int, reason: str) -> None:
        self._disks[slot].demote(DiskState.FENCED, reason)

    # ---- the end

    async def close(self) -> None:
        if self._closed:
            return
        for task in self._looking.values():
            task.cancel()
        await asyncio.gather(*self._looking.values(), return_exceptions=True)
        await self.seal()
        self._closed = True
        await asyncio.gather(*(log.close() for log in self._logs))
        self._reads.close()
        await self._context.engine.stop()
        for disk in self._disks:
            if disk.lock_fd >= 0:
                self._context.fs.close(disk.lock_fd)

    def _check_open(self) -> None:
        assert not self._closed, "the disk set is closed"

    def _run(self, slot: int, work: Callable[[], T], lane: Lane = Lane.WRITE) -> Future[T]:
        return self._context.run(slot, lane, work)


def _disk(fs: FileSystem, one: Opened, limits: Limits) -> Disk:
    """The running state of a disk as it was opened."""
    online, room = DiskState.ONLINE, Usage(0, 0)
    disk = Disk(one.slot, one.path, one.identity, online, one.reason, room, one.lock_fd)
    if one.standing not in USABLE:
        offline = one.standing in (Standing.MISSING, Standing.DAMAGED)
        disk.demote(DiskState.OFFLINE if offline else DiskState.FENCED, one.reason)
    elif one.epoch is None:
        disk.demote(DiskState.FENCED, one.reason)
    else:
        try:
            disk.has_room(fs.usage(one.path), limits)
        except OSError as fault:
            disk.demote(DiskState.OFFLINE, f"cannot be asked for its room: {fault.strerror}")
    return disk


def _look(fs: FileSystem, disk: Disk) -> tuple[Usage | None, str]:
    """The room of a disk that is in service; None and the reason if it is not there any more.

    An unmounted disk leaves a directory that can be asked for its room: the identity tells. A
    copy of the disk says the same of itself: the file that we hold locked tells.
    """
    _, identity, reason = read_identity(fs, disk.path)
    if identity is None or identity != disk.identity:
        return None, f"gone: {reason}" if reason else "another disk is at its path"
    try:
        if not fs.same_file(disk.lock_fd, f"{disk.path}/{LOCK}"):
            return None, "a copy of it is at its path"
        gone = [name for name in (SEGMENTS, JOURNAL) if not fs.exists(f"{disk.path}/{name}")]
        if gone:  # what is open there is written to files that nobody will find again
            return None, f"its directory {gone[0]} was removed"
        return fs.usage(disk.path), ""
    except OSError as fault:
        return None, f"cannot be asked for its room: {fault.strerror}"


def _relock(fs: FileSystem, disk: Disk) -> int:
    """The descriptor that holds the lock of the disk at the path; its directories are there."""
    if disk.lock_fd >= 0:
        fs.close(disk.lock_fd)
        disk.lock_fd = -1
    for name in DIRECTORIES:
        if not fs.exists(f"{disk.path}/{name}"):
            fs.mkdir(f"{disk.path}/{name}")
            fs.fsync_dir(disk.path)
    return lock_disk(fs, disk.path)


def _probe(fs: FileSystem, disk: Disk, others: Sequence[Disk]) -> Probe:
    """What is at the disk's path now; writes only if it is this set's disk of this slot.

    A path that serves nobody is looked at too: it may hold a clone, or no longer.
    """
    standing, identity, reason = read_identity(fs, disk.path)
    if identity is not None:
        found = [one.identity if one.readable else read_identity(fs, one.path)[1] for one in others]
        deployment_id = common_deployment([*found, disk.identity])
        found.insert(disk.slot, identity)
        standing, reason = classify(found, deployment_id)[disk.slot]
    if identity is None or standing is not Standing.OK:
        return Probe(disk.slot, standing, None, None, False, reason)
    try:
        epoch = epochs.read(fs, disk.path)
    except (FormatError, OSError) as fault:
        return Probe(disk.slot, standing, identity, None, False, str(fault))
    failed = probe_writing(fs, disk.path)
    reason = f"does not take writes: {failed.strerror}" if failed else ""
    return Probe(disk.slot, standing, identity, epoch, failed is None, reason)
