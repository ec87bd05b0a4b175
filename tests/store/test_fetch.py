"""Parts of a stripe: read at one crossing, into memory that nobody else may see or write."""

from __future__ import annotations

import asyncio
import itertools
import mmap
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from s3node.store._engine import ffi, lib

from s3node.base.arena import Arena
from s3node.base.errors import DiskOffline, DiskSlow, ShardMissing
from s3node.base.limits import MIB, READ_STRIDE_BYTES_MAX
from s3node.store import record
from s3node.store.diskset import Disks
from s3node.store.fetch import LENT_BYTES_MIN, Lender
from s3node.store.record import BLOCK_BYTES
from s3node.store.seams import Fetched, Part, Place
from tests.simulation.faults import Faults
from tests.store.world import ENGINES, SLOTS, Append, World, appended, outcomes, shard_of

SIZE = 3 * BLOCK_BYTES + 1000
KERNELS = [kernel for rank in range(3) if (kernel := lib.xxh3_kernel_at(rank)) != ffi.NULL]


def payload_of(index: int) -> bytes:
    return Random(index).randbytes(SIZE)


def stripe() -> list[Append]:
    """A shard for each slot, of one stripe."""
    batch = []
    for slot in range(SLOTS):
        shard = shard_of(payload_of(slot), 7, k=2, m=1, shard_index=slot)
        batch.append(Append(slot, shard, payload_of(slot)))
    return batch


async def fetched(
    disks: Disks, places: Sequence[Place | None], start: int, stop: int, hurry_s: float | None
) -> Fetched:
    parts = [Part(index, place, start, stop) for index, place in enumerate(places)]
    found = disks.fetch(stripe()[0].shard, SIZE, parts, hurry_s)
    await found.wait(60)
    return found


