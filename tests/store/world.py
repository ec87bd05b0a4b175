"""Disks to try things on: the same for every engine.

A `World` makes a disk set over one of the engines, lets files be damaged and calls fail, and
builds shards. `ENGINES` are what the conformance suite runs over; the last is the native one
beyond the border: an edge appends and reads.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, TypeVar, cast

from s3node.base.arena import Arena
from s3node.base.clock import SystemClock
from s3node.base.errors import StorageFault
from s3node.base.filesystem import FileSystem, read_file
from s3node.base.ids import EpochIds
from s3node.processes.channel import POST_S
from s3node.processes.door import Door
from s3node.processes.link import PARTED
from s3node.processes.remote_disks import RemoteDisks
from s3node.store import disks, record, segment
from s3node.store.diskset import Disks
from s3node.store.engine import Counters, Engine
from s3node.store.identity import Identity
from s3node.store.limits import Limits
from s3node.store.native import NativeEngine
from s3node.store.plain import InlineEngine, ThreadEngine
from s3node.store.seams import Answered, DiskState, Place, Records, Shard, ShardDisks
from tests.processes.border import knock, make_door
from tests.simulation.faults import Faults, FaultyFileSystem, faulty_calls
from tests.simulation.filesystem import SimulatedFileSystem

T = TypeVar("T")

ENGINES = ("native", "threads", "inline", "remote")
DEPLOYMENT = b"D" * 16
LIFE = b"L" * 16
LIMITS = Limits(segment_bytes=1 << 20, queue_bytes=4 << 20, reserve_bytes=1 << 20)
SLOTS = 3
ARENA_BYTES = 16 << 20
TURNS = 10
TEST_S_MAX = 240
"""Ends a test that would never end; far from what a busy machine needs."""


def disk_id(slot: int) -> bytes:
    return bytes([0xD0 + slot]) * 16


class World:
    def __init__(self, engine: str, root: Path, limits: Limits = LIMITS) -> None:
        self.kind = engine
        self.limits = limits
        self.faults: Faults | SimulatedFileSystem
        self.fs: FileSystem
        if engine == "inline":
            self.faults = self.fs = SimulatedFileSystem()
            self.root = "/w"
            self.fs.mkdir(self.root)
            self.fs.fsync_dir("/")
        else:
            self.faults = Faults()
            self.fs = FaultyFileSystem(self.faults)
            self.root = str(root)
        self.epoch = 0
        self.paths = [f"{self.root}/disk{slot}" for slot in range(SLOTS)]
        for slot, path in enumerate(self.paths):
            identity = Identity(DEPLOYMENT, disk_id(slot), slot, SLOTS, 1)
            disks.create_disk(self.fs, path, identity, LIFE)

    def engine(self) -> Engine:
        if self.kind in ("native", "remote"):
            assert isinstance(self.faults, Faults)
            return NativeEngine(SLOTS, calls=faulty_calls(self.faults))
        if self.kind == "threads":
            return ThreadEngine(self.fs)
        return InlineEngine(self.fs)

    def open(self) -> Disks:
        """The disk set, in a new epoch. On a running loop."""
        self.epoch += 1
        opened = disks.open_disks(self.fs, self.paths)
        ids = EpochIds(self.epoch, Random(self.epoch).randbytes)
        return Disks(self.fs, self.engine(), opened, ids, SystemClock(), self.limits)

    def run(self, scenario: Callable[[Disks], Awaitable[T]]) -> T:
        """Run `scenario` on an opened disk set; close it; nothing may be left open."""

        async def whole() -> T:
            opened = self.open()
            try:
                if self.kind == "remote":
                    return await self._beyond(opened, scenario)
                return await scenario(opened)
            finally:
                await opened.close()

        before = self._descriptors()
        result = asyncio.run(asyncio.wait_for(whole(), TEST_S_MAX))
        assert self._descriptors() == before, "descriptors leaked"
        return result

    async def _beyond(self, disks: Disks, scenario: Callable[[Disks], Awaitable[T]]) -> T:
        """As an edge has the disks, the engine beyond a socket."""
        door = make_door(disks=disks)
        arena = Arena(ARENA_BYTES, shared=True)
        engine = lambda slots: self.engine()  # noqa: E731
        link = await knock(door, arena, fs=self.fs, engine=engine, limits=self.limits)
        try:
            return await scenario(cast(Disks, Beyond(link.disks, disks, arena, door)))
        finally:
            await link.close()
            await door.close()
            assert not link.gone.done() or link.gone.result() == PARTED

    def _descriptors(self) -> int:
        if isinstance(self.fs, SimulatedFileSystem):
            return self.fs.open_descriptors()
        return sum(self.root in _link(fd) for fd in os.listdir("/proc/self/fd"))

    # ---- files

    def segment_path(self, place: Place) -> str:
        return f"{self.paths[place.slot]}/segments/{segment.file_name(place.segment)}"

    def content(self, path: str) -> bytes:
        return read_file(self.fs, path)

    def log(self, slot: int, name: str) -> bytes:
        """What was appended to a log: behind it are zeros."""
        return self.content(f"{self.paths[slot]}/journal/{name}").rstrip(b"\0")

    def overwrite(self, path: str, offset: int, data: bytes) -> None:
        fd = self.fs.open(path, os.O_RDWR)
        self.fs.pwritev(fd, [data], offset)
        self.fs.close(fd)

    def flip(self, path: str, offset: int) -> None:
        self.overwrite(path, offset, bytes([self.content(path)[offset] ^ 0x40]))


class Beyond:
    """An edge's disks for what an edge has, the engine's for the rest.

    The suite asks right after an event what is the engine's to know: what edges are told of it,
    and when, has tests of its own.
    """

    def __init__(self, near: RemoteDisks, far: Disks, arena: Arena, door: Door) -> None:
        self._far, self._near, self._arena, self._door = far, near, arena, door
        self.unpin, self.read, self.fetch = near.unpin, near.read, near.fetch
        self.at_hand = near.at_hand
        self._appends = 0

    def append(
        self, records: Records, targets: Sequence[tuple[int, int]], answered: Answered
    ) -> None:
        """What is appended every other time lies in the shared memory."""
        self._appends += 1
        if self._appends % 2 and records.payloads:
            place = self._arena.take(len(records.payloads))
            place[:] = records.payloads
            records = records._replace(payloads=place)
        self._near.append(records, targets, answered)

    def counters(self) -> Counters:
        near, far = asdict(self._near.counters()), asdict(self._far.counters())
        return Counters(**{name: near[name] + far[name] for name in near})

    def set_sequence(self, sequence: int) -> None:
        """The door takes it from the metadata's engine."""
        cast(Any, self._door.deciding).sequence = sequence

    async def readmit(self, slot: int) -> None:
        """Until the edge has been told."""
        await self._far.readmit(slot)
        while self._near.status()[slot].state is not self._far.status()[slot].state:
            await asyncio.sleep(0.01)

    async def seal(self) -> None:
        """After what was asked before."""
        await crossed()
        await self._far.seal()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._far, name)


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


