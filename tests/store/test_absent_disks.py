"""Conformance of the disk set: disks that do not answer, go away, and come back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import pytest

from s3node.base.errors import (
    DiskOffline,
)
from s3node.store import scan, segment
from s3node.store.diskset import Disks
from s3node.store.seams import DiskState
from tests.simulation.faults import Faults
from tests.store.world import (
    World,
    append_of,
    appended,
    assert_room,
    disk_id,
    log_append,
    outcomes,
    read_back,
)


def test_a_stalled_disk_stops_no_other(threaded: World) -> None:
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        payload = bytes(1 << 20)
        await asyncio.gather(*appended(disks, [append_of(b"x", slot) for slot in range(3)]))
        faults.hold("fdatasync", lambda path: "disk0" in path)
        held = [future for _ in range(6) for future in appended(disks, [append_of(payload, 0)])]
        await asyncio.gather(*appended(disks, [append_of(payload, slot) for slot in (1, 2)]))
        assert not any(future.done() for future in held)
        faults.release("fdatasync")
        await asyncio.gather(*held)
        await asyncio.gather(*appended(disks, [append_of(payload, 0)]))

    threaded.run(scenario)


def test_a_disk_that_answers_one_write_after_the_other_is_not_taken_out(threaded: World) -> None:
    """However long each has waited for its turn; but one that then does not answer is."""
    faults = threaded.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        looks = threaded.limits.hung_looks
        disks.unpin(await asyncio.gather(*appended(disks, [append_of(b"x", n) for n in range(3)])))
        faults.hold("fdatasync", lambda path: "disk0" in path)
        first = appended(disks, [append_of(b"first", 0)])[0]
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        second = appended(disks, [append_of(b"second", 0)])[0]
        for _ in range(looks - 1):
            await disks.refresh()
        faults.let_go("fdatasync")
        disks.unpin([await first])
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        for _ in range(looks - 1):
            await disks.refresh()
        assert not second.done()
        await disks.refresh()
        assert isinstance((await outcomes([second]))[0], DiskOffline)
        faults.release("fdatasync")

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
        log = log_append(disks, 0, b"frame")
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
        assert_room(disks, 2)
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
        await log_append(disks, 0, b"frame")
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
            await log_append(disks, 0, b"to what was open before")
        await disks.log_rotate(0, "b")
        await log_append(disks, 0, b"x")

    world.run(scenario)
