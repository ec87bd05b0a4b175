"""The border itself: what is told, and what is given back when somebody goes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from s3node.base.arena import Arena
from s3node.base.errors import DiskFull, DiskOffline, EngineGone, JournalStalled, S3Error
from s3node.base.limits import MIB
from s3node.meta.transaction import WriteSet
from s3node.objects.faults import as_s3_error
from s3node.store.diskset import Disks
from s3node.store.seams import DiskState
from tests.meta.kvs import lmdb_kv
from tests.processes.border import knock, make_door, run, until
from tests.simulation.faults import Faults
from tests.store.world import World, append_of, appended, assert_room, crossed, outcomes, read_back

# ---- disks


def test_what_disks_are_like_is_told(tmp_path: Path) -> None:
    """At once when it matters, and before the answer to an append that failed."""
    world = World("native", tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        link = await knock(door)
        assert [one.state for one in link.disks.status()] == [DiskState.ONLINE] * 3
        assert link.disks.status()[1].path == world.paths[1]
        disks.fence(1, "out")
        await until(lambda: link.disks.status()[1].state is DiskState.FENCED)
        assert [one.slot for one in link.disks.writable()] == [0, 2]
        assert_room(link.disks, 2)
        assert isinstance(
            (await outcomes(appended(link.disks, [append_of(b"x", 1)])))[0], DiskOffline
        )
        await disks.readmit(1)
        await until(lambda: len(link.disks.writable()) == 3)
        faults.fail("pwritev", 28, lambda path: "disk2/segments" in path)
        assert isinstance((await outcomes(appended(link.disks, [append_of(b"x", 2)])))[0], DiskFull)
        assert [one.slot for one in link.disks.writable()] == [0, 1], "told before the answer"
        faults.heal()
        door.deciding.sequence = 77  # type: ignore[misc]
        door.deciding.stall = "no quorum"  # type: ignore[misc]
        await until(lambda: (link.sequence, link.stall) == (77, "no quorum"))
        await link.close()
        await door.close()

    world.run(scenario)


def test_a_disk_that_came_back_is_read_anew(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        link = await knock(door)
        item = append_of(b"first" * 100)
        (place,) = await asyncio.gather(*appended(link.disks, [item]))
        assert bytes(await link.disks.read(place, item.shard, 500, 0, 500)) == item.payload
        path = Path(world.segment_path(place))
        copy = path.read_bytes()
        path.unlink()
        path.write_bytes(copy)
        world.flip(str(path), place.offset + 400)
        await disks.readmit(0)  # as after a look that found it gone and back again
        await until(lambda: link.disks._told[0].returns == 1)
        assert isinstance(
            (await outcomes([link.disks.read(place, item.shard, 500, 0, 500)]))[0], Exception
        )
        link.disks.unpin([place])
        await link.close()
        await door.close()

    world.run(scenario)


# ---- who goes


def test_pins_of_a_lost_edge_are_given_back_when_all_is_answered(tmp_path: Path) -> None:
    world = World("native", tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        door = make_door(disks=disks)
        arena = Arena(16 * MIB, shared=True)
        link, other = await knock(door, arena), await knock(door)
        payload = arena.take(100_000)
        payload[:] = random.Random(3).randbytes(100_000)
        item = append_of(payload)  # type: ignore[arg-type]
        (place,) = await asyncio.gather(*appended(link.disks, [item]))
        (theirs,) = await asyncio.gather(*appended(other.disks, [append_of(b"theirs", 1)]))
        faults.hold("fdatasync", lambda path: "disk0" in path)
        held = appended(link.disks, [item])
        await asyncio.to_thread(faults.entered["fdatasync"].wait)
        link._channel.close("killed")
        assert isinstance((await outcomes(held))[0], EngineGone)
        await crossed()
        assert door.edges == 2, "the memory is still being written from"
        assert disks.pinned(0, place.segment)
        faults.release("fdatasync")
        await until(lambda: door.edges == 1)
        await disks.seal()
        assert not disks.pinned(0, place.segment)
        assert disks.pinned(1, theirs.segment), "another edge's are its own"
        assert bytes(await read_back(disks, place, item)) == bytes(payload)
        assert (await outcomes(appended(link.disks, [item])))[0].args == ("killed",)
        await other.close()
        await link.close()
        await door.close()
        assert not disks.pinned(1, theirs.segment)

    world.run(scenario)


def test_an_offer_of_a_lost_edge_is_decided_before_its_pins_go(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    class Slow:
        """Decides when it is told to."""

        stall = ""
        sequence = pending = 0

        def __init__(self) -> None:
            self.answers: list[asyncio.Future[bool]] = []

        def offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
            self.answers.append(asyncio.get_running_loop().create_future())
            return self.answers[-1]

    async def scenario(disks: Disks) -> None:
        slow = Slow()
        door = make_door(slow, disks)
        link = await knock(door)
        (place,) = await asyncio.gather(*appended(link.disks, [append_of(b"x")]))
        offered = link.kv._offer(WriteSet(0, {}, (), {b"k": b"v"}, {}))
        await until(lambda: slow.answers)
        await link.close()
        assert isinstance((await outcomes([offered]))[0], EngineGone)
        await crossed()
        await disks.seal()
        assert disks.pinned(0, place.segment), "a row may be about to name it"
        slow.answers[0].set_result(True)
        await until(lambda: door.edges == 0)
        assert not disks.pinned(0, place.segment)
        await door.close()

    world.run(scenario)


def test_a_link_whose_engine_is_gone_answers_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            begun = False
            link = await knock(door, index=kv.index, still=lambda: not begun)
            await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            assert link.kv.read(lambda tx: tx.get(b"a")) == b"1"
            begun = True  # another engine, and this edge has not heard of the end yet
            with pytest.raises(EngineGone):
                link.kv.read(lambda tx: tx.get(b"a"))
            with pytest.raises(EngineGone):
                link.kv.read(lambda tx: 1 // 0)
            with pytest.raises(EngineGone):
                await link.kv.write(lambda tx: tx.put(b"a", b"2"))
            begun = False
            writes = [link.kv.write(lambda tx, n=n: tx.add(b"n", n)) for n in range(5)]
            tasks = [asyncio.ensure_future(write) for write in writes]
            await asyncio.sleep(0)
            await door.close()
            assert "stops" in await link.gone
            assert {type(one) for one in await outcomes(tasks)} <= {EngineGone, type(None)}
            with pytest.raises(EngineGone) as told:
                link.kv.read(lambda tx: None)
            answer = as_s3_error(told.value)
            assert (answer.code, "Retry-After" in answer.headers) == ("ServiceUnavailable", True)
            with pytest.raises(EngineGone):
                await link.kv.write(lambda tx: None)
            await link.close()
            await link.close()

    run(scenario())


# ---- transactions


def test_a_stall_of_the_journal_is_told_as_what_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            link = await knock(door, index=kv.index)
            kv._stalls["journal"] = "too few disks"
            with pytest.raises(JournalStalled, match="too few disks"):
                await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            await until(lambda: "too few disks" in link.stall)
            kv._stalls["journal"] = ""
            await link.kv.write(lambda tx: tx.put(b"a", b"1"))
            await link.close()
            await door.close()

    run(scenario())


def test_who_always_loses_is_told_to_come_back(tmp_path: Path) -> None:
    """And until then has tried as often as it should."""

    class Never:
        stall = ""
        sequence = pending = 0

        def offer(self, write_set: WriteSet) -> asyncio.Future[bool]:
            answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            answer.set_result(False)
            return answer

        async def in_index(self, sequence: int) -> None:
            await asyncio.sleep(0)

    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(Never())
            link = await knock(door, index=kv.index)
            runs = 0

            def fn(tx: Any) -> None:
                nonlocal runs
                runs += 1
                tx.put(b"a", b"1")

            with pytest.raises(S3Error, match="SlowDown"):
                await link.kv.write(fn)
            assert runs == 64
            await link.close()
            await door.close()

    run(scenario())


def test_two_edges_and_the_engine_count_together(tmp_path: Path) -> None:
    """Every read-modify-write of three writers, each with its own view, counts once."""

    async def scenario() -> None:
        async with lmdb_kv(tmp_path) as kv:
            door = make_door(kv)
            links = [await knock(door, index=kv.index) for _ in range(2)]

            def increase(tx: Any) -> None:
                tx.put(b"n", b"%d" % (int(tx.get(b"n") or 0) + 1))

            async def many(one: Any) -> None:
                for _ in range(40):
                    await one.write(increase)

            await asyncio.gather(*(many(one) for one in (kv, links[0].kv, links[1].kv)))
            assert kv.read(lambda tx: tx.get(b"n")) == b"120"
            for link in links:
                await link.close()
            await door.close()

    run(scenario())
