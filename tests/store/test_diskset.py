"""The conformance suite of the disk set: every engine passes every test, and those of
`test_distrust`, `test_failing_writes` and `test_absent_disks`.
"""

from __future__ import annotations

import asyncio
import errno
from copy import copy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from s3node.base.errors import (
    DiskFailed,
    DiskOffline,
    ShardMissing,
    StorageFault,
)
from s3node.store import record, scan, seal
from s3node.store.diskset import Disks
from s3node.store.limits import SECTOR
from s3node.store.seams import DiskState, Place, Records
from tests.simulation.faults import Faults
from tests.store.world import (
    LIMITS,
    World,
    append_of,
    appended,
    crossed,
    disk_id,
    in_journal,
    log_append,
    outcomes,
    read_back,
    shard_of,
)


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


def test_logs_append_in_order_one_sync_each(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        with pytest.raises(DiskOffline):
            await log_append(disks, 0, b"no log yet")
        assert disks.writable_logs() == [0, 1, 2]
        disks.fence(2, "out")
        assert disks.writable_logs() == [0, 1]
        await disks.log_rotate(0, "first.log")
        await disks.log_rotate(1, "first.log")
        before = disks.counters().syncs
        await asyncio.gather(*(log_append(disks, 0, b"%03d;" % n) for n in range(20)))
        assert disks.counters().syncs - before == 20
        rotated = [log_append(disks, 0, b"last"), disks.log_rotate(0, "second.log")]
        await asyncio.gather(*rotated, log_append(disks, 0, b"new"))

    world.run(scenario)
    expected = b"".join(b"%03d;" % n for n in range(20)) + b"last"
    assert world.log(0, "first.log") == expected
    assert world.log(0, "second.log") == b"new"
    assert world.log(1, "first.log") == b""


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
def test_a_failed_log_is_dead_until_it_is_rotated(world: World, call: str) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        await log_append(disks, 0, b"good")
        world.faults.fail(call, errno.EIO, in_journal)
        results = await outcomes([log_append(disks, 0, b"bad") for _ in range(3)])
        assert all(isinstance(result, DiskFailed) for result in results)
        if call == "fdatasync":  # making the next log fails too: the dead one stays dead
            with pytest.raises(DiskFailed):
                await disks.log_rotate(0, "b")
        world.faults.heal()
        with pytest.raises(DiskFailed):
            await log_append(disks, 0, b"still dead")
        await disks.log_rotate(0, "c")
        await log_append(disks, 0, b"alive")

    world.run(scenario)
    assert world.log(0, "c") == b"alive"


def test_a_taken_log_name_is_refused_and_the_open_log_stays(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        with pytest.raises(DiskFailed):
            await disks.log_rotate(0, "a")
        await log_append(disks, 0, b"here")

    world.run(scenario)
    assert world.log(0, "a") == b"here"


def test_one_disks_log_and_shards_do_not_share_a_fault(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        await disks.log_rotate(0, "a")
        await asyncio.gather(*appended(disks, [append_of(b"x")]))
        world.faults.fail("pwritev", errno.EIO, in_journal)
        shard = appended(disks, [append_of(b"y")])
        (log,) = await outcomes([log_append(disks, 0, b"z")])
        assert isinstance(log, DiskFailed)
        world.faults.heal()
        await asyncio.gather(*shard)

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


def test_without_a_thread_for_its_segment_a_shard_fails_and_no_other(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(opened: Disks) -> None:
        for place in await outcomes(appended(opened, [append_of(b"x", slot) for slot in (0, 1)])):
            assert isinstance(place, Place)
            opened.unpin([place])
        engine = opened._context.engine
        run = engine.run

        def poor(*_: Any) -> Any:
            raise RuntimeError("can't start new thread")

        engine.run = poor  # type: ignore[method-assign]
        payload = bytes(3000)
        shard = shard_of(payload[:1000])._replace(shard_index=0)
        shard = shard._replace(digests=3 * shard.digests)
        told: list[tuple[int, Place | StorageFault]] = []
        opened.append(
            Records(shard, memoryview(payload), 1000), [(0, 0), (1, 1), (2, 2)], told.extend
        )
        engine.run = run  # type: ignore[method-assign]
        while len(told) < 3:
            await asyncio.sleep(0.002)
        found = dict(told)
        assert isinstance(found[0], Place) and isinstance(found[1], Place)
        assert isinstance(found[2], StorageFault) and "can't start" in str(found[2])
        opened.unpin([found[0], found[1]])
        await opened.seal()
        assert not opened.pins() and not any(disk.pending_bytes for disk in opened._disks)
        (again,) = await outcomes(appended(opened, [append_of(b"x", 2)]))
        assert isinstance(again, Place)

    world.run(scenario)
