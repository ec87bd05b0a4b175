"""Conformance of the disk set: what a write or sync that fails does to segment and disk (I3)."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from random import Random

import pytest

from s3node.base.errors import (
    DiskFailed,
    DiskFull,
    DiskOffline,
    StorageFault,
)
from s3node.store.diskset import Disks
from s3node.store.identity import Standing
from s3node.store.limits import Limits
from s3node.store.seams import DiskState, Place
from tests.simulation.faults import Faults
from tests.simulation.filesystem import SimulatedFileSystem
from tests.store.world import (
    World,
    append_of,
    appended,
    crossed,
    in_segments,
    log_append,
    outcomes,
    read_back,
    state,
)


@pytest.mark.parametrize(
    ("call", "number", "fault", "after"),
    [
        ("pwritev", errno.ENOSPC, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EDQUOT, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EROFS, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EIO, DiskFailed, DiskState.READONLY),
        ("pwritev", errno.ENODEV, DiskFailed, DiskState.OFFLINE),
        ("fdatasync", errno.EIO, DiskFailed, DiskState.READONLY),
        ("fdatasync", errno.ENOSPC, DiskFull, DiskState.READONLY),
    ],
)
def test_a_failed_segment_is_dead(
    world: World, call: str, number: int, fault: type[StorageFault], after: DiskState
) -> None:
    async def scenario(disks: Disks) -> None:
        item = append_of(b"before", 0, 1)
        (before,) = await asyncio.gather(*appended(disks, [item]))
        world.faults.fail(call, number, lambda path: in_segments(path) and "disk0" in path)
        results = await outcomes(appended(disks, [append_of(b"x" * 100, s, 2) for s in (0, 0, 1)]))
        assert [type(result) for result in results] == [fault, fault, Place]
        assert state(disks, 0) is after
        if call == "fdatasync":
            refused = await outcomes(appended(disks, [append_of(b"y")]))
            assert isinstance(refused[0], DiskFull)
        world.faults.heal()
        if after is not DiskState.OFFLINE:
            assert await read_back(disks, before, item) == b"before"
        assert disks.pinned(0, before.segment)  # by the record that was answered
        disks.unpin([before])
        await disks.seal()  # what is dead is closed
        assert not disks.pinned(0, before.segment), "failed appends unpin by themselves"
        if after is DiskState.ONLINE:
            (new,) = await asyncio.gather(*appended(disks, [append_of(b"z" * 9)]))
            assert new.segment != before.segment
        probe = await disks.probe(0)
        assert probe.writable and probe.standing is Standing.OK
        await disks.readmit(0)
        (new,) = await asyncio.gather(*appended(disks, [append_of(b"z" * 9)]))
        assert new.segment != before.segment

    world.run(scenario)


def test_a_dead_descriptor_is_never_touched_again(world: World) -> None:
    async def scenario(disks: Disks) -> list[tuple[str, str]]:
        (first,) = await asyncio.gather(*appended(disks, [append_of(b"a")]))
        world.faults.fail("fdatasync", errno.EIO, in_segments)
        await outcomes(appended(disks, [append_of(b"b")]))
        world.faults.heal()
        mark = len(touches(world))
        await outcomes(appended(disks, [append_of(b"c")]))
        path = world.segment_path(first)
        return [one for one in touches(world)[mark:] if one[1] == path and one[0] != "close"]

    assert world.run(scenario) == []


@pytest.mark.parametrize("call", ["fdatasync", "pwritev"])
def test_a_dead_segment_is_read_back(world: World, call: str) -> None:
    async def scenario(disks: Disks) -> None:
        batch = [append_of(Random(n).randbytes(1000 + n), 0, n) for n in range(4)]
        places = await asyncio.gather(*appended(disks, batch))
        assert disks.suspects() == []
        for damage in (0, 2):
            world.flip(world.segment_path(places[damage]), places[damage].offset + 500)
        fd = world.fs.open(world.segment_path(places[0]), os.O_RDWR)
        world.fs.fdatasync(fd)  # the damage is on the medium
        world.fs.close(fd)
        world.faults.fail(call, errno.EIO, in_segments)
        await outcomes(appended(disks, [append_of(b"x" * 100)]))
        world.faults.heal()
        disks.unpin(places)
        while not disks.suspects():
            await asyncio.sleep(0.01)
        ((slot, segment_id),) = disks.suspects()
        found = await disks.read_back(slot, segment_id)
        assert (found.slot, found.segment, found.reason) == (0, places[0].segment, "")
        assert [found.lacks(place.offset) for place in places] == [True, False, True, False]
        assert disks.suspects() == []

    world.run(scenario)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO])
def test_what_cannot_be_read_back_is_suspect(world: World, number: int) -> None:
    async def scenario(disks: Disks) -> None:
        (place,) = await asyncio.gather(*appended(disks, [append_of(b"x" * 100)]))
        world.faults.fail("pwritev", errno.EIO, in_segments)
        await outcomes(appended(disks, [append_of(b"y")]))
        world.faults.heal()
        disks.unpin([place])
        while not disks.suspects():
            await asyncio.sleep(0.01)
        world.faults.fail("pread", number, in_segments)
        if number == errno.ENXIO:
            with pytest.raises(DiskOffline):
                await disks.read_back(0, place.segment)
            world.faults.heal()
            assert disks.suspects() == [], "of a disk that is there"
            await disks.readmit(0)
            assert disks.suspects() == [(0, place.segment)]
            assert not (await disks.read_back(0, place.segment)).missing
            return
        found = await disks.read_back(0, place.segment)
        assert found.lacks(place.offset) and "cannot be read" in found.reason

    world.run(scenario)


def test_what_was_queued_behind_a_failing_sync_is_not_written(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        (first,) = await asyncio.gather(*appended(disks, [append_of(b"a")]))
        faults.hold("fdatasync", in_segments)
        faults.fail("fdatasync", errno.EIO, in_segments)
        futures = [*appended(disks, [append_of(b"b")])]
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        futures += appended(disks, [append_of(b"c")])
        await crossed()
        mark = len(faults.touched)
        faults.release("fdatasync")
        assert all(isinstance(one, DiskFailed) for one in await outcomes(futures))
        path = threaded.segment_path(first)
        assert [call for call, where in faults.touched[mark:] if where == path] == []

    threaded.run(scenario)


def touches(world: World) -> list[tuple[str, str]]:
    if isinstance(world.faults, SimulatedFileSystem):
        return [(call, path) for call, path in (one.split(" ", 1) for one in world.faults.trace)]
    return world.faults.touched


def test_a_disk_where_nothing_can_be_written_is_given_up(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        world.faults.fail("pwritev", errno.EIO, lambda path: "disk0" in path)
        results = await outcomes(appended(disks, [append_of(b"x", slot) for slot in range(3)]))
        assert isinstance(results[0], DiskFailed)
        assert [one.slot for one in disks.writable()] == [1, 2]
        probe = await disks.probe(0)
        assert not probe.writable
        with pytest.raises(DiskOffline):
            await disks.readmit(0)

    world.run(scenario)


def test_short_writes_are_continued(world: World) -> None:
    if isinstance(world.faults, SimulatedFileSystem):
        world.faults.short = Random(5)
    else:
        world.faults.short_bytes = 4096  # past the page cache no less is written

    async def scenario(disks: Disks) -> None:
        batch = [append_of(Random(n).randbytes(5000 + n), n % 3, n) for n in range(12)]
        places = await asyncio.gather(*appended(disks, batch))
        for place, item in zip(places, batch, strict=True):
            assert await read_back(disks, place, item) == item.payload

    world.run(scenario)


def test_a_full_disk_keeps_its_reserve(tmp_path: Path) -> None:
    world = World("inline", tmp_path, Limits(segment_bytes=1 << 20, reserve_bytes=1 << 20))
    assert isinstance(world.fs, SimulatedFileSystem)
    world.fs.capacity = 40 << 20

    async def scenario(disks: Disks) -> None:
        answered = 0
        while True:
            (result,) = await outcomes(appended(disks, [append_of(bytes(100_000))]))
            if isinstance(result, BaseException):
                break
            answered += 1
        assert isinstance(result, DiskFull)
        assert 380 < answered < 410
        assert isinstance(world.fs, SimulatedFileSystem)
        assert world.fs.usage("/w").free >= 700_000  # but for what segments reserve ahead
        await disks.log_rotate(0, "log")
        await log_append(disks, 0, b"the journal still has room")

    world.run(scenario)
