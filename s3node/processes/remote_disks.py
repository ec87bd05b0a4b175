"""`ShardDisks` in an edge: the engine appends, out of memory that both have; reads are done here.

A payload that lies in the edge's arena is not sent, only its place; it stays taken until the
append is answered. What the disks are like is what the engine told last; an append that fails is
answered after that has been told anew.

Invariants: a place that was answered is unpinned once, by `unpin`; bytes read here are verified
like everywhere (I7).
"""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections.abc import Callable, Iterable, Sequence

from s3node.base.arena import Arena
from s3node.base.clock import Clock
from s3node.base.errors import DiskOffline, EngineGone, StorageFault
from s3node.base.filesystem import Buffer, FileSystem, Usage
from s3node.base.ids import EpochIds
from s3node.processes import messages
from s3node.processes.messages import BadMessage, DiskTold, FromEdge, Unpin
from s3node.store.engine import Counters, Engine
from s3node.store.fetch import Memory, Reads
from s3node.store.identity import Identity
from s3node.store.limits import Limits
from s3node.store.seams import (
    Answered,
    At,
    DiskState,
    DiskStatus,
    Fetched,
    Part,
    Place,
    Records,
    Shard,
)
from s3node.store.state import Context, Disk

_Appending = tuple[int, int, Answered, Records]
"""Slot, shard, who is told, and the payloads, which are kept from being used again."""