@pytest.fixture(params=ENGINES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(request.param, tmp_path)


def test_parts_are_verified_and_lie_in_order(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        for start, stop in ((0, SIZE), (5, 6), (BLOCK_BYTES - 1, 2 * BLOCK_BYTES + 1)):
            found = await fetched(disks, places, start, stop, None)
            pieces = found.whole()
            assert pieces is not None
            assert b"".join(pieces) == b"".join(payload_of(i)[start:stop] for i in range(SLOTS))
            assert all(piece.readonly for piece in pieces)
            if stop - start == SIZE:
                assert len(pieces) == 1, "whole shards are one run of bytes"

    world.run(scenario)


def test_what_is_in_memory_is_read_at_one_crossing_by_no_thread(tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        await fetched(disks, places, 0, SIZE, None)  # files are opened
        before = disks.counters()
        parts = [Part(index, place, 0, SIZE) for index, place in enumerate(places)]
        found = disks.fetch(stripe()[0].shard, SIZE, parts, None)
        assert found.left == 0, "nothing was waited for"
        after = disks.counters()
        assert after.crossings == before.crossings + 1
        assert after.wakes == before.wakes
        assert after.reads == before.reads + SLOTS, "one call for each shard"

    world.run(scenario)


def in_memory(disks: Disks, places: Sequence[Place | None], start: int, stop: int) -> bytes | None:
    """As bytes; nobody looks at them any longer than that."""
    found = disks.at_hand(stripe()[0].shard, SIZE, places, start, stop)
    assert found is None or found.readonly
    return found and bytes(found)


EDGES = (0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, SIZE - 1, SIZE, SIZE + 1, 2 * SIZE - 1, 2 * SIZE)


def test_what_is_at_hand_is_the_bytes_asked_for_or_nothing(world: World) -> None:
    """Of every engine; of the native one it is the bytes, for these have just been read."""
    whole = b"".join(map(payload_of, range(SLOTS)))

    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        assert in_memory(disks, places, 0, SIZE) is None, "no file is open"
        await fetched(disks, places, 0, SIZE, None)
        for start, stop in itertools.combinations(EDGES, 2):
            found = in_memory(disks, places, start, stop)
            if found is not None or world.kind in ("native", "remote"):
                assert found == whole[start:stop]

    world.run(scenario)


@pytest.mark.parametrize("slot", range(SLOTS))
def test_nothing_is_at_hand_of_what_cannot_be_had_or_is_wrong(slot: int, tmp_path: Path) -> None:
    world = World("native", tmp_path)

    async def scenario(disks: Disks) -> None:
        places: list[Place | None] = [*await asyncio.gather(*appended(disks, stripe()))]
        await fetched(disks, places, 0, SIZE, None)
        start, stop = slot * SIZE, (slot + 1) * SIZE

        def others() -> list[bytes | None]:
            parts = [one for one in range(SLOTS) if one != slot]
            return [in_memory(disks, places, one * SIZE, (one + 1) * SIZE) for one in parts]

        healthy = others()
        assert None not in healthy and in_memory(disks, places, 1, SLOTS * SIZE) is not None
        place = places[slot]
        assert place is not None
        elsewhere = places[slot - 1]
        for wrong in (None, place._replace(segment=place.segment + 1), elsewhere):
            places[slot] = wrong
            assert in_memory(disks, places, start, stop) is None
            assert in_memory(disks, places, 1, SLOTS * SIZE) is None
        places[slot] = place
        last = place.offset + record.payload_start(SIZE) + SIZE - 1
        world.flip(world.segment_path(place), last)
        assert in_memory(disks, places, start, stop) is None
        assert in_memory(disks, places, start, stop - SIZE % BLOCK_BYTES) is not None, "blocks"
        world.flip(world.segment_path(place), last)
        assert in_memory(disks, places, start, stop) is not None
        disks.fence(slot, "test")
        assert in_memory(disks, places, start, stop) is None
        assert others() == healthy

    world.run(scenario)


@pytest.mark.parametrize("lost", range(SLOTS))
@pytest.mark.parametrize("fenced", [True, False])
def test_a_stripe_is_at_hand_around_what_is_lost(lost: int, fenced: bool, tmp_path: Path) -> None:
    """Data shards where they belong, others behind them; nothing unless one is done without."""
    world = World("native", tmp_path)
    count = SLOTS - 1

    async def scenario(disks: Disks) -> None:
        places: list[Place | None] = [*await asyncio.gather(*appended(disks, stripe()))]

        def around() -> tuple[memoryview, dict[int, memoryview]] | None:
            return disks.at_hand_around(stripe()[0].shard, SIZE, places, count, 3600.0)

        assert around() is None, "no file is open"
        await fetched(disks, places, 0, SIZE, None)
        assert around() is None, "no disk has to be done without"
        place = places[lost]
        assert place is not None
        places[lost] = place._replace(segment=place.segment + 1)
        assert around() is None, "a file that is not open yet is no lost disk"
        places[lost] = place
        if fenced:
            disks.fence(lost, "test")
        else:
            places[lost] = None
        found = around()
        others = [one for one in range(SLOTS) if one != lost]
        if lost >= count:
            assert found is None, "all that is data is there"
        else:
            assert found is not None
            memory, payloads = found
            assert {one: bytes(view) for one, view in payloads.items()} == {
                one: payload_of(one) for one in others
            }
            assert [memory[one * SIZE : (one + 1) * SIZE] for one in others[:-1]] == [
                payload_of(one) for one in others[:-1]
            ]
            place = places[others[-1]]
            assert place is not None
            world.flip(world.segment_path(place), place.offset + 5000)
            assert around() is None, "it is wrong"
            world.flip(world.segment_path(place), place.offset + 5000)
            assert around() is not None
        places[others[0]] = None
        assert around() is None, "too few"

    world.run(scenario)


def test_a_part_that_fails_has_room_and_others_their_bytes(world: World) -> None:
    async def scenario(disks: Disks) -> None:
        places: list[Place | None] = [*await asyncio.gather(*appended(disks, stripe()))]
        assert places[1] is not None
        world.flip(world.segment_path(places[1]), places[1].offset + 5000)
        places[2] = None
        found = await fetched(disks, places, 0, SIZE, None)
        assert found.whole() is None and set(found.faults) == {1, 2}
        assert isinstance(found.faults[2], ShardMissing)
        assert found.got(0) == payload_of(0) and found.got(1) is None is found.got(2)
        for index in (1, 2):
            room = found.room(index)
            assert room is not None
            room[:] = payload_of(index)
            found.mended(index)
        (piece,) = found.whole() or ()
        assert piece == b"".join(map(payload_of, range(SLOTS)))

    world.run(scenario)


@pytest.mark.parametrize("damaged", range(1 << SLOTS))
def test_what_is_at_hand_is_told_from_what_is_not(damaged: int, tmp_path: Path) -> None:
    """Whichever of the parts in memory are wrong: they alone are faults, the others right."""
    world = World("native", tmp_path)
    wrong = {slot for slot in range(SLOTS) if damaged >> slot & 1}

    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        await fetched(disks, places, 0, SIZE, None)
        for slot in wrong:
            world.flip(world.segment_path(places[slot]), places[slot].offset + 128 + 8 * 4 + 5)
        found = await fetched(disks, places, 1, BLOCK_BYTES + 9, None)
        assert set(found.faults) == wrong
        for slot in set(range(SLOTS)) - wrong:
            assert found.got(slot) == payload_of(slot)[1 : BLOCK_BYTES + 9]

    world.run(scenario)


@pytest.mark.parametrize("kind", ["native", "threads"])
def test_nobody_writes_where_a_disk_may_yet(kind: str, tmp_path: Path) -> None:
    """A disk that was given up has no room in the answer until it has answered."""
    world = World(kind, tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        await fetched(disks, places, 0, SIZE, None)
        faults.hold("pread", lambda path: "disk1/" in path)
        parts = [Part(index, place, 0, SIZE) for index, place in enumerate(places)]
        found = disks.fetch(stripe()[0].shard, SIZE, parts, None)
        await asyncio.to_thread(faults.entered["pread"].wait)
        while found.left > 1:
            await asyncio.sleep(0.001)
        assert found.got(1) is None and found.room(1) is None
        disks._reads.give_up(1, DiskOffline("test"))
        assert found.left == 0 and set(found.faults) == {1}
        assert found.room(1) is None, "the disk may write there"
        late = disks.fetch(stripe()[0].shard, SIZE, parts, 0.0)
        await late.wait(60)
        assert isinstance(late.faults[1], DiskSlow), "it is not asked again"
        assert late.room(1) is not None
        faults.release("pread")
        while found.room(1) is None:
            await asyncio.sleep(0.001)
        assert found.got(1) is None, "what was given up does not come back"
        again = disks.fetch(stripe()[0].shard, SIZE, parts, 0.0)
        await again.wait(60)
        assert again.whole() is not None

    world.run(scenario)


@pytest.mark.parametrize("kind", ["native", "threads", "inline"])
def test_spares_stand_in_for_disks_that_are_not_asked(kind: str, tmp_path: Path) -> None:
    world = World(kind, tmp_path)

    async def scenario(disks: Disks) -> None:
        places = await asyncio.gather(*appended(disks, stripe()))
        parts = [Part(index, place, 0, SIZE) for index, place in enumerate(places)]
        healthy = disks.fetch(stripe()[0].shard, SIZE, parts[:2], None, iter(parts[2:]))
        await healthy.wait(60)
        assert [part.shard for part in healthy.parts] == [0, 1]
        disks.fence(0, "test")
        found = disks.fetch(stripe()[0].shard, SIZE, parts[:2], None, iter(parts[2:]))
        await found.wait(60)
        assert [part.shard for part in found.parts] == [0, 1, 2]
        assert found.got(1) == payload_of(1) and found.got(2) == payload_of(2)
        assert found.whole() is None and isinstance(found.faults[0], DiskOffline)

    world.run(scenario)


def test_without_memory_for_the_queue_reads_fail_and_nothing_hangs(tmp_path: Path) -> None:
    world = World("native", tmp_path)
    faults = world.faults
    assert isinstance(faults, Faults)

    async def scenario(disks: Disks) -> None:
        batch = stripe()
        places = await asyncio.gather(*appended(disks, batch))
        await fetched(disks, places, 0, SIZE, None)
        faults.fail("pread", 0)  # nothing is in memory
        faults.hold("pread")
        faults.fail("allocate", 12)
        found = [
            disks.read(place, item.shard, SIZE, 0, 1)
            for place, item in zip(places, batch, strict=True)
        ]
        while not any(one.done() for one in found):
            found += [disks.read(place, batch[0].shard, SIZE, 0, 1) for place in places[:1] * 100]
        faults.release("pread")
        faults.heal()
        results = await outcomes(found)
        assert any(isinstance(one, BaseException) for one in results)
        assert any(one == payload_of(0)[:1] for one in results)

    world.run(scenario)


# ---- memory


def test_lent_memory_is_used_again_only_when_nobody_sees_it() -> None:
    arena = Arena(64 * mmap.PAGESIZE)
    lender = Lender(arena, rooms=0)
    first = lender.take(LENT_BYTES_MIN)
    at = arena.offset(first)
    kept = first[5:6]
    del first
    second = lender.take(LENT_BYTES_MIN)
    assert arena.offset(second) != at, "a part of it is still seen"
    del kept
    assert arena.offset(lender.take(LENT_BYTES_MIN)) == at
    assert arena.find(lender.take(LENT_BYTES_MIN - 1)) is None, "the heap is quicker"


def test_when_the_arena_is_full_memory_is_fresh() -> None:
    arena = Arena(64 * mmap.PAGESIZE)
    lender = Lender(arena, rooms=0)
    kept = [lender.take(LENT_BYTES_MIN) for _ in range(4)]
    assert len(kept[2]) == len(kept[3]) == LENT_BYTES_MIN
    assert [arena.find(one) is None for one in kept] == [False, False, True, True]
    kept.clear()
    while arena.find(lender.take(LENT_BYTES_MIN)) is None:
        pass  # it is tried again later


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, READ_STRIDE_BYTES_MAX), max_size=20), data=st.data())
def test_a_room_is_let_to_one_at_a_time(sizes: list[int], data: st.DataObject) -> None:
    """As long as anybody sees a byte of it, whatever the order in which they end."""
    lender = Lender(Arena(8 * MIB), rooms=3)
    seen: dict[int, memoryview] = {}
    for number, size in enumerate(sizes):
        room = lender.take(size)
        assert len(room) == size and room.contiguous and not room.readonly
        room[:] = bytes((number,)) * size
        seen[number] = room[size // 2 : size // 2 + 1].toreadonly()
        del room
        for gone in data.draw(st.lists(st.sampled_from(sorted(seen)), unique=True)):
            del seen[gone]
        assert all(one[0] == kept for kept, one in seen.items())


def test_the_room_that_is_free_is_used_again() -> None:
    arena = Arena(8 * MIB)
    lender = Lender(arena, rooms=2)
    first, second = lender.take(1), lender.take(READ_STRIDE_BYTES_MAX)
    at = arena.offset(first)
    assert arena.offset(second) != at
    del first
    for _ in range(3):
        assert arena.offset(lender.take(5)) == at
    kept = lender.take(5)
    assert arena.find(lender.take(5)) is None, "both are let; the heap is quicker"
    assert arena.offset(kept) == at


# ---- digests


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda one: ffi.string(one.name).decode())
def test_digests_are_those_of_the_xxhash_library(kernel: object) -> None:
    data = Random(1).randbytes(BLOCK_BYTES + 100)
    for size in (*range(1100), 4095, 4096, 4097, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 100):
        found = lib.xxh3_64_with(kernel, data[:size], size)
        assert found == xxhash.xxh3_64_intdigest(data[:size]), size


@given(st.binary(max_size=5000))
def test_the_chosen_kernel_as_well(data: bytes) -> None:
    assert lib.xxh3_64(data, len(data)) == xxhash.xxh3_64_intdigest(data)