def shard_of(payload: bytes, index: int = 0, *, k: int = 4, m: int = 2, **other: int) -> Shard:
    """A shard that says what is needed about `payload`; `index` makes it one of many."""
    return Shard(
        data_id=index.to_bytes(16, "big"),
        stripe_index=other.get("stripe_index", index % 1000),
        shard_index=other.get("shard_index", index % (k + m)),
        k=k,
        m=m,
        code=1,
        stripe_bytes=k * len(payload),
        stripe_offset=other.get("stripe_offset", 0),
        digests=record.pack_digests(record.block_digests(payload)),
    )


class Append(NamedTuple):
    """One record to append: to which disk, what about, and the payload."""

    slot: int
    shard: Shard
    payload: bytes | memoryview
    hint: bytes = b""

    def records(self) -> Records:
        return Records(self.shard, memoryview(self.payload), len(self.payload), self.hint)


def append_of(payload: bytes, slot: int = 0, index: int = 0, hint: bytes = b"") -> Append:
    return Append(slot, shard_of(payload, index), payload, hint)


def assert_room(disks: ShardDisks, count: int) -> None:
    """So many disks have room, but not without end: as `writable` tells of them."""
    told = min(one.room for one in disks.writable())
    assert disks.have_room(count, 0) and not disks.have_room(count + 1, 0)
    assert not disks.have_room(count, 2 * told) and disks.have_room(count, told // 2)


def appended(opened: ShardDisks, batch: Sequence[Append]) -> list[asyncio.Future[Place]]:
    """Append records that have nothing to do with each other; the answer to each."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Place]] = [loop.create_future() for _ in batch]
    for item, future in zip(batch, futures, strict=True):
        targets = [(item.slot, item.shard.shard_index)]
        opened.append(item.records(), targets, partial(_tell, future))
    return futures


def _tell(
    future: asyncio.Future[Place], outcomes: Sequence[tuple[int, Place | StorageFault]]
) -> None:
    ((_, outcome),) = outcomes
    if isinstance(outcome, StorageFault):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def pack_record(
    shard: Shard,
    payload_bytes: int,
    disk: bytes,
    place: tuple[int, int],
    sequence: int,
    hint: bytes = b"",
) -> bytes:
    """Header and digests of a record at a place: segment and offset."""
    records = Records(shard, memoryview(bytes(payload_bytes)), payload_bytes, hint)
    return record.Heads(records, sequence).pack(shard.shard_index, disk, *place)


async def crossed() -> None:
    """Until what was asked before has come to the disks: beyond the border that takes turns, and
    what nobody waits for takes its time."""
    await asyncio.sleep(2 * POST_S)
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def read_back(opened: Disks, place: Place, item: Append) -> bytes:
    """The whole payload."""
    size = len(item.payload)
    return bytes(await opened.read(place, item.shard, size, 0, size))


def log_append(disks: Disks, slot: int, data: bytes) -> asyncio.Future[None]:
    """Done when that is in the slot's log, or with the fault."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answered(told: int, fault: StorageFault | None) -> None:
        assert told == slot and not done.done(), "once, of what was asked"
        if fault is None:
            done.set_result(None)
        else:
            done.set_exception(fault)

    disks.log_append([slot], data, answered)
    return done


async def outcomes(futures: Sequence[asyncio.Future[T]]) -> list[T | BaseException]:
    return await asyncio.gather(*futures, return_exceptions=True)


def in_segments(path: str) -> bool:
    return "/segments/" in path


def in_journal(path: str) -> bool:
    return "/journal/" in path


def state(disks: Disks, slot: int) -> DiskState:
    return disks.status()[slot].state