class RemoteDisks:
    """See above. Belongs to one event loop. Does not own `engine`, which only reads."""

    def __init__(
        self,
        send: Callable[[FromEdge], None],
        post: Callable[[FromEdge], None],
        arena: Arena | None,
        disks: Sequence[DiskTold],
        deployment_id: bytes,
        fs: FileSystem,
        engine: Engine,
        ids: EpochIds,
        clock: Clock,
        limits: Limits,
        memory: Memory | None = None,
    ) -> None:
        """`send` is for what somebody waits for, `post` for what nobody does.

        `disks` is what the engine told first: as many as there are, in order of slots.

        `memory` is where payloads are read to; None: an arena of its own.
        """
        loop = asyncio.get_running_loop()
        self._send, self._post = send, post
        self._arena = arena
        self._deployment_id = deployment_id
        self._context = Context(fs, engine, loop, ids, clock, limits)
        self._disks = [_disk(one) for one in disks]
        self._reads = Reads(self._disks, self._context, memory)
        self._told: Sequence[DiskTold] = disks
        self._appending: dict[int, _Appending] = {}
        self._number = 0
        self._written_from: Sequence[Records] = ()
        self._gone = ""
        self._closed = False
        self._status: list[DiskStatus] = []
        self._writable: list[DiskStatus] = []
        self.told(disks)
        engine.start(loop, self._context.wake)

    # ---- what there is

    def status(self) -> Sequence[DiskStatus]:
        return self._status

    def writable(self) -> Sequence[DiskStatus]:
        return self._writable

    def have_room(self, count: int, size: int) -> bool:
        return sum(one.room >= size for one in self._writable) >= count

    def counters(self) -> Counters:
        """What was read here since the start."""
        return self._context.engine.counters()

    def set_sequence(self, sequence: int) -> None:
        """Nothing: the engine, which makes the records, knows it better."""

    # ---- shards

    def append(
        self, records: Records, targets: Sequence[tuple[int, int]], answered: Answered
    ) -> None:
        if self._gone:
            gone = [(shard, EngineGone(self._gone)) for _, shard in targets]
            self._context.loop.call_soon(answered, gone)
            return
        first = self._number + 1
        self._number += len(targets)
        self._send(messages.of_records(records, targets, first, self._find))
        for number, (slot, shard) in enumerate(targets, first):
            self._appending[number] = (slot, shard, answered, records)

    def unpin(self, places: Sequence[Place]) -> None:
        if places:
            self._post(Unpin([(place.slot, place.segment) for place in places]))

    def read(
        self, place: Place, shard: Shard, payload_bytes: int, start: int, stop: int
    ) -> Future[memoryview]:
        self._refuse_when_closed()
        return self._reads.read(place, shard, payload_bytes, start, stop)

    def fetch(
        self,
        stripe: Shard,
        payload_bytes: int,
        parts: Sequence[Part],
        hurry_s: float | None,
        spares: Iterable[Part] = (),
    ) -> Fetched:
        self._refuse_when_closed()
        return self._reads.fetch(stripe, payload_bytes, parts, hurry_s, spares)

    def at_hand(
        self, stripe: Shard, payload_bytes: int, places: Sequence[At | None], start: int, stop: int
    ) -> memoryview | None:
        self._refuse_when_closed()
        return self._reads.at_hand(stripe, payload_bytes, places, start, stop)

    def at_hand_around(
        self,
        stripe: Shard,
        payload_bytes: int,
        places: Sequence[At | None],
        count: int,
        hurry_s: float,
    ) -> tuple[memoryview, dict[int, memoryview]] | None:
        self._refuse_when_closed()
        return self._reads.at_hand_around(stripe, payload_bytes, places, count, hurry_s)

    # ---- what the engine answers and tells

    def placed(self, places: Sequence[tuple[int, int, int]]) -> None:
        """BadMessage if nothing was appended under one of the numbers."""
        last: Answered | None = None
        outcomes: list[tuple[int, Place | StorageFault]] = []
        try:
            for number, segment, offset in places:
                slot, shard, answered, _ = self._take(number)
                if last is not None and answered is not last:  # of another stripe
                    last(outcomes)
                    outcomes = []
                last = answered
                outcomes.append((shard, Place(slot, segment, offset)))
        finally:
            if last is not None:
                last(outcomes)

    def failed(self, number: int, fault: StorageFault) -> None:
        """BadMessage if nothing was appended under that number."""
        _, shard, answered, _ = self._take(number)
        answered([(shard, fault)])

    def told(self, disks: Sequence[DiskTold]) -> None:
        """What the disks are like now. BadMessage if there are others than there were."""
        if [one.slot for one in disks] != list(range(len(self._disks))):
            raise BadMessage("other disks than there were")
        for disk, before, now in zip(self._disks, self._told, disks, strict=True):
            self._take_over(disk, before, now)
        self._told = disks
        self._status = [one.status() for one in disks]
        self._writable = [one.status() for one in disks if one.writable]

    def gone(self, reason: str) -> None:
        """The engine is: whoever waits is told, and whoever comes. Reads go on."""
        self._gone = reason
        appending, self._appending = self._appending, {}
        # Disks may be writing from it yet, if only the connection is gone: kept to the end.
        self._written_from = [records for *_, records in appending.values()]
        for _, shard, answered, _ in appending.values():
            answered([(shard, EngineGone(reason))])

    def close(self) -> None:
        """Close the files; the engine for reading is ended by its owner, afterwards."""
        self._closed = True
        for disk in self._disks:
            self._reads.give_up(disk.slot, DiskOffline("the edge lets go of the disks"))
        self._reads.close()

    # ---- how

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise EngineGone(self._gone or "this edge has parted with it")

    def _find(self, payload: Buffer) -> int | None:
        return None if self._arena is None else self._arena.find(payload)

    def _take(self, number: int) -> _Appending:
        one = self._appending.pop(number, None)
        if one is None:
            raise BadMessage(f"nothing was appended as number {number}")
        return one

    def _take_over(self, disk: Disk, before: DiskTold, now: DiskTold) -> None:
        readable = disk.readable
        disk.state, disk.reason = now.state, now.reason
        disk.usage = Usage(now.total_bytes, now.free_bytes)
        if now.disk_id is not None:
            identity = Identity(self._deployment_id, now.disk_id, now.slot, len(self._disks), 0)
            disk.identity = identity
        if readable and not disk.readable:
            fault = DiskOffline(f"slot {disk.slot} is {now.state.value}: {now.reason}")
            self._reads.give_up(disk.slot, fault)
        if now.returns != before.returns:  # descriptors of the time before mean nothing
            self._reads.close_slot(disk.slot)


def _disk(told: DiskTold) -> Disk:
    """A disk of which nothing is known yet but where it is."""
    usage = Usage(told.total_bytes, told.free_bytes)
    return Disk(told.slot, told.path, None, DiskState.OFFLINE, "", usage, -1)
