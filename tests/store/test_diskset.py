"""The conformance suite of the disk set: every engine passes every test."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from s3node.base.errors import (
    DiskFailed,
    DiskFull,
    DiskOffline,
    ShardCorrupt,
    ShardMissing,
    StorageFault,
)
from s3node.store import record, scan, seal, segment
from s3node.store.diskset import Disks
from s3node.store.identity import Standing
from s3node.store.limits import SECTOR, Limits
from s3node.store.seams import DiskState, Place
from tests.simulation.faults import Faults
from tests.simulation.filesystem import SimulatedFileSystem
from tests.store.world import (
    ENGINES,
    LIMITS,
    World,
    append_of,
    appended,
    crossed,
    disk_id,
    outcomes,
    pack_record,
    read_back,
    shard_of,
)


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


@pytest.fixture(params=[engine for engine in ENGINES if engine != "inline"])
def threaded(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    """Engines where something can happen while a disk is busy."""
    return World(request.param, tmp_path)


def in_segments(path: str) -> bool:
    return "/segments/" in path


def in_journal(path: str) -> bool:
    return "/journal/" in path


def state(disks: Disks, slot: int) -> DiskState:
    return disks.status()[slot].state


def test_append_then_read_every_range(world: World) -> None:
    payload = Random(1).randbytes(3 * record.BLOCK_BYTES + 100)
    edges = [0, 1, 65535, 65536, 65537, 131072, 196608, len(payload) - 1, len(payload)]

    async def scenario(disks: Disks) -> None:
        item = append_of(payload, hint=b"bucket/key")
        (place,) = await asyncio.gather(*appended(disks, [item]))
        for start in edges:
            for stop in edges:
                if start < stop:
                    got = await disks.read(place, item.shard, len(payload), start, stop)
                    assert got == payload[start:stop]

    world.run(scenario)


def test_partial_read_touches_only_its_blocks(world: World) -> None:
    payload = Random(2).randbytes(16 * record.BLOCK_BYTES)

    async def scenario(disks: Disks) -> int:
        item = append_of(payload)
        (place,) = await asyncio.gather(*appended(disks, [item]))
        await read_back(disks, place, item)
        before = disks.counters().bytes_read
        await disks.read(place, item.shard, len(payload), 7 * record.BLOCK_BYTES + 5, 500_000)
        return disks.counters().bytes_read - before

    head = record.payload_start(len(payload))
    assert world.run(scenario) == head + record.BLOCK_BYTES


def test_a_batch_is_one_crossing_one_write_one_sync(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await asyncio.gather(*appended(disks, [append_of(b"x", slot) for slot in range(3)]))
        before = copy(disks.counters())
        batch = [append_of(bytes([n]) * 500, n % 3, n) for n in range(60)]
        places = await asyncio.gather(*appended(disks, batch))
        after = disks.counters()
        assert after.crossings - before.crossings == 1
        assert (after.writes - before.writes, after.syncs - before.syncs) == (3, 3)
        for place, item in zip(places, batch, strict=True):
            assert await read_back(disks, place, item) == item.payload

    world.run(scenario)


def test_what_waits_for_a_sync_shares_the_next(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        await asyncio.gather(*appended(disks, [append_of(b"x")]))
        faults.hold("fdatasync")
        before = disks.counters().syncs
        futures = [*appended(disks, [append_of(b"first")])]
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        for n in range(40):
            futures += appended(disks, [append_of(bytes([n]) * 99, 0, n)])
        assert not any(future.done() for future in futures)
        faults.release("fdatasync")
        await asyncio.gather(*futures)
        assert disks.counters().syncs - before == 2

    threaded.run(scenario)


def test_reads_do_not_wait_for_a_sync(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        item = append_of(b"read me")
        (place,) = await asyncio.gather(*appended(disks, [item]))
        faults.hold("fdatasync")
        slow = appended(disks, [append_of(b"slow")])
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        assert await read_back(disks, place, item) == b"read me"
        assert not slow[0].done()
        faults.release("fdatasync")
        await asyncio.gather(*slow)

    threaded.run(scenario)


def test_a_stalled_disk_is_full_soon_and_the_others_go_on(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        payload = bytes(1 << 20)
        await asyncio.gather(*appended(disks, [append_of(b"x", slot) for slot in range(3)]))
        faults.hold("fdatasync", lambda path: "disk0" in path)
        held = [future for _ in range(3) for future in appended(disks, [append_of(payload, 0)])]
        refused = appended(disks, [append_of(payload, 0)])[0]
        with pytest.raises(DiskOffline):
            await refused
        assert 0 in [one.slot for one in disks.writable()]  # a smaller one would still fit
        await asyncio.gather(*appended(disks, [append_of(payload, slot) for slot in (1, 2)]))
        assert not any(future.done() for future in held)
        faults.release("fdatasync")
        await asyncio.gather(*held)
        await asyncio.gather(*appended(disks, [append_of(payload, 0)]))

    threaded.run(scenario)


def test_a_disk_that_does_not_answer_is_taken_out_and_comes_back_when_it_has(
    threaded: World,
) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        looks = threaded.limits.hung_looks
        disks.unpin(await asyncio.gather(*appended(disks, [append_of(b"x", n) for n in range(3)])))
        await disks.log_rotate(0, "a.log")
        faults.hold("fdatasync", lambda path: "disk0" in path)
        log = disks.log_append(0, b"frame")
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        held = [log, *appended(disks, [append_of(b"held", 0), append_of(b"too", 0)])]
        for _ in range(looks - 1):
            await disks.refresh()
        assert not any(future.done() for future in held)
        await disks.refresh()
        assert all(isinstance(one, DiskOffline) for one in await outcomes(held))
        assert disks.status()[0].state is DiskState.OFFLINE
        assert "does not answer" in disks.status()[0].reason
        assert [one.slot for one in disks.writable()] == [1, 2]
        await asyncio.gather(*appended(disks, [append_of(b"y", slot) for slot in (1, 2)]))
        assert "not answered" in (await disks.probe(0)).reason
        with pytest.raises(DiskOffline):
            await disks.readmit(0)
        faults.release("fdatasync")
        while not (await disks.probe(0)).writable:
            await asyncio.sleep(0.01)
        await disks.readmit(0)
        (place,) = await asyncio.gather(*appended(disks, [append_of(b"again")]))
        assert await read_back(disks, place, append_of(b"again")) == b"again"
        await disks.log_rotate(0, "b.log")
        await disks.log_append(0, b"frame")
        assert not any(disks.pinned(0, one) for one in disks.segments(0) if one != place.segment)

    threaded.run(scenario)


def test_what_a_hung_disk_writes_after_all_is_no_damage(threaded: World) -> None:
    """It was given up, and its memory is used for something else when the disk goes on."""
    faults = threaded.faults
    assert isinstance(faults, Faults)
    half = threaded.limits.segment_bytes // 2

    async def scenario(disks: Disks) -> str:
        (first,) = await asyncio.gather(*appended(disks, [append_of(bytes(half))]))
        disks.unpin([first])
        faults.hold("pwritev", lambda path: "disk0/segments" in path)
        memory = bytearray(b"mine" * (half // 8))
        late = append_of(memoryview(memory), 0, 1)
        held = appended(disks, [late, append_of(bytes(half), 0, 2)])
        await asyncio.to_thread(faults.entered["pwritev"].wait)
        for _ in range(threaded.limits.hung_looks + 1):
            await disks.refresh()
        assert all(isinstance(one, DiskOffline) for one in await outcomes(held))
        memory[:] = bytes(len(memory))
        faults.release("pwritev")
        while not (await disks.probe(0)).writable:
            await asyncio.sleep(0.01)
        await disks.readmit(0)
        await disks.seal()
        assert disks.suspects() == [(0, first.segment)]
        assert (await disks.read_back(0, first.segment)).missing == ()
        assert not any(disks.pinned(0, one) for one in disks.segments(0))
        return threaded.segment_path(first)

    path = threaded.run(scenario)
    segment_id = segment.segment_of(os.path.basename(path))
    assert segment_id is not None
    found = list(scan.scan(threaded.fs, path, segment_id, disk_id(0)))
    assert not any(isinstance(one, scan.Sealed) for one in found)
    assert all(one.torn for one in found if isinstance(one, scan.Found) and one.fault)


@pytest.mark.parametrize("engine", ["native", "threads", "inline"])
def test_who_cannot_take_an_answer_keeps_no_other_from_his(engine: str, tmp_path: Path) -> None:
    async def scenario(disks: Disks) -> None:
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: heard.append(told))

        def refuse(*_: object) -> None:
            raise KeyError("a fault of ours")

        item = append_of(b"first")
        disks.append(item.records(), [(0, item.shard.shard_index)], refuse)
        (place,) = await asyncio.gather(*appended(disks, [append_of(b"second")]))
        assert len(heard) == 1
        assert await read_back(disks, place, append_of(b"second")) == b"second"

    World(engine, tmp_path).run(scenario)


def test_when_more_disks_hang_than_may_fail_it_is_not_the_disks(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        await asyncio.gather(*appended(disks, [append_of(b"x", slot) for slot in range(3)]))
        faults.hold("fdatasync")
        held = appended(disks, [append_of(b"y", slot) for slot in range(3)])
        for _ in range(2 * threaded.limits.hung_looks):
            await disks.refresh()
        assert all(one.state is DiskState.ONLINE for one in disks.status())
        faults.release("fdatasync")
        await asyncio.gather(*held)

    threaded.run(scenario)


def test_records_lie_in_order_and_a_full_segment_is_sealed(world: World) -> None:
    rng = Random(3)
    batch = [append_of(rng.randbytes(rng.randrange(1, 90_000)), 0, n) for n in range(60)]

    async def scenario(disks: Disks) -> list[Place]:
        places: list[Place] = []
        for start in range(0, len(batch), 7):
            places += await asyncio.gather(*appended(disks, batch[start : start + 7]))
        for place, item in zip(places, batch, strict=True):
            assert await read_back(disks, place, item) == item.payload
        assert list(disks.segments(0)) == sorted({place.segment for place in places})
        assert list(disks.segments(1)) == []
        return places

    places = world.run(scenario)
    assert places == sorted(places)
    assert len({place.segment for place in places}) > 2
    for segment_id in {place.segment for place in places}:
        path = world.segment_path(Place(0, segment_id, 0))
        items = list(scan.scan(world.fs, path, segment_id, disk_id(0)))
        offsets = [item.offset for item in items if isinstance(item, scan.Found)]
        assert offsets == [place.offset for place in places if place.segment == segment_id]
        sealed, end = items[-2:]
        assert isinstance(sealed, scan.Sealed) and not sealed.fault
        assert isinstance(end, scan.End) and end.used == end.size <= LIMITS.segment_bytes
        assert end.size == sealed.offset + seal.LAYOUT.size


def test_reopened_disks_read_the_old_and_write_new_segments(world: World) -> None:
    first, second = append_of(b"one" * 1000, 0, 1), append_of(b"two" * 1000, 0, 2)

    async def write(disks: Disks) -> Place:
        return (await asyncio.gather(*appended(disks, [first])))[0]

    old = world.run(write)

    async def again(disks: Disks) -> None:
        (new,) = await asyncio.gather(*appended(disks, [second]))
        assert new.segment > old.segment
        assert await read_back(disks, old, first) == first.payload
        assert await read_back(disks, new, second) == second.payload

    world.run(again)


def test_a_full_segment_has_room_for_its_seal(tmp_path: Path) -> None:
    room = record.record_bytes(1000)
    for slack, segments in ((0, 1), (-8, 2)):
        size = SECTOR + 2 * room + seal.LAYOUT.size + slack
        (tmp_path / str(segments)).mkdir()
        world = World("threads", tmp_path / str(segments), replace(LIMITS, segment_bytes=size))

        async def scenario(disks: Disks) -> int:
            places = await asyncio.gather(*appended(disks, [append_of(bytes(1000))] * 2))
            return len({place.segment for place in places})

        assert world.run(scenario) == segments


def test_a_record_larger_than_a_segment_has_one_for_itself(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        large = append_of(bytes(LIMITS.segment_bytes + 5), 0, 1)
        small = append_of(b"small", 0, 2)
        places = await asyncio.gather(*appended(disks, [small, large, small]))
        assert len({place.segment for place in places}) == 3
        for place, item in zip(places, [small, large, small], strict=True):
            assert await read_back(disks, place, item) == item.payload

    world.run(scenario)


# ---- what is not there, or not right


def test_damage_is_told_and_only_where_it_is(world: World) -> None:
    payload = Random(4).randbytes(2 * record.BLOCK_BYTES + 10)
    item = append_of(payload)

    async def write(disks: Disks) -> Place:
        return (await asyncio.gather(*appended(disks, [item])))[0]

    place = world.run(write)
    head = record.payload_start(len(payload))
    world.flip(world.segment_path(place), place.offset + head + record.BLOCK_BYTES + 7)

    async def scenario(disks: Disks) -> None:
        size, block = len(payload), record.BLOCK_BYTES
        assert await disks.read(place, item.shard, size, 0, block) == payload[:block]
        last = await disks.read(place, item.shard, size, 2 * block, size)
        assert last == payload[2 * block :]
        with pytest.raises(ShardCorrupt):
            await disks.read(place, item.shard, size, block - 1, block + 1)

    world.run(scenario)


def test_another_record_or_none_is_missing(world: World) -> None:
    item, other = append_of(b"a" * 500, 0, 1), append_of(b"b" * 500, 0, 2)

    async def scenario(disks: Disks) -> None:
        place, second = await asyncio.gather(*appended(disks, [item, other]))
        size = 500
        wrong = [
            (second, item.shard, size),
            (place, item.shard._replace(stripe_index=9), size),
            (place, item.shard._replace(shard_index=2), size),
            (place, item.shard._replace(k=3), size),
            (place, item.shard._replace(m=1), size),
            (place, item.shard._replace(code=2), size),
            (place, item.shard._replace(stripe_bytes=7), size),
            (place, item.shard._replace(stripe_offset=7), size),
            (place, item.shard, size - 1),
            (place._replace(segment=place.segment + 1), item.shard, size),
            (place._replace(offset=1 << 30), item.shard, size),
            (place._replace(slot=1), item.shard, size),
        ]
        for at, shard, length in wrong:
            with pytest.raises(ShardMissing):
                await disks.read(at, shard, length, 0, length)
        with pytest.raises(ShardCorrupt):
            await disks.read(place._replace(offset=place.offset + 8), item.shard, size, 0, 1)

    world.run(scenario)


def test_a_record_moved_to_another_disk_or_segment_is_not_believed(world: World) -> None:
    item = append_of(b"a" * 500, 0, 1)

    async def write(disks: Disks) -> list[Place]:
        twin = item._replace(slot=1)
        return await asyncio.gather(*appended(disks, [item, twin]))

    place, twin = world.run(write)
    world.overwrite(
        world.segment_path(twin), 512, world.content(world.segment_path(place))[512:1200]
    )

    async def scenario(disks: Disks) -> None:
        with pytest.raises(ShardMissing):
            await disks.read(twin, item.shard, 500, 0, 500)

    world.run(scenario)


@pytest.mark.parametrize("wrong", ["segment", "offset", "disk id"])
def test_a_misdirected_write_is_not_believed(world: World, wrong: str) -> None:
    """A whole record of this very shard, but made for another place."""
    item = append_of(b"a" * 500, 0, 1)

    async def scenario(disks: Disks) -> None:
        (place,) = await asyncio.gather(*appended(disks, [item]))
        wrong_place = place.segment + (wrong == "segment"), place.offset + 8 * (wrong == "offset")
        disk = disk_id(1 if wrong == "disk id" else 0)
        packed = pack_record(item.shard, 500, disk, wrong_place, 0)
        world.overwrite(world.segment_path(place), place.offset, packed)
        with pytest.raises(ShardMissing):
            await read_back(disks, place, item)

    world.run(scenario)


def test_unreadable_sectors_are_the_shards_fault(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        item = append_of(b"a" * 500)
        (place,) = await asyncio.gather(*appended(disks, [item]))
        world.faults.fail("pread", errno.EIO)
        with pytest.raises(ShardCorrupt):
            await read_back(disks, place, item)
        world.faults.heal()
        assert await read_back(disks, place, item) == item.payload
        assert state(disks, 0) is DiskState.ONLINE

    world.run(scenario)


def test_many_segments_are_read_with_few_descriptors(tmp_path: Path) -> None:
    small = Limits(segment_bytes=4096, reserve_bytes=1 << 20, read_files=3)
    for kind in ENGINES:
        (tmp_path / kind).mkdir()
        world = World(kind, tmp_path / kind, small)

        async def scenario(disks: Disks) -> None:
            batch = [append_of(bytes([n]) * 3000, 0, n) for n in range(20)]
            places = await asyncio.gather(*appended(disks, batch))
            for _ in range(2):
                got = await asyncio.gather(
                    *(
                        disks.read(place, item.shard, 3000, 0, 3000)
                        for place, item in zip(places, batch, strict=True)
                    )
                )
                assert [bytes(one) for one in got] == [item.payload for item in batch]
                for place, item in zip(places, batch, strict=True):
                    assert await read_back(disks, place, item) == item.payload

        world.run(scenario)


# ---- failing writes


@pytest.mark.parametrize(
    ("call", "number", "fault", "after"),
    [
        ("pwritev", errno.ENOSPC, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EDQUOT, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EROFS, DiskFull, DiskState.READONLY),
        ("pwritev", errno.EIO, DiskFailed, DiskState.ONLINE),
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
        world.faults.short_bytes = 777

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
        await disks.log_append(0, b"the journal still has room")

    world.run(scenario)


# ---- pins


def test_segments_are_pinned_until_decided(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, [append_of(b"x"), append_of(b"y")]))
        await disks.seal()
        segment_id = places[0].segment
        disks.unpin(places[:1])
        await crossed()
        assert disks.pinned(0, segment_id)
        with pytest.raises(AssertionError):
            await disks.drop(0, segment_id)
        disks.unpin(places[1:])
        await crossed()
        assert not disks.pinned(0, segment_id)
        await disks.drop(0, segment_id)
        assert segment_id not in disks.segments(0)
        with pytest.raises(ShardMissing):
            await disks.read(places[0], append_of(b"x").shard, 1, 0, 1)

    world.run(scenario)


# ---- logs


def test_logs_append_in_order_one_sync_each(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        with pytest.raises(DiskOffline):
            await disks.log_append(0, b"no log yet")
        assert disks.writable_logs() == [0, 1, 2]
        disks.fence(2, "out")
        assert disks.writable_logs() == [0, 1]
        await disks.log_rotate(0, "first.log")
        await disks.log_rotate(1, "first.log")
        before = disks.counters().syncs
        await asyncio.gather(*(disks.log_append(0, b"%03d;" % n) for n in range(20)))
        assert disks.counters().syncs - before == 20
        rotated = [disks.log_append(0, b"last"), disks.log_rotate(0, "second.log")]
        await asyncio.gather(*rotated, disks.log_append(0, b"new"))

    world.run(scenario)
    expected = b"".join(b"%03d;" % n for n in range(20)) + b"last"
    assert world.content(f"{world.paths[0]}/journal/first.log") == expected
    assert world.content(f"{world.paths[0]}/journal/second.log") == b"new"
    assert world.content(f"{world.paths[1]}/journal/first.log") == b""


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_a_failed_log_is_dead_until_it_is_rotated(world: World, call: str) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        await disks.log_append(0, b"good")
        world.faults.fail(call, errno.EIO, in_journal)
        results = await outcomes([disks.log_append(0, b"bad") for _ in range(3)])
        assert all(isinstance(result, DiskFailed) for result in results)
        if call == "fdatasync":  # making the next log fails too: the dead one stays dead
            with pytest.raises(DiskFailed):
                await disks.log_rotate(0, "b")
        world.faults.heal()
        with pytest.raises(DiskFailed):
            await disks.log_append(0, b"still dead")
        await disks.log_rotate(0, "c")
        await disks.log_append(0, b"alive")

    world.run(scenario)
    assert world.content(f"{world.paths[0]}/journal/c") == b"alive"


def test_a_taken_log_name_is_refused_and_the_open_log_stays(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        with pytest.raises(DiskFailed):
            await disks.log_rotate(0, "a")
        await disks.log_append(0, b"here")

    world.run(scenario)
    assert world.content(f"{world.paths[0]}/journal/a") == b"here"


def test_one_disks_log_and_shards_do_not_share_a_fault(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        await asyncio.gather(*appended(disks, [append_of(b"x")]))
        world.faults.fail("pwritev", errno.EIO, in_journal)
        shard = appended(disks, [append_of(b"y")])
        (log,) = await outcomes([disks.log_append(0, b"z")])
        assert isinstance(log, DiskFailed)
        world.faults.heal()
        await asyncio.gather(*shard)

    world.run(scenario)


# ---- disks that go and come


def test_a_fenced_disk_neither_reads_nor_writes_until_readmitted(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        item = append_of(b"x")
        (place,) = await asyncio.gather(*appended(disks, [item]))
        disks.fence(0, "its epoch is old")
        refused: list[Callable[[], asyncio.Future[object]]] = [
            lambda: appended(disks, [item])[0],
            lambda: disks.read(place, item.shard, 1, 0, 1),
            lambda: disks.log_rotate(0, "a"),
        ]
        for call in refused:
            with pytest.raises(DiskOffline):
                await call()
        await disks.readmit(0)
        assert await read_back(disks, place, item) == b"x"

    world.run(scenario)


def test_a_readmitted_disk_is_written_to_new_files_only(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        item = append_of(b"x")
        (old,) = await asyncio.gather(*appended(disks, [item]))
        await disks.log_rotate(0, "a")
        disks.fence(0, "it was pulled")
        await disks.readmit(0)
        (new,) = await asyncio.gather(*appended(disks, [item]))
        assert new.segment != old.segment
        with pytest.raises(DiskOffline):
            await disks.log_append(0, b"to what was open before")
        await disks.log_rotate(0, "b")
        await disks.log_append(0, b"x")

    world.run(scenario)


def test_room_reserved_by_an_ended_epoch_is_cut(world: World) -> None:
    batch = [append_of(Random(8).randbytes(5000), 0, n) for n in range(3)]

    async def crash(disks: Disks) -> tuple[list[Place], bytes]:
        places = await asyncio.gather(*appended(disks, batch))
        return places, world.content(world.segment_path(places[0]))

    places, content = world.run(crash)
    path = world.segment_path(places[0])
    world.overwrite(path, 0, content)  # as it was before the seal

    async def scenario(disks: Disks) -> None:
        (new,) = await asyncio.gather(*appended(disks, [batch[0]]))
        open_size = len(world.content(world.segment_path(new)))
        assert await disks.trim(0) == 1
        assert len(world.content(path)) == places[-1].offset + record.record_bytes(5000)
        assert len(world.content(world.segment_path(new))) == open_size
        assert await disks.trim(0) == 0
        for place, item in zip(places, batch, strict=True):
            assert await read_back(disks, place, item) == item.payload

    world.run(scenario)


def test_status_says_what_and_why(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.refresh()
        for slot, one in enumerate(disks.status()):
            assert (one.slot, one.disk_id, one.state) == (slot, disk_id(slot), DiskState.ONLINE)
            assert 0 < one.free_bytes <= one.total_bytes
        disks.fence(1, "why not")
        assert disks.status()[1].reason == "why not"

    world.run(scenario)


def test_sequence_is_stamped_into_records(world: World) -> None:
    async def scenario(disks: Disks) -> Place:
        disks.set_sequence(77)
        return (await asyncio.gather(*appended(disks, [append_of(b"x", hint=b"who")])))[0]

    place = world.run(scenario)
    path = world.segment_path(place)
    found = next(iter(scan.scan(world.fs, path, place.segment, disk_id(0))))
    assert isinstance(found, scan.Found)
    assert (found.header.sequence, found.hint) == (77, b"who")
    assert record.says(found.header, shard_of(b"x"))
